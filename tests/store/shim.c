/* SPDX-License-Identifier: Apache-2.0 */
/* shim.c - LD_PRELOAD between a program and the disk, for tests/store.
 *
 *   SHIM_LOG=FILE    writes down all that changes files below SHIM_DIR, in order: power.py plays it
 *                    back up to any place.
 *   SHIM_CTL=FILE    two int64 that the test may change while the program runs: an errno that
 * writes below SHIM_DIR give (0: none), and seconds that are added to the real clock. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *dir;
static int log_fd = -1;
static volatile int64_t *ctl;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t no_ctl[2];

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

__attribute__((constructor)) static void begin(void)
{
	const char *log = getenv("SHIM_LOG"), *file = getenv("SHIM_CTL");
	int fd;

	dir = getenv("SHIM_DIR");
	ctl = no_ctl;
	if (log)
		log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (file && (fd = REAL(open)(file, O_RDWR | O_CLOEXEC)) >= 0) {
		void *p = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);

		ctl = p == MAP_FAILED ? no_ctl : p;
		close(fd);
	}
}

/* The path of name below fd, as the kernel has it; false: not below SHIM_DIR. */
static int path_of(int fd, const char *name, char *out, size_t len)
{
	char link[64], base[4096] = "";
	ssize_t n = 0;

	if (!dir)
		return 0;
	if (!name || *name != '/') {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = fd == AT_FDCWD ? -1 : readlink(link, base, sizeof(base) - 1);
		if (n < 0)
			return 0;
		base[n] = '\0';
	}
	snprintf(out, len, "%s%s%s", base, name && *base ? "/" : "", name ? name : "");
	return strncmp(out, dir, strlen(dir)) == 0 && strlen(out) > strlen(dir);
}

static void say(const void *data, size_t data_len, const char *fmt, ...)
{
	char line[9000];
	struct timespec ts;
	va_list ap;
	int n;

	if (log_fd < 0)
		return;
	REAL(clock_gettime)(CLOCK_MONOTONIC, &ts);
	n = snprintf(line, sizeof(line), "%lld ", (long long)ts.tv_sec * 1000000000 + ts.tv_nsec);
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (REAL(write)(log_fd, line, (size_t)n) != n ||
	    (data_len && REAL(write)(log_fd, data, data_len) != (ssize_t)data_len))
		abort();
}

static unsigned long long ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

/* Before: is it to fail? */
static int fails(int fd)
{
	char path[8300];

	if (!ctl[0] || !path_of(fd, NULL, path, sizeof(path)))
		return 0;
	errno = (int)ctl[0];
	return 1;
}

static ssize_t wrote(int fd, const void *p, ssize_t n, off_t off)
{
	char path[8300];
	int err = errno;

	if (n > 0 && log_fd >= 0 && path_of(fd, NULL, path, sizeof(path)))
		say(p, (size_t)n, "write %llu %lld %zd %d", ino_of(fd), (long long)off, n,
		    fcntl(fd, F_GETFL) & O_DSYNC ? 1 : 0);
	errno = err;
	return n;
}

/* The order of the log is the order of the calls: one at a time. */
#define ONE_AT_A_TIME(type, call)                                                                  \
	type ret_;                                                                                 \
	pthread_mutex_lock(&lock);                                                                 \
	ret_ = call;                                                                               \
	pthread_mutex_unlock(&lock);                                                               \
	return ret_

ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
	if (fails(fd))
		return -1;
	ONE_AT_A_TIME(ssize_t, wrote(fd, p, REAL(pwrite)(fd, p, len, off), off));
}

ssize_t write(int fd, const void *p, size_t len)
{
	off_t off = log_fd >= 0 ? lseek(fd, 0, SEEK_CUR) : 0;

	if (fails(fd))
		return -1;
	ONE_AT_A_TIME(ssize_t, wrote(fd, p, REAL(write)(fd, p, len), off));
}

ssize_t writev(int fd, const struct iovec *iov, int cnt)
{
	ssize_t sum = 0, n;

	if (fails(fd))
		return -1;
	if (log_fd < 0)
		return REAL(writev)(fd, iov, cnt);
	for (int i = 0; i < cnt; i++, sum += n) {
		n = write(fd, iov[i].iov_base, iov[i].iov_len);
		if (n < 0)
			return sum ? sum : n;
	}
	return sum;
}

static int synced(int fd, int rc)
{
	char path[8300];
	struct stat st;

	if (rc == 0 && log_fd >= 0 && path_of(fd, NULL, path, sizeof(path)))
		say(NULL, 0, "sync %llu", ino_of(fd));
	else if (rc == 0 && log_fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		say(NULL, 0, "sync %llu", ino_of(fd));
	return rc;
}

int fdatasync(int fd)
{
	if (fails(fd))
		return -1;
	ONE_AT_A_TIME(int, synced(fd, REAL(fdatasync)(fd)));
}

int fsync(int fd)
{
	if (fails(fd))
		return -1;
	ONE_AT_A_TIME(int, synced(fd, REAL(fsync)(fd)));
}

int ftruncate(int fd, off_t len)
{
	char path[8300];
	int rc;

	if (fails(fd))
		return -1;
	pthread_mutex_lock(&lock);
	rc = REAL(ftruncate)(fd, len);
	if (rc == 0 && path_of(fd, NULL, path, sizeof(path)))
		say(NULL, 0, "truncate %llu %lld", ino_of(fd), (long long)len);
	pthread_mutex_unlock(&lock);
	return rc;
}

static unsigned long long ino_at(int fd, const char *name)
{
	struct stat st;

	return fstatat(fd, name, &st, 0) == 0 ? (unsigned long long)st.st_ino : 0;
}

static int opened(int at, const char *name, int flags, int mode)
{
	char path[8300];
	int fd, is_new;

	if (!(flags & O_CREAT) || !path_of(at, name, path, sizeof(path)))
		return REAL(openat)(at, name, flags, mode);
	if (ctl[0] && ctl[0] != EIO && faccessat(at, name, F_OK, 0) < 0) {
		errno = (int)ctl[0];
		return -1;
	}
	pthread_mutex_lock(&lock);
	is_new = faccessat(at, name, F_OK, 0) < 0;
	fd = REAL(openat)(at, name, flags, mode);
	if (fd >= 0 && is_new)
		say(NULL, 0, "create %llu %s", ino_of(fd), path + strlen(dir) + 1);
	pthread_mutex_unlock(&lock);
	return fd;
}

int open(const char *name, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return opened(AT_FDCWD, name, flags, mode);
}

int openat(int at, const char *name, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return opened(at, name, flags, mode);
}

int mkdirat(int at, const char *name, mode_t mode)
{
	char path[8300];
	int rc;

	if (ctl[0] && path_of(at, name, path, sizeof(path))) {
		errno = (int)ctl[0];
		return -1;
	}
	pthread_mutex_lock(&lock);
	rc = REAL(mkdirat)(at, name, mode);
	if (rc == 0 && path_of(at, name, path, sizeof(path)))
		say(NULL, 0, "mkdir %llu %s", ino_at(at, name), path + strlen(dir) + 1);
	pthread_mutex_unlock(&lock);
	return rc;
}

int renameat(int at, const char *from, int to_at, const char *to)
{
	char a[8300], b[8300];
	int rc;

	pthread_mutex_lock(&lock);
	rc = REAL(renameat)(at, from, to_at, to);
	if (rc == 0 && path_of(at, from, a, sizeof(a)) && path_of(to_at, to, b, sizeof(b)))
		say(NULL, 0, "rename %s %s", a + strlen(dir) + 1, b + strlen(dir) + 1);
	pthread_mutex_unlock(&lock);
	return rc;
}

int unlinkat(int at, const char *name, int flags)
{
	char path[8300];
	int rc;

	pthread_mutex_lock(&lock);
	rc = REAL(unlinkat)(at, name, flags);
	if (rc == 0 && path_of(at, name, path, sizeof(path)))
		say(NULL, 0, "unlink %s", path + strlen(dir) + 1);
	pthread_mutex_unlock(&lock);
	return rc;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = REAL(clock_gettime)(id, ts);

	if (id == CLOCK_REALTIME && ctl)
		ts->tv_sec += ctl[1];
	return rc;
}

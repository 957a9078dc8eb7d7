/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - LMDB believes what it maps: a page that was damaged while nobody looked, cut off, or
 * that the disk no longer gives makes the process fault. Files that are written through their maps
 * (lock.mdb, tally) do so, too, where a page's place on the disk is not the one it had (btrfs) and
 * the disk is full: such a page goes on in memory alone. In all other cases the partition gets a mark
 * NAME.suspect beside it, and the program begins anew, or ends and is begun anew by whoever watches
 * it. At start a marked partition is looked at page by page, without a map (parts.c), and set aside
 * when that, or the number of marks, says so. Whose map it was stands in /proc/self/maps. The
 * invariant: what runs in the signal handler takes no lock and allocates nothing. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* A damaged length leads past the end of its map. */
static const uint64_t PAST_MAX = 4ull << 30;

enum { LINE_LEN = 4096 + 128 };

static bool marks_are_on;
static char *const *restart_argv;
static size_t page_size;
static _Atomic uint64_t pages_kept;

/* --- the handler's side --- */

static void tell(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static uintptr_t hex_take(const char **p)
{
	uintptr_t v = 0;

	for (;; ++*p) {
		char c = **p;

		if (c >= '0' && c <= '9')
			v = v << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uintptr_t)(c - 'a' + 10);
		else
			return v;
	}
}

/* "55d0-55e0 r--s 00000000 08:01 123   /DIR/NAME/data.mdb", or the partition's filter: the folder. */
static bool line_folder(const char *line, char folder[LINE_LEN])
{
	static const char file[] = "/data.mdb"; /* " (deleted)" may follow */
	const char *path = strchr(line, '/'), *end = path ? strrchr(path, '/') : NULL;

	if (!end || (strncmp(end, file, sizeof(file) - 1) != 0 && strcmp(end, PART_FILTER) != 0) ||
	    (size_t)(end - path) >= LINE_LEN)
		return false;
	memcpy(folder, path, (size_t)(end - path));
	folder[end - path] = '\0';
	return true;
}

/* Is addr in the map, or not further behind it? */
static bool line_is_near(const char *line, uintptr_t addr, uint64_t behind)
{
	uintptr_t from = hex_take(&line), to;

	line += *line == '-';
	to = hex_take(&line);
	return addr >= from && addr < to + behind;
}

static bool line_is_of(const char *line, const char *file)
{
	const char *end = strrchr(line, '/');

	return end && strcmp(end, file) == 0;
}

static void mark(const char *folder, size_t faults)
{
	static char file[LINE_LEN + 16];
	size_t len = strlen(folder);
	int fd;

	if (len > 5 && strcmp(folder + len - 5, ".gone") == 0)
		len -= 5; /* LMDB's name for one that was made lately */
	memcpy(file, folder, len);
	strcpy(file + len, PART_SUSPECT);
	fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0 || (faults && write(fd, "x", faults) != (ssize_t)faults))
		tell("wirespan: the partition cannot be marked\n");
	if (fd >= 0)
		close(fd);
}

typedef bool line_fn(const char *line, uintptr_t addr, char folder[LINE_LEN]);

/* Did fn say yes to any of our maps? They are in order. */
static bool maps_each(line_fn *fn, uintptr_t addr, char folder[LINE_LEN])
{
	static char line[LINE_LEN];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool found = false;
	size_t len = 0;
	char c;

	while (fd >= 0 && read(fd, &c, 1) == 1) {
		if (c != '\n') {
			line[len] = c;
			len += len + 1 < sizeof(line);
			continue;
		}
		line[len] = '\0';
		len = 0;
		found = fn(line, addr, folder) || found;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

/* The last one that is near addr is the right one. */
static bool find_near(const char *line, uintptr_t addr, char folder[LINE_LEN])
{
	return line_is_near(line, addr, PAST_MAX) && line_folder(line, folder);
}

/* An empty mark: the partition is looked at the next time, and no more. */
static bool mark_open(const char *line, uintptr_t addr, char folder[LINE_LEN])
{
	(void)addr;
	if (line_folder(line, folder))
		mark(folder, 0);
	return false;
}

static bool find_written(const char *line, uintptr_t addr, char folder[LINE_LEN])
{
	(void)folder;
	return line_is_near(line, addr, 0) &&
	       (line_is_of(line, "/lock.mdb") || line_is_of(line, "/tally"));
}

/* What is on the page stays, without the disk. Reading it may fault, too (the file was cut off):
 * the kernel reads it for us. */
static bool page_keep(uintptr_t addr)
{
	static uint8_t copy[PAGE_MOST];
	struct iovec there = {(void *)(addr - addr % page_size), page_size};
	struct iovec here = {copy, page_size};

	if (page_size > PAGE_MOST || !maps_each(find_written, addr, NULL) ||
	    process_vm_readv(getpid(), &here, 1, &there, 1, 0) != (ssize_t)page_size ||
	    mmap(there.iov_base, page_size, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return false;
	memcpy(there.iov_base, copy, page_size);
	pages_kept++;
	return true;
}

static void begin_anew(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	execve("/proc/self/exe", restart_argv, environ);
}

static void partition_failed(const char *folder)
{
	tell("wirespan: the partition ");
	tell(folder);
	tell(" is damaged or cannot be read; `wirespan store check` says more\n");
	if (!marks_are_on)
		_exit(1);
	mark(folder, 1);
	if (restart_argv)
		begin_anew();
}

/* One thread at a time: what is static belongs to it, and a page that two of them wrote to is kept
 * once. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	static char folder[LINE_LEN];
	static atomic_flag busy = ATOMIC_FLAG_INIT;
	uintptr_t addr = (uintptr_t)info->si_addr;
	uint64_t kept = pages_kept;

	(void)context;
	while (atomic_flag_test_and_set(&busy))
		sched_yield();
	if (sig == SIGBUS && (kept != pages_kept || page_keep(addr))) {
		atomic_flag_clear(&busy);
		return;
	}
	if (maps_each(find_near, addr, folder))
		partition_failed(folder);
	else if (marks_are_on)
		maps_each(mark_open, 0, folder);
	signal(sig, SIG_DFL); /* and the instruction runs into it again */
	atomic_flag_clear(&busy);
}

/* LMDB's own checks; it aborts after this. */
static void on_assert(MDB_env *env, const char *text)
{
	const char *folder;

	tell("wirespan: ");
	tell(text);
	tell("\n");
	if (mdb_env_get_path(env, &folder) == 0)
		partition_failed(folder);
}

/* --- the others' --- */

void store_on_fault(bool marks, char *const *argv)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	marks_are_on = marks;
	restart_argv = argv;
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	/* A fault in the handler ends the program. */
	sigaddset(&sa.sa_mask, SIGBUS);
	sigaddset(&sa.sa_mask, SIGSEGV);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

uint64_t fault_pages_kept(void)
{
	return pages_kept;
}

void fault_watch(MDB_env *env)
{
	mdb_env_set_assert(env, on_assert);
}

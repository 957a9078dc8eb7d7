/* SPDX-License-Identifier: Apache-2.0 */
/* folder.c - the store's folder itself: made, locked, its format file, its sub-folders made,
 * renamed and removed. It opens no LMDB environment and decides nothing; parts.c and store.c call
 * it. The invariant: names that are not ours are never touched, and a partition's folder disappears
 * by a rename first, so that a crash leaves it whole or marked. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char format_head[] = "wirespan-store ";

static int explain(struct strbuf *why, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int explain(struct strbuf *why, int err, const char *fmt, ...)
{
	va_list ap;

	if (why) {
		va_start(ap, fmt);
		strbuf_vprintf(why, fmt, ap);
		va_end(ap);
	}
	return err;
}

static int make_with_parents(const char *dir)
{
	char *path = strdup(dir);
	int err = 0;

	must(path);
	for (char *p = path + 1; !err; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0750) < 0 && errno != EEXIST)
			err = -errno;
		*p = c;
		if (!c)
			break;
	}
	free(path);
	return err;
}

static int dir_open(struct store *s, struct strbuf *why)
{
	const char *dir = s->conf.dir;
	int err = s->conf.read_only ? 0 : make_with_parents(dir);
	char *whole;

	if (err)
		return explain(why, err, "cannot make the store folder %s: %s", dir,
			       strerror(-err));
	whole = realpath(dir, NULL);
	s->dir_fd = whole ? open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (s->dir_fd < 0) {
		err = -errno;
		free(whole);
		return explain(why, err, "cannot open the store folder %s: %s", dir,
			       strerror(-err));
	}
	free((char *)s->conf.dir);
	s->conf.dir = whole;
	return 0;
}

/* --- lock --- */

static int lock_refused(struct store *s, int err, struct strbuf *why)
{
	char pid[32] = "";
	ssize_t len = s->lock_fd < 0 ? 0 : pread(s->lock_fd, pid, sizeof(pid) - 1, 0);

	if (err != -EWOULDBLOCK)
		return explain(why, err, "cannot lock the store folder %s: %s", s->conf.dir,
			       strerror(-err));
	return explain(why, -EBUSY,
		       "the store folder %s is in use by another instance (pid %.*s); "
		       "stop that one or choose another folder",
		       s->conf.dir, (int)strcspn(pid, "\n"), len > 0 ? pid : "unknown");
}

static uint64_t ns_of(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * NS_PER_S + (uint64_t)ts->tv_nsec;
}

static int lock_take(struct store *s, struct strbuf *why)
{
	struct stat st;
	char pid[32];
	int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());

	s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (s->lock_fd < 0 || flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return lock_refused(s, -errno, why);
	s->is_locked = true;
	if (fstat(s->lock_fd, &st) == 0 && st.st_size > 0)
		s->unclean_ns = ns_of(&st.st_mtim);
	if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)len, 0) != len)
		log_warn("store: cannot write the pid into %s/lock: %m", s->conf.dir);
	return 0;
}

/* --- format --- */

int folder_format_write(struct store *s)
{
	int err = 0,
	    fd = openat(s->dir_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%s%d\n", format_head, STORE_FORMAT) < 0 || fsync(fd) < 0)
		err = -errno;
	close(fd);
	if (!err &&
	    (renameat(s->dir_fd, "format.new", s->dir_fd, "format") < 0 || fsync(s->dir_fd) < 0))
		err = -errno;
	return err;
}

/* 0: not a version that this program can have known. */
static int format_number(const char *text)
{
	char again[64];
	int number = 0;

	if (sscanf(text, "wirespan-store %d\n", &number) != 1 || number < 1 ||
	    number > STORE_FORMAT)
		return 0;
	snprintf(again, sizeof(again), "%s%d\n", format_head, number);
	return strcmp(again, text) == 0 ? number : 0;
}

static int format_refused(struct store *s, const char *text, struct strbuf *why)
{
	int len = (int)strcspn(text, "\n");

	if (format_number(text))
		return explain(why, -EPROTO,
			       "%s/format says \"%.*s\", this program writes version %d: run "
			       "`wirespan store upgrade %s`",
			       s->conf.dir, len, text, STORE_FORMAT, s->conf.dir);
	return explain(why, -EPROTO,
		       "%s/format says \"%.*s\", this program knows \"%s%d\": use the program "
		       "that wrote the folder, or another folder",
		       s->conf.dir, len, text, format_head, STORE_FORMAT);
}

static int format_check(struct store *s, int *ret_format, struct strbuf *why)
{
	int number = STORE_FORMAT;
	char text[64] = "";
	int fd = openat(s->dir_fd, "format", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -errno : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (len == -ENOENT && s->conf.read_only)
		return explain(why, -ENOENT, "there is no store in %s", s->conf.dir);
	if (len == -ENOENT)
		len = folder_format_write(s);
	else if (len >= 0) {
		number = format_number(text);
		if (number != STORE_FORMAT && !(number && ret_format))
			return format_refused(s, text, why);
	}
	if (len < 0)
		return explain(why, (int)len, "cannot read or write %s/format: %s", s->conf.dir,
			       strerror((int)-len));
	if (ret_format)
		*ret_format = number;
	return 0;
}

int folder_open(struct store *s, int *ret_format, struct strbuf *why)
{
	int err = dir_open(s, why);

	if (!err && !s->conf.read_only)
		err = lock_take(s, why);
	return err ?: format_check(s, ret_format, why);
}

void folder_close(struct store *s)
{
	if (s->lock_fd >= 0 && s->is_locked && ftruncate(s->lock_fd, 0) < 0)
		log_warn("store: cannot empty %s/lock: %m", s->conf.dir);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	s->lock_fd = s->dir_fd = -1;
}

/* --- a partition's folder --- */

/* All that may be in it, and itself. */
static const char *const part_files[] = {"/data.mdb", "/lock.mdb", PART_FILTER, PART_FILTER ".new",
					 ""};

int folder_part_make(struct store *s, const char *name, const char *suffix)
{
	char making[PART_NAME_MAX + 8];

	folder_part_remove(s, name, suffix); /* of an earlier try */
	snprintf(making, sizeof(making), "%s%s", name, suffix);
	return mkdirat(s->dir_fd, making, 0750) < 0 ? -errno : 0;
}

static int folder_sync(struct store *s, const char *name)
{
	int fd = openat(s->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

int folder_part_made(struct store *s, const char *name)
{
	char making[PART_NAME_MAX + 8];
	int err;

	snprintf(making, sizeof(making), "%s.gone", name);
	err = folder_sync(s, making);
	if (!err && renameat(s->dir_fd, making, s->dir_fd, name) < 0)
		err = -errno;
	return err ?: folder_sync(s, ".");
}

/* A reader may have the old file open: it keeps the old lock file with it, so that both go on as
 * they were, and who opens the new file makes a lock file for it. */
int folder_part_replace(struct store *s, const char *name, const char *suffix)
{
	char from[PART_NAME_MAX + 32], to[PART_NAME_MAX + 32];
	int err = 0;

	snprintf(to, sizeof(to), "%s" PART_FILTER, name); /* it may be of the old keys */
	if (unlinkat(s->dir_fd, to, 0) < 0 && errno != ENOENT)
		return -errno;
	snprintf(to, sizeof(to), "%s/lock.mdb", name);
	if (unlinkat(s->dir_fd, to, 0) < 0 && errno != ENOENT)
		return -errno;
	snprintf(from, sizeof(from), "%s%s/data.mdb", name, suffix);
	snprintf(to, sizeof(to), "%s/data.mdb", name);
	if (renameat(s->dir_fd, from, s->dir_fd, to) < 0)
		err = -errno;
	err = err ?: folder_sync(s, name);
	if (!err)
		folder_part_remove(s, name, suffix);
	return err;
}

static void suspect_forget(struct store *s, const char *name)
{
	char path[PART_NAME_MAX + 16];

	snprintf(path, sizeof(path), "%s" PART_SUSPECT, name);
	unlinkat(s->dir_fd, path, 0);
}

int folder_part_rename(struct store *s, const char *name, const char *suffix)
{
	char to[PART_NAME_MAX + 16];

	snprintf(to, sizeof(to), "%s%s", name, suffix);
	if (renameat(s->dir_fd, name, s->dir_fd, to) < 0)
		return -errno;
	suspect_forget(s, name);
	return 0;
}

void folder_part_gone(struct store *s, const char *name, const char *suffix)
{
	char from[PART_NAME_MAX + 16], gone[PART_NAME_MAX + 8];

	snprintf(from, sizeof(from), "%s%s", name, suffix);
	snprintf(gone, sizeof(gone), "%s.gone", name);
	if (!*suffix)
		suspect_forget(s, name);
	if (strcmp(from, gone) != 0)
		renameat(s->dir_fd, from, s->dir_fd, gone);
}

void folder_part_remove(struct store *s, const char *name, const char *suffix)
{
	char path[PART_NAME_MAX + 32];

	folder_part_gone(s, name, suffix);
	for (size_t i = 0; i < ARRAY_SIZE(part_files); i++) {
		snprintf(path, sizeof(path), "%s.gone%s", name, part_files[i]);
		if (unlinkat(s->dir_fd, path, *part_files[i] ? 0 : AT_REMOVEDIR) < 0 &&
		    errno != ENOENT)
			log_warn("store: cannot remove %s/%s: %m", s->conf.dir, path);
	}
}

int64_t folder_part_suspect(struct store *s, const char *name)
{
	char path[PART_NAME_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s" PART_SUSPECT, name);
	return fstatat(s->dir_fd, path, &st, 0) == 0 ? st.st_size : -1;
}

bool folder_part_changed(struct store *s, const char *name, uint64_t since_ns)
{
	char path[PART_NAME_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", name);
	return fstatat(s->dir_fd, path, &st, 0) == 0 && ns_of(&st.st_mtim) >= since_ns;
}

uint64_t folder_part_bytes(struct store *s, const char *name)
{
	char path[PART_NAME_MAX + 32];
	uint64_t bytes = 0;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(part_files); i++) {
		snprintf(path, sizeof(path), "%s%s", name, part_files[i]);
		if (fstatat(s->dir_fd, path, &st, 0) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* proc_dir.c - reading /proc/<pid>. A folder that is open stays that process's: once it has ended,
 * every file in it reads as nothing. Which process it is the start time in its stat file says. */
#include "agent/proc_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	TICK_NS = 10000000, /* a clock tick of /proc is 10 ms everywhere */
	STAT_MAX = 2048,
};

struct str proc_dir_read(int dir, const char *name, char *buf, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t n = 1;

	while (fd >= 0 && n > 0 && len < size) {
		n = read(fd, buf + len, size - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	return (struct str){buf, len};
}

/* The numbered field of a stat file, counted as in proc(5); the name in it may hold anything. */
static uint64_t stat_field(struct str stat, int field)
{
	const char *p = stat.len ? memrchr(stat.p, ')', stat.len) : NULL, *end = stat.p + stat.len;
	uint64_t n = 0;

	for (int i = 2; p && p < end && i < field; i++) {
		p = memchr(p, ' ', (size_t)(end - p));
		p = p ? p + 1 : NULL;
	}
	for (; p && p < end && *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	return n;
}

static bool same_start(uint64_t ticks, uint64_t start_ns)
{
	uint64_t want = start_ns / TICK_NS;

	return !start_ns || (ticks + 1 >= want && ticks <= want + 1);
}

int proc_dir_open(const char *root, uint32_t pid, uint64_t start_ns, uint32_t *ppid)
{
	char path[512], buf[STAT_MAX];
	struct str stat;
	int dir;

	snprintf(path, sizeof(path), "%s/%u", root, pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -ESRCH;
	stat = proc_dir_read(dir, "stat", buf, sizeof(buf));
	if (!stat.len || !same_start(stat_field(stat, 22), start_ns)) {
		close(dir);
		return -ESRCH;
	}
	*ppid = (uint32_t)stat_field(stat, 4);
	return dir;
}

struct str proc_dir_exe(int dir, char *buf, size_t size)
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlinkat(dir, "exe", buf, size);
	size_t len = n > 0 ? (size_t)n : 0, tail = sizeof(gone) - 1;

	if (len > tail && memcmp(buf + len - tail, gone, tail) == 0)
		len -= tail;
	return (struct str){buf, len};
}

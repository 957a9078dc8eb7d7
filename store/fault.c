/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - LMDB believes what it maps: a page that was damaged while nobody looked, cut off, or
 * that the disk no longer gives makes the process fault. Here the partition gets a mark
 * NAME.suspect beside it, and the program begins anew, or ends and is begun anew by whoever watches
 * it. At start a marked partition is looked at page by page, without a map (parts.c), and set aside
 * when that, or the number of marks, says so. Whose map it was stands in /proc/self/maps. The
 * invariant: what runs in the signal handler takes no lock and allocates nothing. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A damaged length leads past the end of its map. */
static const uint64_t PAST_MAX = 4ull << 30;

enum { LINE_LEN = 4096 + 128 };

static bool marks_are_on;
static char *const *restart_argv;

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

/* Is addr in the map, or not far behind it? */
static bool line_is_near(const char *line, uintptr_t addr)
{
	uintptr_t from = hex_take(&line), to;

	line += *line == '-';
	to = hex_take(&line);
	return addr >= from && addr < to + PAST_MAX;
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

/* The last line that is near addr: maps are in order. When none is, all partitions that are open
 * get an empty mark, if at all: they are looked at the next time, and no more. */
static bool folder_find(uintptr_t addr, bool mark_all, char folder[LINE_LEN])
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
		if (mark_all && line_folder(line, folder))
			mark(folder, 0);
		else if (!mark_all && line_is_near(line, addr) && line_folder(line, folder))
			found = true;
	}
	if (fd >= 0)
		close(fd);
	return found;
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

static void on_fault(int sig, siginfo_t *info, void *context)
{
	static char folder[LINE_LEN];

	(void)context;
	if (folder_find((uintptr_t)info->si_addr, false, folder))
		partition_failed(folder);
	else if (marks_are_on)
		folder_find(0, true, folder);
	signal(sig, SIG_DFL); /* and the instruction runs into it again */
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
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

void fault_watch(MDB_env *env)
{
	mdb_env_set_assert(env, on_assert);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* append_test.c - what the committer promises: flushed spans survive kill -9 at any moment, a disk
 * that takes no more is said, counted and tried again, and an idle store writes nothing. */
#include "tests/lib/store_fix.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- kill -9 --- */

enum { ROUNDS = 20, ROUND_TRACES = 1000000 };

/* Appends numbered traces of three spans, says after each flush how far it came. */
_Noreturn static void child_appends(int out, uint32_t n)
{
	struct store_conf conf = {.dir = dir, .commit_ms = 1};
	struct store *s;

	if (store_open(&s, &conf, NULL))
		_exit(1);
	for (;; n++) {
		struct span sp[3] = {simple(n, clock_real_ns(), "a"),
				     simple(n, clock_real_ns(), "b"),
				     simple(n, clock_real_ns(), "c")};

		if (store_append(s, sp, 3) || (n % 4 == 0 && store_flush(s)))
			_exit(2);
		if (n % 4 == 0 && write(out, &n, sizeof(n)) != sizeof(n))
			_exit(3);
	}
}

/* Kills it when it said so often; gives the last number that it had flushed. */
static uint32_t run_and_kill(uint32_t first, uint32_t says)
{
	uint32_t n, last = 0, got = 0;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0)
		child_appends(ends[1], first);
	close(ends[1]);
	while (read(ends[0], &n, sizeof(n)) == sizeof(n)) {
		last = n;
		if (++got == says)
			kill(pid, SIGKILL);
	}
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && got >= says);
	return last;
}

static void test_kill(void **state)
{
	uint32_t last[ROUNDS];

	(void)state;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct store *s;

		last[round] = run_and_kill(round * ROUND_TRACES, 1 + gen_below(&gen, 30));
		s = open_plain();
		for (uint32_t i = 0; i <= round; i++)
			for (uint32_t n = i * ROUND_TRACES; n <= last[i]; n++)
				assert_int_equal(trace_cnt(s, n), 3);
		store_close(s);
	}
	assert_int_equal(stat_of("store_damaged_total"), 0);
}

/* --- a disk that says no, and one that is left alone --- */

static void limit_file_size(rlim_t bytes)
{
	struct rlimit rl;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &rl), 0);
	rl.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &rl), 0);
}

static void test_no_room(void **state)
{
	struct store *s = open_plain();
	uint64_t rejected = stat_of("store_rejected_total");
	struct span sp = simple(2, clock_real_ns(), "x");
	char *text = arena_alloc(&mem, 1 << 20);
	int err;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	put_one(s, simple(1, clock_real_ns(), "before"));
	sp.status_message = (struct str){text, 1 << 20};
	limit_file_size(256 << 10);
	assert_int_equal(store_append(s, &sp, 1), 0);
	err = store_flush(s);
	assert_true(err == -EFBIG || err == -EIO); /* LMDB takes a short write for EIO */
	assert_int_equal(store_append(s, &sp, 1), err);
	assert_int_equal(stat_of("store_rejected_total"), rejected + 1);
	assert_int_equal(trace_cnt(s, 1), 1);
	limit_file_size(RLIM_INFINITY);
	assert_int_equal(store_flush(s), 0); /* accepted before, committed now */
	assert_int_equal(trace_cnt(s, 2), 1);
	put_one(s, simple(3, clock_real_ns(), "after"));
	store_close(s);
	s = open_plain();
	assert_int_equal(trace_cnt(s, 1) + trace_cnt(s, 2) + trace_cnt(s, 3), 3);
	store_close(s);
}

/* A file system of its own, when the test may mount one. */
static bool mount_small(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", dir, "tmpfs", 0, "size=6m") == 0;
}

static void test_full_disk(void **state)
{
	char filler[128], *text = arena_alloc(&mem, 1 << 20);
	uint64_t rejected = stat_of("store_rejected_total");
	struct span sp = simple(2, clock_real_ns(), "x");
	struct store *s;
	int fd, err = 0;

	(void)state;
	if (!mount_small())
		skip();
	s = open_plain();
	put_one(s, simple(1, clock_real_ns(), "before"));
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	while (write(fd, text, 4096) == 4096)
		;
	close(fd);
	sp.status_message = (struct str){text, 1 << 20};
	assert_int_equal(store_append(s, &sp, 1), 0);
	assert_int_equal(store_flush(s), -ENOSPC);
	assert_int_equal(store_append(s, &sp, 1), -ENOSPC);
	sp.start_ns -= 5 * HOUR_NS; /* a partition that cannot even be made */
	assert_int_equal(store_append(s, &sp, 1), -ENOSPC);
	assert_int_equal(stat_of("store_rejected_total"), rejected + 2);
	assert_int_equal(trace_cnt(s, 1), 1);
	assert_int_equal(unlink(filler), 0);
	/* Nobody asks: it tries again by itself. */
	for (uint64_t end = clock_mono_ns() + 10ull * NS_PER_S; clock_mono_ns() < end;) {
		err = store_append(s, &sp, 1);
		if (!err)
			break;
		usleep(10000);
	}
	assert_int_equal(err, 0);
	assert_int_equal(store_flush(s), 0);
	assert_int_equal(trace_cnt(s, 2), 2);
	store_close(s);
	s = open_plain();
	assert_int_equal(trace_cnt(s, 1) + trace_cnt(s, 2), 3);
	store_close(s);
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

/* Bytes that this process has handed to write calls. */
static unsigned long long written(void)
{
	unsigned long long n = 0;
	char line[128];
	FILE *f = fopen("/proc/self/io", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "wchar: %llu", &n);
	if (f)
		fclose(f);
	return n;
}

static void test_idle_writes_nothing(void **state)
{
	struct store *s = open_plain();
	unsigned long long before;
	uint64_t commits;

	(void)state;
	put_one(s, simple(1, clock_real_ns(), "x"));
	usleep(2200 * 1000); /* its commit becomes durable */
	before = written();
	commits = stat_of("store_commits_total");
	usleep(1500 * 1000);
	assert_true(written() == before);
	assert_true(stat_of("store_commits_total") == commits);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_kill),
	    TEST(test_no_room),
	    TEST(test_full_disk),
	    TEST(test_idle_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

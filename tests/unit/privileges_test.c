/* SPDX-License-Identifier: Apache-2.0 */
/* privileges_test.c - each case in a child process, since what is dropped does not come back: what
 * is missing is named, what is dropped is gone from every set, and only in the thread that dropped
 * it. Without root there is nothing to drop; the cases then say only that. */
#include "agent/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

/* A line of our /proc/thread-self/status as a number; -1: not there. */
static long long status_hex(const char *name)
{
	FILE *f = fopen("/proc/thread-self/status", "r");
	char line[256];
	long long n = -1;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			n = (long long)strtoull(line + strlen(name), NULL, 16);
	if (f)
		fclose(f);
	return n;
}

static int caps_are(long long allowed)
{
	return !(status_hex("CapEff:") & ~allowed) && !(status_hex("CapPrm:") & ~allowed) &&
	       status_hex("CapInh:") == 0 && status_hex("CapAmb:") == 0 &&
	       status_hex("NoNewPrivs:") == 1;
}

/* The child's leak check wants to trace it, which it may not any more: it leaves without one. */
static void in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int drop_all(void)
{
	struct strbuf why;

	strbuf_init(&why);
	return privileges_drop(PRIVILEGES_NONE, &why) == 0 && caps_are(0) && why.len == 0 &&
	       privileges_check(false, &why) == -EPERM &&
	       strstr(why.p, "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE "
			     "and CAP_DAC_READ_SEARCH");
}

static int drop_some(void)
{
	const long long read_proc =
		1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_SYS_PTRACE;
	struct strbuf why;

	strbuf_init(&why);
	if (privileges_drop(PRIVILEGES_READ_PROC, &why) || !caps_are(read_proc))
		return 0;
	if (geteuid() == 0 && status_hex("CapEff:") == 0)
		return 0;
	return privileges_check(false, &why) == -EPERM &&
	       strstr(why.p, "needs CAP_BPF and CAP_PERFMON, which");
}

static int look(void *arg)
{
	*(long long *)arg = status_hex("CapEff:");
	return caps_are(0) ? -EDOM : 0;
}

static int in_a_thread(void)
{
	long long before = status_hex("CapEff:"), within = -1;
	struct strbuf why;

	strbuf_init(&why);
	return privileges_run(PRIVILEGES_NONE, look, &within, &why) == -EDOM && within == 0 &&
	       status_hex("CapEff:") == before && status_hex("NoNewPrivs:") == 0;
}

static void test_drop_all(void **state)
{
	(void)state;
	in_child(drop_all);
}

static void test_drop_some(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	in_child(drop_some);
}

static void test_in_a_thread(void **state)
{
	(void)state;
	if (status_hex("NoNewPrivs:") != 0)
		skip();
	in_child(in_a_thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop_all),
		cmocka_unit_test(test_drop_some),
		cmocka_unit_test(test_in_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - a library for LD_PRELOAD: the program's wall clock is CLOCK_OFF seconds ahead of the machine's,
 * and no other clock of it, as on a node whose clock is wrong. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts)
{
	const char *off = getenv("CLOCK_OFF");
	long rc = syscall(SYS_clock_gettime, id, ts);

	if (!rc && off && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += atol(off);
	return (int)rc;
}

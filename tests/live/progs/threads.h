/* SPDX-License-Identifier: Apache-2.0 */
/* threads.h - what crowd.c and closers.c share: threads that stay on a CPU, and a listener on loopback. */
#ifndef PROGS_THREADS_H
#define PROGS_THREADS_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void check(int is_right, const char *what)
{
	if (is_right)
		return;
	perror(what);
	exit(1);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

/* at: its address. */
static int listen_here(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	check(fd >= 0 && !bind(fd, (struct sockaddr *)at, len) && !listen(fd, 1), "listen");
	check(!getsockname(fd, (struct sockaddr *)at, &len), "getsockname");
	return fd;
}

#endif

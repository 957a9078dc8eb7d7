/* SPDX-License-Identifier: Apache-2.0 */
/* crowd.c - crowd PAIRS EXCHANGES: so many pairs of a client and a server thread, each pair kept on one
 * CPU, and all of them busy with HTTP over loopback, so that threads lose their CPU all the time. It
 * listens, waits for a line on its input, does the exchanges and ends; status 0 when all were answered. */
#include "threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char QUESTION[] = "GET /crowd HTTP/1.1\r\nHost: a\r\n\r\n";
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct end {
	int fd, cpu;
	pthread_t thread;
};

static long exchanges;

static void say(int fd, const char *text)
{
	check(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text), "send");
}

static void hear(int fd, const char *text)
{
	char buf[512];

	check(recv(fd, buf, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text), "recv");
}

static void *client(void *arg)
{
	const struct end *e = arg;

	stay_on(e->cpu);
	for (long i = 0; i < exchanges; i++) {
		say(e->fd, QUESTION);
		hear(e->fd, ANSWER);
	}
	return NULL;
}

static void *server(void *arg)
{
	const struct end *e = arg;

	stay_on(e->cpu);
	for (long i = 0; i < exchanges; i++) {
		hear(e->fd, QUESTION);
		say(e->fd, ANSWER);
	}
	return NULL;
}

static void begin_pair(struct end ends[2], int listener, const struct sockaddr_in *at, int cpu)
{
	ends[0].cpu = ends[1].cpu = cpu;
	ends[0].fd = socket(AF_INET, SOCK_STREAM, 0);
	check(!connect(ends[0].fd, (const struct sockaddr *)at, sizeof(*at)), "connect");
	ends[1].fd = accept(listener, NULL, NULL);
	check(ends[1].fd >= 0, "accept");
	check(!pthread_create(&ends[0].thread, NULL, client, &ends[0]), "pthread_create");
	check(!pthread_create(&ends[1].thread, NULL, server, &ends[1]), "pthread_create");
}

int main(int argc, char **argv)
{
	int pairs = argc == 3 ? atoi(argv[1]) : 0, listener;
	struct end *ends = calloc(pairs + 1, 2 * sizeof(*ends));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct sockaddr_in at;

	check(pairs > 0 && ends, "crowd PAIRS EXCHANGES");
	exchanges = atol(argv[2]);
	listener = listen_here(&at);
	check(getchar() == '\n', "no line came");
	for (int i = 0; i < pairs; i++)
		begin_pair(ends + 2 * i, listener, &at, i % cpus);
	for (int i = 0; i < 2 * pairs; i++)
		pthread_join(ends[i].thread, NULL);
	return 0;
}

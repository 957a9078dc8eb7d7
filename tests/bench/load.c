/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - the benchmark's own clients, of which every system call on a socket is known: one send
 * and one receive per request, blocking, nothing else. So what the kernel half spends on the load
 * generator's sockets can be told exactly (see tests/bench/run), which no general tool allows.
 *
 *   load get PORT PATH CONNECTIONS REQUESTS   CONNECTIONS threads, one keep-alive connection each
 *   load echo                                 a server with the same calls: prints its port, serves
 *                                             each connection in a thread until standard input ends
 *   load hold PORT PATH CONNECTIONS           one request on each connection, then holds them all
 *                                             until standard input ends
 *
 * With -350 before all that the heads, of requests (get) and of answers (echo), are 350 bytes long, as a
 * browser's are.
 *
 * An answer is expected to arrive in one receive (small, written in one piece); what did not is
 * counted and printed, so that the arithmetic can be refused. Prints one JSON line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUF_LEN = 65536, HEAD_LEN = 350 };

static struct sockaddr_in server = {.sin_family = AF_INET};
static char request[1024];
static size_t request_len;
static char answer[1024];
static int long_heads;
static atomic_long sends, receives;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A message with these lines in its head, and with -350 some more. */
static size_t message_make(char *buf, size_t size, const char *lines, const char *usual,
			   const char *body)
{
	int len = snprintf(buf, size, "%s%s", lines, long_heads ? usual : "");

	if (long_heads && len + 14 < HEAD_LEN)
		len += snprintf(buf + len, size - (size_t)len, "X-Fill: %0*d\r\n",
				HEAD_LEN - len - 12, 0);
	len += snprintf(buf + len, size - (size_t)len, "\r\n%s", body);
	if ((size_t)len >= size) {
		fprintf(stderr, "load: the path is too long\n");
		exit(1);
	}
	return (size_t)len;
}

static void server_set(const char *port, const char *path)
{
	char lines[900];

	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = htons((unsigned short)atoi(port));
	snprintf(lines, sizeof(lines), "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", path);
	request_len = message_make(
	    request, sizeof(request), lines,
	    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
	    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
	    "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
	    "Connection: keep-alive\r\n",
	    "");
}

static int conn_open(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof(server)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Length of the whole answer that begins at buf, 0 while its head is not complete. */
static size_t answer_len(const char *buf)
{
	const char *end = strstr(buf, "\r\n\r\n"), *cl = strcasestr(buf, "\r\nContent-Length:");

	if (!end || !cl || cl > end)
		return 0;
	return (size_t)(end + 4 - buf) + strtoul(cl + 17, NULL, 10);
}

static void exchange(int fd)
{
	char buf[BUF_LEN];
	size_t len = 0, want = 0;

	if (send(fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
		die("send");
	atomic_fetch_add(&sends, 1);
	while (!want || len < want) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n <= 0)
			die("recv");
		atomic_fetch_add(&receives, 1);
		len += (size_t)n;
		buf[len] = '\0';
		want = answer_len(buf);
	}
	if (len != want || strncmp(buf, "HTTP/1.1 200", 12)) {
		fprintf(stderr, "load: not the expected answer: %.60s\n", buf);
		exit(1);
	}
}

static void *get_thread(void *arg)
{
	long cnt = *(const long *)arg;
	int fd = conn_open();

	while (cnt--)
		exchange(fd);
	close(fd);
	return NULL;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void counts_print(double seconds)
{
	printf("{\"sends\": %ld, \"receives\": %ld, \"seconds\": %.3f}\n", atomic_load(&sends),
	       atomic_load(&receives), seconds);
	fflush(stdout);
}

static int get_main(long conns, long requests)
{
	pthread_t *t = calloc((size_t)conns, sizeof(*t));
	long each = requests / conns;
	double start = now();

	for (long i = 0; t && i < conns; i++)
		if (pthread_create(&t[i], NULL, get_thread, &each))
			die("pthread_create");
	for (long i = 0; t && i < conns; i++)
		pthread_join(t[i], NULL);
	free(t);
	counts_print(now() - start);
	return 0;
}

static void until_input_ends(void)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
}

static int hold_main(long conns)
{
	struct rlimit lim;
	double start = now();

	getrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_max < (rlim_t)conns + 64)
		lim.rlim_max = (rlim_t)conns + 64;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	for (long i = 0; i < conns; i++)
		exchange(conn_open());
	counts_print(now() - start);
	until_input_ends();
	return 0;
}

static void *echo_thread(void *arg)
{
	int fd = (int)(long)arg;
	char buf[4096];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			break;
	close(fd);
	return NULL;
}

static void *accept_thread(void *arg)
{
	int lfd = (int)(long)arg, one = 1;

	for (;;) {
		pthread_t t;
		int fd = accept(lfd, NULL, NULL);

		if (fd < 0)
			die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&t, NULL, echo_thread, (void *)(long)fd))
			die("pthread_create");
		pthread_detach(t);
	}
	return NULL;
}

static int echo_main(void)
{
	socklen_t len = sizeof(server);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t t;

	message_make(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
		     "Server: load\r\nDate: Wed, 25 Nov 2026 10:00:00 GMT\r\n"
		     "Content-Type: application/json; charset=utf-8\r\n"
		     "Cache-Control: no-cache, no-store, max-age=0, must-revalidate\r\n"
		     "Vary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\n"
		     "ETag: \"0123456789abcdef\"\r\nConnection: keep-alive\r\n",
		     "ok");
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&server, sizeof(server)) || listen(fd, 128) ||
	    getsockname(fd, (struct sockaddr *)&server, &len))
		die("listen");
	printf("%d\n", ntohs(server.sin_port));
	fflush(stdout);
	if (pthread_create(&t, NULL, accept_thread, (void *)(long)fd))
		die("pthread_create");
	until_input_ends();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "-350")) {
		long_heads = 1;
		argc--;
		argv++;
	}
	if (argc == 2 && !strcmp(argv[1], "echo"))
		return echo_main();
	if (argc >= 5)
		server_set(argv[2], argv[3]);
	if (argc == 6 && !strcmp(argv[1], "get"))
		return get_main(atol(argv[4]), atol(argv[5]));
	if (argc == 5 && !strcmp(argv[1], "hold"))
		return hold_main(atol(argv[4]));
	fprintf(
	    stderr,
	    "usage: load [-350] get PORT PATH CONNECTIONS REQUESTS | echo | hold PORT PATH CONNECTIONS\n");
	return 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* http.h - the little of sockets and HTTP that both C programs share: one message at a time. */
#ifndef PROGS_HTTP_H
#define PROGS_HTTP_H

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HTTP_MAX = 4096, ID_MAX = 32 };

static inline struct sockaddr_in loopback(const char *port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(atoi(port)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int http_listen(int flags)
{
	struct sockaddr_in at = loopback(getenv("PORT"));
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&at, sizeof(at)) || listen(fd, 128))
		err(1, "listen");
	return fd;
}

static inline int backend_connect(void)
{
	struct sockaddr_in at = loopback(strchr(getenv("BACKEND"), ':') + 1);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (connect(fd, (void *)&at, sizeof(at)))
		err(1, "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static inline int http_get(int fd, const char *name)
{
	char text[HTTP_MAX];
	int len = snprintf(text, sizeof(text), "GET /b/%s HTTP/1.1\r\nHost: backend\r\n\r\n", name);

	return send(fd, text, len, MSG_NOSIGNAL) == len ? 0 : -1;
}

static inline int http_answer(int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n";

	return send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) == sizeof(text) - 1 ? 0 : -1;
}

/* Is the message in the text, which ends in a NUL, a whole one? */
static inline int http_whole(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n"), *len = strcasestr(text, "\r\nContent-Length:");
	size_t body = end && len && len < end ? strtoul(len + 17, NULL, 10) : 0;

	return end && strlen(end + 4) >= body;
}

/* GET /r/<id>: the id, "" when it is another path. */
static inline void http_id(const char *text, char id[ID_MAX])
{
	id[0] = '\0';
	sscanf(text, "GET /r/%31[a-z0-9]", id);
}

/* Milliseconds that the handler of a request does something else. */
static inline int pause_of(const char *id)
{
	return 1 + id[strlen(id) - 1] % 4;
}

#endif

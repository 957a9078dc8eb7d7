/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - one GET over one TCP connection that the answer closes; plain HTTP/1.1, no TLS, no
 * redirects, no keep-alive. Called by the sub-commands, in a process of their own. Somebody else
 * may listen on that port, so the answer is bounded in time and size and checked before it is
 * believed. */
#include "agent/client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 3000, ANSWER_MS = 35000, HEAD_MAX = 64 << 10, TOKEN_MAX = 4096 };

struct target {
	char *host, *port;
};

/* --- where it listens --- */

/* "[::1]:3200" → "::1", "3200"; an address that means "all" is asked by its loopback. */
static int target_parse(const char *listen, struct target *ret)
{
	const char *colon = strrchr(listen, ':'), *host = listen;
	size_t len = colon ? (size_t)(colon - listen) : 0;

	if (!len)
		return -EINVAL;
	if (host[0] == '[' && len >= 2) {
		host++;
		len -= 2;
	}
	if (strncmp(listen, "0.0.0.0:", 8) == 0)
		ret->host = strdup("127.0.0.1");
	else if (strncmp(listen, "[::]:", 5) == 0)
		ret->host = strdup("::1");
	else
		ret->host = strndup(host, len);
	ret->port = strdup(colon + 1);
	must(ret->host && ret->port);
	return 0;
}

static void target_fini(struct target *t)
{
	free(t->host);
	free(t->port);
}

/* --- the connection --- */

/* 0 when the socket is ready before the deadline. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = clock_mono_ns();
	int n;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	n = poll(&p, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? 0 : -ETIMEDOUT;
}

static int finish_connect(int fd, uint64_t deadline_ns)
{
	socklen_t len = sizeof(int);
	int err = wait_for(fd, POLLOUT, deadline_ns), so_error = 0;

	if (!err && getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &len))
		return -errno;
	return err ?: -so_error;
}

static int connect_to(const struct addrinfo *ai, uint64_t deadline_ns)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = connect(fd, ai->ai_addr, ai->ai_addrlen) ? -errno : 0;
	if (err == -EINPROGRESS)
		err = finish_connect(fd, deadline_ns);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int target_connect(const struct target *t)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	uint64_t deadline = clock_mono_ns() + (uint64_t)CONNECT_MS * NS_PER_MS;
	int fd = -EADDRNOTAVAIL;

	if (getaddrinfo(t->host, t->port, &hints, &list))
		return -EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_to(ai, deadline);
	freeaddrinfo(list);
	return fd;
}

static int send_all(int fd, struct str s, uint64_t deadline_ns)
{
	while (s.len) {
		int err = wait_for(fd, POLLOUT, deadline_ns);
		ssize_t n = err ? 0 : send(fd, s.p, s.len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			err = -errno;
		if (err)
			return err;
		s = n > 0 ? (struct str){s.p + n, s.len - (size_t)n} : s;
	}
	return 0;
}

static int receive_all(int fd, struct strbuf *out, uint64_t deadline_ns)
{
	char buf[16384];

	while (out->len <= (size_t)CLIENT_BODY_MAX + HEAD_MAX) {
		int err = wait_for(fd, POLLIN, deadline_ns);
		ssize_t n = err ? 0 : recv(fd, buf, sizeof(buf), 0);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			err = -errno;
		if (err || n == 0)
			return err;
		if (n > 0)
			strbuf_add(out, buf, (size_t)n);
	}
	return -EFBIG;
}

/* --- the answer --- */

static struct str take_line(struct str *rest)
{
	const char *end = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;
	size_t len = end ? (size_t)(end - rest->p) : rest->len, skip = len + (end ? 1 : 0);
	struct str line = {rest->p, len};

	*rest = (struct str){rest->p + skip, rest->len - skip};
	if (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* Is it the header line of this name? Its value, which ends the line. */
static bool header_is(struct str line, const char *name, struct str *ret)
{
	size_t len = strlen(name);

	if (line.len <= len || line.p[len] != ':' || strncasecmp(line.p, name, len) != 0)
		return false;
	*ret = (struct str){line.p + len + 1, line.len - len - 1};
	while (ret->len && *ret->p == ' ')
		*ret = (struct str){ret->p + 1, ret->len - 1};
	return true;
}

static int number(struct str s, unsigned base, uint64_t *ret)
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < s.len && isxdigit((unsigned char)s.p[i]); i++) {
		unsigned c = (unsigned char)s.p[i] | 32, digit = c <= '9' ? c - '0' : c - 'a' + 10;

		if (digit >= base || n > UINT64_MAX / base - 1)
			return -EBADMSG;
		n = n * base + digit;
	}
	*ret = n;
	return i ? 0 : -EBADMSG;
}

static int dechunk(struct str rest, struct strbuf *body)
{
	for (;;) {
		uint64_t len;
		int err = number(take_line(&rest), 16, &len);

		if (err || len > rest.len)
			return -EBADMSG;
		if (len == 0)
			return 0;
		strbuf_add(body, rest.p, len);
		rest = (struct str){rest.p + len, rest.len - len};
		if (take_line(&rest).len)
			return -EBADMSG;
	}
}

int client_parse(struct str answer, int *ret_status, struct strbuf *body)
{
	struct str rest = answer, line = take_line(&rest), value;
	uint64_t status, want = UINT64_MAX;
	bool is_chunked = false;

	if (line.len < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 ||
	    number((struct str){line.p + 9, 3}, 10, &status) || status < 100)
		return -EBADMSG;
	do {
		if (!rest.len)
			return -EBADMSG;
		line = take_line(&rest);
		if (header_is(line, "Content-Length", &value) && number(value, 10, &want))
			return -EBADMSG;
		if (header_is(line, "Transfer-Encoding", &value))
			is_chunked = true;
	} while (line.len);
	*ret_status = (int)status;
	if (is_chunked)
		return dechunk(rest, body);
	if (want != UINT64_MAX && rest.len < want)
		return -EBADMSG;
	strbuf_add(body, rest.p, want < rest.len ? want : rest.len);
	return 0;
}

/* --- the question --- */

void client_escape(struct strbuf *out, const char *text)
{
	for (const char *p = text; *p; p++)
		if (isalnum((unsigned char)*p) || strchr("-._~", *p))
			strbuf_addc(out, *p);
		else
			strbuf_printf(out, "%%%02X", (unsigned char)*p);
}

/* The first line of the token file as a header. */
static int add_token(const char *path, struct strbuf *out)
{
	char buf[TOKEN_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, TOKEN_MAX);
	int err = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	buf[n] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	strbuf_printf(out, "Authorization: Bearer %s\r\n", buf);
	return 0;
}

static int make_request(const struct config *c, const char *target, struct strbuf *out,
			struct strbuf *why)
{
	int err;

	strbuf_printf(out,
		      "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n"
		      "Connection: close\r\n",
		      target,
		      strncmp(c->listen, "0.0.0.0:", 8) && strncmp(c->listen, "[::]:", 5)
			      ? c->listen
			      : "localhost");
	err = c->token_file ? add_token(c->token_file, out) : 0;
	strbuf_adds(out, "\r\n");
	if (err)
		strbuf_printf(why, "the token file %s cannot be read: %s", c->token_file,
			      strerror(-err));
	return err;
}

static int exchange(const struct config *c, const struct strbuf *request, struct strbuf *answer)
{
	uint64_t deadline = clock_mono_ns() + (uint64_t)ANSWER_MS * NS_PER_MS;
	struct target t;
	int fd, err = target_parse(c->listen, &t);

	if (err)
		return err;
	fd = target_connect(&t);
	target_fini(&t);
	if (fd < 0)
		return fd;
	err = send_all(fd, (struct str){request->p, request->len}, deadline);
	err = err ?: receive_all(fd, answer, deadline);
	close(fd);
	return err;
}

int client_get(const struct config *c, const char *target, int *ret_status, struct strbuf *body,
	       struct strbuf *why)
{
	struct strbuf request, answer;
	int err;

	if (c->tls_cert_file) {
		strbuf_adds(why,
			    "this command does not speak TLS; ask with curl, or listen without "
			    "TLS on loopback");
		return -EPROTONOSUPPORT;
	}
	strbuf_init(&request);
	strbuf_init(&answer);
	err = make_request(c, target, &request, why);
	if (err)
		goto out;
	err = exchange(c, &request, &answer);
	if (err) {
		strbuf_printf(why,
			      "%s does not answer: %s; is `wirespan run` there? (--listen names "
			      "another address)",
			      c->listen, strerror(-err));
		goto out;
	}
	err = client_parse((struct str){answer.p, answer.len}, ret_status, body);
	if (err)
		strbuf_printf(why, "%s answers, but not with HTTP; --listen names another address",
			      c->listen);
out:
	strbuf_fini(&request);
	strbuf_fini(&answer);
	return err;
}

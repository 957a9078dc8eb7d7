/* SPDX-License-Identifier: Apache-2.0 */
/* server_test.c - the listener: what it refuses to start with, and over a real connection who may
 * ask, what is refused before it is read, and that a connection is kept. No store: only routes
 * without one are asked. */
#include "web/web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int try_start(struct web **w, const struct web_conf *conf)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = web_start(w, conf, &why);
	assert_int_equal(err != 0, why.len > 0);
	strbuf_fini(&why);
	return err;
}

static void test_refusals(void **state)
{
	char taken[32], token[] = "/tmp/wirespan-token-XXXXXX";
	struct web *w, *second;
	int fd = mkstemp(token);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "nonsense"}), -EINVAL);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "0.0.0.0:0"}), -EACCES);
	assert_int_equal(
	    try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0", .token_file = token}),
	    -EINVAL);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0",
							  .token_file = "/nonexistent"}),
			 -ENOENT);
	assert_int_equal(
	    try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0", .tls_cert_file = token}),
	    -EINVAL);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0",
							  .tls_cert_file = token,
							  .tls_key_file = token}),
			 -EINVAL);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0"}), 0);
	snprintf(taken, sizeof(taken), "127.0.0.1:%u", web_port(w));
	assert_int_equal(try_start(&second, &(struct web_conf){.listen = taken}), -EADDRINUSE);
	web_stop(w);
	web_stop(NULL);
	close(fd);
	unlink(token);
}

static int dial(const struct web *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(web_port(w)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* One exchange; reads head and body, as long as Content-Length says. */
static void ask(int fd, const char *request, struct strbuf *got)
{
	char chunk[1024];
	const char *head, *length;
	ssize_t n;

	strbuf_clear(got);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	for (;;) {
		head = strstr(got->p, "\r\n\r\n");
		length = strstr(got->p, "Content-Length: ");
		if (head && length &&
		    got->len >= (size_t)(head + 4 - got->p) + strtoul(length + 16, NULL, 10))
			return;
		n = recv(fd, chunk, sizeof(chunk), 0);
		assert_true(n > 0);
		strbuf_add(got, chunk, (size_t)n);
	}
}

static void expect(const struct web *w, const char *request, const char *status, const char *body)
{
	struct strbuf got;
	int fd = dial(w);

	strbuf_init(&got);
	ask(fd, request, &got);
	assert_memory_equal(got.p + strlen("HTTP/1.1 "), status, strlen(status));
	if (body)
		assert_string_equal(strstr(got.p, "\r\n\r\n") + 4, body);
	close(fd);
	strbuf_fini(&got);
}

static void test_ready(void **state)
{
	struct web *w;

	(void)state;
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0", .threads = 1}),
			 0);
	expect(w, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n", "503", "not ready\n");
	web_ready(w);
	expect(w, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", "ready\n");
	expect(w, "PATCH /api/echo?x=%zz HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", "200", "echo");
	expect(w, "GET /api/echo/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "404",
	       "404 page not found\n");
	web_stop(w);
}

static void test_host(void **state)
{
	static const char *const hosts[] = {"traces.test", NULL};
	struct web *w;

	(void)state;
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0", .hosts = hosts}),
			 0);
	expect(w, "GET /api/echo HTTP/1.1\r\nHost: traces.test:8080\r\n\r\n", "200", "echo");
	expect(w, "GET /api/echo HTTP/1.1\r\nHost: evil.test\r\n\r\n", "403", NULL);
	expect(w, "GET /api/echo HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "403", NULL);
	expect(w, "GET /api/echo HTTP/1.0\r\n\r\n", "200", "echo");
	web_stop(w);
}

static void test_token(void **state)
{
	char path[] = "/tmp/wirespan-token-XXXXXX";
	int fd = mkstemp(path);
	struct web *w;

	(void)state;
	assert_int_equal(write(fd, "s3cret\n", 7), 7);
	assert_int_equal(
	    try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0", .token_file = path}), 0);
	expect(w, "GET /api/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", "401", NULL);
	expect(w, "GET /api/nope HTTP/1.1\r\nHost: localhost\r\n\r\n", "401", NULL);
	expect(w, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n", "503", NULL);
	expect(w,
	       "GET /api/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n",
	       "200", "echo");
	web_stop(w);
	close(fd);
	unlink(path);
}

static void test_bodies(void **state)
{
	struct web *w;

	(void)state;
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0"}), 0);
	expect(w,
	       "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	       "Content-Length: 16777217\r\n\r\n",
	       "413", NULL);
	expect(w,
	       "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	       "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
	       "200", "{\"partialSuccess\":{}}");
	expect(w,
	       "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
	       "application/x-protobuf\r\n"
	       "Content-Length: 1\r\n\r\n\x0a",
	       "400", NULL);
	expect(w, "GET /v1/traces HTTP/1.1\r\nHost: localhost\r\n\r\n", "405",
	       "405 method not allowed, supported: [POST]");
	expect(w, "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
	       "415",
	       "415 unsupported media type, supported: [application/json, application/x-protobuf]");
	web_stop(w);
}

static void test_keep_alive(void **state)
{
	struct strbuf got;
	struct web *w;
	int fd;

	(void)state;
	strbuf_init(&got);
	assert_int_equal(try_start(&w, &(struct web_conf){.listen = "127.0.0.1:0"}), 0);
	fd = dial(w);
	for (int i = 0; i < 3; i++) {
		ask(fd, "GET /api/nope HTTP/1.1\r\nHost: localhost\r\n\r\n", &got);
		assert_non_null(strstr(got.p, "404 page not found\n"));
		ask(fd,
		    "POST /api/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
		    &got);
		assert_non_null(strstr(got.p, "\r\n\r\necho"));
		ask(fd,
		    "GET /api/status/buildinfo HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: "
		    "gzip\r\n\r\n",
		    &got);
		assert_non_null(strstr(got.p, "Content-Encoding: gzip"));
		assert_non_null(strstr(got.p, "Vary: Accept-Encoding"));
	}
	close(fd);
	web_stop(w);
	strbuf_fini(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals), cmocka_unit_test(test_ready),
	    cmocka_unit_test(test_host),     cmocka_unit_test(test_token),
	    cmocka_unit_test(test_bodies),   cmocka_unit_test(test_keep_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

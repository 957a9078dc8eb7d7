/* SPDX-License-Identifier: Apache-2.0 */
/* client_test.c - answers as servers send them, whole, cut and hostile; and one exchange over a
 * real loopback connection on a port that the kernel chose. */
#include "agent/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

/* From memory that ends where the answer does. */
static int parse(const char *text, size_t len, int *status, struct strbuf *body)
{
	char *copy = malloc(len ? len : 1);
	int err;

	memcpy(copy, text, len);
	err = client_parse((struct str){copy, len}, status, body);
	free(copy);
	return err;
}

static void good(const char *text, int want_status, const char *want_body)
{
	struct strbuf body;
	int status = 0;

	strbuf_init(&body);
	assert_int_equal(parse(text, strlen(text), &status, &body), 0);
	assert_int_equal(status, want_status);
	assert_string_equal(body.p, want_body);
	strbuf_fini(&body);
}

static void bad(const char *text)
{
	struct strbuf body;
	int status = 0;

	strbuf_init(&body);
	assert_int_equal(parse(text, strlen(text), &status, &body), -EBADMSG);
	strbuf_fini(&body);
}

static void test_good(void **state)
{
	(void)state;
	good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok");
	good("HTTP/1.0 404 Not Found\r\n\r\nuntil the end", 404, "until the end");
	good("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok and more", 200, "ok");
	good("HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, "");
	good("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	     "chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0"
	     "\r\n\r\n",
	     200, "abc0123456789");
}

static void test_bad(void **state)
{
	(void)state;
	bad("");
	bad("SSH-2.0-OpenSSH_9.2\r\n");
	bad("HTTP/1.1 2x0 OK\r\n\r\n");
	bad("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok");
	bad("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok");
	bad("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok");
	bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc");
	bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n");
	bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
}

static void test_truncations(void **state)
{
	static const char whole[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				    "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
	struct strbuf body;
	int status;

	(void)state;
	strbuf_init(&body);
	for (size_t len = 0; len < sizeof(whole) - 5; len++) {
		strbuf_clear(&body);
		assert_int_equal(parse(whole, len, &status, &body), -EBADMSG);
	}
	strbuf_fini(&body);
}

static void test_escape(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	client_escape(&out, "{} with(a=\"é\")&b~");
	assert_string_equal(out.p, "%7B%7D%20with%28a%3D%22%C3%A9%22%29%26b~");
	strbuf_fini(&out);
}

/* --- over a socket --- */

struct server {
	int fd;
	char request[1024];
};

static void *serve_one(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && !strstr(s->request, "\r\n\r\n") && len < sizeof(s->request) - 1) {
		n = recv(fd, s->request + len, sizeof(s->request) - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	for (size_t i = 0; i < sizeof(answer) - 1; i++)
		if (send(fd, answer + i, 1, MSG_NOSIGNAL) != 1)
			break;
	close(fd);
	return NULL;
}

static void server_listen(struct server *s, char *address, size_t cap)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&sin, &len), 0);
	snprintf(address, cap, "127.0.0.1:%u", ntohs(sin.sin_port));
}

static void test_exchange(void **state)
{
	char address[32], token[] = "/tmp/wirespan-token-XXXXXX";
	struct config c = {.listen = address, .token_file = token};
	struct server s = {.request = ""};
	struct strbuf body, why;
	pthread_t thread;
	int status = 0, fd = mkstemp(token);

	(void)state;
	assert_int_equal(write(fd, "secret\n", 7), 7);
	close(fd);
	server_listen(&s, address, sizeof(address));
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	strbuf_init(&body);
	strbuf_init(&why);
	assert_int_equal(client_get(&c, "/status", &status, &body, &why), 0);
	pthread_join(thread, NULL);
	close(s.fd);
	unlink(token);
	assert_int_equal(status, 200);
	assert_string_equal(body.p, "hello");
	assert_ptr_equal(strstr(s.request, "GET /status HTTP/1.1\r\nHost: 127.0.0.1:"), s.request);
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer secret\r\n"));
	/* Now nobody listens there, and then the token is gone. */
	c.token_file = NULL;
	assert_int_equal(client_get(&c, "/", &status, &body, &why), -ECONNREFUSED);
	assert_non_null(strstr(why.p, "does not answer: Connection refused"));
	c.token_file = token;
	strbuf_clear(&why);
	assert_int_equal(client_get(&c, "/", &status, &body, &why), -ENOENT);
	assert_non_null(strstr(why.p, "cannot be read"));
	strbuf_fini(&body);
	strbuf_fini(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	    cmocka_unit_test(test_bad),
		cmocka_unit_test(test_truncations), cmocka_unit_test(test_escape),
		cmocka_unit_test(test_exchange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

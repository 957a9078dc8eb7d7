/* SPDX-License-Identifier: Apache-2.0 */
/* http1_test.c - the HTTP/1 machine by itself: what it says of messages of many kinds, the same for
 * whole, split in two at every byte, byte by byte and with what need not be read passed over; every
 * truncation says a beginning of what the whole says; any state over any bytes stays in its window.
 */
#include "tests/shadow/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TP "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

#define REQUEST(bytes, says)                                                                       \
	{                                                                                          \
		MACHINE_REQUEST, bytes, sizeof(bytes) - 1, says                                    \
	}
#define RESPONSE(kind, bytes, says)                                                                \
	{                                                                                          \
		MACHINE_RESPONSE##kind, bytes, sizeof(bytes) - 1, says                             \
	}

static const struct machine_case cases[] = {
	REQUEST("GET / HTTP/1.1\r\n\r\n", "begin text0=GET text1=/ head:0,1,0,0 end:0 "),
	REQUEST("\r\n\nGET / HTTP/1.0\n\n", "begin text0=GET text1=/ head:0,0,0,0 end:0 "),
	REQUEST("HEAD /x?y HTTP/1.1\r\nhost:\t a \r\nUSER-AGENT: b c\r\n\r\n",
		"begin text0=HEAD text1=/x?y text2=a%20 text3=b%20c head:0,1,10,0 end:0 "),
	REQUEST("CONNECT a:1 HTTP/1.1\r\nHost:\r\n\r\n",
		"begin text0=CONNECT text1=a:1 text2= head:0,1,20,0 end:0 "),
	REQUEST("POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\nhelloGET",
		"begin text0=POST text1=/ text2=a head:0,1,4,5 end:5 begin "),
	REQUEST("POST / HTTP/1.1\r\nContent-Length: 2 , 2\r\ncontent-length:2\r\n\r\nab",
		"begin text0=POST text1=/ head:0,1,4,2 end:2 "),
	REQUEST("PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
		"begin text0=PUT text1=/ bad "),
	REQUEST("PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nab",
		"begin text0=PUT text1=/ bad "),
	REQUEST("PUT / HTTP/1.1\r\nContent-Length: \r\n\r\nab", "begin text0=PUT text1=/ bad "),
	REQUEST("DELETE / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: "
		"b\r\n\r\n",
		"begin text0=DELETE text1=/ head:0,1,42,0 end:3 "),
	REQUEST("PATCH / HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n\r\n",
		"begin text0=PATCH text1=/ head:0,1,40,0 end:0 "),
	REQUEST("OPTIONS * HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"begin text0=OPTIONS text1=* head:0,1,42,0 bad "),
	REQUEST("GET / HTTP/1.1\r\ntraceparent: " TP "\r\n\r\n",
		"begin text0=GET text1=/ "
		"head:0,1,8,0,dd43cd161965f70a9c31801c21eb4884,31332069716badb7 end:0 "),
	REQUEST("GET / HTTP/1.1\r\ntraceparent: " TP "\r\ntraceparent: 00-11\r\n\r\n",
		"begin text0=GET text1=/ head:0,1,0,0 end:0 "),
	REQUEST("GET / HTTP/1.1\r\ntraceparent: " TP "-\r\n\r\n",
		"begin text0=GET text1=/ head:0,1,0,0 end:0 "),
	REQUEST("GET / HTTP/1.1\r\nHostess: x\r\nHos: x\r\nUser-Agents: x\r\nContent-Len: 3\r\n"
		"Content-Length : 7\r\nTraceparents: x\r\nTransfer-Encodings: chunked\r\nX\r\n "
		"Host: x\r\n\r\n",
		"begin text0=GET text1=/ head:0,1,0,0 end:0 "),
	REQUEST("GET /\r\n\r\n", "begin text0=GET bad "),
	REQUEST("GET / HTTP/2.0\r\n\r\n", "begin text0=GET text1=/ bad "),
	REQUEST("G\x01T / HTTP/1.1\r\n\r\n", "begin bad "),
	REQUEST("METHODOFMORETHANTHIRTYTWOCHARACTERS / HTTP/1.1\r\n\r\n", "begin bad "),
	REQUEST("GET / HTTP/1.1\r\n\rX", "begin text0=GET text1=/ bad "),
	RESPONSE(, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.0 404\r\n\r\nrest of it",
		 "begin head:200,1,5,2 end:2 begin head:404,0,1,0 "),
	RESPONSE(,
		 "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: "
		 "9\r\n\r\nHTTP/1.1 304 x\n\n",
		 "begin head:100,1,1,0 begin head:204,1,5,9 end:0 begin head:304,1,1,0 end:0 "),
	RESPONSE(, "HTTP/1.1 101 Switch\r\n\r\n\x81\x01x", "begin head:101,1,1,0 end:0 "),
	RESPONSE(,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7\r\n\r\n"
		 "a \t\r\n0123456789\r\n00\r\n\r\n",
		 "begin head:200,1,47,7 end:10 "),
	RESPONSE(, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
		 "begin head:200,1,43,0 bad "),
	RESPONSE(, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		 "begin head:200,1,43,0 bad "),
	RESPONSE(, "HTTP/1.1 20x OK\r\n", "begin bad "),
	RESPONSE(, "ICY 200 OK\r\n", "begin bad "),
	RESPONSE(_TO_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		 "begin head:200,1,5,2 end:0 begin head:200,1,1,0 end:0 "),
	RESPONSE(_TO_CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x16\x03",
		 "begin head:200,1,5,2 end:0 "),
	RESPONSE(_TO_CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nhi",
		 "begin head:407,1,5,2 end:2 "),
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void each(char *check(const struct machine_case *))
{
	for (int i = 0; i < CASES; i++) {
		char *why = check(&cases[i]);

		if (why)
			fail_msg("%s", why);
	}
}

static void every_split(void **state)
{
	(void)state;
	each(machine_splits);
}

static void every_truncation(void **state)
{
	(void)state;
	each(machine_truncations);
}

/* Long lines, so that words are scanned over the ends of windows. */
static void long_lines(void **state)
{
	static char bytes[40000];
	struct machine_case x = {MACHINE_REQUEST, bytes, 0, NULL};

	(void)state;
	for (int len = 3900; len < 4300; len++) {
		char *whole, *split;

		sprintf(bytes,
			"GET /%0*d HTTP/1.1\r\nX-%0*d: 1\r\nHost: abc\r\nContent-Length: "
			"3\r\n\r\nabc",
			len % 7, 7, len, 1);
		whole = machine_says(&x, strlen(bytes), 0, false);
		assert_non_null(strstr(whole, " text2=abc head:0,1,4,3 end:3 "));
		split = machine_says(&x, strlen(bytes), len - 20, true);
		assert_string_equal(whole, split);
		free(whole);
		free(split);
	}
}

static void any_state(void **state)
{
	uint8_t bytes[512], from[sizeof(struct http1)];

	(void)state;
	srand(1);
	for (int i = 0; i < 200000; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = rand() % 4 ? "\r\n :,hHuctT09\tGET/.1"[rand() % 20] : rand();
		for (size_t k = 0; k < sizeof(from); k++)
			from[k] = rand();
		((struct http1 *)from)->state = i % (H1_DEAD + 2);
		machine_shake(MACHINE_REQUEST, from, sizeof(from), bytes, rand() % sizeof(bytes),
			      rand());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(any_state),
	};

	return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}

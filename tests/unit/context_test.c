/* SPDX-License-Identifier: Apache-2.0 */
/* context_test.c - which trace a request belongs to, over several connections of one machine: a
 * proxy between two others, event loops, pools, goroutines, forwarded headers. A parent is right or
 * none. */
#include "tests/shadow/pair.h"
#include "tests/shadow/spans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GET(path)    "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define TRACEPARENT  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
#define OTHER_PARENT "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\r\n"
#define OK	     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* curl -> proxy -> api, and a second client of the proxy. */
struct fixture {
	struct party curl, proxy, api;
	struct pair front, front2, back, back2;
	struct spans spans;
};

static struct fixture *fixture_new(__u32 proxy_flags)
{
	struct fixture *f = calloc(1, sizeof(*f));

	pair_boot();
	party_init(&f->curl, 100, 0);
	party_init(&f->proxy, 200, proxy_flags);
	party_init(&f->api, 300, 0);
	pair_open(&f->front, &f->curl, &f->proxy);
	pair_open(&f->front2, NULL, &f->proxy);
	pair_open(&f->back, &f->proxy, &f->api);
	return f;
}

static int begin(void **state)
{
	*state = fixture_new(0);
	return 0;
}

static int begin_go(void **state)
{
	*state = fixture_new(PROC_GO);
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;
	int left;

	pair_close(&f->front, CLIENT);
	pair_close(&f->front2, CLIENT);
	pair_close(&f->back, SERVER);
	left = pair_leftovers() ? -1 : 0;
	spans_free(&f->spans);
	free(f);
	shadow_reset();
	return left;
}

static void text(struct pair *p, int from, const char *s)
{
	pair_move(p, from, s, strlen(s), HOW_SEEN, FORM_FLAT);
}

static void answer(struct pair *p)
{
	text(p, SERVER, OK);
}

/* The span of a process for a target, in a role. */
static const struct rec_span *span_of(struct fixture *f, const struct party *who, __u8 role,
				      const char *target)
{
	char word[64];

	snprintf(word, sizeof(word), " target=%s ", target);
	spans_free(&f->spans);
	spans_read(&f->spans);
	for (size_t i = 0; i < f->spans.cnt; i++) {
		const struct span_line *l = &f->spans.at[i];

		if (l->rec.role == role && (int)l->rec.head.key == who->task.tgid &&
		    strstr(l->text, word))
			return &l->rec;
	}
	fail_msg("no span of process %d for %s", who->task.tgid, target);
	return NULL;
}

static void assert_child(const struct rec_span *child, const struct rec_span *parent, __u8 how)
{
	assert_int_equal(child->parent, how);
	assert_int_equal(child->parent_id, parent->span_id);
	assert_memory_equal(child->trace_id, parent->trace_id, sizeof(child->trace_id));
}

static void assert_root(const struct rec_span *s)
{
	assert_int_equal(s->parent, PARENT_NONE);
	assert_int_equal(s->parent_id, 0);
}

/* Four spans in one trace. */
static void through_a_proxy(void **state)
{
	struct fixture *f = *state;
	__u64 start;

	text(&f->front, CLIENT, GET("/x"));
	text(&f->back, CLIENT, GET("/y"));
	answer(&f->back);
	answer(&f->front);
	start = span_of(f, &f->curl, ROLE_CLIENT, "/x")->span_id;
	assert_root(span_of(f, &f->curl, ROLE_CLIENT, "/x"));
	assert_int_equal(span_of(f, &f->proxy, ROLE_SERVER, "/x")->parent_id, start);
	struct rec_span server = *span_of(f, &f->proxy, ROLE_SERVER, "/x");
	struct rec_span client = *span_of(f, &f->proxy, ROLE_CLIENT, "/y");

	assert_int_equal(server.parent, PARENT_PEER);
	assert_child(&client, &server, PARENT_EXECUTOR);
	assert_child(span_of(f, &f->api, ROLE_SERVER, "/y"), &client, PARENT_PEER);
}

/* When the answer is out, the thread works for nobody; the span says what left it behind. */
static void after_the_answer(void **state)
{
	struct fixture *f = *state;

	text(&f->front, CLIENT, GET("/x"));
	answer(&f->front);
	text(&f->back, CLIENT, GET("/y"));
	answer(&f->back);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/y"));
	struct rec_span server = *span_of(f, &f->proxy, ROLE_SERVER, "/x");
	const struct rec_span *left = span_of(f, &f->proxy, ROLE_CLIENT, "/y");

	assert_int_equal(left->left_span, server.span_id);
	assert_memory_equal(left->left_trace, server.trace_id, sizeof(server.trace_id));
	assert_int_equal(server.left_span, 0);
}

/* An event loop with two requests: reading an answer goes on with the request it was for. */
static void event_loop(void **state)
{
	struct fixture *f = *state;
	struct rec_span first, second;

	pair_open(&f->back2, &f->proxy, &f->api);
	text(&f->front, CLIENT, GET("/1"));
	text(&f->back, CLIENT, GET("/1a"));
	text(&f->front2, CLIENT, GET("/2"));
	text(&f->back2, CLIENT, GET("/2a"));
	answer(&f->back);
	text(&f->back, CLIENT, GET("/1b"));
	answer(&f->back2);
	text(&f->back2, CLIENT, GET("/2b"));
	answer(&f->back);
	answer(&f->back2);
	answer(&f->front2);
	answer(&f->front);
	first = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	second = *span_of(f, &f->proxy, ROLE_SERVER, "/2");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &first, PARENT_EXECUTOR);
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1b"), &first, PARENT_EXECUTOR);
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/2b"), &second, PARENT_EXECUTOR);
	pair_close(&f->back2, CLIENT);
}

/* A connection opened for one request, written to when the loop has read another. */
static void opened_for(void **state)
{
	struct fixture *f = *state;
	struct rec_span first;

	text(&f->front, CLIENT, GET("/1"));
	pair_open(&f->back2, &f->proxy, &f->api);
	text(&f->front2, CLIENT, GET("/2"));
	text(&f->back2, CLIENT, GET("/1a"));
	answer(&f->back2);
	answer(&f->front);
	answer(&f->front2);
	first = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &first, PARENT_SOCKET);
	pair_close(&f->back2, CLIENT);
}

/* Two threads of one process do not mix; a third one knows nothing. */
static void threads(void **state)
{
	struct fixture *f = *state;
	struct party second, third;
	struct rec_span one, two;

	party_thread(&second, &f->proxy, 201);
	party_thread(&third, &f->proxy, 202);
	pair_open(&f->back2, &f->proxy, &f->api);
	pair_trace(&f->front2, SERVER, &second);
	pair_trace(&f->back2, CLIENT, &second);
	text(&f->front, CLIENT, GET("/1"));
	text(&f->front2, CLIENT, GET("/2"));
	text(&f->back, CLIENT, GET("/1a"));
	text(&f->back2, CLIENT, GET("/2a"));
	answer(&f->back2);
	answer(&f->back);
	pair_trace(&f->back2, CLIENT, &third);
	text(&f->back2, CLIENT, GET("/3a"));
	answer(&f->back2);
	answer(&f->front);
	answer(&f->front2);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	two = *span_of(f, &f->proxy, ROLE_SERVER, "/2");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/2a"), &two, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/3a"));
	pair_close(&f->back2, CLIENT);
}

/* A loop that would have waited for ever has no timer; one whose timer may be due works for nobody, and so
 * does what follows a read of something else. */
static void loop_timers(void **state)
{
	struct fixture *f = *state;
	struct rec_span one;

	text(&f->back, CLIENT, GET("/first")); /* of a connection that is older than the loop's turn */
	answer(&f->back);
	party_turn(&f->proxy, -1);
	text(&f->front, CLIENT, GET("/1"));
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	party_turn(&f->proxy, 1);
	text(&f->front2, CLIENT, GET("/2"));
	text(&f->back, CLIENT, GET("/timer"));
	answer(&f->back);
	answer(&f->front2);
	party_turn(&f->proxy, -1);
	text(&f->front2, CLIENT, GET("/3"));
	party_reads(&f->proxy); /* the socket's own … */
	party_reads(&f->proxy); /* … and another */
	text(&f->back, CLIENT, GET("/woken"));
	answer(&f->back);
	answer(&f->front2);
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/timer"));
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/woken"));
}

/* An answer frees a connection: what goes on it next may be another request's that waited. When none can
 * have waited, it is the same one's. */
static void loop_pools(void **state)
{
	struct fixture *f = *state;
	struct rec_span one;

	text(&f->back, CLIENT, GET("/first")); /* of a connection that is older than the loop's turn */
	answer(&f->back);
	party_turn(&f->proxy, -1);
	text(&f->front, CLIENT, GET("/1"));
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	text(&f->back, CLIENT, GET("/1b"));
	text(&f->front2, CLIENT, GET("/2"));
	answer(&f->back);
	text(&f->back, CLIENT, GET("/2a"));
	answer(&f->back);
	answer(&f->front2);
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1b"), &one, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/2a"));
}

/* The first request of a connection that a loop opened for nobody is nobody's, whatever it read since. */
static void loop_opens(void **state)
{
	struct fixture *f = *state;

	party_turn(&f->proxy, -1);
	pair_open(&f->back2, &f->proxy, &f->api);
	text(&f->front, CLIENT, GET("/1"));
	text(&f->back2, CLIENT, GET("/own"));
	answer(&f->back2);
	answer(&f->front);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/own"));
	pair_close(&f->back2, CLIENT);
}

/* A thread that was made for a request: its first call is that request's, the next may be anybody's. */
static void threads_made(void **state)
{
	struct fixture *f = *state;
	struct party helper;
	struct rec_span one;

	text(&f->front, CLIENT, GET("/1"));
	party_thread_made(&helper, &f->proxy, 201);
	pair_trace(&f->back, CLIENT, &helper);
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	text(&f->back, CLIENT, GET("/next"));
	answer(&f->back);
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/next"));
}

/* A goroutine works for what its maker does; one that nobody made for a request does not. */
static void goroutines_make(void **state)
{
	struct fixture *f = *state;
	struct rec_span one;

	f->proxy.task.regs.r14 = 0xc000001;
	text(&f->front, CLIENT, GET("/1"));
	party_goes(&f->proxy, 0xc000002);
	f->proxy.task.regs.r14 = 0xc000003;
	party_goes(&f->proxy, 0xc000004);
	f->proxy.task.regs.r14 = 0xc000002;
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	f->proxy.task.regs.r14 = 0xc000004;
	text(&f->back, CLIENT, GET("/other"));
	answer(&f->back);
	f->proxy.task.regs.r14 = 0xc000001;
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/other"));
}

/* The same goroutine on two threads; another one on the same thread. */
static void goroutines_move(void **state)
{
	struct fixture *f = *state;
	struct party second;
	struct rec_span one;

	party_thread(&second, &f->proxy, 201);
	f->proxy.task.regs.r14 = second.task.regs.r14 = 0xc000001;
	text(&f->front, CLIENT, GET("/1"));
	pair_trace(&f->back, CLIENT, &second);
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	f->proxy.task.regs.r14 = 0xc000002;
	pair_trace(&f->back, CLIENT, &f->proxy);
	text(&f->back, CLIENT, GET("/2a"));
	answer(&f->back);
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/2a"));
}

/* Goroutines come and go: places whose work is over are given on, and nothing is lost. */
static void goroutines_many(void **state)
{
	struct fixture *f = *state;
	struct rec_span one;

	for (__u64 g = 1; g <= 500; g++) {
		f->proxy.task.regs.r14 = 0xc000000000 + g * 0x1c0;
		text(&f->front, CLIENT, GET("/early"));
		answer(&f->front);
	}
	text(&f->front, CLIENT, GET("/1"));
	text(&f->back, CLIENT, GET("/1a"));
	answer(&f->back);
	answer(&f->front);
	one = *span_of(f, &f->proxy, ROLE_SERVER, "/1");
	assert_child(span_of(f, &f->proxy, ROLE_CLIENT, "/1a"), &one, PARENT_EXECUTOR);
	assert_int_equal(lost_cnt[LOST_EXECUTOR_FULL], 0);
}

/* A proxy that sends the header on as it came stays in the chain, and so does what is behind it. */
static void header_forwarded(void **state)
{
	struct fixture *f = *state;
	struct rec_span server, client;

	pair_trace(&f->front, CLIENT, NULL);
	text(&f->front, CLIENT, "GET /x HTTP/1.1\r\n" TRACEPARENT "\r\n");
	text(&f->back, CLIENT, "GET /y HTTP/1.1\r\n" TRACEPARENT "\r\n");
	answer(&f->back);
	answer(&f->front);
	server = *span_of(f, &f->proxy, ROLE_SERVER, "/x");
	client = *span_of(f, &f->proxy, ROLE_CLIENT, "/y");
	assert_int_equal(server.parent, PARENT_HEADER);
	assert_child(&client, &server, PARENT_EXECUTOR);
	assert_int_equal(client.flags & SPAN_FORWARDED, SPAN_FORWARDED);
	assert_child(span_of(f, &f->api, ROLE_SERVER, "/y"), &client, PARENT_PEER);
}

/* A header that the program's own SDK made names the parent. */
static void header_made(void **state)
{
	struct fixture *f = *state;
	const struct rec_span *client;

	text(&f->front, CLIENT, GET("/x"));
	text(&f->back, CLIENT, "GET /y HTTP/1.1\r\n" OTHER_PARENT "\r\n");
	answer(&f->back);
	answer(&f->front);
	client = span_of(f, &f->proxy, ROLE_CLIENT, "/y");
	assert_int_equal(client->parent, PARENT_HEADER);
	assert_int_equal(client->flags & SPAN_FORWARDED, 0);
	assert_int_equal(__builtin_bswap64(client->parent_id), 0x00f067aa0ba902b7);
}

/* Several requests read at once: whose work a call is, nobody can tell. */
static void pipelined_server(void **state)
{
	struct fixture *f = *state;

	text(&f->front, CLIENT, GET("/1") GET("/2"));
	text(&f->back, CLIENT, GET("/a"));
	answer(&f->back);
	answer(&f->front);
	answer(&f->front);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/a"));
}

/* The request's connection breaks: its server span is over, and calls made later are nobody's. */
static void broken_request(void **state)
{
	struct fixture *f = *state;

	text(&f->front2, CLIENT, GET("/x"));
	pair_reset(&f->front2);
	text(&f->back, CLIENT, GET("/y"));
	answer(&f->back);
	assert_root(span_of(f, &f->proxy, ROLE_CLIENT, "/y"));
	pair_open(&f->front2, NULL, &f->proxy);
}

/* The client does not wait for its answers: the server reads the requests when it is gone already, and a
 * third connection may have its place by then. */
static void gone_client(void **state)
{
	struct fixture *f = *state;
	static const char requests[] = GET("/1") GET("/2");
	struct rec_span one, two;

	pair_send(&f->back, CLIENT, requests, sizeof(requests) - 1, HOW_SEEN, FORM_FLAT);
	pair_abandon(&f->back);
	pair_places_clear();
	pair_receive(&f->back, SERVER, requests, sizeof(requests) - 1, HOW_SEEN, FORM_FLAT);
	answer(&f->back);
	answer(&f->back);
	one = *span_of(f, &f->proxy, ROLE_CLIENT, "/1");
	two = *span_of(f, &f->proxy, ROLE_CLIENT, "/2");
	assert_int_equal(one.flags & SPAN_ABORTED, SPAN_ABORTED);
	assert_child(span_of(f, &f->api, ROLE_SERVER, "/1"), &one, PARENT_PEER);
	assert_child(span_of(f, &f->api, ROLE_SERVER, "/2"), &two, PARENT_PEER);
}

/* --- what is kept --- */

static size_t span_cnt(struct fixture *f)
{
	spans_free(&f->spans);
	spans_read(&f->spans);
	return f->spans.cnt;
}

static void proxied(struct fixture *f, const char *request, const char *response)
{
	text(&f->front, CLIENT, request);
	text(&f->back, CLIENT, GET("/y"));
	text(&f->back, SERVER, response);
	answer(&f->front);
}

/* A trace that is not sampled is left out whole, but for what fails. */
static void unsampled(void **state)
{
	struct fixture *f = *state;

	PAIR_SET(sample_below, 0);
	proxied(f, GET("/x"), OK);
	assert_int_equal(span_cnt(f), 0);
	assert_int_equal(dropped_cnt, 4);
	proxied(f, GET("/x"), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(span_cnt(f), 2);
	assert_int_equal(dropped_cnt, 6);
	PAIR_SET(slow_ns, 1);
	proxied(f, GET("/x"), OK);
	assert_int_equal(span_cnt(f), 6);
}

/* A header decides: with its flag set the trace is kept. */
static void sampled_by_header(void **state)
{
	struct fixture *f = *state;

	PAIR_SET(sample_below, 0);
	proxied(f, "GET /x HTTP/1.1\r\n" TRACEPARENT "\r\n", OK);
	assert_int_equal(span_cnt(f), 4);
	proxied(f,
		"GET /x HTTP/1.1\r\n"
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n",
		OK);
	assert_int_equal(span_cnt(f), 4);
	assert_int_equal(dropped_cnt, 4);
}

/* Ignored paths, with what is called for them; a longer path and the next request are others. */
static void ignored_path(void **state)
{
	struct fixture *f = *state;

	pair_ignore("/health");
	proxied(f, GET("/health?full=1"), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(span_cnt(f), 0);
	assert_int_equal(dropped_cnt, 4);
	proxied(f, GET("/healthy"), OK);
	assert_int_equal(span_cnt(f), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(through_a_proxy),
		TEST(after_the_answer),
		TEST(event_loop),
		TEST(opened_for),
		TEST(threads),
		TEST(loop_timers),
		TEST(loop_pools),
		TEST(loop_opens),
		TEST(threads_made),
		cmocka_unit_test_setup_teardown(goroutines_make, begin_go, end),
		cmocka_unit_test_setup_teardown(goroutines_move, begin_go, end),
		cmocka_unit_test_setup_teardown(goroutines_many, begin_go, end),
		TEST(header_forwarded),
		TEST(header_made),
		TEST(pipelined_server),
		TEST(broken_request),
		TEST(gone_client),
		TEST(unsampled),
		TEST(sampled_by_header),
		TEST(ignored_path),
	};

	return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}

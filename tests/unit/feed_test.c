/* SPDX-License-Identifier: Apache-2.0 */
/* feed_test.c - what the scenarios of tests/wire cannot say: chunks of many megabytes, system calls
 * with flags, faults, queues filled far beyond their bounds, sockets of another kind. Each time the
 * loss is counted or there is none, and the connection goes on. */
#include "tests/shadow/pair.h"
#include "tests/shadow/spans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REQUEST "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
#define ANSWER	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define Z	"Z\0\0\0\5I"

enum { BIG = 9 << 20 }; /* more than bpf_loop could step through */

struct fixture {
	struct party client, server;
	struct pair pair;
	struct spans spans;
};

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	pair_boot();
	party_init(&f->client, 100, 0);
	party_init(&f->server, 200, 0);
	pair_open(&f->pair, &f->client, NULL);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;
	size_t left;

	pair_close(&f->pair, CLIENT);
	left = pair_leftovers();
	spans_free(&f->spans);
	free(f);
	shadow_reset();
	return left ? -1 : 0;
}

static void move(struct fixture *f, int from, const void *bytes, size_t len)
{
	pair_move(&f->pair, from, bytes, len, HOW_SEEN, FORM_FLAT);
}

static void text(struct fixture *f, int from, const char *s)
{
	move(f, from, s, strlen(s));
}

static void read_spans(struct fixture *f)
{
	spans_free(&f->spans);
	spans_read(&f->spans);
}

static void one_exchange(struct fixture *f)
{
	size_t before;

	read_spans(f);
	before = f->spans.cnt;
	text(f, CLIENT, REQUEST);
	text(f, SERVER, ANSWER);
	read_spans(f);
	assert_int_equal(f->spans.cnt, before + 1);
	assert_int_equal(f->spans.at[before].rec.status, 200);
}

static __u64 lost_all(void)
{
	__u64 n = 0;

	for (int i = 0; i < LOST_COUNT; i++)
		n += lost_cnt[i];
	return n;
}

static char *big_message(const char *head, size_t *ret_len)
{
	size_t n = strlen(head);
	char *p = malloc(n + BIG);

	memcpy(p, head, n);
	memset(p + n, 'x', BIG);
	*ret_len = n + BIG;
	return p;
}

static void big_body(struct fixture *f, enum pair_form form)
{
	size_t len;
	char *p = big_message("PUT / HTTP/1.1\r\nContent-Length: 9437184\r\n\r\n", &len);

	pair_move(&f->pair, CLIENT, p, len, HOW_SEEN, form);
	free(p);
	p = big_message("HTTP/1.1 200 OK\r\nContent-Length: 9437184\r\n\r\n", &len);
	pair_move(&f->pair, SERVER, p, len, HOW_SEEN, form);
	free(p);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.req_bytes, BIG);
	assert_int_equal(f->spans.at[0].rec.resp_bytes, BIG);
	assert_int_equal(lost_all(), 0);
	one_exchange(f);
}

static void big_chunks(void **state)
{
	big_body(*state, FORM_FLAT);
}

static void big_vectors(void **state)
{
	big_body(*state, FORM_VECTOR);
}

/* Small rows, all in one read: they are counted, in fewer steps than bytes. */
static void many_rows(void **state)
{
	static const char row[] = "D\0\0\0\x0b\0\1\0\0\0\1y";
	struct fixture *f = *state;
	size_t n = BIG / 12, off = 0;
	char *p = malloc(12 * n + 32);

	move(f, CLIENT, "Q\0\0\0\x0dselect 1\0", 14);
	for (size_t i = 0; i < n; i++, off += 12)
		memcpy(p + off, row, 12);
	memcpy(p + off, "C\0\0\0\x0dSELECT 9\0" Z, 20);
	move(f, SERVER, p, off + 20);
	free(p);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.rows, n);
	assert_int_equal(lost_all(), 0);
}

/* More messages than there are steps: the rest was not seen, and that is said. */
static void too_many_steps(void **state)
{
	struct fixture *f = *state;
	char *p = malloc(BIG);

	for (size_t i = 0; i + 5 <= BIG; i += 5)
		memcpy(p + i, "H\0\0\0\4", 5);
	move(f, CLIENT, "Q\0\0\0\x0dselect 1\0", 14);
	pair_move(&f->pair, CLIENT, p, BIG / 5 * 5, HOW_SEEN, FORM_FLAT);
	free(p);
	assert_int_equal(lost_all(), lost_cnt[LOST_GAP]);
	move(f, CLIENT, "Q\0\0\0\x0dselect 2\0", 14);
	move(f, SERVER, "C\0\0\0\x0dSELECT 9\0" Z, 20);
	read_spans(f);
	assert_true(f->spans.cnt >= 1);
}

static void peeked(void **state)
{
	struct fixture *f = *state;

	text(f, CLIENT, REQUEST);
	pair_peek(&f->pair, CLIENT, ANSWER, sizeof(ANSWER) - 1);
	pair_peek(&f->pair, CLIENT, ANSWER, 5);
	text(f, SERVER, ANSWER);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.resp_bytes, 2);
	assert_int_equal(lost_all(), 0);
}

static void discarded(void **state)
{
	struct fixture *f = *state;

	text(f, CLIENT, REQUEST);
	text(f, SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
	pair_send(&f->pair, SERVER, REQUEST, sizeof(REQUEST) - 1, HOW_SEEN, FORM_FLAT);
	pair_discard(&f->pair, CLIENT, 100);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.resp_bytes, 100);
	assert_int_equal(lost_all(), 0);
}

/* A read into no room is not the end of the stream. */
static void read_of_nothing(void **state)
{
	struct fixture *f = *state;

	text(f, CLIENT, REQUEST);
	pair_receive_nothing(&f->pair, CLIENT);
	text(f, SERVER, ANSWER);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.flags & SPAN_ABORTED, 0);
}

/* Memory that cannot be read: within a body nothing is lost but the count of it, in a head a
 * request. */
static void faults(void **state)
{
	struct fixture *f = *state;

	text(f, CLIENT, "PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n");
	pair_move(&f->pair, CLIENT, "body", 4, HOW_FAULT, FORM_FLAT);
	text(f, SERVER, ANSWER);
	assert_int_equal(lost_all(), 0); /* it was not even tried */
	pair_move(&f->pair, CLIENT, REQUEST, sizeof(REQUEST) - 1, HOW_FAULT, FORM_FLAT);
	assert_int_equal(lost_cnt[LOST_FAULT], 1);
	assert_int_equal(lost_cnt[LOST_GAP], 1);
	text(f, SERVER, ANSWER);
	one_exchange(f);
}

/* Without sequence numbers, too: what a read brought that no run could look at may have been an answer. */
static void missed_on_unix(void **state)
{
	struct fixture *f = *state;
	struct conn *c;

	pair_close(&f->pair, CLIENT);
	pair_open_unix(&f->pair, &f->client, NULL);
	text(f, CLIENT, REQUEST);
	c = pair_conn(&f->pair, CLIENT);
	c->dir[RX].busy = 1;
	text(f, SERVER, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	c->dir[RX].busy = 0;
	text(f, CLIENT, REQUEST);
	text(f, SERVER, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(lost_cnt[LOST_CONCURRENT], 1);
	assert_int_equal(lost_cnt[LOST_GAP], 1);
	assert_int_equal(lost_all(), 2);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 0);
	one_exchange(f);
}

/* A long answer of PostgreSQL: its end says whether the server is ready. */
static void long_answer_behind_gap(void **state)
{
	static const size_t row = 20000;
	struct fixture *f = *state;
	char *p = calloc(1, row + 64);

	move(f, CLIENT, "Q\0\0\0\x0dselect 1\0", 14);
	pair_move(&f->pair, SERVER, "T\0\0\0\6\0\0", 7, HOW_OPAQUE, FORM_FLAT);
	memset(p, 'y', row);
	memcpy(p + row, "C\0\0\0\x0dSELECT 9\0" Z, 20);
	move(f, SERVER, p, row + 14);
	move(f, CLIENT, "Q\0\0\0\x0dselect 2\0", 14);
	assert_int_equal(lost_cnt[LOST_UNPAIRED], 1);
	move(f, SERVER, p, row + 20);
	free(p);
	move(f, CLIENT, "Q\0\0\0\x0dselect 3\0", 14);
	move(f, SERVER, "C\0\0\0\x0dSELECT 1\0" Z, 20);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	assert_int_equal(f->spans.at[0].rec.rows, 0);
	assert_int_equal(lost_all(), 2);
}

/* A program without end that reads ahead of its answers: heads only, for ever. */
static void half_heads(void **state)
{
	struct fixture *f = *state;

	text(f, CLIENT, "GET /x HTTP/1.1\r\n");
	for (int i = 0; i < 3000; i++)
		text(f, CLIENT, "X-Header: and another one\r\n");
	assert_int_equal(pair_spilled(), 0);
	assert_int_equal(lost_all(), 0);
	text(f, CLIENT, "\r\n");
	text(f, SERVER, ANSWER);
	one_exchange(f);
}

/* --- PostgreSQL, far too deep --- */

#define UNIT "P\0\0\0\x0b\0sel\0\0\0B\0\0\0\x0c\0\0\0\0\0\0\0\0D\0\0\0\6P\0E\0\0\0\x09\0\0\0\0\0"
#define RUN  "1\0\0\0\0042\0\0\0\4n\0\0\0\4C\0\0\0\x0dSELECT 0\0"
#define SYNC "S\0\0\0\4"

static void times(struct fixture *f, int from, const char *bytes, size_t len, int n)
{
	for (int i = 0; i < n; i++)
		move(f, from, bytes, len);
}

static void batch(struct fixture *f, int depth)
{
	times(f, CLIENT, UNIT, sizeof(UNIT) - 1, depth);
	move(f, CLIENT, SYNC, 5);
	times(f, SERVER, RUN, sizeof(RUN) - 1, depth);
	move(f, SERVER, Z, 6);
}

/* 200 units of four messages are more than the ring of messages holds. */
static void batch_overflows(void **state)
{
	struct fixture *f = *state;

	batch(f, 200);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64);
	assert_int_equal(f->spans.cnt + lost_cnt[LOST_QUEUE_FULL], 200);
	assert_int_equal(lost_all(), lost_cnt[LOST_QUEUE_FULL]);
	batch(f, 3);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64 + 3);
}

/* … and fails in the middle, twice over, before the first answer. */
static void batch_overflows_and_fails(void **state)
{
	struct fixture *f = *state;
	__u64 lost;

	for (int i = 0; i < 2; i++) {
		times(f, CLIENT, UNIT, sizeof(UNIT) - 1, 150);
		move(f, CLIENT, SYNC, 5);
	}
	for (int i = 0; i < 2; i++) {
		times(f, SERVER, RUN, sizeof(RUN) - 1, 10);
		move(f, SERVER,
		     "E\0\0\0\x0c"
		     "C42P01\0\0" Z,
		     19);
	}
	lost = lost_cnt[LOST_QUEUE_FULL];
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64);
	assert_int_equal(f->spans.at[10].rec.op, PG_PARSE);
	assert_string_equal(f->spans.at[10].rec.sqlstate, "42P01");
	assert_int_equal(f->spans.at[11].rec.flags & SPAN_SKIPPED, SPAN_SKIPPED);
	assert_int_equal(f->spans.cnt + lost, 300);
	batch(f, 3);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64 + 3);
	assert_int_equal(lost_cnt[LOST_QUEUE_FULL], lost);
}

/* A Sync behind each: the answers are told apart even of those that were not noted. */
static void syncs_overflow(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 300; i++) {
		move(f, CLIENT, UNIT, sizeof(UNIT) - 1);
		move(f, CLIENT, SYNC, 5);
	}
	for (int i = 0; i < 300; i++) {
		move(f, SERVER, RUN, sizeof(RUN) - 1);
		move(f, SERVER, Z, 6);
	}
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64);
	assert_int_equal(f->spans.cnt + lost_cnt[LOST_QUEUE_FULL], 300);
	batch(f, 3);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 64 + 3);
}

static void queries_overflow(void **state)
{
	struct fixture *f = *state;

	for (int turn = 1; turn <= 2; turn++) {
		times(f, CLIENT, "Q\0\0\0\x0dselect 1\0", 14, 600);
		times(f, SERVER, "C\0\0\0\x0dSELECT 0\0" Z, 20, 600);
		read_spans(f);
		assert_int_equal(f->spans.cnt, 64 * turn);
		assert_int_equal(f->spans.cnt + lost_cnt[LOST_QUEUE_FULL], 600 * turn);
	}
}

/* --- the ring is full --- */

static void prepare(struct fixture *f)
{
	move(f, CLIENT, "P\0\0\0\x11s\0select 1\0\0\0" SYNC, 23);
	move(f, SERVER, "1\0\0\0\4" Z, 11);
}

static const char *execute(struct fixture *f)
{
	move(f, CLIENT, "B\0\0\0\x0d\0s\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0" SYNC, 29);
	move(f, SERVER, "2\0\0\0\4C\0\0\0\x0dSELECT 1\0" Z, 25);
	read_spans(f);
	assert_int_equal(f->spans.cnt, 1);
	return f->spans.at[0].text;
}

/* Up to a bound, a statement's text goes where only errors do: it is said once. */
static void named_texts_last(void **state)
{
	struct fixture *f = *state;

	ring_tight = 1;
	shadow_ring_waiting = 5 << 18;
	move(f, CLIENT, "Q\0\0\0\x0dselect 2\0", 14);
	move(f, SERVER, "C\0\0\0\x0dSELECT 1\0" Z, 20);
	assert_int_equal(lost_cnt[LOST_RING_STMT], 1);
	assert_int_equal(lost_cnt[LOST_RING_SPAN], 1);
	prepare(f);
	assert_int_equal(lost_all(), 2);
	shadow_ring_waiting = 0;
	assert_non_null(strstr(execute(f), "stmt=\"select 1\""));
}

static void named_texts_leave_room(void **state)
{
	struct fixture *f = *state;

	ring_tight = 1;
	shadow_ring_waiting = 7 << 18;
	prepare(f);
	assert_int_equal(lost_cnt[LOST_RING_STMT], 1);
	shadow_ring_waiting = 0;
	assert_non_null(strstr(execute(f), "stmt=unknown"));
	assert_int_equal(lost_all(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(big_chunks),
		TEST(big_vectors),
		TEST(many_rows),
		TEST(too_many_steps),
		TEST(peeked),
		TEST(discarded),
		TEST(read_of_nothing),
		TEST(faults),
		TEST(missed_on_unix),
		TEST(long_answer_behind_gap),
		TEST(half_heads),
		TEST(batch_overflows),
		TEST(batch_overflows_and_fails),
		TEST(syncs_overflow),
		TEST(queries_overflow),
		TEST(named_texts_last),
		TEST(named_texts_leave_room),
	};

	return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}

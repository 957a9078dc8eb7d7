// SPDX-License-Identifier: Apache-2.0
// uses: tests/shadow/shadow.c tests/shadow/pair.c
/* feed.c - any bytes as what happens on two connections of one machine: chunks both ways in any
 * form, seen or not, from one end or both, half-closes, resets; one may be a Unix-domain socket.
 * Pieces of real traffic are one byte each, so that the fuzzer gets deep. Always: queues stay
 * within their bounds, no span is told twice, records are whole; when the connections are gone,
 * nothing of them is left in any map. */
#include "tests/shadow/pair.h"
#include "tests/shadow/shadow.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 2, SPANS_MAX = 4096, LONG = 5000 };

#define PIECE_OF(s)                                                                                \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}

static const struct {
	const char *bytes;
	size_t len;
} pieces[] = {
	PIECE_OF("GET / HTTP/1.1\r\n"),
	PIECE_OF("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n"),
	PIECE_OF("CONNECT a:1 HTTP/1.1\r\n\r\n"),
	PIECE_OF("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"),
	PIECE_OF("HTTP/1.1 200 OK\r\n"),
	PIECE_OF("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
	PIECE_OF("HTTP/1.1 100 Continue\r\n\r\n"),
	PIECE_OF("HTTP/1.1 101 Switching\r\n\r\n"),
	PIECE_OF("Host: a\r\n"),
	PIECE_OF("Content-Length: 5\r\n"),
	PIECE_OF("Transfer-Encoding: chunked\r\n"),
	PIECE_OF("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"),
	PIECE_OF("\r\n"),
	PIECE_OF("5\r\nhello\r\n0\r\n\r\n"),
	PIECE_OF("\0\0\0\x12\0\3\0\0user\0bob\0\0"),
	PIECE_OF("\0\0\0\x08\4\xd2\x16\x2f"),
	PIECE_OF("N"),
	PIECE_OF("S"),
	PIECE_OF("Q\0\0\0\x0dselect 1\0"),
	PIECE_OF("P\0\0\0\x0b\0sel\0\0\0"),
	PIECE_OF("P\0\0\0\x0cs\0sel\0\0\0"),
	PIECE_OF("B\0\0\0\x0c\0\0\0\0\0\0\0\0"),
	PIECE_OF("D\0\0\0\6P\0"),
	PIECE_OF("E\0\0\0\x09\0\0\0\0\0"),
	PIECE_OF("S\0\0\0\4"),
	PIECE_OF("c\0\0\0\4"),
	PIECE_OF("X\0\0\0\4"),
	PIECE_OF("1\0\0\0\4"
		 "2\0\0\0\4"),
	PIECE_OF("T\0\0\0\x06\0\0"),
	PIECE_OF("D\0\0\0\x06\0\0D\0\0\0\x06\0\0"),
	PIECE_OF("C\0\0\0\x0dSELECT 3\0"),
	PIECE_OF("E\0\0\0\x0c"
		 "C42P01\0\0"),
	PIECE_OF("Z\0\0\0\5I"),
	PIECE_OF("n\0\0\0\4s\0\0\0\4I\0\0\0\4"),
	PIECE_OF("D\0\0\x10\0"),
};

enum { PIECES = sizeof(pieces) / sizeof(pieces[0]) };

struct input {
	const uint8_t *at, *end;
};

static unsigned take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

#define ALWAYS(x)                                                                                  \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "not so: %s\n", #x);                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* --- what must hold --- */

static void conn_check(const struct conn *c)
{
	ALWAYS(c->proto < PROTO_COUNT);
	ALWAYS(c->proto == PROTO_UNKNOWN || c->role == ROLE_CLIENT || c->role == ROLE_SERVER);
	ALWAYS((__s32)(c->tail - c->head) >= 0);
	ALWAYS(c->front.x.text_used <= TEXT_MAX);
	ALWAYS(c->dir[RX].held_len <= HELD_MAX && c->dir[TX].held_len <= HELD_MAX);
	if (c->proto == PROTO_PGSQL)
		ALWAYS(c->front.pg.ops_tail - c->front.pg.ops_head <= OPS_MAX);
}

static void pairs_check(struct pair *pairs)
{
	for (int i = 0; i < PAIRS; i++)
		for (int end = 0; end < ENDS; end++)
			if (pair_conn(&pairs[i], end))
				conn_check(pair_conn(&pairs[i], end));
	ALWAYS(pair_spilled() <= PAIRS * ENDS * QUEUE_MAX_PGSQL);
}

static void span_check(const struct rec_span *s)
{
	size_t text = 0;

	for (int i = 0; i < TEXT_COUNT; i++)
		text += s->text_len[i];
	ALWAYS(offsetof(struct rec_span, text) + text == s->head.len);
	ALWAYS(s->span_id && s->trace_id[0] && s->start_ns);
	ALWAYS(s->end_ns >= s->start_ns && s->first_ns <= s->end_ns);
	ALWAYS(s->role == ROLE_CLIENT || s->role == ROLE_SERVER);
}

static void records_check(void)
{
	static __u64 seen[SPANS_MAX];
	const struct shadow_record *r;
	size_t n = 0;

	for (r = shadow_records(); r; r = r->next) {
		const struct rec_span *s = (const void *)r->bytes;

		ALWAYS(s->head.version == RECORD_VERSION && s->head.len == r->len);
		if (s->head.type != REC_SPAN)
			continue;
		span_check(s);
		for (size_t i = 0; i < n; i++)
			ALWAYS(seen[i] != s->span_id);
		if (n < SPANS_MAX)
			seen[n++] = s->span_id;
	}
}

/* --- what happens --- */

/* A piece of traffic several times, raw bytes, or many of one kind. */
static size_t bytes_take(struct input *in, char *to, size_t most)
{
	unsigned what = take(in), times = 1, n = 0;

	if (what < 2 * PIECES) {
		if (what >= PIECES)
			times = take(in);
		do {
			if (n + pieces[what % PIECES].len > most)
				break;
			memcpy(to + n, pieces[what % PIECES].bytes, pieces[what % PIECES].len);
			n += pieces[what % PIECES].len;
		} while (times-- > 1);
		return n;
	}
	if (what < 2 * PIECES + 8) {
		memset(to, take(in), LONG);
		return LONG;
	}
	for (n = 0; n < what % 32; n++)
		to[n] = take(in);
	return n;
}

static void event_happens(struct input *in, struct pair *p, struct party *parties)
{
	static char bytes[1 << 16];
	unsigned op = take(in), end = op & 1, form = op >> 1 & 3, how = op >> 3 & 7;
	size_t len;

	if (op >> 6 == 3) {
		pair_trace(p, end, &parties[end]);
		return;
	}
	if (op >> 6 == 2 && how == 7) {
		pair_fin(p, end);
		return;
	}
	if (p->end[end].fin_sent)
		return;
	len = bytes_take(in, bytes, sizeof(bytes));
	how = how < 5 ? HOW_SEEN : how - 4;
	if (form == FORM_FIN)
		form = FORM_FLAT;
	if (op >> 6 == 2)
		pair_send(p, end, bytes, len, how,
			  form); /* received with what comes next, or never */
	else if (len)
		pair_move(p, end, bytes, len, how, form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, data + len};
	struct party parties[ENDS];
	struct pair pairs[PAIRS];
	unsigned ends = take(&in);

	pair_boot();
	party_init(&parties[CLIENT], 100, 0);
	party_init(&parties[SERVER], 200, ends & 4 ? PROC_GO : 0);
	for (int i = 0; i < PAIRS; i++)
		(i && ends & 16 ? pair_open_unix : pair_open)(&pairs[i],
							      ends & 1 ? &parties[CLIENT] : NULL,
							      ends & 2 ? &parties[SERVER] : NULL);
	while (in.at < in.end) {
		event_happens(&in, &pairs[take(&in) % PAIRS], parties);
		pairs_check(pairs);
	}
	for (int i = 0; i < PAIRS; i++) {
		if (ends & 8)
			pair_reset(&pairs[i]);
		else
			pair_close(&pairs[i], i);
	}
	records_check();
	ALWAYS(ends & 16 || pair_leftovers() == 0); /* no hook sees a Unix-domain socket close */
	shadow_reset();
	return 0;
}

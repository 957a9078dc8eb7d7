/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* sniff.h - what does a connection speak, and which end is the client? Only the beginning of a
 * request decides: it says both at once. Works at the start of a connection and between messages of
 * an old one. When a read brought too few bytes to tell (Go's servers read one byte first), they are
 * held and stand before the next ones. */
#ifndef WIRESPAN_SNIFF_H
#define WIRESPAN_SNIFF_H

#include "kern/again.h"
#include "kern/http1_conn.h"

enum sniffed {
	SNIFF_NO,   /* nothing that a client would begin with */
	SNIFF_MORE, /* too few bytes */
	SNIFF_HTTP1,
	SNIFF_HTTP2,
	SNIFF_PGSQL,         /* between messages of an old connection */
	SNIFF_PGSQL_STARTUP, /* a new one */
	SNIFF_TLS,
};

/* A path, an asterisk, http://…; for CONNECT anything. "SELECT 1" ends a PostgreSQL answer. */
static __always_inline int sniff_target(const __u8 *b, __u8 c)
{
	return c == '/' || c == '*' || (c | 0x20) == 'h' || (b[0] == 'C' && b[3] == 'N');
}

/* METHOD SP and a plausible first byte of a target. */
static __always_inline int sniff_http(const __u8 *b, __u32 n)
{
	__u32 i;

	for (i = 0; i < HELD_MAX - 1; i++) {
		if (i >= n)
			return SNIFF_MORE;
		if (b[i] == ' ')
			break;
		if (b[i] < 'A' || b[i] > 'Z')
			return SNIFF_NO;
	}
	if (i < 3 || i == HELD_MAX - 1)
		return SNIFF_NO;
	if (b[0] == 'P' && b[1] == 'R' && b[2] == 'I')
		return SNIFF_HTTP2;
	if (i + 1 >= n)
		return SNIFF_MORE;
	return sniff_target(b, b[i + 1]) ? SNIFF_HTTP1 : SNIFF_NO;
}

/* A Query, Parse, Bind or FunctionCall: letters that no server sends, so the role is sure. */
static __always_inline int sniff_pgsql(const __u8 *b, __u32 n)
{
	if (b[0] != 'Q' && b[0] != 'P' && b[0] != 'B' && b[0] != 'F')
		return SNIFF_NO;
	if (n < 6)
		return b[1] ? SNIFF_NO : SNIFF_MORE;
	return b[1] == 0 && be32(b + 1) > 4 ? SNIFF_PGSQL : SNIFF_NO;
}

static __always_inline int sniff_startup(const __u8 *b, __u32 n)
{
	__u32 code;

	if (n < 8)
		return SNIFF_MORE;
	code = be32(b + 4);
	if (be32(b) > 10240)
		return SNIFF_NO;
	return code >> 16 == PG_PROTOCOL_3 || (code >= PG_CANCEL && code <= PG_GSSENC)
		       ? SNIFF_PGSQL_STARTUP
		       : SNIFF_NO;
}

static __always_inline int sniff_bytes(const __u8 *b, __u32 n)
{
	if (b[0] >= 0x14 && b[0] <= 0x17) /* TLS records: type, then version 3.x */
		return n < 2 ? SNIFF_MORE : b[1] == 3 ? SNIFF_TLS : SNIFF_NO;
	if (b[0] == 0)
		return sniff_startup(b, n);
	if (n >= 2 && b[1] == 0)
		return sniff_pgsql(b, n);
	return sniff_http(b, n);
}

static __always_inline void conn_hold(struct event *e)
{
	struct dir_state *d = e->d;
	__u32 n = e->s->w.n;

	__builtin_memcpy(d->held, e->s->w.b, HELD_MAX);
	d->held_len = n > HELD_MAX ? HELD_MAX : n;
	e->s->w.at = n;
}

/* The answers begin behind what has gone the other way so far: then it shows if the first is missed. */
static __always_inline void answers_expect(struct event *e)
{
	struct sock *sk = e->sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct dir_state *d = conn_responses(e->c);

	if (d->pos_known)
		return;
	d->pos_known = 1;
	if (e->c->flags & CONN_UNIX)
		return;
	d->pos = e->dir == TX ? received_upto(BPF_CORE_READ(sk, __sk_common.skc_flags), tp) :
				BPF_CORE_READ(tp, write_seq);
}

static __always_inline void conn_start(struct event *e, __u8 proto, int what)
{
	struct conn *c = e->c;

	e->d->held_len = 0;
	c->sniffs = 0;
	c->again = 0;
	c->proto = proto;
	c->role = e->dir == TX ? ROLE_CLIENT : ROLE_SERVER;
	conn_responses(c)->turned = conn_responses(c)->deep = 0;
	answers_expect(e);
	if (proto == PROTO_HTTP1)
		http1_start(c);
	else
		pgsql_start(c, what == SNIFF_PGSQL_STARTUP);
	if (!(c->flags & CONN_COUNTED))
		__sync_fetch_and_add(&conn_cnt[proto], 1);
	c->flags |= CONN_COUNTED;
}

/* The direction turns again and again and never brings a request: it is none of ours. The pieces of
 * one long message count little, since we may have come in the middle of it. */
static __noinline int sniff_failed(struct event *e)
{
	struct conn *c = e->c;
	__u8 sent = e->dir == TX ? CONN_SNIFFED_TX : 0;

	c->sniffs += (c->flags & CONN_SNIFFED_TX) == sent ? 1 : SNIFF_TURN;
	c->flags = (c->flags & ~CONN_SNIFFED_TX) | sent;
	if (c->sniffs >= SNIFF_MAX)
		undecoded(c, UNDECODED_UNKNOWN);
	return 0;
}

/* What a window begins with, if it may begin anything. */
static __always_inline int conn_sniffed(struct event *e)
{
	int what = sniff_bytes(e->s->w.b, e->s->w.n);

	return what == SNIFF_MORE || again_allows(e, what != SNIFF_NO) ? what : SNIFF_NO;
}

/* A connection that was opened here brings an answer before it has sent anything: its request went with the
 * SYN. */
static __always_inline void conn_answers_first(struct event *e)
{
	struct conn *c = e->c;
	const __u8 *b = e->s->w.b;

	if (e->dir != RX || !(c->flags & CONN_YOUNG) || c->dir[TX].pos_known)
		return;
	if (e->s->w.n < 5 || be32(b) != 0x48545450 /* HTTP */ || b[4] != '/')
		return;
	c->flags &= ~CONN_YOUNG;
	lost(LOST_FAST_OPEN);
}

/* Looks at a window of a connection that is not understood (yet). */
static __always_inline void conn_sniff(struct event *e)
{
	struct window *w = &e->s->w;
	int what;

	if (e->c->again && !event_is_request(e)) {
		again_answer(e);
		sniff_failed(e);
		return;
	}
	conn_answers_first(e);
	what = conn_sniffed(e);
	switch (what) {
	case SNIFF_MORE:
		conn_hold(e);
		return;
	case SNIFF_HTTP1:
		conn_start(e, PROTO_HTTP1, what);
		return;
	case SNIFF_PGSQL:
	case SNIFF_PGSQL_STARTUP:
		conn_start(e, PROTO_PGSQL, what);
		return;
	case SNIFF_TLS:
		undecoded(e->c, UNDECODED_TLS);
		return;
	case SNIFF_HTTP2:
		undecoded(e->c, UNDECODED_HTTP2);
		return;
	}
	e->d->held_len = 0;
	w->at = w->n;
	chunk_pass(e->s, e->s->len - e->s->off); /* only the start of a chunk can be a request's */
	sniff_failed(e);
}

#endif

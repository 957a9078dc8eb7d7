/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* http1_conn.h - HTTP/1.x on a connection: what the parser's marks do to the queue of exchanges. The
 * request's head opens an exchange, the response's last byte ends it. Knows the pairing rules that
 * the parser cannot (HEAD, CONNECT, 1xx, 101), and nothing of bytes. */
#ifndef WIRESPAN_HTTP1_CONN_H
#define WIRESPAN_HTTP1_CONN_H

#include "kern/exchange.h"

enum {
	TEXT_ROOM = TEXT_MAX - PIECE, /* so that a whole piece always fits behind it */
	TARGET_ROOM = 256, /* a long target leaves room for Host and User-Agent, */
	AGENT_ROOM = 384,  /* and a long User-Agent for a Host behind it */
	REQUEST_VERSION = 11, /* what ends a request line: " HTTP/1.1\r\n" */
};

static __always_inline void http1_start(struct conn *c)
{
	__builtin_memset(&c->dir[RX].http, 0, sizeof(c->dir[RX].http));
	__builtin_memset(&c->dir[TX].http, 0, sizeof(c->dir[TX].http));
	if (c->role == ROLE_CLIENT)
		c->dir[RX].http.flags = H1_IS_RESPONSE;
	else
		c->dir[TX].http.flags = H1_IS_RESPONSE;
}

/* Copies a piece of at most PIECE bytes behind the text so far. */
static __always_inline __u32 text_put(struct slot *slot, const struct window *w, __u32 from, __u32 len)
{
	__u32 used = slot->x.text_used;

	if (len > PIECE)
		len = PIECE;
	if (!len)
		return 0;
	barrier_var(used);
	if (used > TEXT_ROOM)
		return 0;
	barrier_var(len);
	if (len <= COPY)
		window_copy(&slot->text[used], w, from);
	else if (len > PIECE ||
	    bpf_probe_read_kernel(&slot->text[used], len, &w->b[from & (WINDOW - 1)]))
		return 0;
	slot->x.text_used = used + len;
	return len;
}

/* Adds from..to to text piece `which`; done says that the piece ends there. */
VERIFIED_ALONE int text_add(struct slot *slot, struct scratch *s, __u32 which, __u32 done)
{
	__u32 from, left, room, i, n;

	if (!slot || !s)
		return 0;
	from = s->w.from;
	left = s->w.to - from;
	which &= 3;
	if (slot->x.flags & EX_TEXT_DONE << which)
		return 0;
	if (which == TEXT_AGENT && !(slot->x.flags & EX_TEXT_DONE << TEXT_HOST))
		slot->x.flags |= EX_AGENT_FIRST;
	room = which == TEXT_TARGET ? TARGET_ROOM : which == TEXT_AGENT ? AGENT_ROOM : TEXT_ROOM;
	room = slot->x.text_used < room ? room - slot->x.text_used : 0;
	if (left > room) {
		slot->x.flags |= EX_CUT;
		left = room;
	}
	for (i = 0; i < TEXT_MAX / PIECE && left; i++) {
		n = text_put(slot, &s->w, from, left);
		if (!n)
			break;
		slot->x.text_len[which] += n;
		from += n;
		left -= n;
	}
	if (done)
		slot->x.flags |= EX_TEXT_DONE << which;
	return 0;
}

static __always_inline void http1_text_add(struct event *e, __u32 which, __u32 done)
{
	struct slot *slot;

	if (!event_is_request(e))
		return;
	slot = slot_find(e->c, e->c->tail);
	if (slot)
		text_add(slot, e->s, which, done);
}

static __always_inline void http1_began(struct event *e)
{
	struct slot *slot;

	if (event_is_request(e)) {
		conn_responses(e->c)->turned = 0;
		slot_new(e->c, e->s, e->s->base + e->s->w.at);
		e->s->header.began++;
		return;
	}
	slot = slot_head(e->c);
	if (slot && !slot->x.first_ns)
		slot->x.first_ns = e->s->now;
	if (!conn_is_idle(e->c))
		return;
	lost(LOST_QUEUE_EMPTY);
	e->d->turned = TURNED;
}

static __always_inline void http1_request_done(struct event *e, struct http1 *m)
{
	struct slot *slot = slot_find(e->c, e->c->tail - 1);

	if (!slot || conn_is_idle(e->c))
		return;
	slot->x.req_bytes = m->body;
	slot->x.flags |= EX_REQ_DONE;
}

/* Is its path, without the query, one of those that are not looked at? */
static __noinline int path_ignored(const struct slot *slot)
{
	__u32 from = slot->x.text_len[TEXT_METHOD], n = slot->x.text_len[TEXT_TARGET], i;
	struct path_key k = {};

	if (from >= PIECE || !n)
		return 0;
	barrier_var(from);
	if (bpf_probe_read_kernel(k.path, sizeof(k.path), &slot->text[from & (PIECE - 1)]))
		return 0;
	for (i = 0; i < IGNORED_PATH_MAX; i++) {
		if (i < n && k.path[i] == '?')
			n = i;
		if (i >= n)
			k.path[i] = 0;
	}
	return n < IGNORED_PATH_MAX && bpf_map_lookup_elem(&ignored, &k);
}

/* A request for which there was no room; most of them at once that are told apart: 32. */
static __always_inline void http1_head_note(struct conn *c, int is_head)
{
	__u32 bit = 1u << (c->tail & 31);

	c->heads = is_head ? c->heads | bit : c->heads & ~bit;
}

static __always_inline void http1_request_head(struct event *e, struct http1 *m)
{
	struct slot *slot = slot_find(e->c, e->c->tail);

	if (slot) {
		if (ignore_paths && path_ignored(slot))
			slot->x.flags |= EX_IGNORED;
		slot->x.op = m->minor;
		if (m->flags & H1_IS_HEAD)
			slot->x.flags |= EX_HEAD;
		if (m->flags & H1_IS_CONNECT)
			slot->x.flags |= EX_CONNECT;
		exchange_open(e->c, e->s, &slot->x, m);
	} else {
		http1_head_note(e->c, m->flags & H1_IS_HEAD);
	}
	e->c->tail++;
	if (http1_body_begin(m, 0, 0) == H1_MSG_END)
		http1_request_done(e, m);
}

/* After 101, or a 2xx to CONNECT, the bytes are no longer HTTP. */
static __always_inline void http1_tunnel(struct conn *c)
{
	c->dir[RX].http.state = H1_TUNNEL;
	c->dir[TX].http.state = H1_TUNNEL;
	c->flags |= CONN_SILENT;
}

static __always_inline void http1_answered(struct event *e)
{
	exchange_finish(e->c, e->s, 0);
	if (!conn_is_idle(e->c))
		e->d->deep = 1;
}

static __always_inline void http1_response_head(struct event *e, struct http1 *m)
{
	struct slot *slot = slot_head(e->c);
	__u16 flags = slot ? slot->x.flags : e->c->heads >> (e->c->head & 31) & 1 ? EX_HEAD : 0;
	int mark = http1_body_begin(m, flags & EX_HEAD, flags & EX_CONNECT);

	if (slot)
		slot->x.status = m->status;
	if (m->state == H1_TUNNEL)
		http1_tunnel(e->c);
	if (mark == H1_MSG_END)
		http1_answered(e);
}

static __always_inline int http1_mark(struct event *e, struct http1 *m, int mark)
{
	switch (mark) {
	case H1_BEGIN:
		http1_began(e);
		break;
	case H1_TEXT:
		if (m->state == H1_VERSION)
			e->s->header.line = e->s->base + e->s->w.to + REQUEST_VERSION;
		http1_text_add(e, m->text, 1);
		break;
	case H1_HEAD_END:
		if (event_is_request(e))
			http1_request_head(e, m);
		else
			http1_response_head(e, m);
		break;
	case H1_MSG_END:
		if (event_is_request(e))
			http1_request_done(e, m);
		else
			http1_answered(e);
		break;
	case H1_BAD:
		return -1;
	}
	return 0;
}

/* The window is used up in the middle of a text piece. */
static __always_inline void http1_flush(struct event *e, struct http1 *m)
{
	struct window *w = &e->s->w;

	if (!http1_capturing(m) || w->tok >= w->n)
		return;
	w->from = w->tok;
	w->to = window_byte(w, w->n - 1) == '\r' ? w->n - 1 : w->n; /* the line end is split */
	http1_text_add(e, m->text, 0);
	w->tok = w->n;
}

/* The stream has ended; a response that only the end delimits is complete. */
static __always_inline void http1_ended(struct event *e, struct http1 *m)
{
	if (m->state == H1_UNTIL_CLOSE && !event_is_request(e) && !conn_is_idle(e->c))
		exchange_finish(e->c, e->s, 0);
}

#endif

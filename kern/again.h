/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* again.h - a connection that has lost its place: bytes went by that nobody saw, and there may have been
 * requests or responses in them. What was open is dropped, and a request is taken for one that the next
 * response answers only when nothing else can be meant:
 *   - A client that ever had a request on its way before the last one was answered may always have: its
 *     connection is given up.
 *   - Any other one waits for each answer. Where requests were lost, something must have been answered
 *     since; for PostgreSQL, which also answers in the middle of a batch, up to a ReadyForQuery.
 * A request (a batch) that comes too early is counted, and so is the gap. */
#ifndef WIRESPAN_AGAIN_H
#define WIRESPAN_AGAIN_H

#include "kern/pgsql_conn.h"

static __always_inline __u8 ready_byte(__u8 at, __u8 c)
{
	__u8 wanted = at == 0 ? 'Z' : at == 4 ? 5 : 0;

	if (at < 5 && c == wanted)
		return at + 1;
	if (at == 5 && (c == 'I' || c == 'T' || c == 'E'))
		return TURNED;
	return c == 'Z';
}

/* A window of a response: does what was sent end with a ReadyForQuery? Of a long chunk its last bytes say
 * so. */
static __noinline int again_answer(struct event *e)
{
	struct window *w = &e->s->w;
	__u32 i, n = w->n, left = e->s->len - e->s->off;

	for (i = 0; i < TURNED; i++)
		if (n + i >= TURNED)
			e->d->turned = ready_byte(e->d->turned, w->b[(n + i - TURNED) & (WINDOW - 1)]);
	if (e->c->again == PROTO_HTTP1)
		e->d->turned = TURNED;
	e->c->dir[e->dir == TX ? RX : TX].held_len = 0; /* no request begins before the answer and goes on behind it */
	w->at = n;
	if (left > TURNED)
		chunk_pass(e->s, left - TURNED);
	return 0;
}

/* A request has been sent whole, and is not answered yet. */
static __always_inline int conn_awaits(struct conn *c)
{
	struct dir_state *d = c->role == ROLE_CLIENT ? &c->dir[TX] : &c->dir[RX];
	struct pgsql_queue *q = pgsql_queue(c);
	__u8 last;

	if (c->proto == PROTO_HTTP1)
		return d->http.state == H1_START && !conn_is_idle(c);
	if (d->pg.state != PGS_TYPE || q->ops_head == q->ops_tail)
		return 0;
	last = op_at(q, q->ops_tail - 1);
	return last == OP_SYNC || op_is_simple(last);
}

/* What came in this direction was not seen. */
static __always_inline void again_unseen(struct event *e)
{
	if (e->c->again)
		conn_responses(e->c)->turned = e->c->again == PROTO_HTTP1 && !event_is_request(e) ? TURNED : 0;
}

/* The place is lost. A protocol that was guessed from what is not allowed in it says nothing of roles. */
static __always_inline void again_begin(struct event *e, enum lost why)
{
	struct conn *c = e->c;
	struct dir_state *responses = conn_responses(c);
	int stray = c->proto == PROTO_HTTP1 && responses->turned; /* somebody's that we had not seen */

	if (!c->proto)
		return;
	if (responses->deep || (event_is_request(e) && conn_awaits(c))) {
		undecoded(c, UNDECODED_UNPAIRED);
		return;
	}
	c->again = why == LOST_GAP ? c->proto : 0;
	again_unseen(e);
	if (stray)
		responses->turned = TURNED;
}

/* A window of a request: may the connection begin with it? is_begin: one begins there. */
static __always_inline int again_allows(struct event *e, int is_begin)
{
	struct dir_state *responses = conn_responses(e->c);
	__u8 turned = responses->turned;

	if (!e->c->again)
		return 1;
	if (turned != TOLD)
		responses->turned = is_begin && e->c->again == PROTO_PGSQL ? TOLD : 0;
	if (is_begin && turned != TURNED && turned != TOLD)
		lost(LOST_UNPAIRED);
	return turned == TURNED;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* pgsql_request.h - PostgreSQL, the producer's half: what the client's messages put into the queue. The
 * messages that will be answered wait in a ring of half bytes (`ops`); work lives in units. A unit is
 * one Query or FunctionCall, or the Parse, Bind and Describe up to an Execute or Sync; it opens an
 * exchange with its first message. Also which statement a message is about, and its text. Used by
 * pgsql_conn.h alone, which has the server's answers. */
#ifndef WIRESPAN_PGSQL_REQUEST_H
#define WIRESPAN_PGSQL_REQUEST_H

#include "kern/exchange.h"

static __always_inline struct pgsql_queue *pgsql_queue(struct conn *c)
{
	return &c->front.pg;
}

static __always_inline void pgsql_start(struct conn *c, int from_startup)
{
	struct pgsql *request = c->role == ROLE_CLIENT ? &c->dir[TX].pg : &c->dir[RX].pg;
	struct pgsql *response = c->role == ROLE_CLIENT ? &c->dir[RX].pg : &c->dir[TX].pg;

	__builtin_memset(request, 0, sizeof(*request));
	__builtin_memset(response, 0, sizeof(*response));
	__builtin_memset(pgsql_queue(c), 0, sizeof(struct pgsql_queue));
	request->state = from_startup ? PGS_STARTUP : PGS_TYPE;
	response->state = PGS_TYPE;
	response->backend = 1;
}

/* --- the ring of messages --- */

static __always_inline __u8 op_at(const struct pgsql_queue *q, __u32 i)
{
	__u8 two = q->ops[(i & (OPS_MAX - 1)) >> 1];

	return i & 1 ? two >> 4 : two & 15;
}

static __always_inline void op_put(struct pgsql_queue *q, __u32 i, __u8 op)
{
	__u8 *two = &q->ops[(i & (OPS_MAX - 1)) >> 1];

	*two = i & 1 ? (*two & 0x0f) | op << 4 : (*two & 0xf0) | op;
}

/* Is it answered by a ReadyForQuery of its own? */
static __always_inline int op_is_simple(__u8 op)
{
	return op == OP_QUERY || op == OP_FUNCTION;
}

/* The exchange of the unit that is being sent; it is in the queue already. */
static __always_inline struct slot *unit_slot(struct conn *c)
{
	return pgsql_queue(c)->full ? NULL : slot_find(c, c->tail - 1);
}

/* There is no room: from now on only the ReadyForQuery to come are counted, so that it is known when
 * everything is answered and the queue can begin anew. The unit that is cut gives no span. */
static __noinline int op_over(struct conn *c, __u8 op)
{
	struct pgsql_queue *q = pgsql_queue(c);
	int last = op == OP_SYNC || op_is_simple(op);

	if (op < OP_CLOSE && unit_slot(c)) /* else it was counted when it found no room */
		lost(LOST_QUEUE_FULL);
	q->full = last ? FULL_BETWEEN : FULL_IN_BATCH;
	if (last)
		__sync_fetch_and_add(&q->over, 1);
	return 0;
}

static __always_inline void op_push(struct conn *c, __u8 op)
{
	struct pgsql_queue *q = pgsql_queue(c);

	if (q->full || q->ops_tail - q->ops_head >= OPS_MAX) {
		op_over(c, op);
		return;
	}
	op_put(q, q->ops_tail, op);
	q->ops_tail++;
}

/* Has everything been answered that was sent while there was no room? */
static __always_inline void queue_again(struct pgsql_queue *q)
{
	if (q->full != FULL_BETWEEN || q->over || q->ops_head != q->ops_tail)
		return;
	q->full = FULL_NOT;
	q->unit_open = 0;
}

static __always_inline void unit_begin(struct event *e)
{
	struct conn *c = e->c;
	struct dir_state *d = e->d;
	struct slot *slot;

	pgsql_queue(c)->unit_open = UNIT_OPEN;
	if (pgsql_queue(c)->full) {
		lost(LOST_QUEUE_FULL);
		return;
	}
	slot = slot_new(c, e->s, d->msg_pos);
	c->tail++;
	if (!slot)
		return;
	slot->x.start_ns = d->msg_ns;
	exchange_open(c, e->s, &slot->x, NULL);
}

static __always_inline void unit_end(struct conn *c, __u8 op)
{
	struct slot *slot = unit_slot(c);

	pgsql_queue(c)->unit_open = 0;
	if (slot)
		slot->x.op = op;
}

static __always_inline void unit_stmt(struct conn *c, __u64 stmt)
{
	struct slot *slot = unit_slot(c);

	if (slot)
		slot->x.stmt = stmt;
}

/* What the unit was about is not executed; the message that has just ended begins another one. */
static __always_inline void unit_next(struct event *e)
{
	op_push(e->c, OP_UNIT_OVER);
	unit_begin(e);
}

/* The message is about the statement of this name (is_new: which it makes). Several may be prepared in a
 * row: each is a unit, so that each may be refused by itself. Names are the same at both ends, however
 * the stream is cut; numbers are not. */
static __always_inline void unit_about(struct event *e, __u64 name, int is_new)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	if (q->unit_open == UNIT_ABOUT && (is_new || q->unit_name != name))
		unit_next(e);
	if (q->unit_open == UNIT_OPEN)
		q->unit_portal = NAME_NONE;
	q->unit_open = UNIT_ABOUT;
	q->unit_name = name;
}

static __always_inline void stmt_number(struct pgsql_queue *q)
{
	q->stmt_now = ++q->stmt_last;
}

static __always_inline __u64 portal_stmt(const struct pgsql_queue *q, __u64 name)
{
	__u32 i;

	if (!name)
		return q->bound;
	for (i = 0; i < PORTALS_MAX; i++)
		if (q->portal[i] == name)
			return q->portal_stmt[i];
	return 0;
}

static __always_inline void portal_bind(struct pgsql_queue *q, __u64 name, __u64 stmt)
{
	__u32 i;

	if (!name) {
		q->bound = stmt;
		return;
	}
	for (i = 0; i < PORTALS_MAX; i++)
		if (q->portal[i] == name)
			break;
	if (i == PORTALS_MAX)
		i = q->portal_next++ & (PORTALS_MAX - 1);
	q->portal[i & (PORTALS_MAX - 1)] = name;
	q->portal_stmt[i & (PORTALS_MAX - 1)] = stmt;
}

static __always_inline __u64 stmt_of(const struct pgsql_queue *q, __u64 name)
{
	return name ? name : q->unnamed;
}

/* The statement whose text is being sent: a Query's or an unnamed Parse's has a number. */
static __always_inline __u64 text_stmt(struct conn *c, const struct pgsql *m)
{
	return m->type == 'P' && m->names[0] ? m->names[0] : pgsql_queue(c)->stmt_now;
}

static __always_inline void pgsql_head(struct event *e, struct pgsql *m)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	if (m->type == 'C')
		return;
	queue_again(q);
	if (!q->unit_open)
		unit_begin(e);
	if (m->type == 'Q' || m->type == 'P')
		stmt_number(q);
}

/* Programs send the same few texts again and again. One that this connection sent lately keeps its
 * number, and the agent need not be told. Only a text that is here whole can be known. */
static __always_inline int text_known(struct pgsql_queue *q, __u64 hash)
{
	__u32 i;

	if (!hash || q->stmt_last % TEXT_RESEND == 0)
		return 0;
	for (i = 0; i < TEXTS_MAX; i++) {
		if (q->text_hash[i] != hash)
			continue;
		q->stmt_now = q->text_stmt[i];
		return 1;
	}
	return 0;
}

static __always_inline void text_remember(struct pgsql_queue *q, __u64 hash)
{
	__u32 i = q->text_next++ & (TEXTS_MAX - 1);

	q->text_hash[i] = hash;
	q->text_stmt[i] = q->stmt_now;
}

static __noinline int pgsql_text_mark(struct event *e, struct pgsql *m, int end)
{
	struct pgsql_queue *q = pgsql_queue(e->c);
	struct window *w = &e->s->w;
	__u32 n = w->to - w->from, off = m->text_off;
	int whole = end && !off && !(m->type == 'P' && m->names[0]);
	__u64 hash = whole ? window_hash(w, w->from, n) : 0;

	m->text_off += n;
	if (text_known(q, hash) || (!end && off >= STMT_TEXT_MAX))
		return 0;
	if (!stmt_emit(e, text_stmt(e->c, m), off, off + n + (end ? 0 : m->left)) && hash)
		text_remember(q, hash);
	return 0;
}

static __always_inline void pgsql_database_mark(struct event *e, struct pgsql *m, int end)
{
	__u32 n = e->s->w.to - e->s->w.from, off = m->text_off;

	m->text_off += n;
	if (m->text_off) /* an empty one is as good as none */
		stmt_emit(e, STMT_DATABASE, off, off + n + (end ? 0 : m->left));
}

static __always_inline void pgsql_parsed(struct event *e, struct pgsql *m)
{
	struct pgsql_queue *q = pgsql_queue(e->c);
	__u64 stmt = text_stmt(e->c, m);

	if (!m->names[0])
		q->unnamed = stmt;
	unit_about(e, m->names[0], 1);
	unit_stmt(e->c, stmt);
	op_push(e->c, OP_PARSE);
}

static __always_inline void pgsql_bound(struct event *e, struct pgsql *m)
{
	struct pgsql_queue *q = pgsql_queue(e->c);
	__u64 stmt = stmt_of(q, m->names[1]);

	portal_bind(q, m->names[0], stmt);
	unit_about(e, m->names[1], 0);
	q->unit_portal = m->names[0];
	unit_stmt(e->c, stmt);
	op_push(e->c, OP_BIND);
}

static __always_inline void pgsql_described(struct event *e, struct pgsql *m)
{
	if (m->field) { /* a statement, not a portal */
		unit_about(e, m->names[0], 0);
		unit_stmt(e->c, stmt_of(pgsql_queue(e->c), m->names[0]));
	}
	op_push(e->c, OP_DESCRIBE);
}

static __always_inline void pgsql_executes(struct event *e, struct pgsql *m)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	if (q->unit_open == UNIT_ABOUT && q->unit_portal != m->names[0])
		unit_next(e);
	unit_stmt(e->c, portal_stmt(q, m->names[0]));
	unit_end(e->c, PG_EXECUTE);
	op_push(e->c, OP_EXECUTE);
}

static __always_inline void pgsql_syncs(struct conn *c)
{
	struct pgsql_queue *q = pgsql_queue(c);

	if (q->unit_open) {
		q->unit_open = 0;
		op_push(c, OP_UNIT_OVER);
	}
	op_push(c, OP_SYNC);
}

/* The client has copied all it had, or gives up. The server, which now executes a COPY, has ignored
 * the Sync that came with it; another one comes behind this. */
static __always_inline void pgsql_copied(struct pgsql_queue *q)
{
	if (!q->full && q->ops_head != q->ops_tail && op_at(q, q->ops_tail - 1) == OP_SYNC)
		q->ops_tail--;
}

/* A message of the client is complete. */
static __always_inline void pgsql_request(struct event *e, struct pgsql *m)
{
	struct conn *c = e->c;
	struct pgsql_queue *q = pgsql_queue(c);

	switch (m->type) {
	case 'Q':
		unit_stmt(c, q->stmt_now);
		unit_end(c, PG_QUERY);
		op_push(c, OP_QUERY);
		break;
	case 'F':
		unit_end(c, PG_FUNCTION);
		op_push(c, OP_FUNCTION);
		break;
	case 'P':
		pgsql_parsed(e, m);
		break;
	case 'B':
		pgsql_bound(e, m);
		break;
	case 'E':
		pgsql_executes(e, m);
		break;
	case 'D':
		pgsql_described(e, m);
		break;
	case 'C':
		op_push(c, OP_CLOSE);
		break;
	case 'c':
	case 'f':
		pgsql_copied(q);
		break;
	case 'S':
		pgsql_syncs(c);
		break;
	}
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* pgsql_conn.h - PostgreSQL on a connection: which answer belongs to which message. A unit (see
 * pgsql_request.h) gives a span when it was executed or when it failed. After an error the server skips
 * everything up to Sync: units not run by then are *skipped*, not failed. */
#ifndef WIRESPAN_PGSQL_CONN_H
#define WIRESPAN_PGSQL_CONN_H

#include "kern/pgsql_request.h"

/* --- consumer: the server's answers --- */

static __always_inline __u8 op_head(const struct pgsql_queue *q)
{
	return q->ops_head == q->ops_tail ? OP_NONE : op_at(q, q->ops_head);
}

static __always_inline void op_pop(struct pgsql_queue *q)
{
	q->ops_head++;
}

static __always_inline void op_answered(struct pgsql_queue *q, __u8 op)
{
	if (op_head(q) == op)
		op_pop(q);
}

/* An Execute, or a statement of a Query, has run. */
static __always_inline void pgsql_completed(struct event *e, const struct pgsql *m, struct slot *slot)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	if (slot && (m->acc == 0x53454c || m->acc == 0x464554)) /* SELect, FETch */
		slot->x.flags |= EX_ROWS;
	if (op_head(q) != OP_EXECUTE)
		return;
	op_pop(q);
	exchange_finish(e->c, e->s, 0);
}

static __always_inline __u8 op_name(__u8 op)
{
	switch (op) {
	case OP_PARSE:
		return PG_PARSE;
	case OP_BIND:
		return PG_BIND;
	case OP_DESCRIBE:
		return PG_DESCRIBE;
	}
	return PG_EXECUTE;
}

/* The message at the head is refused. In a Query the rest comes with ReadyForQuery; otherwise the
 * unit's exchange ends here, and its later messages have none (unit_dead). */
static __always_inline void pgsql_failed(struct event *e, const struct pgsql *m, struct slot *slot)
{
	struct pgsql_queue *q = pgsql_queue(e->c);
	__u8 op = op_head(q);

	q->skips = op != OP_NONE && op != OP_SYNC && !op_is_simple(op);
	if (op == OP_NONE || op == OP_SYNC || op == OP_CLOSE)
		return; /* what failed has its span already, or never had one */
	if (slot)
		__builtin_memcpy(slot->x.sqlstate, m->sqlstate, sizeof(slot->x.sqlstate));
	if (op_is_simple(op))
		return;
	if (slot)
		slot->x.op = op_name(op);
	op_pop(q);
	exchange_finish(e->c, e->s, 0);
	q->unit_dead = op != OP_EXECUTE;
}

/* One message that the server skipped. */
static __always_inline void op_skip(struct event *e, struct pgsql_queue *q, __u8 op)
{
	if (op != OP_EXECUTE && op != OP_UNIT_OVER)
		return;
	if (q->unit_dead)
		q->unit_dead = 0;
	else if (op == OP_EXECUTE)
		exchange_finish(e->c, e->s, SPAN_SKIPPED);
	else
		exchange_drop(e->c);
}

static long sync_one(__u32 i, void *arg)
{
	struct event *e = arg;
	struct pgsql_queue *q = pgsql_queue(e->c);
	__u8 op = op_head(q);

	if (!op)
		return 1;
	op_pop(q);
	if (op_is_simple(op))
		exchange_finish(e->c, e->s, q->skips ? SPAN_SKIPPED : 0);
	else
		op_skip(e, q, op);
	if (op != OP_SYNC && (q->skips || !op_is_simple(op)))
		return 0;
	q->synced = 1;
	return 1;
}

/* ReadyForQuery answers a Query, a FunctionCall or a Sync; whatever stands before it was skipped. When
 * that is not in the ring it was sent when there was no room, and what is still open was cut then. */
static __always_inline void pgsql_ready(struct event *e)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	q->synced = 0;
	bpf_loop(OPS_MAX, sync_one, e, 0);
	q->unit_dead = q->skips = 0;
	if (q->ops_head != q->ops_tail || q->over)
		e->d->deep = 1;
	if (q->synced || !q->over)
		return;
	queue_drop(e);
	__sync_fetch_and_add(&q->over, -1);
}

/* RowDescription answers a Describe; in a Query it comes by itself. */
static __always_inline void pgsql_rows_begin(struct pgsql_queue *q, struct slot *slot)
{
	if (op_head(q) == OP_DESCRIBE)
		op_pop(q);
	else if (slot)
		slot->x.flags |= EX_ROWS;
}

/* Tells about the session, not about what was asked. */
static __always_inline int pgsql_is_aside(__u8 type)
{
	return type == 'N' || type == 'A' || type == 'S' || type == 'K' || type == 'R' || type == 'v';
}

static __always_inline void rows_take(struct pgsql *m, struct slot *slot)
{
	if (slot && m->rows) {
		slot->x.rows += m->rows;
		slot->x.flags |= EX_ROWS;
	}
	m->rows = 0;
}

/* What was prepared and not executed leaves when what follows it is answered. */
static __always_inline void unit_passed(struct event *e)
{
	struct pgsql_queue *q = pgsql_queue(e->c);

	if (op_head(q) != OP_UNIT_OVER)
		return;
	op_pop(q);
	op_skip(e, q, OP_UNIT_OVER);
}

/* A message of the server is complete. */
static __always_inline void pgsql_response(struct event *e, struct pgsql *m)
{
	struct pgsql_queue *q = pgsql_queue(e->c);
	struct slot *slot;

	if (pgsql_is_aside(m->type))
		return;
	unit_passed(e);
	slot = slot_head(e->c);
	if (slot && !slot->x.first_ns && m->type != 'Z') /* which also ends what was skipped */
		slot->x.first_ns = e->d->msg_ns;
	if (m->type == 'D')
		return; /* more of them are coming, and will be counted together */
	rows_take(m, slot);
	switch (m->type) {
	case '1':
		op_answered(q, OP_PARSE);
		break;
	case '2':
		op_answered(q, OP_BIND);
		break;
	case '3':
		op_answered(q, OP_CLOSE);
		break;
	case 'T':
		pgsql_rows_begin(q, slot);
		break;
	case 'n':
		op_answered(q, OP_DESCRIBE);
		break;
	case 'C':
	case 'I':
	case 's':
		pgsql_completed(e, m, slot);
		break;
	case 'E':
		pgsql_failed(e, m, slot);
		break;
	case 'Z':
		pgsql_ready(e);
		break;
	}
}

/* --- marks --- */

/* The server agreed to encrypt (or the client goes without asking): nothing more to see. */
static __always_inline void pgsql_answered_ssl(struct event *e, const struct pgsql *m)
{
	if (m->type == 'N')
		return;
	undecoded(e->c, UNDECODED_TLS);
}

static __always_inline void pgsql_ssl(struct conn *c)
{
	struct pgsql *response = c->role == ROLE_CLIENT ? &c->dir[RX].pg : &c->dir[TX].pg;

	response->state = PGS_ANSWER;
}

static __always_inline int pgsql_mark(struct event *e, struct pgsql *m, int mark)
{
	switch (mark) {
	case PGM_HEAD:
		pgsql_head(e, m);
		break;
	case PGM_TEXT:
	case PGM_TEXT_END:
		pgsql_text_mark(e, m, mark == PGM_TEXT_END);
		break;
	case PGM_DATABASE:
		pgsql_database_mark(e, m, 1);
		break;
	case PGM_MSG:
		if (event_is_request(e))
			pgsql_request(e, m);
		else
			pgsql_response(e, m);
		break;
	case PGM_SSL:
		pgsql_ssl(e->c);
		break;
	case PGM_ANSWER:
		pgsql_answered_ssl(e, m);
		break;
	case PGM_CANCEL:
		e->c->flags |= CONN_SILENT;
		break;
	case PGM_BAD:
		return -1;
	}
	return 0;
}

/* The window is used up in the middle of a text. */
static __always_inline void pgsql_flush(struct event *e, struct pgsql *m)
{
	struct window *w = &e->s->w;
	int mark = pgsql_capturing(m);

	if (mark == PGM_NONE || w->tok >= w->n)
		return;
	w->from = w->tok;
	w->to = w->n;
	w->tok = w->n;
	if (mark == PGM_TEXT)
		pgsql_text_mark(e, m, 0);
	else
		pgsql_database_mark(e, m, 0);
}

#endif

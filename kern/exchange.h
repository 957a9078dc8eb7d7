/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* exchange.h - the queue of a connection's open exchanges: where each one lives, how it begins and
 * how it leaves. The producer makes slots at `tail`, the consumer takes them at `head`; a slot that
 * is made while the queue is empty is conn.front, any other one an entry of the spill map, which
 * moves to the front when its turn comes. A request for which there was no room still has a serial,
 * so that later responses find the right request. */
#ifndef WIRESPAN_EXCHANGE_H
#define WIRESPAN_EXCHANGE_H

#include "kern/emit.h"

static __noinline struct slot *slot_find(struct conn *c, __u32 serial)
{
	struct spill_key k = { c->id, serial };

	if (c->front.x.serial == serial)
		return &c->front;
	return bpf_map_lookup_elem(&spill, &k);
}

static __always_inline void exchange_init(struct exchange *x, __u32 serial, __u64 now, __u32 pos)
{
	__builtin_memset(x, 0, sizeof(*x));
	x->start_ns = now;
	x->serial = serial;
	x->pos = pos;
}

static __always_inline struct slot *spill_new(struct conn *c, struct scratch *s, __u64 now, __u32 pos)
{
	struct spill_key k = { c->id, c->tail };
	struct slot *slot;

	exchange_init(&s->fresh.x, c->tail, now, pos);
	if (bpf_map_update_elem(&spill, &k, &s->fresh, BPF_ANY)) {
		lost(LOST_SPILL_FULL);
		return NULL;
	}
	slot = bpf_map_lookup_elem(&spill, &k);
	return slot;
}

/* Room for the request that begins now; it is in the queue when the producer moves tail. */
static __noinline struct slot *slot_new(struct conn *c, struct scratch *s, __u32 pos)
{
	__u32 depth = c->tail - c->head;

	if (depth >= (c->proto == PROTO_PGSQL ? QUEUE_MAX_PGSQL : QUEUE_MAX_HTTP1)) {
		lost(LOST_QUEUE_FULL);
		return NULL;
	}
	if (depth)
		return spill_new(c, s, s->now, pos);
	exchange_init(&c->front.x, c->tail, s->now, pos);
	return &c->front;
}

/* The exchange that is being answered, moved to the front if need be. NULL: none, or no room then. */
static __noinline struct slot *slot_head(struct conn *c)
{
	struct spill_key k = { c->id, c->head };
	struct slot *from;

	if (conn_is_idle(c))
		return NULL;
	if (c->front.x.serial == c->head)
		return &c->front;
	from = bpf_map_lookup_elem(&spill, &k);
	if (!from)
		return NULL;
	c->front.x = from->x;
	if (c->proto == PROTO_HTTP1)
		bpf_probe_read_kernel(c->front.text, sizeof(c->front.text), from->text);
	bpf_map_delete_elem(&spill, &k);
	return &c->front;
}

/* A request that was not read to its head's end never will be. */
static __always_inline void slot_forget(const struct conn *c)
{
	struct spill_key k = { c->id, c->tail };

	bpf_map_delete_elem(&spill, &k);
}

/* The head has been answered, or never will be. */
static __always_inline void slot_pop(struct conn *c)
{
	c->head++;
}

/* Over a Unix-domain socket the hook of the server's send may come when the client has read the answer and
 * gone on: then the server was done no later than its client. */
static __always_inline void unix_ended(const struct conn *c, struct scratch *s, struct exchange *x)
{
	__u64 key = link_key(c, x);
	__u32 at = (__u32)key & (UNIX_ENDS - 1);
	struct unix_end *end = bpf_map_lookup_elem(&unix_ends, &at);

	if (!end)
		return;
	if (c->role == ROLE_CLIENT) {
		end->ns = s->now;
		end->key = key;
		return;
	}
	if (*(volatile __u64 *)&end->key != key || end->ns >= s->now || end->ns < x->start_ns)
		return;
	s->now = end->ns;
	if (x->first_ns > s->now)
		x->first_ns = s->now;
}

/* An exchange ends now: its span goes to the agent and nothing of it stays. flags: enum rec_span_flags. */
VERIFIED_ALONE int exchange_finish(struct conn *c, struct scratch *s, __u32 flags)
{
	struct slot *slot;
	__u64 now;

	if (!c || !s || conn_is_idle(c))
		return 0;
	now = s->now;
	slot = slot_head(c);
	if (slot) {
		exchange_close(c, &slot->x, flags & SPAN_ABORTED);
		if (c->flags & CONN_UNIX)
			unix_ended(c, s, &slot->x);
		if (slot->x.flags & EX_OPEN)
			span_emit(c, s, slot, flags);
	}
	slot_pop(c);
	s->now = now;
	return 0;
}

/* The head leaves without a span. */
VERIFIED_ALONE int exchange_drop(struct conn *c)
{
	struct slot *slot;

	if (!c || conn_is_idle(c))
		return 0;
	slot = slot_head(c);
	if (slot)
		exchange_close(c, &slot->x, 0);
	slot_pop(c);
	return 0;
}

static long drop_one(__u32 i, void *arg)
{
	struct event *e = arg;

	if (conn_is_idle(e->c))
		return 1;
	exchange_drop(e->c);
	return 0;
}

/* Not yet executed, or never to be: what only prepares has a span when it fails, no other. */
static __always_inline int exchange_prepares(struct conn *c)
{
	struct slot *slot = slot_head(c);

	return c->proto == PROTO_PGSQL && slot && !slot->x.op;
}

static long abort_one(__u32 i, void *arg)
{
	struct event *e = arg;

	if (conn_is_idle(e->c))
		return 1;
	if (exchange_prepares(e->c))
		exchange_drop(e->c);
	else
		exchange_finish(e->c, e->s, SPAN_ABORTED);
	return 0;
}

static __always_inline void queue_drop(struct event *e)
{
	bpf_loop(QUEUE_MAX_PGSQL, drop_one, e, 0);
	e->c->head = e->c->tail;
	slot_forget(e->c);
}

/* The connection is gone: what was open ends as aborted. */
static __always_inline void queue_abort(struct event *e)
{
	bpf_loop(QUEUE_MAX_PGSQL, abort_one, e, 0);
	e->c->head = e->c->tail;
}

#endif

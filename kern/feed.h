/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* feed.h - gives the bytes of a chunk to the right parser: compares the chunk's place in the stream
 * with what the parser waits for (passing over what it has seen, counting what nobody saw), copies a
 * window at a time, steps the parser, skips counted bodies, and finds out what protocol a connection
 * speaks and who is the client. The sequence numbers are the truth: whatever way bytes take around
 * us, they say how many there were. */
#ifndef WIRESPAN_FEED_H
#define WIRESPAN_FEED_H

#include "kern/http1_conn.h"
#include "kern/pgsql_conn.h"
#include "kern/sniff.h"

static __always_inline __u64 conn_skippable(const struct event *e)
{
	struct dir_state *d = e->d;

	return e->c->proto == PROTO_HTTP1 ? http1_skippable(&d->http) : pgsql_skippable(&d->pg);
}

/* Back to knowing nothing: the next request that is seen whole, and surely not answered yet, begins anew. */
static __noinline int conn_restart(struct event *e, enum lost why)
{
	lost(why);
	again_begin(e, why);
	queue_drop(e);
	link_leave(e->c); /* its role may be another one next time */
	e->c->proto = PROTO_UNKNOWN;
	if (!e->c->again)
		e->c->role = 0;
	e->c->dir[RX].held_len = e->c->dir[TX].held_len = 0;
	return 0;
}

static __always_inline int conn_mark(struct event *e, int mark)
{
	struct dir_state *d = e->d;

	if (e->c->proto == PROTO_HTTP1)
		return http1_mark(e, &d->http, mark);
	return pgsql_mark(e, &d->pg, mark);
}

/* k bytes that a parser has no need to see, or that nobody can show it. */
static __noinline int conn_unseen(struct event *e, __u64 k)
{
	struct dir_state *d = e->d;
	__u64 skip;
	int mark;

	if (!k)
		return 0;
	if (e->c->proto == PROTO_UNKNOWN) {
		d->held_len = 0;
		again_unseen(e);
		sniff_failed(e);
		return 0;
	}
	skip = conn_skippable(e);
	if (skip > k)
		skip = k;
	mark = e->c->proto == PROTO_HTTP1 ? http1_skip(&d->http, skip) : pgsql_skip(&d->pg, skip);
	if (skip && mark && conn_mark(e, mark))
		conn_restart(e, LOST_BAD_BYTES);
	else if (k > skip)
		conn_restart(e, LOST_GAP);
	return 0;
}

/* --- where the bytes are --- */

/* The next entry of the program's vector becomes the current piece. */
static __always_inline int segment_next(struct scratch *s)
{
	struct iovec v;
	long err;

	if (!s->iov_left)
		return 0;
	if (s->iov_kernel)
		err = bpf_probe_read_kernel(&v, sizeof(v), (void *)s->iov);
	else
		err = bpf_probe_read_user(&v, sizeof(v), (void *)s->iov);
	if (err)
		return 0;
	s->iov += sizeof(v);
	s->iov_left--;
	s->seg = (__u64)v.iov_base;
	s->seg_left = v.iov_len;
	return 1;
}

static __always_inline void segment_skip(struct scratch *s)
{
	__u64 k = s->seg_skip < s->seg_left ? s->seg_skip : s->seg_left;

	s->seg += k;
	s->seg_left -= k;
	s->seg_skip -= k;
}

/* Bytes held back from the last chunk stand before the new ones. */
static __always_inline __u32 window_held(struct event *e)
{
	struct dir_state *d = e->d;
	__u32 n = d->held_len;

	if (!n || e->c->proto != PROTO_UNKNOWN)
		return 0;
	if (n > HELD_MAX)
		n = HELD_MAX;
	__builtin_memcpy(e->s->w.b, d->held, HELD_MAX);
	return n;
}

/* Copies the next piece of the chunk into the window. 0: nothing is left, or it cannot be read. */
static __always_inline int window_fill(struct event *e)
{
	struct scratch *s = e->s;
	__u32 held = window_held(e), k = s->len - s->off;

	if (k > s->seg_left)
		k = (__u32)s->seg_left;
	if (k > WINDOW - HELD_MAX - 1)
		k = WINDOW - HELD_MAX - 1;
	barrier_var(k);
	if (!k || k > WINDOW - HELD_MAX - 1)
		return 0;
	held &= 15;
	if (bpf_probe_read_user(&s->w.b[held], k, (void *)s->seg)) {
		lost(LOST_FAULT);
		return 0;
	}
	s->base = e->d->pos + s->off - held;
	s->w.n = held + k;
	s->w.at = s->w.tok = 0;
	s->off += k;
	s->seg += k;
	s->seg_left -= k;
	return 1;
}

/* One move towards the next window: 1 go on, 0 the chunk is done. */
static __always_inline int chunk_next(struct event *e)
{
	struct scratch *s = e->s;
	__u64 skip;

	if (s->off >= s->len)
		return 0;
	if (e->c->proto != PROTO_UNKNOWN) {
		skip = conn_skippable(e);
		if (skip) {
			if (skip > s->len - s->off)
				skip = s->len - s->off;
			chunk_pass(s, (__u32)skip);
			conn_unseen(e, skip);
			return 1;
		}
	}
	if (s->seg_skip && s->seg_left) {
		segment_skip(s);
		return 1;
	}
	if (!s->seg_left && segment_next(s))
		return 1;
	if (window_fill(e))
		return 1;
	conn_unseen(e, s->len - s->off);
	s->off = s->len;
	return 0;
}

/* --- the loop --- */

static __always_inline void conn_flush(struct event *e)
{
	struct dir_state *d = e->d;

	if (e->c->proto == PROTO_HTTP1)
		http1_flush(e, &d->http);
	else if (e->c->proto == PROTO_PGSQL)
		pgsql_flush(e, &d->pg);
}

/* The window is used up: 1 when there is a next one. */
static __noinline int window_next(struct event *e)
{
	conn_flush(e);
	e->s->w.n = e->s->w.at = 0;
	return chunk_next(e);
}

static __always_inline int pgsql_one(struct event *e, struct window *w)
{
	struct dir_state *d = e->d;
	int mark;

	if (d->pg.state == PGS_TYPE) {
		d->msg_ns = e->s->now;
		d->msg_pos = e->s->base + w->at;
	}
	mark = pgsql_step(&d->pg, w);
	return mark ? pgsql_mark(e, &d->pg, mark) : 0;
}

static __always_inline int http1_one(struct event *e, struct window *w)
{
	int mark = http1_step(&e->d->http, w);

	return mark ? http1_mark(e, &e->d->http, mark) : 0;
}

/* One small thing a call: the verifier looks at it once. */
static long feed_one(__u32 i, void *arg)
{
	struct event *e = arg;
	struct window *w = &e->s->w;
	int err = 0;

	if (w->at >= w->n)
		return window_next(e) ? 0 : 1;
	if (e->c->proto == PROTO_HTTP1)
		err = http1_one(e, w);
	else if (e->c->proto == PROTO_PGSQL)
		err = pgsql_one(e, w);
	else
		conn_sniff(e);
	if (err) {
		conn_restart(e, LOST_BAD_BYTES);
		w->at = w->n;
		chunk_pass(e->s, e->s->len - e->s->off); /* the next chunk may begin with a request */
	}
	return e->c->flags & CONN_SILENT ? 1 : 0;
}

enum { STEPS_MAX = 1 << 23 }; /* bpf_loop refuses to do more */

/* Enough to look at every byte twice and to go through every piece of a vector. */
static __always_inline __u32 feed_steps(const struct scratch *s)
{
	__u64 n = 2ull * s->len + 3ull * s->iov_left + 64;

	return n < STEPS_MAX ? n : STEPS_MAX;
}

/* Runs the loop; what it did not get to nobody has seen. */
static __always_inline void feed_all(struct event *e)
{
	struct scratch *s = e->s;

	bpf_loop(feed_steps(s), feed_one, e, 0);
	if ((s->w.at < s->w.n || s->off < s->len) && !(e->c->flags & CONN_SILENT))
		conn_restart(e, LOST_GAP);
}

/* Cuts off what the parser has seen already (a send that is tried again), counts what nobody saw. */
static __always_inline int chunk_place(struct event *e, __u32 pos)
{
	struct dir_state *d = e->d;
	struct scratch *s = e->s;
	__s32 ahead = (__s32)(pos - d->pos);

	s->off = 0;
	if (!d->pos_known) {
		d->pos_known = 1;
		d->pos = pos;
		return 0;
	}
	if (ahead > 0) {
		conn_unseen(e, ahead);
		d->pos = pos;
	} else if (ahead < 0) {
		if ((__u32)-ahead >= s->len)
			return -1;
		d->pos = pos;
		chunk_pass(s, (__u32)-ahead);
	}
	return 0;
}

/* s->len bytes of the stream that nobody shows, from sequence number pos on. */
static __always_inline void feed_unseen(struct event *e, __u32 pos)
{
	if (chunk_place(e, pos))
		return;
	conn_unseen(e, e->s->len - e->s->off);
	e->d->pos = pos + e->s->len;
}

/* s->len bytes of the stream, from sequence number pos on; chunk_received or chunk_sending has said
 * where they are. */
static __always_inline void feed(struct event *e, __u32 pos)
{
	struct dir_state *d = e->d;
	struct scratch *s = e->s;

	if (chunk_place(e, pos))
		return;
	s->w.n = s->w.at = 0;
	if (chunk_known(s))
		feed_all(e);
	else
		conn_unseen(e, s->len - s->off);
	d->pos = pos + s->len;
}

#endif

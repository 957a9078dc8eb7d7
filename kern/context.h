/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* context.h - which trace a request belongs to. One rule for all runtimes: whatever socket you last
 * read a message from is whose work you are doing. An executor (a thread, or in a Go program a
 * goroutine) points at an open server span; when that span's response is out, the pointer points at
 * nothing. On one node a client's request and the server's reading of it meet in the link map, under
 * the connection's initial sequence numbers and the position of the request's first byte. When
 * nothing is known the span is a root: that is honest, a wrong parent is a defect. */
#ifndef WIRESPAN_CONTEXT_H
#define WIRESPAN_CONTEXT_H

#include "kern/executor.h"
#include "kern/ids.h"

/* --- the connection's name --- */

static __always_inline void counters_read(struct counters *n, struct tcp_sock *tp)
{
	bpf_core_read(&n->una, sizeof(n->una), &tp->snd_una);
	bpf_core_read(&n->acked, sizeof(n->acked), &tp->bytes_acked);
	bpf_core_read(&n->nxt, sizeof(n->nxt), &tp->rcv_nxt);
	bpf_core_read(&n->received, sizeof(n->received), &tp->bytes_received);
}

/* Reads them twice: 1 when they held still. */
static __always_inline int counters_settle(struct scratch *s, struct tcp_sock *tp)
{
	struct counters *a = &s->counters[0], *b = &s->counters[1];

	counters_read(a, tp);
	counters_read(b, tp);
	return a->una == b->una && a->acked == b->acked && a->nxt == b->nxt &&
	       a->received == b->received;
}

/* The connection's name: its two initial sequence numbers. What they are told by changes in softirq; 0: it
 * did not hold still. The opener's own number is one less than what its peer sees. */
static __noinline __u64 conn_name(const struct conn *c, struct scratch *s, struct tcp_sock *tp)
{
	const struct counters *n = s->counters;
	__u32 own, peer;

	if (!counters_settle(s, tp))
		return 0;
	own = n->una - (__u32)n->acked;
	peer = n->nxt - (__u32)n->received;
	return c->flags & CONN_OPENER ? (__u64)(own + 1) << 32 | peer : (__u64)peer << 32 | own;
}

static __always_inline int conn_identify(struct conn *c, struct scratch *s, struct tcp_sock *tp)
{
	if (c->isn)
		return 0;
	c->isn = conn_name(c, s, tp);
	if (!c->isn)
		c->isn = conn_name(c, s, tp);
	if (c->isn)
		return 0;
	lost(LOST_IDENTITY);
	return -1;
}

/* --- same-node links --- */

/* The same number at both ends: the connection, who sends, and where the request begins. Requests
 * come from the client end, which is nearly always the opener. */
static __always_inline __u64 link_key(const struct conn *c, const struct exchange *x)
{
	int by_opener = c->flags & CONN_UNIX ||
			(c->role == ROLE_CLIENT) == !!(c->flags & CONN_OPENER);

	return mix64(mix64(c->isn) ^ ((__u64)x->pos << 1 | by_opener));
}

static __always_inline struct peer_link *link_place(const struct conn *c)
{
	__u32 at = mix64(c->isn) & (LINK_PLACES - 1);

	return bpf_map_lookup_elem(&link_places, &at);
}

/* Is the place this connection's, from now on if it is free? */
static __always_inline int link_place_own(const struct conn *c, struct peer_link *at)
{
	return at->owner == c->isn || !__sync_val_compare_and_swap(&at->owner, 0, c->isn);
}

static __always_inline void link_spill(struct exchange *x, __u64 key, const struct ctx *v)
{
	if (bpf_map_update_elem(&links, &key, v, BPF_ANY)) {
		lost(LOST_LINK_FULL);
		return;
	}
	x->flags |= EX_LINK_SPILLED;
	__sync_fetch_and_add(&links_spilled, 1);
}

static __always_inline void link_unspill(__u64 key)
{
	if (!bpf_map_delete_elem(&links, &key))
		__sync_fetch_and_add(&links_spilled, -1);
}

/* One request at a time goes by the connection's own place; it is overwritten by the next one, so
 * nobody has to take it away. A Unix-domain socket closes without telling, so it has no place. */
static __always_inline void link_publish(struct conn *c, struct exchange *x)
{
	struct ctx v = { { x->trace[0], x->trace[1] }, x->span, 0, x->flags & EX_QUIET };
	__u64 key = link_key(c, x);
	struct peer_link *at;

	if (!c->isn)
		return;
	at = link_place(c);
	if (!at)
		return;
	if (x->serial != c->head || c->flags & CONN_UNIX || !link_place_own(c, at)) {
		link_spill(x, key, &v);
		return;
	}
	at->trace[0] = v.trace[0]; /* nobody asks for this key before the request has left */
	at->trace[1] = v.trace[1];
	at->span = v.span;
	at->quiet = v.quiet;
	at->key = key;
}

static __always_inline void link_withdraw(struct conn *c, const struct exchange *x)
{
	if (x->flags & EX_LINK_SPILLED)
		link_unspill(link_key(c, x));
}

/* The client is gone, and the server may yet read what it asked. */
static __always_inline void link_bequeath(struct conn *c, struct exchange *x)
{
	struct ctx v = { { x->trace[0], x->trace[1] }, x->span, 0, x->flags & EX_QUIET };
	__u32 at = __sync_fetch_and_add(&links_left_cnt, 1) & (LINKS_LEFT - 1);
	__u64 *left = bpf_map_lookup_elem(&links_left, &at), key = link_key(c, x), old;

	if (!c->isn || !left)
		return;
	if (!(x->flags & EX_LINK_SPILLED)) /* its place will be another connection's */
		link_spill(x, key, &v);
	old = __sync_lock_test_and_set(left, key);
	if (old)
		link_unspill(old);
}

/* The connection closes: its place is free. */
static __always_inline void link_leave(const struct conn *c)
{
	struct peer_link *at;

	if (!c->isn || c->role == ROLE_SERVER)
		return;
	at = link_place(c);
	if (at && at->owner == c->isn)
		__sync_lock_test_and_set(&at->owner, 0);
}

static __always_inline void parent_is_peer(struct exchange *x, __u64 trace0, __u64 trace1, __u64 span,
					   __u16 quiet)
{
	x->flags |= quiet;
	x->trace[0] = trace0;
	x->trace[1] = trace1;
	x->parent = span;
	x->how = PARENT_PEER;
}

static __noinline int link_take(struct conn *c, struct exchange *x)
{
	__u64 key = link_key(c, x);
	struct peer_link *at;
	struct ctx *v;

	if (!c->isn)
		return 0;
	at = link_place(c);
	if (at && at->key == key) {
		parent_is_peer(x, at->trace[0], at->trace[1], at->span, at->quiet);
		return 1;
	}
	if (!*(volatile __u32 *)&links_spilled)
		return 0;
	v = bpf_map_lookup_elem(&links, &key);
	if (!v)
		return 0;
	parent_is_peer(x, v->trace[0], v->trace[1], v->span, v->quiet);
	link_unspill(key);
	return 1;
}

/* --- other nodes --- */

/* The request goes out with its first segment, if that can carry it. */
static __always_inline void option_publish(struct conn *c, struct scratch *s, const struct exchange *x)
{
	struct request_link *l = &s->leaving;

	if (!tcp_option_on || c->flags & CONN_UNIX)
		return;
	l->trace[0] = x->trace[0];
	l->trace[1] = x->trace[1];
	l->span = x->span;
	l->pos = x->pos;
	l->quiet = !!(x->flags & EX_QUIET);
	l->written = 0;
}

/* … or with its head, if that can take it. A traceparent that the program made is left alone. */
static __always_inline void header_publish(struct conn *c, struct scratch *s, const struct exchange *x,
					   const struct http1 *m)
{
	struct request_header *h = &s->header;

	if (!headers_on || !m || c->flags & CONN_UNIX)
		return;
	h->forwarded = !!(x->flags & EX_FORWARDED);
	if (m->names_parent && !h->forwarded)
		return;
	h->opened++;
	h->trace[0] = x->trace[0];
	h->trace[1] = x->trace[1];
	h->span = x->span;
	h->pos = x->pos;
	h->pushed = 0;
	h->quiet = !!(x->flags & EX_QUIET);
}

static __always_inline int option_take(const struct scratch *s, struct exchange *x)
{
	__u32 i;

	if (!tcp_option_on)
		return 0;
	for (i = 0; i < ARRIVED_MAX; i++) {
		const struct request_link *l = &s->arrived.at[i];

		if (!l->span || l->pos != x->pos)
			continue;
		x->flags |= l->quiet ? EX_UNSAMPLED : 0;
		x->trace[0] = l->trace[0];
		x->trace[1] = l->trace[1];
		x->parent = l->span;
		x->how = PARENT_TCP_OPTION;
		return 1;
	}
	return 0;
}

/* --- the parent rule --- */

static __always_inline void parent_is_header(struct exchange *x, const struct http1 *m)
{
	x->trace[0] = m->parent_trace[0];
	x->trace[1] = m->parent_trace[1];
	x->parent = m->parent_span;
	x->how = PARENT_HEADER;
	if (sample_below != ~0ull && !(m->trace_flags & 1))
		x->flags |= EX_UNSAMPLED;
}

static __always_inline void parent_is_none(struct conn *c, struct exchange *x)
{
	trace_new(c, x);
	x->parent = 0;
	x->how = PARENT_NONE;
	if (x->trace[1] > sample_below)
		x->flags |= EX_UNSAMPLED;
}

/* A reader that is not under the socket's lock may see one of a pair's two stores and not the other for
 * as long as a cache line takes to come, which looks as if it held still. By now both are there. */
static __always_inline int link_take_again(struct conn *c, struct scratch *s, struct exchange *x)
{
	__u64 before = c->isn, now;

	if (c->flags & (CONN_UNIX | CONN_SURE))
		return 0;
	now = conn_name(c, s, (struct tcp_sock *)s->sk);
	if (!now)
		return 0;
	c->flags |= CONN_SURE;
	if (now == before)
		return 0;
	c->isn = now;
	if (link_take(c, x))
		return 1;
	c->isn = before;
	return 0;
}

/* m: the request's head, or NULL where the protocol has none. */
static __always_inline void server_parent(struct conn *c, struct scratch *s, struct exchange *x,
					  const struct http1 *m)
{
	if (link_take(c, x) || link_take_again(c, s, x) || option_take(s, x))
		return;
	if (m && (m->flags & H1_HAS_PARENT))
		parent_is_header(x, m);
	else
		parent_is_none(c, x);
}

/* ctx names a server span that is still open: the request is its child. A traceparent that is the
 * one its own request brought was forwarded, not made by an SDK in this program. */
static __always_inline int client_adopt(struct exchange *x, const struct ctx *ctx, __u8 how,
					const struct http1 *m)
{
	struct open_span *open = context_place(ctx->place);

	if (!ctx->span || !open || open->span != ctx->span)
		return 0;
	if (m && (m->flags & H1_HAS_PARENT)) {
		if (open->header_span != m->parent_span ||
		    open->header_trace[0] != m->parent_trace[0] ||
		    open->header_trace[1] != m->parent_trace[1])
			return 0;
		x->flags |= EX_FORWARDED;
	}
	x->trace[0] = ctx->trace[0];
	x->trace[1] = ctx->trace[1];
	x->parent = ctx->span;
	x->place = ctx->place;
	x->how = how;
	x->flags |= EX_LOCAL | ctx->quiet;
	return 1;
}

/* --- loads: who else may have waited for this connection --- */

static __always_inline __s32 *load_place(__u32 load)
{
	__u32 at = (load - 1) & (LOADS - 1);

	return bpf_map_lookup_elem(&loads, &at);
}

/* Of a process's open requests (dest 0), or of its calls to one address. */
static __always_inline __u32 load_name(const struct scratch *s, __u64 dest)
{
	return ((__u32)mix64(mix64(s->key) ^ dest) & (LOADS - 1)) + 1;
}

static __always_inline __u64 load_dest(const struct scratch *s)
{
	__u64 a[2];

	__builtin_memcpy(a, s->span.remote_addr, sizeof(a));
	return mix64(a[0] ^ mix64(a[1]) ^ s->span.remote_port);
}

static __always_inline void load_add(struct exchange *x, __u32 load)
{
	__s32 *at = load_place(load);

	if (at)
		__sync_fetch_and_add(at, 1);
	x->load = load;
}

static __always_inline void load_drop(struct exchange *x)
{
	__s32 *at = x->load ? load_place(x->load) : NULL;

	if (at)
		__sync_fetch_and_add(at, -1);
	x->load = 0;
}

/* Does this process run loops, as far as we can tell? */
static __always_inline int loads_count(const struct scratch *s)
{
	struct thread *t;

	if (!loops_on || s->proc.flags & PROC_GO)
		return 0;
	t = thread_find();
	return t && (t->flags & (THREAD_LOOP | THREAD_SCOPED)) == THREAD_LOOP;
}

/* A request that follows a response on the same connection in one turn of a loop is the same work's next
 * one, or a pool gave the connection to other work that waited for it. The latter only when there is
 * an open request without a call to that address: of each other open request one is expected. */
static __always_inline int others_may_wait(const struct conn *c, const struct scratch *s)
{
	__s32 *open = load_place(load_name(s, 0)), *out = load_place(load_name(s, load_dest(s)));

	return !open || !out || *open - 1 > (c->flags & CONN_UNIX ? 0 : *out);
}

/* --- a client's parent --- */

static __always_inline int client_by_thread(struct conn *c, struct scratch *s, struct exchange *x,
					    const struct http1 *m)
{
	struct thread *t = thread_find();
	struct ctx *ctx = t ? thread_context(s, t) : NULL;

	if (!ctx || !ctx->span)
		return 0;
	if (t->flags & THREAD_LOOP && !(t->flags & THREAD_SCOPED) && t->read_from == c->id &&
	    others_may_wait(c, s))
		return 0;
	if (!client_adopt(x, ctx, PARENT_EXECUTOR, m))
		return 0;
	if (t->flags & THREAD_BORN) { /* what it is given next may be anybody's */
		t->x.span = 0;
		t->flags = (t->flags & ~THREAD_BORN) | THREAD_HELPER;
	}
	return 1;
}

/* -1: nobody said whose request this is. */
static __always_inline int client_by_hand(struct scratch *s, struct exchange *x, const struct http1 *m)
{
	__u64 sk = (__u64)s->sk;
	struct ctx *to;

	if (!*(volatile __u32 *)&handed_cnt)
		return -1;
	to = bpf_map_lookup_elem(&handed, &sk);
	if (!to)
		return -1;
	s->ctx = *to;
	if (!bpf_map_delete_elem(&handed, &sk))
		__sync_fetch_and_add(&handed_cnt, -1);
	return client_adopt(x, &s->ctx, PARENT_EXECUTOR, m);
}

static __always_inline int client_by_goroutine(struct scratch *s, struct exchange *x,
					       const struct http1 *m)
{
	struct ctx *ctx = goroutine_find(s, goroutine());

	return ctx && client_adopt(x, ctx, PARENT_EXECUTOR, m);
}

static __always_inline int client_is_adopted(struct conn *c, struct scratch *s, struct exchange *x,
					     const struct http1 *m)
{
	struct ctx born = c->born;
	int young = c->flags & CONN_YOUNG, by_hand;

	c->born.span = 0;
	c->flags &= ~CONN_YOUNG;
	if (s->proc.flags & (PROC_GO | PROC_TOLD)) {
		by_hand = client_by_hand(s, x, m);
		if (by_hand >= 0)
			return by_hand;
	}
	if (s->proc.flags & PROC_TOLD)
		return 0;
	/* The first request of a new connection belongs to whoever opened it. A loop has read something
	 * else before the connection was up. */
	if (client_adopt(x, &born, PARENT_SOCKET, m))
		return 1;
	if (s->proc.flags & PROC_GO)
		return client_by_goroutine(s, x, m);
	return young && loads_count(s) ? 0 : client_by_thread(c, s, x, m);
}

/* The executor's work is over, and it still calls: the span says what it was. */
static __always_inline void client_is_left(struct conn *c, struct scratch *s, struct exchange *x)
{
	struct ctx *ctx = executor_find(s);

	if (!ctx || !ctx->span || context_is_open(ctx))
		return;
	c->born = *ctx;
	x->parent = ctx->span;
}

static __always_inline void client_parent(struct conn *c, struct scratch *s, struct exchange *x,
					  const struct http1 *m)
{
	if (client_is_adopted(c, s, x, m))
		return;
	if (m && (m->flags & H1_HAS_PARENT)) {
		parent_is_header(x, m);
		return;
	}
	parent_is_none(c, x);
	client_is_left(c, s, x);
}

/* Does somebody wait for what comes on this socket, while the program writes to it? */
static __always_inline int sock_is_polled(const struct sock *sk)
{
	struct socket_wq *wq = BPF_CORE_READ(sk, sk_wq);

	return wq && BPF_CORE_READ(wq, wait.head.next) != &wq->wait.head;
}

static __always_inline void loops_notice(const struct scratch *s)
{
	if (!loops_on && !loops_seen && !(s->proc.flags & PROC_GO) && sock_is_polled(s->sk))
		loops_seen = 1;
}

static __always_inline void context_open(struct conn *c, struct exchange *x, const struct http1 *m)
{
	int header = m && m->flags & H1_HAS_PARENT;
	struct open_span *at;

	if (!c->place)
		c->place = (__sync_fetch_and_add(&places_given, 1) * PLACE_STRIDE & (CONTEXT_PLACES - 1)) + 1;
	at = context_place(c->place - 1);
	if (!at)
		return;
	at->header_trace[0] = header ? m->parent_trace[0] : 0;
	at->header_trace[1] = header ? m->parent_trace[1] : 0;
	at->header_span = header ? m->parent_span : 0;
	at->span = x->span;
}

static __always_inline void context_close(const struct conn *c, const struct exchange *x)
{
	struct open_span *at = context_place(c->place - 1);

	if (at && at->span == x->span)
		at->span = 0;
}

/* Decides ids and parent of a request whose head is known; publishes what others may ask for. */
VERIFIED_ALONE int exchange_open(struct conn *c, struct scratch *s, struct exchange *x,
				 const struct http1 *m)
{
	if (!c || !s || !x)
		return 0;
	x->span = id_new(c);
	x->flags |= EX_OPEN;
	if (c->role == ROLE_SERVER) {
		server_parent(c, s, x, m);
		context_open(c, x, m);
		if (loads_count(s))
			load_add(x, load_name(s, 0));
	} else {
		loops_notice(s);
		client_parent(c, s, x, m);
		link_publish(c, x);
		option_publish(c, s, x);
		header_publish(c, s, x, m);
		if (x->flags & EX_LOCAL && loads_count(s))
			load_add(x, load_name(s, load_dest(s)));
	}
	return 0;
}

/* Takes back what exchange_open published. */
static __always_inline void exchange_close(struct conn *c, struct exchange *x, int aborted)
{
	if (!(x->flags & EX_OPEN))
		return;
	load_drop(x);
	if (c->role == ROLE_SERVER)
		context_close(c, x);
	else if (aborted)
		link_bequeath(c, x);
	else
		link_withdraw(c, x);
}

/* The program has just read from this connection: now it works for … */
static __always_inline void executor_follow(struct event *e, const struct exchange *x)
{
	struct ctx to = { { x->trace[0], x->trace[1] }, x->span, e->c->place - 1,
			  x->flags & EX_QUIET };

	if (!(x->flags & EX_OPEN))
		return;
	if (e->c->role == ROLE_SERVER) {
		executor_set(e->s, &to);
	} else if (x->flags & EX_LOCAL) {
		to.span = x->parent;
		to.place = x->place;
		executor_return(e->s, e->c, &to);
	}
}

#endif

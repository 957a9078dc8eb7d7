/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* emit.h - everything that goes to the agent: fills a record, sends it, or counts the loss. A record
 * does not wake the agent (a wake-up costs more than all the rest) unless a good part of the ring is
 * full; the agent looks by itself several times a second. */
#ifndef WIRESPAN_EMIT_H
#define WIRESPAN_EMIT_H

#include "kern/context.h"

enum { AF_INET_ = 2, AF_INET6_ = 10, SOCK_DONE_ = 1 << 1 };

/* Asking how full the ring is costs a shared cache line: one span in eight asks. */
static __always_inline __u64 ring_flags(__u64 random)
{
	__u64 waiting;

	if (random & 7)
		return BPF_RB_NO_WAKEUP;
	waiting = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	if (waiting >= ring_tight_bytes)
		ring_tight = 1;
	return waiting >= ring_wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline int ring_is_tight(void)
{
	if (!*(volatile __u32 *)&ring_tight)
		return 0;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < ring_tight_bytes)
		ring_tight = 0;
	return ring_tight;
}

static __always_inline void head_fill(struct rec_head *h, __u8 type, __u32 len, __u32 key)
{
	h->type = type;
	h->version = RECORD_VERSION;
	h->len = len;
	h->key = key;
}

static __always_inline void addr_map_v4(__u8 *to, __u32 v4)
{
	__u32 *w = (__u32 *)to;

	w[0] = w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = v4;
}

/* Written when a run begins: only there is it known to be a socket, whose members cost a load. */
static __always_inline void span_addresses(struct rec_span *r, struct sock *sk)
{
	r->local_port = sk->__sk_common.skc_num;
	if (!r->local_port) /* it is closed already */
		r->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	r->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET6_) {
		BPF_CORE_READ_INTO(&r->local_addr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&r->remote_addr, sk, __sk_common.skc_v6_daddr);
		return;
	}
	addr_map_v4(r->local_addr, sk->__sk_common.skc_rcv_saddr);
	addr_map_v4(r->remote_addr, sk->__sk_common.skc_daddr);
}

static __always_inline __u16 span_flags(const struct exchange *x, __u32 flags)
{
	if (x->flags & EX_CUT)
		flags |= SPAN_CUT;
	if (x->flags & EX_FORWARDED)
		flags |= SPAN_FORWARDED;
	if (x->flags & EX_AGENT_FIRST)
		flags |= SPAN_AGENT_FIRST;
	if (x->flags & EX_ROWS)
		flags |= SPAN_ROWS;
	if (x->how == PARENT_HEADER || x->how == PARENT_TCP_OPTION)
		flags |= SPAN_PARENT_REMOTE;
	if (x->stmt)
		flags |= SPAN_STMT;
	if (!x->first_ns)
		flags |= SPAN_NOT_RESPONSE;
	return flags;
}

static __always_inline void span_fill(struct rec_span *r, const struct conn *c,
				      const struct scratch *s, const struct exchange *x)
{
	r->start_ns = x->start_ns;
	r->first_ns = x->first_ns;
	r->end_ns = s->now;
	r->trace_id[0] = x->trace[0];
	r->trace_id[1] = x->trace[1];
	r->span_id = x->span;
	r->parent_id = x->how == PARENT_NONE ? 0 : x->parent;
	r->left_span = x->how == PARENT_NONE && x->parent == c->born.span ? x->parent : 0;
	r->left_trace[0] = r->left_span ? c->born.trace[0] : 0;
	r->left_trace[1] = r->left_span ? c->born.trace[1] : 0;
	r->proc_start_ns = s->proc.start_ns;
	r->pid = s->proc.pid;
	r->conn = c->id;
	r->stmt = x->stmt;
	r->rows = x->rows;
	r->status = x->status;
	r->proto = c->proto;
	r->role = c->role;
	r->parent = x->how;
	r->op = x->op;
	__builtin_memcpy(r->sqlstate, x->sqlstate, sizeof(r->sqlstate));
	r->sqlstate[5] = 0;
	__builtin_memcpy(r->text_len, x->text_len, sizeof(r->text_len));
}

/* Sequence number up to which the program has read. A FIN takes a number too. */
static __always_inline __u32 received_upto(unsigned long sock_flags, struct tcp_sock *tp)
{
	__u32 end = BPF_CORE_READ(tp, copied_seq);

	if (sock_flags & SOCK_DONE_ && end == BPF_CORE_READ(tp, rcv_nxt))
		end--;
	return end;
}

/* Bytes behind d->pos that the program has read and no hook has seen: by splice. A socket that is closed with
 * a reset forgets how far it was read. */
static __always_inline __s32 received_unseen(const struct dir_state *d, unsigned long sock_flags, struct tcp_sock *tp)
{
	__s32 k = received_upto(sock_flags, tp) - d->pos;

	return k > 0 && BPF_CORE_READ(tp, bytes_received) ? k : 0;
}

/* Bytes of a body that is under way: of a send that was seen the socket may have taken a part only,
 * and what a program took by splice was not seen at all. */
static __noinline __u64 body_moved(const struct conn *c, struct sock *sk, __u64 dir)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	const struct dir_state *d = &c->dir[dir];
	const struct http1 *m = &d->http;
	__u64 most = m->state == H1_UNTIL_CLOSE ? ~0ull : m->left;
	__u32 unseen;
	__s32 k;

	if (c->flags & CONN_UNIX)
		return m->body;
	if (m->state != H1_BODY && m->state != H1_CHUNK_DATA && m->state != H1_UNTIL_CLOSE)
		return m->body;
	if (dir == TX) {
		k = d->pos - BPF_CORE_READ(tp, write_seq);
		return m->body - (k <= 0 ? 0 : (__u32)k < m->body ? (__u32)k : m->body);
	}
	unseen = received_unseen(d, BPF_CORE_READ(sk, __sk_common.skc_flags), tp);
	return m->body + (unseen < most ? unseen : most);
}

/* HTTP: bodies, to the byte. A request whose end was not seen yet counts what has been. */
static __always_inline void span_sizes(struct rec_span *r, const struct conn *c, struct sock *sk,
				       const struct exchange *x)
{
	__u64 request = c->role == ROLE_CLIENT ? TX : RX;

	r->req_bytes = r->resp_bytes = 0;
	if (c->proto != PROTO_HTTP1)
		return;
	r->req_bytes = x->flags & EX_REQ_DONE ? x->req_bytes : body_moved(c, sk, request);
	if (x->first_ns)
		r->resp_bytes = body_moved(c, sk, request == TX ? RX : TX);
}

/* Failed or slow: kept when others are not. */
static __always_inline int span_matters(const struct exchange *x, __u64 now, __u32 flags)
{
	return x->status >= 500 || x->sqlstate[0] || flags & SPAN_ABORTED ||
	       now - x->start_ns >= slow_ns;
}

/* Does this span go to the agent? */
static __always_inline int span_wanted(const struct exchange *x, __u64 now, __u32 flags)
{
	int matters = span_matters(x, now, flags);

	if (x->flags & EX_IGNORED || (x->flags & EX_UNSAMPLED && !matters)) {
		__sync_fetch_and_add(&dropped_cnt, 1);
		return 0;
	}
	if (matters || !ring_is_tight())
		return 1;
	lost(LOST_RING_SPAN);
	return 0;
}

/* PostgreSQL: the rows of an answer that was cut off, which nobody has taken yet. */
static __always_inline void span_rows(struct rec_span *r, struct conn *c)
{
	struct pgsql *resp = c->role == ROLE_CLIENT ? &c->dir[RX].pg : &c->dir[TX].pg;

	if (c->proto != PROTO_PGSQL || !(r->flags & SPAN_ABORTED) || !resp->rows)
		return;
	r->rows += resp->rows;
	r->flags |= SPAN_ROWS;
	resp->rows = 0;
}

static __always_inline void span_emit(struct conn *c, struct scratch *s, const struct slot *slot,
				      __u32 flags)
{
	struct rec_span *r = &s->span;
	__u32 text = slot->x.text_used, len;

	if (!span_wanted(&slot->x, s->now, flags))
		return;
	if (text > TEXT_MAX)
		text = TEXT_MAX;
	barrier_var(text);
	if (text && text <= TEXT_MAX)
		bpf_probe_read_kernel(r->text, text, slot->text);
	span_fill(r, c, s, &slot->x);
	span_sizes(r, c, s->sk, &slot->x);
	r->flags = span_flags(&slot->x, flags);
	span_rows(r, c);
	len = __builtin_offsetof(struct rec_span, text) + text;
	head_fill(&r->head, REC_SPAN, len, s->key);
	barrier_var(len);
	if (len > sizeof(*r))
		return;
	if (bpf_ringbuf_output(&ring, r, len, ring_flags(slot->x.span)))
		lost(LOST_RING_SPAN);
}

/* Sent once, and needed for as long as the connection lives: the database's name, and the text of a named
 * statement. These may take half of what is kept for errors and slow exchanges; other texts come again. */
static __always_inline int stmt_has_room(__u64 stmt)
{
	if (stmt != STMT_DATABASE && !(stmt & NAME_HASHED))
		return !ring_is_tight();
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < ring_lasting_bytes;
}

/* A piece of SQL text, or the database's name: w->from..w->to. 0, or -1 when the agent did not get it. */
static __noinline int stmt_emit(struct event *e, __u64 stmt, __u32 off, __u32 total)
{
	struct rec_stmt *r = &e->s->stmt;
	__u32 from = e->s->w.from, n = e->s->w.to - from, len;

	if (off + n > STMT_TEXT_MAX)
		n = off < STMT_TEXT_MAX ? STMT_TEXT_MAX - off : 0;
	barrier_var(n);
	if (n > STMT_CHUNK)
		n = STMT_CHUNK;
	if (n && bpf_probe_read_kernel(r->text, n, &e->s->w.b[from & (WINDOW - 1)]))
		return -1;
	r->conn = e->c->id;
	r->stmt = stmt;
	r->off = off;
	r->total = total;
	len = __builtin_offsetof(struct rec_stmt, text) + n;
	head_fill(&r->head, REC_STMT, len, e->s->key);
	if (!stmt_has_room(stmt) || bpf_ringbuf_output(&ring, r, len, BPF_RB_NO_WAKEUP)) {
		lost(LOST_RING_STMT);
		return -1;
	}
	return 0;
}

#endif

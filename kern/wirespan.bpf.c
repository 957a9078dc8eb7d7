// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* wirespan.bpf.c - the hooks, each a few lines: find out whether the process is tracked, get the
 * connection and working memory, say where the chunk is, feed it. Two verbs see all traffic:
 *   conn_sends     under the socket lock, before the bytes leave. The request is parsed here, so its
 *                  link is published before anyone can read it; there is no hook after the send.
 *                  A send that takes only a part is followed by one that begins where it stopped:
 *                  bytes are known by their sequence numbers, so nothing is parsed twice.
 *   conn_received  after the bytes were copied to the program.
 * A Unix-domain socket has no hook before the send; conn_sent sees its bytes when they have left.
 * Each has providers in order of preference (agent/load.c chooses); the rest keeps track of processes
 * and of the ends of connections. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kern/feed.h"
#include "kern/headers.h"
#include "kern/preempt.h"
#include "kern/run.h"
#include "kern/unix.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { IPPROTO_TCP_ = 6, IPPROTO_MPTCP_ = 262, MSG_ERRQUEUE_ = 0x2000, MSG_PEEK_ = 2, MSG_TRUNC_ = 0x20, MSG_OOB_ = 1 };

/* --- the two verbs --- */

/* Before a server answers, or a client asks again: what it has taken of a body by splice, which no hook of
 * ours sees. Only bytes that the parser need not see: the hook of a read that is under way may still
 * bring them. */
static __always_inline void conn_taken(const struct event *e, struct tcp_sock *tp)
{
	struct event rx = { .sk = e->sk, .c = e->c, .d = &e->c->dir[RX], .s = e->s, .dir = RX };
	struct dir_state *d = rx.d;
	__s32 k;

	if (e->c->proto != PROTO_HTTP1 || tp->copied_seq == d->pos)
		return;
	if (!d->pos_known || !http1_skippable(&d->http) || !dir_enter(d))
		return;
	k = received_unseen(d, e->sk->__sk_common.skc_flags, tp);
	if (k && (__u32)k <= http1_skippable(&d->http)) {
		if (http1_skip(&d->http, k) == H1_MSG_END)
			http1_mark(&rx, &d->http, H1_MSG_END);
		d->pos += k;
	}
	dir_leave(d);
}

enum { SEND_STEP_MAX = 64 * 1024 };

enum send_how {
	SEND_STEP, /* the hook runs again for the rest of a long send: 64 KiB at a time */
	SEND_ALL,  /* it runs once for the whole of it */
	SEND_PAGE, /* whole pages are sent, and nobody says what is in them */
	SEND_AHEAD, /* once, before the kernel copies it and lets put_header see the copy */
};

/* The socket's storage is reached from the hook alone: what is in it comes and goes by way of scratch. The
 * first request to wait must be alone: what is on its way may be from before the connection kept room. */
static __always_inline void options_leave(struct event *e, const struct tcp_sock *tp)
{
	struct request_link *l, *now = &e->s->leaving;

	if (!tcp_option_on || !now->span)
		return;
	l = bpf_sk_storage_get(&leaving, e->sk, 0, tp->write_seq == tp->snd_una ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!l || (l->span && !l->written))
		lost(LOST_TCP_OPTION);
	if (l)
		*l = *now;
	now->span = 0;
}

static __always_inline void options_arrive(struct event *e)
{
	struct arrived_links *a;

	if (!tcp_option_on)
		return;
	a = e->c->role == ROLE_CLIENT ? NULL : bpf_sk_storage_get(&arrived, e->sk, 0, 0);
	if (a)
		e->s->arrived = *a;
	else
		__builtin_memset(&e->s->arrived, 0, sizeof(e->s->arrived));
}

/* TCP Fast Open: the kernel has yet to send the SYN, with these bytes in it, and they have no places. */
static __always_inline int goes_with_syn(const struct sock *sk, const struct tcp_sock *tp)
{
	__u8 state = sk->__sk_common.skc_state;

	return state == BPF_TCP_CLOSE || (state == BPF_TCP_SYN_SENT && tp->snd_una + 1 != tp->write_seq);
}

/* how is a constant: each program has in it only what it needs. size: of SEND_PAGE. */
static __always_inline void conn_sends(struct sock *sk, const struct msghdr *msg, __u32 size,
				       enum send_how how, struct caller *by)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct conn *c = tp ? conn_get(sk, by->c) : NULL;
	struct event e = { .sk = sk, .c = c, .dir = TX };
	__u32 pos;

	if (!c || c->flags & CONN_SILENT || (how == SEND_ALL && goes_with_syn(sk, tp)))
		return;
	if (event_begin(&e, by->p, by->key))
		return;
	conn_remember(c, by);
	conn_identify(c, e.s, tp);
	conn_taken(&e, tp);
	e.s->header.opened = e.s->header.began = 0;
	pos = tp->write_seq;
	if (how == SEND_AHEAD)
		headers_again(&e, pos);
	if (how != SEND_PAGE) {
		chunk_sending(e.s, msg, how == SEND_STEP ? SEND_STEP_MAX : 1 << 30);
		feed(&e, pos);
	} else {
		chunk_clear(e.s);
		e.s->len = size;
		feed_unseen(&e, pos);
	}
	options_leave(&e, tp);
	headers_leave(&e, pos, how == SEND_AHEAD);
	event_end(&e);
}

/* A Unix-domain socket has taken n bytes. */
static __always_inline void conn_sent(struct sock *sk, int n, struct caller *by)
{
	struct conn *c = conn_get(sk, by->c);
	struct event e = { .sk = sk, .c = c, .dir = TX };

	if (!c || c->flags & CONN_SILENT)
		return;
	twin_tell(&c->dir[TX], by->which);
	if (event_begin(&e, by->p, by->key)) {
		unix_missed(&c->dir[TX], n);
		return;
	}
	conn_remember(c, by);
	unix_identify(c, sk);
	e.s->len = n;
	chunk_done(e.s, n);
	feed(&e, unix_pos(e.d));
	event_end(&e);
}

/* The program may have taken bytes in a way that no hook sees: by splice. */
static __always_inline void conn_catch_up(struct event *e, struct tcp_sock *tp)
{
	__s32 k = received_unseen(e->d, e->sk->__sk_common.skc_flags, tp);

	if (!e->d->pos_known || !k)
		return;
	conn_unseen(e, k);
	e->d->pos += k;
}

/* End of stream. For a client, what has not been answered by now never will be. */
static __always_inline void conn_ended(struct event *e)
{
	if (e->c->proto == PROTO_HTTP1)
		http1_ended(e, &e->d->http);
	if (e->c->role == ROLE_CLIENT)
		queue_abort(e);
}

/* The program has read from this connection: its executor now works for the exchange at the head. A
 * server that has read several requests at once may work for any of them: for none that we know. */
static __noinline int conn_follow(struct event *e)
{
	struct conn *c = e->c;
	struct ctx unknown = {};
	struct slot *slot;

	if (conn_is_idle(c))
		return 0;
	if (c->role == ROLE_SERVER && c->tail - c->head > 1)
		return executor_set(e->s, &unknown);
	slot = c->role == ROLE_CLIENT ? slot_head(c) : slot_find(c, c->head);
	if (slot)
		executor_follow(e, &slot->x);
	return 0;
}

static __always_inline int sock_at_end(const struct sock *sk, const struct tcp_sock *tp)
{
	return tp ? sk->__sk_common.skc_flags & SOCK_DONE_ : sk->sk_shutdown & RCV_SHUTDOWN_;
}

/* tp: NULL for a Unix-domain socket. */
static __always_inline void conn_read(struct event *e, struct tcp_sock *tp, int n, int flags)
{
	struct conn *c = e->c;

	if (n <= 0) {
		if (!sock_at_end(e->sk, tp)) /* just a read of nothing */
			return;
		if (tp)
			conn_catch_up(e, tp);
		conn_ended(e);
		return;
	}
	if (tp)
		conn_identify(c, e->s, tp);
	else
		unix_identify(c, e->sk);
	if (c->role == ROLE_CLIENT)
		conn_follow(e); /* before the response's end takes the exchange away */
	e->s->len = n;
	if (flags & MSG_TRUNC_)
		chunk_clear(e->s); /* thrown away, not copied */
	else
		chunk_done(e->s, n);
	feed(e, tp ? received_upto(e->sk->__sk_common.skc_flags, tp) - n : unix_pos(e->d));
	if (c->role == ROLE_SERVER)
		conn_follow(e);
}

static __always_inline void conn_received(struct sock *sk, int n, int flags, struct caller *by)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct conn *c = conn_get(sk, by->c);
	struct event e = { .sk = sk, .c = c, .dir = RX };

	if (!c || c->flags & CONN_SILENT)
		return;
	twin_tell(&c->dir[RX], by->which);
	if (!dir_enter(&c->dir[RX]) && !dir_wait(&c->dir[RX])) {
		lost(LOST_CONCURRENT);
		unix_missed(&c->dir[RX], n);
		return;
	}
	if (!event_begin(&e, by->p, by->key)) {
		conn_remember(c, by);
		options_arrive(&e);
		conn_read(&e, tp, n, flags);
		event_end(&e);
	} else {
		unix_missed(&c->dir[RX], n);
	}
	dir_leave(&c->dir[RX]);
}

/* --- providers --- */

static __always_inline int on_send(struct sock *sk, const struct msghdr *msg, __u32 size,
				   enum send_how how, enum which which)
{
	struct caller by;

	if (!caller_tracked(&by, sk, which))
		return 0;
	if (which == TWIN && by.c && twin_sends(by.c, sk, msg, SEND_STEP_MAX))
		return 0;
	conn_sends(sk, msg, size, how, &by);
	return 0;
}

/* A socket of another kind is counted, once. */
static __always_inline int on_other(struct sock *sk, __u16 proto)
{
	struct conn *c;

	if (proto != IPPROTO_MPTCP_)
		return 0;
	c = conn_get(sk, NULL);
	if (c && !(c->flags & CONN_SILENT))
		undecoded(c, UNDECODED_MPTCP);
	return 0;
}

static __always_inline int on_receive(struct sock *sk, int n, int flags, enum which which)
{
	__u16 family = sk->__sk_common.skc_family;
	struct caller by;

	if (n < 0 || flags & (MSG_PEEK_ | MSG_ERRQUEUE_ | MSG_OOB_))
		return 0;
	if (family != AF_INET_ && family != AF_INET6_ && !sock_is_unix_stream(sk))
		return 0;
	if (!caller_tracked(&by, sk, which))
		return 0;
	if (which == TWIN && by.c && twin_received(by.c, sk, n))
		return 0;
	if (!(by.p->flags & PROC_GO))
		thread_reads(n);
	if (family == AF_UNIX_ && !unix_on) {
		unix_notice(n);
		return 0;
	}
	if (family != AF_UNIX_ && sk->sk_protocol != IPPROTO_TCP_)
		return on_other(sk, sk->sk_protocol);
	conn_received(sk, n, flags, &by);
	return 0;
}

SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(send_tp, const struct sock *sk, const struct msghdr *msg)
{
	return AT_TRACEPOINT(on_send((struct sock *)sk, msg, 0, SEND_STEP, FIRST));
}

SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(send_tp_twin, const struct sock *sk, const struct msghdr *msg)
{
	return AT_TRACEPOINT(on_send((struct sock *)sk, msg, 0, SEND_STEP, TWIN));
}

SEC("?fentry/tcp_sendmsg_locked")
int BPF_PROG(send_fentry, struct sock *sk, struct msghdr *msg)
{
	return AT_FUNCTION(on_send(sk, msg, 0, SEND_ALL, FIRST));
}

/* A socket of `headed`: its messages come by here, and then as pages that are passed over, having been seen.
 * Its lock is not held yet; threads that write to one connection at the same time are none that speak
 * HTTP/1. */
SEC("?fentry/tcp_bpf_sendmsg")
int BPF_PROG(send_headed, struct sock *sk, struct msghdr *msg)
{
	return headers_on ? AT_FUNCTION(on_send(sk, msg, 0, SEND_AHEAD, FIRST)) : 0;
}

/* Until 6.5 the pages of sendfile and splice went around tcp_sendmsg_locked. */
SEC("?fentry/do_tcp_sendpages")
int BPF_PROG(send_pages_fentry, struct sock *sk, void *page, int offset, size_t size)
{
	return AT_FUNCTION(on_send(sk, NULL, (__u32)size, SEND_PAGE, FIRST));
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(receive_tp, struct sock *sk, int ret, int flags)
{
	return AT_TRACEPOINT(on_receive(sk, ret, flags, FIRST));
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(receive_tp_twin, struct sock *sk, int ret, int flags)
{
	return AT_TRACEPOINT(on_receive(sk, ret, flags, TWIN));
}

static __always_inline int on_sent(struct sock *sk, int n, enum which which)
{
	struct caller by;

	if (!sock_is_unix_stream(sk) || n <= 0 || !caller_tracked(&by, sk, which))
		return 0;
	if (which == TWIN && by.c && twin_is_told(by.c, TX))
		return 0;
	conn_sent(sk, n, &by);
	return 0;
}

SEC("?tp_btf/sock_send_length")
int BPF_PROG(send_unix_tp, struct sock *sk, int ret, int flags)
{
	return AT_TRACEPOINT(on_sent(sk, ret, FIRST));
}

SEC("?tp_btf/sock_send_length")
int BPF_PROG(send_unix_tp_twin, struct sock *sk, int ret, int flags)
{
	return AT_TRACEPOINT(on_sent(sk, ret, TWIN));
}

SEC("?fexit/unix_stream_sendmsg")
int BPF_PROG(send_unix_fexit, struct socket *sock, struct msghdr *msg, size_t len)
{
	__u64 ret = 0;

	if (bpf_get_func_ret(ctx, &ret) || !sock->sk)
		return 0;
	return AT_FUNCTION(on_sent(sock->sk, (int)ret, FIRST));
}

SEC("?fexit/unix_stream_recvmsg")
int BPF_PROG(receive_unix_fexit, struct socket *sock, struct msghdr *msg, size_t len, int flags)
{
	__u64 ret = 0;

	if (bpf_get_func_ret(ctx, &ret) || !sock->sk)
		return 0;
	return AT_FUNCTION(on_receive(sock->sk, (int)ret, flags, FIRST));
}

/* Nothing behind flags is named: 7.2 dropped an argument. */
SEC("?fexit/tcp_recvmsg")
int BPF_PROG(receive_fexit, struct sock *sk, struct msghdr *msg, size_t len, int flags)
{
	__u64 ret = 0;

	if (bpf_get_func_ret(ctx, &ret))
		return 0;
	return AT_FUNCTION(on_receive(sk, (int)ret, flags, FIRST));
}

/* Where no hook sees what all kinds of sockets receive. */
SEC("?fexit/mptcp_recvmsg")
int BPF_PROG(receive_mptcp_fexit, struct sock *sk)
{
	return proc_tracked(current_key()) ? on_other(sk, IPPROTO_MPTCP_) : 0;
}

/* --- the life of sockets --- */

/* What the program took by splice, and then it closed. */
static __always_inline void conn_read_last(struct event *e)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(e->sk);
	struct dir_state *d = &e->c->dir[RX];

	if (!tp || !dir_enter(d))
		return;
	e->d = d;
	e->dir = RX;
	conn_catch_up(e, tp);
	dir_leave(d);
}

/* Nothing more will be sent, or (closed) read either. */
static __always_inline void conn_finish(struct event *e, int closed)
{
	struct conn *c = e->c;

	if (c->proto == PROTO_HTTP1 && c->role == ROLE_SERVER)
		http1_ended(e, &c->dir[TX].http);
	if (c->role == ROLE_CLIENT && closed)
		conn_read_last(e);
	if (c->role == ROLE_SERVER || closed)
		queue_abort(e);
}

/* The socket is closing. May run in softirq, so in a scratch slot of its own. */
static __always_inline void conn_closing(struct sock *sk, struct conn *c, int closed)
{
	struct event e = { .sk = sk, .c = c, .dir = TX };
	__u32 key = c->key;
	struct proc *p;

	if (conn_is_idle(c))
		return;
	p = proc_tracked(key);
	if (p && !event_begin(&e, p, key)) {
		conn_finish(&e, closed);
		event_end(&e);
	} else if (closed) {
		queue_drop(&e); /* its process is gone; so shall be what the maps hold of it */
	}
}

/* Nothing will come of it any more. */
static __always_inline void conn_over(struct sock *sk, struct conn *c)
{
	link_leave(c);
	slot_forget(c);
	conn_closing(sk, c, 1);
}

/* connect(AF_UNSPEC) has ended a connection, and connect() begins another one with the same socket. */
static __always_inline void conn_renew(struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (!c)
		return;
	conn_over(sk, c);
	__builtin_memset(c, 0, sizeof(*c));
}

/* connect(): remembers whose work it is, for an event loop that writes later. */
static __always_inline void conn_opening(struct sock *sk)
{
	__u32 key = current_key();
	struct proc *p = proc_tracked(key);
	struct scratch *s;
	struct conn *c;
	struct ctx *x;

	conn_renew(sk);
	c = p ? conn_get(sk, NULL) : NULL;
	if (!c)
		return;
	c->flags |= CONN_OPENER | CONN_YOUNG;
	c->flags &= ~CONN_GUESSED;
	s = scratch_claim();
	if (!s)
		return;
	s->proc = *p;
	s->key = key;
	x = executor_find(s);
	if (x)
		c->born = *x;
	scratch_release(s);
}

/* Has the parser seen all that ever came? A read may be about to bring it what was copied already. */
static __always_inline int conn_is_read(const struct conn *c, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	const struct dir_state *d = &c->dir[RX];

	if (!tp || tp->copied_seq != tp->rcv_nxt)
		return 0;
	if (!d->pos_known)
		return !tp->bytes_received;
	return d->pos == received_upto(sk->__sk_common.skc_flags, tp);
}

static __always_inline void proc_listens(struct sock *sk);

static __always_inline int on_state(struct sock *sk, int state)
{
	struct conn *c;

	if (sk->sk_protocol != IPPROTO_TCP_ && sk->sk_protocol != IPPROTO_MPTCP_)
		return 0;
	if (state == BPF_TCP_SYN_SENT && sk->sk_protocol == IPPROTO_TCP_) {
		conn_opening(sk);
	} else if (state == BPF_TCP_LISTEN) {
		proc_listens(sk);
	} else if (state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSE) {
		c = bpf_sk_storage_get(&conns, sk, 0, 0);
		if (c)
			conn_closing(sk, c, state == BPF_TCP_CLOSE && conn_is_read(c, sk));
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_state, struct sock *sk, int old, int state)
{
	return AT_TRACEPOINT(on_state(sk, state));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_state_twin, struct sock *sk, int old, int state)
{
	return AT_TRACEPOINT(on_state(sk, state));
}

/* The program has let go of it. What came before a reset or the last FIN waited for it until now. */
static __always_inline int on_destroy(struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (c)
		conn_over(sk, c);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(sock_destroyed, struct sock *sk)
{
	return AT_TRACEPOINT(on_destroy(sk));
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(sock_destroyed_twin, struct sock *sk)
{
	return AT_TRACEPOINT(on_destroy(sk));
}

#include "kern/handover.h"
#ifdef __bpf__ /* not on the host, which has no segments: tests/live/test_nodes.py */
#include "kern/tcp_option.h"
#endif
#include "kern/track.h"

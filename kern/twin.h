/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* twin.h - the second program on a hook. While a program runs, the kernel passes over the same one for
 * whoever comes on that CPU, so what a program has not done, its twin does; to be lost, an event must find both
 * of them held. Two things hold one:
 *   - A softirq in the middle of a system call closes or destroys a connection of somebody else. It finds one
 *     of the two held, never both; so the hooks of connections' states have twins on every kernel.
 *   - A task loses its CPU in the few instructions that kern/preempt.h leaves, where the kernel preempts
 *     programs on tracepoints: it took one send or receive in 300 on busy CPUs. These have twins there.
 * What must survive an edit: all that a program does must bear to be done twice, but not seeing bytes. That the
 * first has seen bytes of TCP, the sequence numbers say; a Unix-domain socket has none, so there it leaves a
 * mark, for the twin of the same call. (A twin that was itself passed over leaves it standing: when the first one
 * misses the very next call, so does the twin, and nobody counts it.) */
#ifndef WIRESPAN_TWIN_H
#define WIRESPAN_TWIN_H

#include "kern/feed.h"

enum which { FIRST, TWIN }; /* a constant of each program */

/* The first one has the bytes that a Unix-domain socket has just taken or given. */
static __always_inline void twin_tell(struct dir_state *d, enum which which)
{
	if (tracepoints_preempt && which == FIRST)
		d->told = 1;
}

/* Once. */
static __always_inline int twin_is_told(struct conn *c, int dir)
{
	struct dir_state *d = &c->dir[dir];
	int is_told = d->told;

	d->told = 0;
	return is_told;
}

/* Has it seen what is about to be sent? most: as chunk_sending has it. */
static __always_inline int twin_sends(const struct conn *c, struct sock *sk, const struct msghdr *msg, __u32 most)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u64 n = msg->msg_iter.count;

	if (!tp || !c->dir[TX].pos_known)
		return 0;
	return (__s32)(c->dir[TX].pos - tp->write_seq) >= (__s32)(n < most ? n : most);
}

/* … what was received? The end of a stream has no bytes. */
static __always_inline int twin_received(struct conn *c, struct sock *sk, int n)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct dir_state *d = &c->dir[RX];

	if (!tp)
		return twin_is_told(c, RX);
	return n > 0 && d->pos_known && (__s32)(d->pos - received_upto(sk->__sk_common.skc_flags, tp)) >= 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* unix.h - Unix-domain stream sockets: the same parsers and the same spans, on sockets that have no
 * sequence numbers and no hook before the send. Positions are bytes counted since we first saw the
 * socket; a connection is named by its two sockets' cookies. When the receiver's hook ran before the
 * sender's, or counting began in the middle, the two ends do not find each other: two traces, never
 * a wrong one. The sending hook costs a run for every send of the machine, so the agent attaches it
 * when a traced program is seen to speak a protocol of ours over such a socket. */
#ifndef WIRESPAN_UNIX_H
#define WIRESPAN_UNIX_H

#include "kern/feed.h"

enum { AF_UNIX_ = 1, SOCK_STREAM_ = 1, RCV_SHUTDOWN_ = 1 };

static __always_inline int sock_is_unix_stream(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_UNIX_ && sk->sk_type == SOCK_STREAM_;
}

/* Both ends see the same two cookies. */
static __always_inline void unix_identify(struct conn *c, struct sock *sk)
{
	struct unix_sock *u = bpf_skc_to_unix_sock(sk);
	struct sock *peer = u ? u->peer : NULL;

	c->flags |= CONN_UNIX;
	c->flags &= ~(CONN_OPENER | CONN_GUESSED);
	if (!c->isn && peer)
		c->isn = mix64(bpf_get_socket_cookie(sk)) + mix64(bpf_get_socket_cookie(peer));
}

/* Without sequence numbers it must be noted what no run saw; at a TCP socket nobody asks. */
static __always_inline void unix_missed(struct dir_state *d, __u32 n)
{
	__sync_fetch_and_add(&d->missed, n);
}

/* Where the bytes begin that the program has just sent or received. */
static __always_inline __u32 unix_pos(struct dir_state *d)
{
	return d->pos + __sync_lock_test_and_set(&d->missed, 0);
}

/* Is this the beginning of something that we could trace? Then the agent shall attach the other hook. */
static __always_inline void unix_notice(__u32 len)
{
	struct scratch *s;
	__u8 b[HELD_MAX] = {};
	int what;

	if (unix_seen)
		return;
	s = scratch_claim();
	if (!s)
		return;
	chunk_done(s, len);
	if (len > HELD_MAX)
		len = HELD_MAX;
	if (s->seg_left && len >= 8 && !bpf_probe_read_user(b, HELD_MAX, (void *)s->seg)) {
		what = sniff_bytes(b, len);
		if (what == SNIFF_HTTP1 || what == SNIFF_PGSQL || what == SNIFF_PGSQL_STARTUP)
			unix_seen = 1;
	}
	scratch_release(s);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* run.h - one run of a hook, from the question whose call it is to the working memory it is given: the
 * process, the connection, the scratch, and who may look at a direction. Used by wirespan.bpf.c alone. */
#ifndef WIRESPAN_RUN_H
#define WIRESPAN_RUN_H

#include "kern/twin.h"

static __always_inline __u32 current_key(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline struct proc *proc_tracked(__u32 key)
{
	struct proc *p = bpf_map_lookup_elem(&procs, &key);

	return p && p->flags & PROC_TRACKED ? p : NULL;
}

/* Whose call this is. A connection remembers its process: one lookup less for each of its messages. */
struct caller {
	struct conn *c; /* if there is one already */
	struct proc *p;
	__u32 key, gen;
	enum which which;
};

static __always_inline __u16 proc_check(__u32 key, const struct proc *p)
{
	return (__u16)(key ^ p->pid << 5 ^ p->start_ns >> 12);
}

static __always_inline int conn_knows(const struct conn *c, __u32 key, __u32 gen)
{
	return c && c->key == key && c->proc_gen == gen && c->proc_check == proc_check(key, &c->proc);
}

/* 1 when it is a tracked process. */
static __always_inline int caller_tracked(struct caller *by, struct sock *sk, enum which which)
{
	by->which = which;
	by->key = current_key();
	by->gen = *(volatile __u32 *)&procs_gen; /* before the lookup: a change in between shows */
	by->c = sk->sk_bpf_storage ? bpf_sk_storage_get(&conns, sk, 0, 0) : NULL;
	by->p = conn_knows(by->c, by->key, by->gen) ? &by->c->proc : proc_tracked(by->key);
	return by->p != NULL;
}

static __always_inline void conn_remember(struct conn *c, const struct caller *by)
{
	if (by->p == &c->proc)
		return;
	c->proc = *by->p;
	c->key = by->key;
	c->proc_gen = by->gen;
	c->proc_check = proc_check(by->key, by->p);
}

/* Was this old connection opened from this end? A port that connect() chose says so. */
static __always_inline int conn_looks_opened(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	return BPF_CORE_READ(icsk, icsk_bind_hash, fastreuse) == -1;
}

static __always_inline struct conn *conn_get(struct sock *sk, struct conn *c)
{
	c = c ?: bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		lost(LOST_STORAGE_FULL);
		return NULL;
	}
	if (!c->id) {
		c->id = id_random();
		c->id_state = id_random();
		if (conn_looks_opened(sk))
			c->flags |= CONN_OPENER | CONN_GUESSED;
		if (port_is_in(ignore_ports, sk->__sk_common.skc_num) ||
		    port_is_in(ignore_ports, bpf_ntohs(sk->__sk_common.skc_dport)))
			c->flags |= CONN_SILENT;
	}
	return c;
}

/* A run for this connection begins: takes working memory and says whose it is. 0, or -1
 * when there is none. */
static __always_inline int event_begin(struct event *e, const struct proc *p, __u32 key)
{
	struct scratch *s = scratch_claim();

	if (!s)
		return -1;
	e->s = s;
	e->d = &e->c->dir[e->dir];
	s->proc = *p;
	s->key = key;
	s->sk = e->sk;
	s->now = bpf_ktime_get_boot_ns();
	span_addresses(&s->span, e->sk);
	return 0;
}

static __always_inline void event_end(struct event *e)
{
	scratch_release(e->s);
}

/* One run at a time looks at what is received. */
static __always_inline int dir_enter(struct dir_state *d)
{
	return !__sync_val_compare_and_swap(&d->busy, 0, 1);
}

static __always_inline void dir_leave(struct dir_state *d)
{
	__sync_lock_test_and_set(&d->busy, 0);
}

static long dir_try(__u32 i, void *arg)
{
	struct dir_wait *w = arg;

	w->entered = dir_enter(w->d);
	return w->entered;
}

/* The run in there is on another CPU, or it was preempted: it has some microseconds. */
static __noinline int dir_wait(struct dir_state *d)
{
	struct dir_wait w = { d, 0 };

	bpf_loop(DIR_TRIES, dir_try, &w, 0);
	return w.entered;
}

#endif

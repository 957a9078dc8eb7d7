/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* executor.h - who does the work, and what it works for. An executor is a thread; in a Go program a
 * goroutine; in a Python program that runs callbacks in context objects (asyncio), the family of the
 * context: all that descend from the one in which a connection was accepted. A thread that waits in
 * epoll runs a loop: each event begins with nothing known, and so does what follows when a timer may be
 * due. */
#ifndef WIRESPAN_EXECUTOR_H
#define WIRESPAN_EXECUTOR_H

#include "kern/maps.h"
#include "kern/task.h"

/* splitmix64's finisher; never 0. */
static __always_inline __u64 mix64(__u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	x ^= x >> 31;
	return x ? x : 1;
}

static __always_inline struct open_span *context_place(__u32 place)
{
	__u32 at = place & (CONTEXT_PLACES - 1);

	return bpf_map_lookup_elem(&contexts, &at);
}

static __always_inline int context_is_open(const struct ctx *x)
{
	struct open_span *open = context_place(x->place);

	return x->span && open && open->span == x->span;
}

/* --- goroutines --- */

/* The one that runs; 0: it cannot be told. */
static __always_inline __u64 goroutine(void)
{
	struct pt_regs *r = task_regs(bpf_get_current_task_btf());

	return r ? GOROUTINE(r) : 0;
}

/* Its name on this node. */
static __always_inline __u64 goroutine_name(const struct scratch *s, __u64 g)
{
	return g ? mix64(g ^ mix64(s->key)) : 0;
}

static __always_inline struct go_place *go_place(__u64 name, __u32 way)
{
	__u32 at = ((__u32)name & (GO_PLACES - 1)) ^ way;

	return bpf_map_lookup_elem(&goroutines, &at);
}

/* Tells a context that was written whole from one that two goroutines wrote at the same moment. */
static __always_inline __u64 go_check(__u64 name, const struct ctx *x)
{
	return mix64(name ^ x->span) ^ x->trace[0] ^ (x->trace[1] << 1) ^ x->place ^
	       (__u64)x->quiet << 32;
}

/* Nobody's, or of one whose work is over: that it is lost is no loss. */
static __always_inline int go_place_take(struct go_place *at, __u64 name)
{
	__u64 owner = at->owner;

	return (!owner || !context_is_open(&at->x)) &&
	       __sync_val_compare_and_swap(&at->owner, owner, name) == owner;
}

static __always_inline struct ctx *goroutine_find(struct scratch *s, __u64 g)
{
	__u64 name = goroutine_name(s, g);
	struct go_place *at;
	__u32 way;

	for (way = 0; way < GO_WAYS; way++) {
		at = go_place(name, way);
		if (!at || at->owner != name)
			continue;
		s->ctx = at->x;
		return go_check(name, &s->ctx) == at->check ? &s->ctx : NULL;
	}
	return NULL;
}

static __always_inline int go_place_set(struct go_place *at, __u64 name, const struct ctx *to)
{
	at->x = *to;
	at->check = go_check(name, to);
	return 0;
}

static __always_inline int goroutine_set(struct scratch *s, __u64 g, const struct ctx *to)
{
	__u64 name = goroutine_name(s, g);
	struct go_place *at;
	__u32 way;

	if (!name)
		return 0;
	for (way = 0; way < GO_WAYS; way++) {
		at = go_place(name, way);
		if (at && at->owner == name)
			return go_place_set(at, name, to);
	}
	for (way = 0; way < GO_WAYS; way++) {
		at = go_place(name, way);
		if (at && go_place_take(at, name))
			return go_place_set(at, name, to);
	}
	lost(LOST_EXECUTOR_FULL);
	return 0;
}

/* --- families of contexts --- */

static __always_inline struct family *family_place(__u32 family)
{
	__u32 at = family & (FAMILIES - 1);

	return bpf_map_lookup_elem(&families, &at);
}

static __always_inline __u32 family_new(void)
{
	return __sync_fetch_and_add(&families_given, 1) + 1 ?: 1;
}

/* Its place may have become another's: then nothing is known. */
static __always_inline struct ctx *family_find(struct scratch *s, __u32 family)
{
	struct family *at = family_place(family);

	if (!at || *(volatile __u32 *)&at->family != family)
		return NULL;
	s->ctx = at->x;
	return *(volatile __u32 *)&at->family == family ? &s->ctx : NULL;
}

static __always_inline void family_set(__u32 family, const struct ctx *to)
{
	struct family *at = family_place(family);

	if (!family || !at)
		return;
	*(volatile __u32 *)&at->family = 0;
	at->x = *to;
	*(volatile __u32 *)&at->family = family;
}

static __always_inline __u64 scope_name(__u32 key, __u64 object)
{
	return mix64(object ^ mix64(key));
}

/* Puts the context object with this name first in its set, and says what stood there for it: a check of the
 * name and its family; 0: nothing. One word each, so what another CPU writes meanwhile is whole. */
static __always_inline __u64 *scope_first(__u64 name)
{
	__u32 at = (__u32)name & (SCOPES - 1), way;
	struct scope_set *set = bpf_map_lookup_elem(&scopes, &at);
	__u64 is, moved;

	if (!set)
		return NULL;
	moved = *(volatile __u64 *)&set->way[0];
	if (moved >> 32 == name >> 32)
		return &set->way[0];
	for (way = 1; way < SCOPE_WAYS; way++) {
		is = *(volatile __u64 *)&set->way[way];
		*(volatile __u64 *)&set->way[way] = moved;
		moved = is;
		if (is >> 32 == name >> 32)
			break;
	}
	*(volatile __u64 *)&set->way[0] = moved >> 32 == name >> 32 ? moved : name >> 32 << 32;
	return &set->way[0];
}

static __always_inline __u32 scope_family(__u32 key, __u64 object)
{
	__u64 *at = scope_first(scope_name(key, object));

	return at ? (__u32) * (volatile __u64 *)at : 0;
}

static __always_inline void scope_set(__u32 key, __u64 object, __u32 family)
{
	__u64 name = scope_name(key, object), *at = scope_first(name);

	if (at)
		*(volatile __u64 *)at = name >> 32 << 32 | family;
}

/* --- threads --- */

static __always_inline struct thread *thread_find(void)
{
	return bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
}

static __always_inline struct thread *thread_get(void)
{
	struct thread *t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0,
						BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!t)
		lost(LOST_STORAGE_FULL);
	return t;
}

/* --- loops --- */

/* Nobody's work, until a socket says whose. */
static __always_inline void thread_clear(struct thread *t)
{
	t->x.span = 0;
	t->family = 0;
	t->read_from = 0;
	t->flags &= ~(THREAD_BORN | THREAD_HELPER);
}

/* A loop waits no longer than until its first timer is due; it reckoned that after its last turn had
 * begun. wait_ns: how long it would have waited; ~0: for ever. */
static __always_inline void thread_turn(struct thread *t, __u64 wait_ns, __u64 now)
{
	__u64 from = t->turn_ns ?: now;

	thread_clear(t);
	t->flags |= THREAD_LOOP;
	t->turn_ns = now;
	t->due_ns = wait_ns == ~0ull ? ~0ull : from + wait_ns - LOOP_SLACK_NS;
}

/* A loop reads from a socket: what it does next is that socket's work, if any that we know. */
static __always_inline void thread_reads(int n)
{
	struct thread *t = loops_on ? thread_find() : NULL;
	struct pt_regs *r;

	if (!t || (t->flags & (THREAD_LOOP | THREAD_SCOPED)) != THREAD_LOOP)
		return;
	thread_clear(t);
	r = n > 0 ? task_regs(bpf_get_current_task_btf()) : NULL;
	if (r && SYSCALL_NR(r) == NR_READ)
		t->flags |= THREAD_READ;
}

/* A read() is over: if it was not of a socket, nobody knows whose work is next. */
static __always_inline void thread_has_read(struct thread *t)
{
	if (t->flags & THREAD_READ)
		t->flags &= ~THREAD_READ;
	else if ((t->flags & (THREAD_LOOP | THREAD_SCOPED)) == THREAD_LOOP)
		thread_clear(t);
}

/* --- the executor --- */

static __always_inline struct ctx *thread_context(struct scratch *s, struct thread *t)
{
	if (t->flags & THREAD_SCOPED)
		return family_find(s, t->family);
	if (t->flags & THREAD_LOOP && t->due_ns != ~0ull && bpf_ktime_get_boot_ns() >= t->due_ns)
		return NULL; /* this may be the timer's work */
	return &t->x;
}

/* Its context; NULL when it has none. Good until the run asks again. */
static __always_inline struct ctx *executor_find(struct scratch *s)
{
	struct thread *t;

	if (s->proc.flags & PROC_GO)
		return goroutine_find(s, goroutine());
	t = thread_find();
	return t ? thread_context(s, t) : NULL;
}

/* It has read a request: from now on it works for that. */
static __noinline int executor_set(struct scratch *s, const struct ctx *to)
{
	struct thread *t;

	if (s->proc.flags & PROC_GO)
		return goroutine_set(s, goroutine(), to);
	t = thread_get();
	if (!t)
		return 0;
	if (t->flags & THREAD_SCOPED)
		family_set(t->family, to);
	t->x = *to;
	t->read_from = 0;
	t->flags &= ~(THREAD_BORN | THREAD_HELPER);
	return 0;
}

/* It has read a response on connection c to a call for …: it goes on with that. A family knows better,
 * and a helper goes on with whatever it is given next. */
static __noinline int executor_return(struct scratch *s, const struct conn *c, const struct ctx *to)
{
	struct thread *t;

	if (s->proc.flags & PROC_GO)
		return goroutine_set(s, goroutine(), to);
	t = thread_get();
	if (!t || t->flags & (THREAD_SCOPED | THREAD_HELPER))
		return 0;
	t->x = *to;
	t->read_from = c->id;
	return 0;
}

#endif

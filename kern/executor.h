/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* executor.h - who does the work, and what it works for. An executor is a thread; in a Go program a
 * goroutine; in a Python program that runs callbacks in context objects (asyncio), the family of the
 * context: all that descend from the one in which a connection was accepted. A thread that waits in
 * epoll runs a loop: each turn of it begins with nothing known. */
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

/* The family of a context object: one word, so that it is always whole. */
static __always_inline __u64 *scope_place(__u64 name)
{
	__u32 at = (__u32)name & (SCOPES - 1);

	return bpf_map_lookup_elem(&scopes, &at);
}

static __always_inline __u64 scope_name(__u32 key, __u64 object)
{
	return mix64(object ^ mix64(key));
}

static __always_inline __u32 scope_family(__u32 key, __u64 object)
{
	__u64 name = scope_name(key, object), *at = scope_place(name);
	__u64 is = at ? *(volatile __u64 *)at : 0;

	return is >> 32 == name >> 32 ? (__u32)is : 0;
}

static __always_inline void scope_set(__u32 key, __u64 object, __u32 family)
{
	__u64 name = scope_name(key, object), *at = scope_place(name);

	if (at && (family || *(volatile __u64 *)at >> 32 == name >> 32))
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

/* A new turn of the thread's loop. */
static __always_inline void thread_turn(struct thread *t)
{
	t->x.span = 0;
	t->family = 0;
	t->read_from = 0;
	t->flags = (t->flags & THREAD_SCOPED) | THREAD_LOOP;
}

/* --- the executor --- */

static __always_inline struct ctx *thread_context(struct scratch *s, struct thread *t)
{
	return t->flags & THREAD_SCOPED ? family_find(s, t->family) : &t->x;
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

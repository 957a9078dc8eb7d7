/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ids.h - ids of spans, traces and connections. */
#ifndef WIRESPAN_IDS_H
#define WIRESPAN_IDS_H

#include "kern/maps.h"

static __always_inline __u64 id_random(void)
{
	return mix64(((__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32()) ^ id_seed);
}

/* The next of a connection's own splitmix64 sequence, which began at random. */
static __always_inline __u64 id_new(struct conn *c)
{
	c->id_state += 0x9e3779b97f4a7c15ull;
	return mix64(c->id_state);
}

/* A trace's id begins with the time in steps of 17 ms, its first byte the highest: so traces of one time lie
 * side by side in the store's index. The rest is random. */
static __always_inline void trace_new(struct conn *c, struct exchange *x)
{
	x->trace[0] = id_new(c) >> 32 << 32 | bpf_htonl((__u32)((x->start_ns + boot_to_real_ns) >> 24));
	x->trace[1] = id_new(c);
}

#endif

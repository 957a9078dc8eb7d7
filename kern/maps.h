/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* maps.h - every map on one page: key, value, how long an entry lives, who writes, and what happens
 * when it is full. Storage maps are freed by the kernel with their socket or task; hashes are not,
 * so each names who deletes. Those that every request
 * writes to are allocated beforehand. No LRU: one drops fresh entries long before it is full. */
#ifndef WIRESPAN_MAPS_H
#define WIRESPAN_MAPS_H

#include "kern/conn.h"
#include "kern/record.h"

/* What a thread or goroutine is working for. */
struct ctx {
	__u64 trace[2];
	__u64 span; /* a server span; 0: nothing */
};

/* An open server span. Its being here is what makes a ctx that names it valid. */
struct open_span {
	__u64 header_trace[2]; /* the traceparent that its request brought; 0: none */
	__u64 header_span;
};

/* One end of a connection at one place of its stream, named alike at both ends. */
struct link_key {
	__u64 isn; /* the initial sequence numbers: the opener's << 32 | the acceptor's */
	__u32 pos; /* sequence number of the request's first byte */
	__u32 by_opener; /* who sent it */
};

struct spill_key {
	__u64 conn;
	__u64 serial;
};

struct go_key {
	__u64 g; /* the goroutine's descriptor */
	__u32 key; /* process */
	__u32 pad;
};

/* All state of a connection. Made at its first message, freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* The context of a thread. Freed with the task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ctx);
} threads SEC(".maps");

/* The context of a goroutine. Deleted by the goroutine that ends a response; the agent sweeps those
 * whose context is closed. Full: LOST_EXECUTOR_FULL, the next calls have no parent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct go_key);
	__type(value, struct ctx);
} goroutines SEC(".maps");

/* Open server spans by span id. From the request's head to the response's end or the socket's close.
 * Full: LOST_CONTEXT_FULL, calls made for that request have no parent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct open_span);
} contexts SEC(".maps");

/* Client spans whose request may still be read on this node. Deleted by the reader; else by the
 * writer when the response has come or the socket closes. Full: LOST_LINK_FULL, two traces. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct link_key);
	__type(value, struct ctx);
} links SEC(".maps");

/* Exchanges behind the first one of a pipelining connection. Deleted when their turn comes or the
 * socket closes. Full: LOST_SPILL_FULL, that exchange gives no span. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct spill_key);
	__type(value, struct slot);
} spill SEC(".maps");

/* Tracked processes. The agent decides and deletes; the kernel half adds children and listeners
 * that cannot wait. Full: LOST_PROC_FULL, that process is not traced. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct proc);
} procs SEC(".maps");

/* Everything that goes to the agent. Full: LOST_RING_…. The agent sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} ring SEC(".maps");

/* Working memory of one run; see scratch_claim. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Written by the kernel half, read by the agent through the mapped .bss. */
__u64 lost_cnt[LOST_COUNT];
__u64 undecoded_cnt[UNDECODED_COUNT];
__u64 conn_cnt[PROTO_COUNT]; /* connections recognised, by protocol */

/* Set by the agent before loading. */
const volatile __u32 agent_pidns; /* inode of its pid namespace */
const volatile __u32 agent_pid;   /* in that namespace */
const volatile __u64 id_seed;
const volatile __u8 track_listeners; /* every TCP listener is tracked */
const volatile __u64 track_ports[1024]; /* bitmap of ports whose listeners are tracked at once */
const volatile __u32 ring_wake_bytes;   /* wake the agent when so much waits */

static __always_inline void lost(enum lost what)
{
	__sync_fetch_and_add(&lost_cnt[what], 1);
}

/* This connection will not be looked at again. */
static __always_inline void undecoded(struct conn *c, enum undecoded why)
{
	c->flags |= CONN_SILENT;
	__sync_fetch_and_add(&undecoded_cnt[why], 1);
}

#endif

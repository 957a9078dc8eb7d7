/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* maps.h - every map on one page: key, value, how long an entry lives, who writes, and what happens
 * when it is full. Storage maps are freed by the kernel with their socket or task; hashes are not,
 * so each names who deletes. What every request writes
 * to is an array: a hash costs five times as much. No LRU: one drops fresh entries long before it is full. */
#ifndef WIRESPAN_MAPS_H
#define WIRESPAN_MAPS_H

#include "kern/conn.h"
#include "kern/record.h"

/* The open server span of a connection. A ctx that does not find its span here is void. */
struct open_span {
	__u64 span;
	__u64 header_trace[2]; /* the traceparent that its request brought; 0: none */
	__u64 header_span;
};

/* A client span whose request may be read on this node. */
struct peer_link {
	__u64 owner; /* the connection (struct conn.isn) whose place this is; 0: nobody's */
	__u64 key;   /* connection, direction and position of the request */
	__u64 trace[2];
	__u64 span;
	__u64 quiet; /* EX_QUIET of the client span */
	__u64 pad[2]; /* to a cache line */
};

enum {
	CONTEXT_PLACES = 32768, /* powers of two */
	LINK_PLACES = 32768,
	GO_PLACES = 16384,
	GO_WAYS = 4,
	SCOPES = 8192,
	SCOPE_WAYS = 8,
	FAMILIES = 8192,
	LOADS = 16384,
	TOLD_PLACES = 4096,
	UNIX_ENDS = 2048,
	LINKS_LEFT = 1024,
	HEADED_SOCKETS = 65536,
	HEADER_LINE_MAX = 2048, /* bytes of a request line that can be followed by a header */
	LOOP_SLACK_NS = 1000000, /* loops round what is left until a timer is due up to a millisecond */
	PLACE_STRIDE = 9973, /* odd: neighbours in time do not share a cache line */
};

struct unix_end {
	__u64 key, ns;
};

struct spill_key {
	__u64 conn;
	__u64 serial;
};

/* The context of a goroutine, which alone reads it; aligned to a cache line. */
struct go_place {
	__u64 owner; /* which one; 0: nobody's */
	__u64 check; /* of what follows */
	struct ctx x;
	__u64 pad[2];
};

enum thread_flags {
	THREAD_LOOP = 1,   /* waits in epoll: a turn that no socket began knows nothing */
	THREAD_SCOPED = 2, /* runs callbacks in context objects */
	THREAD_BORN = 4,   /* x is what the thread was made for, and it has not called yet */
	THREAD_HELPER = 8, /* made for somebody's work, and has done some */
	THREAD_READ = 16,  /* a loop has read from a socket, as the hook of that call has seen */
};

struct thread {
	struct ctx x;
	__u64 read_from; /* the connection whose response set x; 0: none */
	__u32 family;    /* of the context object it runs in; 0: none that is known */
	__u32 flags;     /* enum thread_flags */
	__u64 turn_ns;   /* a loop: when its turn began … */
	__u64 due_ns;    /* … and from when on a timer may be due */
};

/* A number that a program gave to the request that it has just read. */
struct told {
	__u64 name; /* of the number and its process; 0: none */
	struct ctx x;
};

/* What the callbacks of one accepted connection work for. */
struct family {
	struct ctx x;
	__u32 family; /* whose place this is */
	__u32 pad;
};

/* Context objects whose names meet, the one used last first: a check of the name, and the family. */
struct scope_set {
	__u64 way[SCOPE_WAYS];
};

/* All state of a connection. Made at its first message, freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* With propagation by TCP option: the request that a client sent last, and those that came to a server.
 * Freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct request_link);
} leaving SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct arrived_links);
} arrived SEC(".maps");

/* With propagation by header: the sockets of clients, by cookie, each sent message of which the kernel shows
 * to put_header. Freed with the socket. Full: LOST_HEADER_NO_WAY. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, HEADED_SOCKETS);
	__type(key, __u64);
	__type(value, __u64);
} headed SEC(".maps");

/* … and what is to be put into the request that a client sent last. Freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct request_header);
} headers SEC(".maps");

/* What a thread works for. Freed with the task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

/* The contexts of goroutines: each has GO_WAYS places to choose from, and keeps one until another finds
 * its work over. All taken: LOST_EXECUTOR_FULL, the next calls have no parent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* for the alignment */
	__uint(max_entries, GO_PLACES);
	__type(key, __u32);
	__type(value, struct go_place);
} goroutines SEC(".maps");

/* Families of context objects, handed out in turn. When they have gone round, the older one knows
 * nothing any more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FAMILIES);
	__type(key, __u32);
	__type(value, struct family);
} families SEC(".maps");

/* Which family a context object belongs to. Nobody says when one is freed: of each set those stay that
 * were used last, and one that was driven out knows nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCOPES);
	__type(key, __u32);
	__type(value, struct scope_set);
} scopes SEC(".maps");

/* The newest of a place stays; what was driven out gives "none". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOLD_PLACES);
	__type(key, __u32);
	__type(value, struct told);
} told SEC(".maps");

/* In programs that run loops: how many requests a process has open, and how many calls to one address
 * for them. Places are found by hashing; two that share one make an answer "none". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOADS);
	__type(key, __u32);
	__type(value, __s32);
} loads SEC(".maps");

/* Contexts that were given to whoever writes to a socket (by its address) next, or of none, if it is
 * nobody's work: by a goroutine, or by what a program tells us. Deleted by the next request on the socket, or with it. Full: LOST_EXECUTOR_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ctx);
} handed SEC(".maps");

/* Open server spans: every connection that serves has a place, handed out in turn. When the places
 * have gone round, two connections may share one: the older span is void then, never wrong. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CONTEXT_PLACES);
	__type(key, __u32);
	__type(value, struct open_span);
} contexts SEC(".maps");

/* Same-node links: a connection that sends requests owns a place from its first one until it closes,
 * found at both ends by the connection's name, and writes each request's link over the last one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINK_PLACES);
	__type(key, __u32);
	__type(value, struct peer_link);
} link_places SEC(".maps");

/* Links that found their place taken by another connection, or that are pipelined, by peer_link.key.
 * Deleted by the reader; else by the writer when the response has come. Full: LOST_LINK_FULL, two
 * traces. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ctx);
} links SEC(".maps");

/* The last links whose clients were gone before the response had come; each deletes from `links` the one
 * it takes the place of. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LINKS_LEFT);
	__type(key, __u32);
	__type(value, __u64);
} links_left SEC(".maps");

/* When clients of Unix-domain sockets had their answers, by peer_link.key; see unix_end. Written over by
 * the next one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UNIX_ENDS);
	__type(key, __u32);
	__type(value, struct unix_end);
} unix_ends SEC(".maps");

/* Exchanges behind the first one of a pipelining connection. Deleted when their turn comes or the
 * socket closes. Full: LOST_SPILL_FULL, that exchange gives no span. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct spill_key);
	__type(value, struct slot);
} spill SEC(".maps");

/* Tracked processes, and those that the agent has yet to decide on. It decides and deletes; the
 * kernel half adds children and listeners that cannot wait, and programs that began. Full:
 * LOST_PROC_FULL, that process is not traced. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct proc);
} procs SEC(".maps");

/* Paths whose requests are not looked at further. Written by the agent at start. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct path_key);
	__type(value, __u8);
} ignored SEC(".maps");

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

__u32 unix_seen; /* a traced program speaks a protocol of ours over a Unix-domain socket: attach send_unix */
__u32 unix_on;   /* the agent did */

__u32 loops_seen; /* a traced program waits for its client sockets in epoll: attach call_done */
__u32 loops_on;   /* the agent did */

__u32 families_given;
__u32 handed_cnt; /* entries of `handed`, or about */

__u32 ring_tight;  /* only what matters goes into the ring */
__u64 dropped_cnt; /* spans that sampling or an ignore rule left out */

__u32 procs_gen;    /* goes up when an entry of `procs` that connections may remember is void */
__u32 places_given; /* of `contexts` */
__u32 links_spilled; /* entries of `links` */
__u32 links_left_cnt;

/* Set by the agent before loading. */
const volatile __u32 agent_pidns; /* inode of its pid namespace */
const volatile __u32 agent_pid;   /* in that namespace */
const volatile __u64 id_seed;
const volatile __u64 boot_to_real_ns; /* when we started; what the clock did since does not matter */
const volatile __u8 tracepoints_preempt; /* programs on them are preempted (kern/preempt.h) */
const volatile __u8 track_listeners; /* every TCP listener is tracked */
const volatile __u8 track_programs;  /* a process may be selected by its program */
const volatile __u64 track_ports[1024]; /* bitmap of ports whose listeners are tracked at once */
const volatile __u64 candidate_ports[1024]; /* … when they are candidates, or undecided */
const volatile __u64 ignore_ports[1024]; /* bitmap of ports whose connections are not looked at */
const volatile __u8 tcp_option_on;      /* contexts go to other nodes and come from them */
const volatile __u8 headers_on;         /* … by a header */
const volatile __u8 ignore_paths;       /* the map `ignored` has entries */
const volatile __u64 sample_below;      /* a new trace is kept when its id is; ~0: every one */
const volatile __u64 slow_ns;           /* exchanges that take so long are always kept */
const volatile __u32 ring_wake_bytes;   /* wake the agent when so much waits */
const volatile __u32 ring_tight_bytes;  /* from here on the rest is for errors, slow exchanges … */
const volatile __u32 ring_lasting_bytes; /* … and, up to here, texts that are sent once */

static __always_inline int port_is_in(const volatile __u64 *bitmap, __u16 port)
{
	return bitmap[port >> 6 & 1023] >> (port & 63) & 1;
}

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

/* Whoever interrupts a run, or takes its CPU, finds the first one busy and takes another. */
static __always_inline struct scratch *scratch_claim(void)
{
	__u32 i;

	for (i = 0; i < SCRATCH_SLOTS; i++) {
		__u32 at = i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &at);

		if (s && !__sync_val_compare_and_swap(&s->busy, 0, 1))
			return s;
	}
	lost(LOST_SCRATCH_BUSY);
	return NULL;
}

static __always_inline void scratch_release(struct scratch *s)
{
	*(volatile __u32 *)&s->busy = 0;
}

#endif

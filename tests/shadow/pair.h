/* SPDX-License-Identifier: Apache-2.0 */
/* pair.h - a TCP connection on the host, as the hooks of kern/wirespan.bpf.c see one: two sockets
 * with their sequence numbers, each used by a process that is traced or not, and the system calls
 * that move bytes and end the connection. The hooks and everything below them are the real code,
 * compiled into pair.c. What came of it is read from shadow_records and the counters. */
#ifndef WIRESPAN_PAIR_H
#define WIRESPAN_PAIR_H

#include "tests/shadow/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "kern/conn.h"
#include "kern/record.h"

enum { CLIENT, SERVER, ENDS };

/* How bytes go past us. */
enum pair_how {
	HOW_SEEN,
	HOW_OPAQUE, /* the hooks run, the bytes cannot be reached (sendfile, io_uring) */
	HOW_MISSED, /* the hooks do not run */
	HOW_FAULT,  /* the page is not there */
};

/* In what form system calls give them. */
enum pair_form {
	FORM_FLAT,   /* write, read */
	FORM_VECTOR, /* writev, readv: an entry for each byte, and empty ones */
	FORM_RETRY,  /* a send that takes nothing, then one that takes half, then the rest; recvmsg
		      */
	FORM_FIN,    /* as FLAT; the reader finds the end of the stream behind the bytes */
	FORM_TWIN,   /* as FLAT, on a kernel that preempts: now the first program of a hook is passed over,
		      * now its twin, now none (kern/twin.h) */
};

struct party {
	struct task_struct task;
	struct pid pid;
};

struct pair_end {
	struct tcp_sock tp; /* its first member is the socket, of whatever kind */
	struct unix_sock unix_sock;
	__u64 cookie;
	struct inet_bind_bucket bucket;
	struct party *party; /* NULL: not traced */
	bool fin_sent, fin_read;
};

struct pair {
	struct pair_end end[ENDS];
	bool is_unix;
};

/* The kernel half's own. */
extern __u64 lost_cnt[LOST_COUNT], undecoded_cnt[UNDECODED_COUNT], conn_cnt[PROTO_COUNT];

/* What the agent sets before loading. */
extern const volatile __u8 ignore_paths, tracepoints_preempt;
extern const volatile __u64 sample_below, slow_ns;
extern __u64 dropped_cnt;
extern __u32 ring_tight;
#define PAIR_SET(name, value) pair_set(&(name), &(__typeof__((name) + 0)){value}, sizeof(name))
void pair_set(const volatile void *at, const void *value, size_t len);
void pair_ignore(const char *path);

/* A machine just booted: nobody traced, no records, counters zero, the agent's defaults. */
void pair_boot(void);

/* A process that is traced from now on; flags: enum proc_flags. */
void party_init(struct party *who, int pid, __u32 flags);
/* As if it returned from epoll_wait on another thread of the same process. */
void party_thread(struct party *who, const struct party *process, int tid);
/* The same, but the thread that is now `who`'s makes it for its own work. */
void party_thread_made(struct party *who, const struct party *process, int tid);
/* It returns from epoll_wait with an event, and would have waited so long; -1: for ever. */
void party_turn(struct party *who, int wait_ms);
/* read() of something that is no socket. */
void party_reads(struct party *who);
/* Its goroutine makes another one. */
void party_goes(struct party *who, __u64 goroutine);

/* A connection; a party that is NULL is not traced (yet). */
void pair_open(struct pair *p, struct party *client, struct party *server);
/* The same over a Unix-domain socket: no sequence numbers, the send is seen when it is done, and no
 * hook says that the socket closes. Bytes that go past the hooks are opaque there, not missed. */
void pair_open_unix(struct pair *p, struct party *client, struct party *server);
/* From now on the hooks see what this end does. */
void pair_trace(struct pair *p, int end, struct party *who);
/* Bytes are sent by one end, then received by the other. */
void pair_move(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
	       enum pair_form form);
/* Only half of it. */
void pair_send(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
	       enum pair_form form);
void pair_receive(struct pair *p, int to, const void *bytes, size_t len, enum pair_how how,
		  enum pair_form form);
/* recv() with MSG_PEEK: the bytes stay where they are. */
void pair_peek(struct pair *p, int to, const void *bytes, size_t len);
/* recv() with MSG_TRUNC: they are thrown away, and the buffer holds something else. */
void pair_discard(struct pair *p, int to, size_t len);
/* recv() into no room at all. */
void pair_receive_nothing(struct pair *p, int to);
/* This end sends no more, and the other one has read so. */
void pair_fin(struct pair *p, int who);
/* In good order, begun by who; both sockets are gone then. */
void pair_close(struct pair *p, int who);
void pair_reset(struct pair *p);
/* The client closes and is gone; the server has not looked yet. pair_receive still brings it what was
 * sent, pair_close ends it. */
void pair_abandon(struct pair *p);

/* NULL: no hook has looked at it. */
struct conn *pair_conn(struct pair *p, int end);
/* Entries that should be gone when all connections are: of spill, contexts, links and their places.
 * Says on stderr which there are. */
size_t pair_leftovers(void);
size_t pair_spilled(void);
/* As if all places for links had been given to other connections. */
void pair_places_clear(void);

#endif

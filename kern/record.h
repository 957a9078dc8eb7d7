/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* record.h - the contract between the kernel half and the agent: everything that crosses the ring
 * buffer or a shared map is declared here and nowhere else. Both compilers include this one file
 * and check the layouts. Anything that has a name on both sides (protocols, losses, reasons) is an
 * X-macro list, expanded on each side, so there is no second list to keep in step. Change a layout
 * or the meaning of a field: bump RECORD_VERSION. */
#ifndef WIRESPAN_RECORD_H
#define WIRESPAN_RECORD_H

#ifndef __bpf__
#include <stddef.h>
#include <linux/types.h>
#endif

enum { RECORD_VERSION = 3 };

/* One line per protocol: the identifier, its name in configuration, status and metrics. */
#define PROTOCOLS(X)                                                                               \
	X(HTTP1, http1)                                                                            \
	X(PGSQL, pgsql)

enum protocol {
	PROTO_UNKNOWN,
#define X(id, name) PROTO_##id,
	PROTOCOLS(X)
#undef X
	PROTO_COUNT,
};

/* Every way to lose something: the counter, its label in /metrics, and what it means. */
#define LOST(X)                                                                                    \
	X(RING_SPAN, ring_span, "finished spans that found the ring buffer full")                  \
	X(RING_STMT, ring_stmt, "SQL texts that found the ring buffer full")                       \
	X(RING_PROC, ring_proc, "process events that found the ring buffer full")                  \
	X(GAP, gap, "bytes that were not seen outside a counted body: parser restarted")           \
	X(BAD_BYTES, bad_bytes, "a decoded connection sent bytes its protocol does not allow")     \
	X(QUEUE_FULL, queue_full, "requests pipelined deeper than the queue of a connection")      \
	X(QUEUE_EMPTY, queue_empty, "responses without a request")                                 \
	X(FAST_OPEN, fast_open, "requests that went out with the SYN (TCP Fast Open), where no hook sees them") \
	X(UNPAIRED, unpaired, "requests behind a gap that the next response may not answer")        \
	X(SPILL_FULL, spill_full, "pipelined requests for which the spill map had no room")        \
	X(LINK_FULL, link_full, "same-node links for which the link map had no room")              \
	X(EXECUTOR_FULL, executor_full, "goroutines for which no place was free")       \
	X(PROC_FULL, proc_full, "processes for which the table of tracked processes had no room")  \
	X(STORAGE_FULL, storage_full, "sockets or tasks that could not get their storage")         \
	X(SCRATCH_BUSY, scratch_busy, "events for which no scratch slot was free")                 \
	X(FAULT, fault, "user memory that could not be read")                                      \
	X(IDENTITY, identity, "connections whose sequence numbers never held still")               \
	X(CONCURRENT, concurrent, "reads of one socket by two threads at the same moment")         \
	X(TCP_OPTION, tcp_option, "requests whose context did not fit into a segment to the other node") \
	X(HEADER_NO_WAY, header_no_way, "requests without a traceparent on connections that headers cannot be put into") \
	X(HEADER_SPLIT, header_split, "requests whose head was sent in pieces: no traceparent was put in") \
	X(HEADER_PIPELINED, header_pipelined, "requests that were sent together: no traceparent was put in") \
	X(HEADER_UNFIT, header_unfit, "heads too long or of a strange form: no traceparent was put in") \
	X(HEADER_QUEUED, header_queued, "requests sent before all earlier bytes had arrived: no traceparent was put in") \
	X(HEADER_MEMORY, header_memory, "requests for whose traceparent the kernel had no memory")

enum lost {
#define X(id, name, help) LOST_##id,
	LOST(X)
#undef X
	LOST_COUNT,
};

/* What became of connections of tracked processes that are not decoded (counted once each). */
#define UNDECODED(X)                                                                               \
	X(TLS, tls, "TLS")                                                                         \
	X(HTTP2, http2, "HTTP/2")                                                                  \
	X(UNKNOWN, unknown, "no protocol that Wirespan knows")                                     \
	X(UNPAIRED, unpaired, "requests are sent ahead of answers, and some were not seen")        \
	X(MPTCP, mptcp, "Multipath TCP")

enum undecoded {
#define X(id, name, help) UNDECODED_##id,
	UNDECODED(X)
#undef X
	UNDECODED_COUNT,
};

/* The socket option of TCP by which the agent shows the kernel half a connection that is older than they
 * are; see tcp_option.h. */
enum { OPTION_ADOPT = 0x5753 };

/* How a span's parent was found; the name is the span attribute wirespan.parent. */
#define PARENTS(X)                                                                                 \
	X(NONE, none)                                                                              \
	X(HEADER, header)                                                                          \
	X(PEER, peer)                                                                              \
	X(EXECUTOR, executor)                                                                      \
	X(SOCKET, socket)                                                                          \
	X(TCP_OPTION, tcp_option)

enum parent {
#define X(id, name) PARENT_##id,
	PARENTS(X)
#undef X
};

enum rec_type {
	REC_SPAN = 1, /* struct rec_span: one finished exchange */
	REC_STMT = 2, /* struct rec_stmt: a piece of a SQL text that later spans refer to */
	REC_PROC = 3, /* struct rec_proc: a process began, changed or ended */
};

/* Opens every record; len is the record's whole length, text included. */
struct rec_head {
	__u8 type;    /* enum rec_type */
	__u8 version; /* RECORD_VERSION */
	__u16 len;
	__u32 key; /* the process's id in the kernel's first pid namespace: key of the procs map */
};

enum { TEXT_MAX = 512 }; /* bytes of text that a span record carries */

/* The pieces of text behind a span record, in this order (but see SPAN_AGENT_FIRST), without
 * separators. */
enum rec_text {
	TEXT_METHOD, /* HTTP: the method as sent */
	TEXT_TARGET, /* HTTP: the request target as sent: path and query, or absolute form */
	TEXT_HOST,   /* HTTP: the Host header */
	TEXT_AGENT,  /* HTTP: the User-Agent header */
	TEXT_COUNT,
};

enum rec_role { ROLE_SERVER = 1, ROLE_CLIENT = 2 };

enum rec_span_flags {
	SPAN_ABORTED = 1,        /* the connection ended before the response did */
	SPAN_CUT = 2,            /* text did not fit in TEXT_MAX */
	SPAN_FORWARDED = 4,      /* the request's traceparent is the one its own server request brought */
	SPAN_PARENT_REMOTE = 8,  /* the parent came by header or TCP option */
	SPAN_STMT = 16,          /* PostgreSQL: stmt names a statement */
	SPAN_ROWS = 32,          /* PostgreSQL: rows is what the statement returned */
	SPAN_SKIPPED = 64,       /* PostgreSQL: never ran, an earlier error ended the batch */
	SPAN_NOT_RESPONSE = 128, /* no response was seen: status means nothing */
	SPAN_AGENT_FIRST = 256,  /* the TEXT_AGENT piece stands before TEXT_HOST */
};

/* Which PostgreSQL messages made the exchange. */
enum pg_op { PG_QUERY = 1, PG_EXECUTE, PG_PARSE, PG_BIND, PG_DESCRIBE, PG_FUNCTION };

/* One exchange. Times are CLOCK_BOOTTIME nanoseconds: start = first byte of the request, first =
 * first byte of the response (0: none came), end = last byte of the response. Addresses are IPv6,
 * IPv4 mapped (::ffff:a.b.c.d), network byte order; ports are host order. */
struct rec_span {
	struct rec_head head;
	__u64 start_ns, first_ns, end_ns;
	__u64 trace_id[2]; /* as 16 bytes in memory order */
	__u64 span_id;     /* as 8 bytes in memory order */
	__u64 parent_id;   /* 0: root */
	__u64 left_trace[2], left_span; /* a root: the request, answered by then, that left this work behind; 0: none */
	__u64 proc_start_ns; /* CLOCK_BOOTTIME start of the process: with pid, its identity */
	__u64 conn;          /* the socket, for STMT records */
	__u64 stmt;          /* PostgreSQL: which statement, with SPAN_STMT */
	__u64 req_bytes;     /* HTTP: body bytes without heads and chunk framing */
	__u64 resp_bytes;
	__u64 rows;
	__u8 local_addr[16], remote_addr[16];
	__u16 local_port, remote_port;
	__u32 pid; /* as the agent's pid namespace numbers it; 0: not visible from there */
	__u16 status;  /* HTTP status code */
	__u16 flags;   /* enum rec_span_flags */
	__u8 proto;    /* enum protocol */
	__u8 role;     /* enum rec_role */
	__u8 parent;   /* enum parent */
	__u8 op;       /* PostgreSQL: enum pg_op; HTTP: minor version */
	char sqlstate[6]; /* PostgreSQL, NUL-terminated; "": no error */
	__u16 text_len[TEXT_COUNT];
	__u16 pad;
	char text[TEXT_MAX]; /* only the used part crosses the ring buffer */
};

enum { STMT_CHUNK = 2048, STMT_TEXT_MAX = 8192 };

enum { STMT_DATABASE = 0 }; /* rec_stmt.stmt: the text is the connection's database name */

/* A piece of the SQL text of a Query or Parse message. Pieces of one text follow each other.
 * Statements are numbered per connection; a named one is known by its name's hash instead. */
struct rec_stmt {
	struct rec_head head;
	__u64 conn, stmt;
	__u32 off;   /* of this piece in the text */
	__u32 total; /* an upper bound of the text's length; in its last piece the length itself, which
		      * may be more than was sent (STMT_TEXT_MAX) */
	char text[STMT_CHUNK];
};

enum rec_proc_what {
	PROC_FOUND = 1, /* was there at start (iterator) */
	PROC_EXEC,      /* runs another program now: not tracked until decided anew */
	PROC_LISTEN,    /* began to listen on port */
	PROC_FORK,      /* child of parent, tracked or undecided as it is */
	PROC_EXIT,      /* a tracked or undecided process ended */
};

/* Processes as the kernel sees them. The agent decides who is tracked, except for what cannot wait
 * for it: a listener on a selected port and a child of a tracked process are tracked at once. */
struct rec_proc {
	struct rec_head head;
	__u64 start_ns;
	__u32 pid;        /* in the agent's pid namespace; 0: not visible */
	__u32 parent_key; /* PROC_FORK */
	__u16 port;       /* PROC_LISTEN and PROC_FOUND with a listener; else 0 */
	__u8 what;        /* enum rec_proc_what */
	__u8 tracked;     /* 1: the kernel half tracks it already */
	__u8 undecided;   /* 1: it holds the process as PROC_UNDECIDED; with tracked: until the agent says */
	__u8 pad[3];
};

/* Value of the procs map, written by both sides; key: struct rec_head.key. */
struct proc {
	__u64 start_ns;
	__u32 pid;
	__u32 flags; /* enum proc_flags */
};

enum proc_flags {
	PROC_TRACKED = 1,
	PROC_GO = 2, /* executors are goroutines; decided from the executable, never from a register */
	PROC_UNDECIDED = 4, /* not tracked yet: children are told of, for they will be what it is; with
			     * PROC_TRACKED: it listens, and the agent drops its spans if it says no */
	PROC_CANDIDATE = 8, /* undecided, and tracked when it listens on one of candidate_ports */
	PROC_TOLD = 16, /* the program says itself which work a call is for: see told.h */
};

/* Key of the ignored map: a path without query, zero-padded; longer paths are never ignored. */
enum { IGNORED_PATH_MAX = 64 };

struct path_key {
	char path[IGNORED_PATH_MAX];
};

#define REC_ASSERT(x, why) _Static_assert(x, why)
REC_ASSERT(sizeof(struct rec_head) == 8, "rec_head is an ABI: bump RECORD_VERSION");
REC_ASSERT(__builtin_offsetof(struct rec_span, text) == 200, "rec_span is an ABI: bump RECORD_VERSION");
REC_ASSERT(__builtin_offsetof(struct rec_stmt, text) == 32, "rec_stmt is an ABI: bump RECORD_VERSION");
REC_ASSERT(sizeof(struct rec_proc) == 32, "rec_proc is an ABI: bump RECORD_VERSION");
REC_ASSERT(sizeof(struct proc) == 16, "proc is an ABI: bump RECORD_VERSION");

#endif

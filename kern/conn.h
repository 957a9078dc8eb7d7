/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* conn.h - struct conn, all that is known of a connection, and struct scratch, the working memory
 * of one run. A connection has two directions, each with a parser and the sequence number it waits
 * for, and a queue of open exchanges. The queue has one producer (the direction that carries
 * requests) and one consumer (the other one), which may run on two CPUs at once: the producer alone
 * writes `tail`, the consumer alone `head`, and each owns what lies on its side. The exchange at the
 * head lives here (`front`), those behind it in the spill map: nearly every connection has one. */
#ifndef WIRESPAN_CONN_H
#define WIRESPAN_CONN_H

#include "kern/http1.h"
#include "kern/pgsql.h"
#include "kern/record.h"
#include "kern/window.h"

enum dir { RX, TX }; /* from the socket to the program; from the program to the socket */

enum {
	QUEUE_MAX_HTTP1 = 16, /* exchanges open at once */
	QUEUE_MAX_PGSQL = 64,
	HELD_MAX = 11,   /* bytes kept while a protocol cannot be told yet */
	SNIFF_MAX = 32768, /* chunks without a known protocol until we give up, if all go one way … */
	SNIFF_TURN = 512,  /* … a change of direction counts for so many: that is where requests begin */
	PIECE = 64,      /* text is copied in pieces of at most this, so that bounds are provable */
	OPS_MAX = 512,   /* PostgreSQL messages in flight that will be answered; a power of two */
	PORTALS_MAX = 4, /* named portals remembered */
	TEXTS_MAX = 8,   /* SQL texts remembered, so as not to send them again; a power of two */
	TEXT_RESEND = 64, /* … but once in so many times, in case the agent has let go of it */
	SCRATCH_SLOTS = 4,
	DIR_TRIES = 4096, /* to enter a direction */
	TURNED = 6,       /* dir_state.turned: the answer is there; less: so many bytes of a ReadyForQuery … */
	TOLD = 7,         /* … and a batch that came before it is counted */
};

/* What a thread or goroutine is working for. */
struct ctx {
	__u64 trace[2];
	__u64 span;  /* a server span; 0: nothing */
	__u32 place; /* where `contexts` says whether it is still open */
	__u32 quiet; /* EX_QUIET of that span: its calls are kept or not kept like it */
};

/* One request and its response. */
struct exchange {
	__u64 start_ns, first_ns;
	__u64 req_bytes;
	__u64 trace[2], span;
	__u64 parent; /* with PARENT_NONE: what left this work behind, if conn.born is that; else 0 */
	__u64 stmt;
	__u64 rows;
	__u32 serial;
	__u32 pos; /* of the request's first byte */
	__u16 status;
	__u16 flags; /* enum exchange_flags */
	__u16 text_len[TEXT_COUNT];
	__u16 text_used;
	__u8 how; /* enum parent */
	__u8 op;  /* enum pg_op; HTTP: minor version of the request */
	char sqlstate[6];
	__u8 pad[2];
	__u32 place; /* with EX_LOCAL: of the parent's context */
	__u32 load;  /* where in `loads` it is counted, + 1; 0: nowhere */
};

enum exchange_flags {
	EX_OPEN = 1,      /* has ids: its parent is decided */
	EX_REQ_DONE = 2,  /* req_bytes is final */
	EX_HEAD = 4,      /* answers to HEAD and CONNECT have no body */
	EX_CONNECT = 8,
	EX_CUT = 16,
	EX_FORWARDED = 32,
	EX_AGENT_FIRST = 64,
	EX_ROWS = 128,    /* returns rows, be it none */
	EX_LOCAL = 256,   /* parent is an open server span of this node */
	EX_LINK_SPILLED = 512,
	EX_UNSAMPLED = 1024, /* kept only when it fails or is slow */
	EX_IGNORED = 2048,   /* not kept */
	EX_QUIET = EX_UNSAMPLED | EX_IGNORED, /* … nor what it calls */
	EX_TEXT_DONE = 4096, /* << enum rec_text: that piece is complete */
};

/* The messages of a PostgreSQL connection that wait for an answer, two to a byte. */
enum pgsql_op {
	OP_NONE,
	OP_PARSE,
	OP_BIND,
	OP_DESCRIBE,
	OP_EXECUTE,
	OP_QUERY,
	OP_FUNCTION,
	OP_CLOSE,
	OP_SYNC,
	OP_UNIT_OVER, /* a unit ended without an Execute */
};

/* Was a slot opened by Parse, Bind or Describe that waits for Execute or Sync, and is it known which
 * statement it is about? */
enum pgsql_unit { UNIT_NONE, UNIT_OPEN, UNIT_ABOUT };

enum pgsql_full { FULL_NOT, FULL_IN_BATCH, FULL_BETWEEN };

struct pgsql_queue {
	__u8 ops[OPS_MAX / 2]; /* enum pgsql_op */
	__u32 ops_head, ops_tail;
	__u32 stmt_last; /* numbers handed out to unnamed statements and simple queries */
	__u32 stmt_now;  /* the number of the text that is being sent */
	__u8 unit_open;  /* enum pgsql_unit */
	__u8 unit_dead;  /* consumer: the slot of this unit has been answered by an error */
	__u8 full;       /* enum pgsql_full: ops are not noted until all that is under way is answered */
	__u8 synced;     /* consumer: ReadyForQuery found what it answers */
	__u8 portal_next, text_next;
	__u8 skips;      /* consumer: an error was answered; the server reads up to Sync and does nothing */
	__u8 pad;
	__u32 over;      /* answers to come to what was not noted: as many ReadyForQuery */
	__u32 pad2;
	__u64 unnamed;   /* statement that the unnamed one is now */
	__u64 bound;     /* statement of the unnamed portal */
	__u64 unit_name; /* of the statement that the unit is about … */
	__u64 unit_portal; /* … and of the portal that it has bound */
	__u64 portal[PORTALS_MAX], portal_stmt[PORTALS_MAX];
	__u64 text_hash[TEXTS_MAX];
	__u32 text_stmt[TEXTS_MAX];
};

struct slot {
	struct exchange x;
	union {
		char text[TEXT_MAX];   /* HTTP */
		struct pgsql_queue pg; /* in conn.front alone, of the whole connection */
	};
};

struct dir_state {
	union {
		struct http1 http;
		struct pgsql pg;
	};
	__u64 msg_ns;  /* when the message being parsed began */
	__u32 msg_pos; /* and where */
	__u32 pos;     /* sequence number of the next byte */
	__u32 busy;    /* a run is in here */
	__u32 missed;  /* bytes of a Unix-domain socket that no run saw, behind pos */
	__u8 pos_known;
	__u8 held_len;
	__u8 held[HELD_MAX];
	__u8 deep;   /* responses: one ended when the next request had been sent already */
	__u8 turned; /* responses: see again.h */
	__u8 told;   /* of a Unix-domain socket: see twin.h */
};

enum conn_flags {
	CONN_OPENER = 1,   /* this end sent the SYN */
	CONN_GUESSED = 2,  /* … or so it seems: it is older than we are */
	CONN_SILENT = 4,   /* not decoded: nothing more is done */
	CONN_COUNTED = 8,  /* in conn_cnt */
	CONN_UNIX = 16,    /* a Unix-domain socket: see unix.h */
	CONN_SNIFFED_TX = 32, /* the last chunk that gave no protocol was sent, not received */
	CONN_SURE = 64,    /* its name was read again and found right */
	CONN_YOUNG = 128,  /* we saw it being opened, and it has sent no request yet */
};

struct conn {
	__u64 id;  /* random; 0: new */
	__u64 isn; /* see struct peer_link; 0: not known yet */
	__u32 head, tail; /* serials of the exchange being answered and of the next request */
	__u32 key;   /* the process that used it last … */
	__u32 place; /* this connection's in `contexts`, + 1; 0: none yet */
	__u16 sniffs;
	__u8 proto, role, flags; /* enum protocol, rec_role, conn_flags */
	__u8 again; /* it has lost its place: what proto was; see again.h */
	__u16 proc_check;  /* … of key and proc, which two processes may write at once */
	__u32 heads;    /* requests without a slot, by serial: is it HEAD? Then its answer has no body */
	__u32 proc_gen; /* … procs_gen when it was looked up */
	__u64 id_state; /* of the generator of span ids */
	struct proc proc; /* … what `procs` says of it */
	struct dir_state dir[2];
	struct slot front;
	struct ctx born; /* the context in which connect() was called; later, what left work behind */
};

_Static_assert(sizeof(struct conn) <= 936, "with its header it must fit in 1 KiB: 10,000 connections");
_Static_assert(sizeof(struct pgsql_queue) <= TEXT_MAX, "it shares the place of the text");

/* The context of a request between two nodes, by its first byte's sequence number; see tcp_option.h. */
struct request_link {
	__u64 trace[2], span; /* the client's span; 0: none */
	__u32 pos;
	__u8 quiet;   /* the client keeps no span of it, unless it fails or is slow */
	__u8 written; /* into a segment, at least once */
	__u16 pad;
};

/* A traceparent that is to go into the head of a request; see headers.h. */
struct request_header {
	__u64 trace[2], span; /* the client's span; 0: none */
	__u32 pos;    /* of the request's first byte */
	__u32 line;   /* of the first byte behind the request line */
	__u32 pushed; /* bytes that were put in */
	__u8 quiet;   /* as in request_link */
	__u8 began;   /* of the chunk that is being sent: requests that begin in it … */
	__u8 opened;  /* … and those of which it has the head's end */
	__u8 forwarded; /* there is one, which the program passed on: that will say what this one would */
};

enum { ARRIVED_MAX = 4 }; /* requests on their way or not read yet; a power of two */

struct arrived_links {
	struct request_link at[ARRIVED_MAX];
	__u32 next, pad;
};

/* What tells a connection's initial sequence numbers. */
struct counters {
	__u64 acked, received;
	__u32 una, nxt;
};

struct scratch {
	__u32 busy;
	__u32 key;
	__u64 now;
	struct proc proc; /* whose event this is */
	struct sock *sk;  /* to be read by probes: only the hook itself may follow it */
	/* The chunk that is being read: where its bytes are in the program's memory. */
	__u64 seg, seg_left;  /* the current piece */
	__u64 seg_skip;       /* of what follows, bytes to pass over */
	__u64 iov;            /* further pieces: an array of struct iovec */
	__u32 iov_left;
	__u32 iov_kernel;     /* … which is in kernel memory */
	__u32 base;           /* sequence number of window.b[0] */
	__u32 len, off;       /* bytes in the chunk, and how many of them are behind us */
	__u32 pad;
	struct window w;
	struct counters counters[2];
	struct ctx ctx;    /* a goroutine's */
	struct request_link leaving;  /* with TCP options: the request that is being sent … */
	struct arrived_links arrived; /* … and those that came */
	struct request_header header; /* with headers: of the request that is being sent */
	struct slot fresh; /* what a new entry of the spill map is copied from */
	struct rec_span span;
	struct rec_stmt stmt;
};

/* One call of a hook; lives on the BPF stack. */
struct event {
	struct sock *sk;
	struct conn *c;
	struct dir_state *d; /* of the connection's two */
	struct scratch *s;
	__u64 dir; /* enum dir: which one that is */
};

/* Waits for another run to leave a direction. */
struct dir_wait {
	struct dir_state *d;
	__u64 entered;
};

/* Do the bytes of this event carry requests? */
static __always_inline int event_is_request(const struct event *e)
{
	return (e->c->role == ROLE_CLIENT) == (e->dir == TX);
}

/* The direction that carries responses. */
static __always_inline struct dir_state *conn_responses(struct conn *c)
{
	return c->role == ROLE_CLIENT ? &c->dir[RX] : &c->dir[TX];
}

static __always_inline int conn_is_idle(const struct conn *c)
{
	return c->head == c->tail;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* script.h - everything that will happen on one connection, worked out before it is opened: the bytes
 * of both directions, where each is cut into writes, what must have been read before a write, who
 * ends the connection and how, and the truth about it as JSON lines. http.c and pgsql.c fill it,
 * play.c plays it. The invariant: gates never wait for each other in a circle. */
#ifndef GEN_SCRIPT_H
#define GEN_SCRIPT_H

#include "must.h"
#include "rng.h"

#include <stddef.h>
#include <stdio.h>

enum side { CLIENT, SERVER, SIDES };

/* Bytes that grow. */
struct text {
	char *p;
	size_t len, room;
};

struct range {
	uint32_t from, to;
};

/* From this place on nothing is sent before so many bytes of the other direction were read. */
struct gate {
	uint32_t at, wait;
};

enum how { HOW_SEND, HOW_WRITE, HOW_WRITEV, HOW_SENDMSG, HOW_SENDMMSG, HOW_ZEROCOPY, HOW_FILE, HOWS };

/* One write: up to `end`, once `wait` bytes have been read. */
struct piece {
	uint32_t end, wait;
	uint8_t how;
};

/* What one side sends. */
struct flow {
	struct text bytes;
	struct gate *gates;
	uint32_t *marks;    /* where messages begin */
	struct range *heads; /* HTTP heads */
	struct range *dark; /* bytes that nobody need look at: sendfile, MSG_TRUNC and splice may have them */
	struct piece *pieces;
	bool tails; /* the reader may take the end of a dark range by splice, which nobody sees at once */
	size_t gate_cnt, mark_cnt, head_cnt, dark_cnt, piece_cnt;
};

enum ending { END_CLOSE, END_SHUTDOWN, END_RESET };

struct script {
	uint32_t conn, round;
	struct rng rng;
	struct flow flow[SIDES]; /* by who sends */
	struct text truth;
	uint32_t exchanges;
	uint32_t heads, heads_split; /* how many there are, and how many go out in several writes */
	bool pipelined;
	enum side closer;
	enum ending ending;
	bool half;    /* the client says early that it will send no more */
	bool exotic;  /* also what is legal but what no client library does */
};

void text_put(struct text *t, const void *p, size_t len);
void text_str(struct text *t, const char *s);
__attribute__((format(printf, 2, 3))) void text_fmt(struct text *t, const char *fmt, ...);
/* s as a JSON string. */
void text_json(struct text *t, const char *s, size_t len);

uint32_t flow_at(const struct flow *f);
void flow_gate(struct flow *f, uint32_t at, uint32_t wait);
void flow_mark(struct flow *f);
void flow_head(struct flow *f, uint32_t from);
void flow_dark(struct flow *f, uint32_t from);

/* Cuts both flows into writes. */
void script_cut(struct script *s);
/* What will be sent, write by write, for a reader. */
void script_show(const struct script *s, FILE *out);
void script_free(struct script *s);

/* s->conn, round and rng are set. */
void http_make(struct script *s);
void pgsql_make(struct script *s);

#endif

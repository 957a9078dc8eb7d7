/* SPDX-License-Identifier: Apache-2.0 */
/* http.h - what http.c, http_message.c and http_body.c share: an exchange, its bodies, the writer's state. */
#ifndef GEN_HTTP_H
#define GEN_HTTP_H

#include "script.h"

enum { FIELDS_MAX = 12, ID_MAX = 40 };

struct field {
	const char *name, *value;
};

enum framing { FRAME_NONE, FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE };

struct body {
	enum framing framing;
	uint32_t size;    /* without framing */
	uint32_t part;    /* so many bytes go out before … */
	uint32_t part_at; /* … this place in the stream */
	bool unsent;      /* the headers speak of it, and that is all (HEAD, 304) */
	char length[48];
};

enum kind {
	KIND_PLAIN,
	KIND_CONTINUE, /* the client waits for 100 before it sends the body */
	KIND_EARLY,    /* the response begins before the request has ended */
	KIND_LATE,     /* … and ends before that */
	KIND_UPGRADE,
	KIND_TUNNEL,
	KIND_CUT,      /* the client goes away in the middle of the request's body … */
	KIND_CUT_HEAD, /* … or of its head: nobody can call that an exchange */
};

struct exchange {
	uint32_t n;
	char id[ID_MAX];
	enum kind kind;
	const char *method;
	struct text target, host, agent;
	uint32_t minor;
	int status;
	bool aborted, answered;
	uint32_t resp_seen; /* of an aborted response's body */
	struct body req, resp;
	char trace[33], parent[17], traceparent[80];
	uint32_t req_at, req_head, req_end; /* in the client's stream */
	uint32_t resp_at, interim_end, resp_head, resp_end; /* in the server's */
};

struct maker {
	struct script *s;
	struct flow *to;
	bool bare_lf;
	struct exchange *x;
	uint32_t cnt;
	uint32_t depth; /* requests under way at most */
	bool over;      /* … which is more than Wirespan keeps: the first burst */
	bool late;      /* it matters when exactly the client has read a response's end */
};

/* --- http_message.c --- */
const char *method_make(struct rng *r, bool first);
void header_put(struct maker *m, const char *name, const char *value);
void request_put(struct maker *m, struct exchange *x);
void response_put(struct maker *m, struct exchange *x);

/* --- http_body.c --- */
void body_plan(struct body *b, struct rng *r, uint32_t minor);
/* Content-Length or Transfer-Encoding, and Trailer. */
void body_fields(struct maker *m, struct body *b, struct field *f, uint32_t *cnt);
void body_put(struct maker *m, struct body *b);

#endif

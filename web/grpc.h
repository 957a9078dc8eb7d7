/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.h - gRPC over HTTP/2: what a call's headers and body mean, and its answer. h2.c calls it
 * while a request comes in, a worker answers it. */
#ifndef WIRESPAN_GRPC_H
#define WIRESPAN_GRPC_H

#include "web/call.h"
#include "web/handler.h"

struct call *grpc_call_new(struct web *w);
void grpc_call_free(struct call *c);

/* --- in the loop, in this order --- */
/* Keeps what means something. */
void grpc_header(struct call *c, struct str name, struct str value);
/* The headers are complete. False: the call is refused and has its status. */
bool grpc_begin(struct call *c);
/* A piece of the body. False: as above. */
bool grpc_take(struct call *c, const uint8_t *data, size_t len);
void grpc_refuse(struct call *c, enum grpc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* It takes spans, rather than asking a question. */
bool grpc_is_ingest(const struct call *c);
/* Messages of the answer may be packed: its headers have to say so. */
bool grpc_packs(const struct call *c);

/* --- on a worker --- */
/* The job of a call: answers it and gives it back. */
void grpc_run(struct job *j);

/* --- methods: each is a request to a route of HTTP --- */

/* Fills in target, and what else differs from a GET without body; all in the request's arena.
 * -EINVAL with a sentence. */
typedef int grpc_ask_fn(struct request *rq, struct str message, struct strbuf *why);

struct grpc_method {
	const char *path;
	grpc_ask_fn *ask;
	void (*finish)(struct reply *out); /* NULL: the reply's body is the message */
	uint32_t message_max;
	bool ingest; /* also where nothing but ingest is served */
	bool open;   /* also without the token */
};

/* NULL: no such method. */
const struct grpc_method *grpc_method_find(struct str path);

/* --- the wire --- */

/* The one message of a body: {packed u8, length u32, bytes}. -EBADMSG: it is not exactly one. */
int grpc_unframe(struct str body, bool *ret_packed, struct str *ret);
/* "100m", "5S": nanoseconds; 0 when it is none. */
uint64_t grpc_timeout_ns(struct str text);
/* As grpc-message wants it: percent-encoded, bounded. */
void grpc_message_encode(struct strbuf *out, const char *text);

#endif

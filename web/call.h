/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - one gRPC call, from the headers of its stream to the trailers of the answer. The loop
 * (front.c, h2.c) and a worker (grpc.c) have it in turn, so this says who may touch what. The loop
 * frees it, when the stream is gone and the worker has given it back. */
#ifndef WIRESPAN_CALL_H
#define WIRESPAN_CALL_H

#include <stdatomic.h>

#include "store/base.h"
#include "web/pool.h"

struct web;
struct h2;
struct grpc_method;

/* google.rpc.Code */
enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

/* The headers of a request that mean something to us. */
#define CALL_HEADERS(X)                                                                            \
	X(METHOD, ":method")                                                                       \
	X(PATH, ":path")                                                                           \
	X(TYPE, "content-type")                                                                    \
	X(ENCODING, "grpc-encoding")                                                               \
	X(ACCEPT, "grpc-accept-encoding")                                                          \
	X(TIMEOUT, "grpc-timeout")                                                                 \
	X(AUTHORIZATION, "authorization")

enum call_header {
#define X(name, text) HEAD_##name,
	CALL_HEADERS(X)
#undef X
		HEAD_CNT
};

struct call {
	/* The request: the loop fills it in, then it is the worker's. */
	struct web *web;
	const struct grpc_method *method;
	struct strbuf head[HEAD_CNT];
	size_t head_len; /* of all headers, also of those that we do not keep */
	struct strbuf body;
	uint64_t deadline_ns; /* monotonic; 0: none */
	struct job job;

	/* The answer: the worker gives it by front_give, the loop sends it; under the front's lock.
	 */
	struct strbuf out; /* framed messages */
	size_t out_sent;
	bool done; /* nothing more comes; status and message are final */
	enum grpc_code status;
	struct strbuf message;
	bool listed; /* among those that the loop has to look at */
	struct call *next_listed;

	atomic_bool gone; /* nobody waits for the answer any more */

	/* The loop's own. */
	struct h2 *conn;   /* NULL: the stream is closed */
	struct call *next; /* of the connection */
	int32_t id;	   /* of the stream */
	uint16_t http;	   /* other than 200: the answer of those who do not speak gRPC */
	bool responded, submitted, returned;
	uint64_t moved_ns; /* when the last bytes of the body came or of the answer went */
	uint64_t turn_ns;  /* since when the one of the two goes on */
};

#endif

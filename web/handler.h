/* SPDX-License-Identifier: Apache-2.0 */
/* handler.h - what a handler gets and gives: a request as plain memory, a reply as bytes. Handlers
 * know nothing of libmicrohttpd; server.c fills the one and sends the other. The list of handlers
 * stands here once and routes.c says which path leads where. */
#ifndef WIRESPAN_HANDLER_H
#define WIRESPAN_HANDLER_H

#include <protobuf-c/protobuf-c.h>

#include "query/query.h"
#include "store/base.h"
#include "web/params.h"
#include "web/pb.h"
#include "web/peers.h"

enum { HTTP_BODY_MAX = 16 * 1024 * 1024 }; /* of a request, also after gunzip */

struct reply;

struct request {
	struct store *store;
	struct arena *arena; /* lives as long as the request; without a limit: the URI bounds it */
	bool ready;	     /* web_ready was called */
	bool grpc;	     /* metrics in protobuf, which HTTP does not give */
	bool commits;	     /* spans that come in are answered for when they are committed */
	const char *method;
	struct str path;    /* as sent */
	struct str segment; /* what stands for {} in the route's pattern, decoded */
	struct params params;
	struct str body;
	struct str target; /* path and query, as sent */
	const struct peers
		*peers; /* other nodes to ask; NULL: none, or it is one of them who asks */
	const char *accept, *content_type, *content_encoding; /* "" when not sent */
	bool (*gone)(void *arg); /* the asker has left, or the server stops */
	void *gone_arg;
	/* Not NULL: a part of the answer may be sent before it (gRPC). False: the asker has not read the part
	 * before. */
	bool (*part)(void *arg, struct reply *part);
	void *part_arg;
};

struct reply {
	unsigned int status;
	const char *type; /* NULL: no Content-Type */
	struct strbuf body;
};

typedef void handler_fn(const struct request *rq, struct reply *out);

handler_fn api_ready, api_echo, api_buildinfo, api_metrics, api_status;
handler_fn api_trace_v1, api_trace_v2;
handler_fn api_search;
handler_fn api_metrics_range, api_metrics_instant;
handler_fn api_tags_v1, api_tags_v2, api_values_v1, api_values_v2;
handler_fn ingest_traces;

/* --- replies: the body replaces what was there --- */

extern const char TYPE_TEXT[], TYPE_JSON[], TYPE_PROTOBUF[];
extern const char TYPE_PARTS[]; /* between nodes: see query_metrics in query/query.h */

void reply_text(struct reply *out, unsigned int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The body of a 400 is in why. */
void reply_bad(struct reply *out, const struct strbuf *why);
/* 200 with the message's bytes. */
void reply_protobuf(struct reply *out, const ProtobufCMessage *m);
/* What the error of a query function means in HTTP, with its sentence. */
void reply_query_error(struct reply *out, const struct query *q, int err);
/* query_begin with this request's store and cancellation; on failure the reply is written. */
int reply_query_begin(const struct request *rq, struct query **ret, struct reply *out);

/* The Accept header asks for protobuf. */
bool wants_protobuf(const struct request *rq);
/* The header lists gzip and does not refuse it. */
bool accepts_gzip(const char *accept_encoding);
/* Compresses the body in place; false when it is empty or zlib refuses: then it is untouched. */
bool reply_gzip(struct reply *out);
/* The other way: at most max bytes come out. 0, -EBADMSG, or -EFBIG. */
int body_gunzip(struct str in, size_t max, struct strbuf *out);

#endif

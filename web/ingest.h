/* SPDX-License-Identifier: Apache-2.0 */
/* ingest.h - an OTLP request's bytes into the store, whatever transport they came by: ingest.c has
 * HTTP's. */
#ifndef WIRESPAN_INGEST_H
#define WIRESPAN_INGEST_H

#include "store/base.h"
#include "store/store.h"

/* google.rpc.Code */
enum {
	RPC_OK = 0,
	RPC_INVALID_ARGUMENT = 3,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_UNAVAILABLE = 14,
};

/* What is too much: of a request, and of a span (then the others are still taken). */
enum { INGEST_SPANS_MAX = 100000, INGEST_ATTRS_MAX = 1024 };

enum ingest_form { INGEST_PROTOBUF, INGEST_JSON };

struct ingest_said {
	int rpc;	   /* RPC_OK: taken, but for the rejected ones */
	size_t rejected;   /* spans */
	struct strbuf why; /* the error, or why spans were rejected; the caller ends it */
};

/* Decodes an ExportTraceServiceRequest and appends its spans; commits: returns when they are on
 * disk. RPC_UNAVAILABLE (which exporters repeat): the store takes nothing now. */
void ingest_take(struct store *s, enum ingest_form form, bool commits, struct str body,
		 struct ingest_said *ret);
/* An ExportTraceServiceResponse in protobuf, behind what is in out. */
void ingest_response(struct strbuf *out, const struct ingest_said *said);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* otlp.h - spans on the wire: OTLP protobuf and JSON, both ways. Used by ingest, by the answers for
 * a trace by id, and by export. Knows nothing of HTTP. The protobuf side is protobuf-c over
 * proto/ (OTLP trace v1); the JSON side jansson (decode) and a writer (encode). */
#ifndef WIRESPAN_OTLP_H
#define WIRESPAN_OTLP_H

#include "store/base.h"
#include "store/span.h"

struct otlp_spans {
	struct span *at;
	size_t cnt;
	size_t rejected; /* spans without a legal trace or span id: left out */
};

/* Decode an ExportTraceServiceRequest. Structs and strings live in the arena (protobuf strings may
 * be borrowed from buf). 0; -EBADMSG with a sentence in why; -ENOMEM at the arena's limit. Nesting
 * deeper than 32 is -EBADMSG. */
int otlp_decode_pb(struct arena *a, const void *buf, size_t len, struct otlp_spans *ret,
		   struct strbuf *why);
int otlp_decode_json(struct arena *a, const char *buf, size_t len, struct otlp_spans *ret,
		     struct strbuf *why);

/* Encode spans as the bytes of opentelemetry TracesData = tempopb.Trace {1: repeated ResourceSpans}.
 * Spans with equal resource and scope are grouped, order of first appearance. Resource, scope and
 * status messages are always there, even when empty (Grafana dereferences them). */
void otlp_encode_pb(struct strbuf *out, const struct span *spans, size_t cnt);
/* The JSON array of ResourceSpans ("[...]"), ids base64, enums by name, defaults left out, `<>&`
 * escaped: what Tempo puts behind "batches" (v1) and "resourceSpans" (v2). */
void otlp_encode_json(struct strbuf *out, const struct span *spans, size_t cnt);

/* Shared with the answers of search: {"key":..,"value":{..}} and its protobuf bytes. */
void otlp_json_attr(struct strbuf *out, const struct attr *at);
void otlp_json_string(struct strbuf *out, struct str s); /* quoted and escaped, invalid UTF-8 replaced */
void otlp_json_double(struct strbuf *out, double d); /* not finite: as a string */
void otlp_pb_attr(struct strbuf *out, const struct attr *at); /* a KeyValue message's bytes */

#endif

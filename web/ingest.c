/* SPDX-License-Identifier: Apache-2.0 */
/* ingest.c - OTLP/HTTP in: POST /v1/traces as protobuf or JSON, plain or gzip, into the store. Does
 * not answer for what a span says: ids are the only thing that gets one rejected. The invariant:
 * the answer speaks the language of the request, and 503 (which exporters repeat) is given only
 * when none of the spans was taken. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "store/otlp.h"
#include "store/stats.h"
#include "web/handler.h"
#include "web/json.h"

/* google.rpc.Code */
enum { RPC_INVALID_ARGUMENT = 3, RPC_RESOURCE_EXHAUSTED = 8, RPC_UNAVAILABLE = 14 };

enum { MEMORY_PER_BYTE = 24, MEMORY_MIN = 4 * 1024 * 1024 };

static const char PROTOBUF_IN[] = "application/x-protobuf";

/* The media type without its parameters. */
static bool type_is(const char *content_type, const char *type)
{
	size_t len = strcspn(content_type, "; \t");

	return len == strlen(type) && strncasecmp(content_type, type, len) == 0;
}

/* --- answers: two small messages, in both forms --- */

static void pb_varint(struct strbuf *out, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		strbuf_addc(out, (char)(0x80 | (v & 0x7f)));
	strbuf_addc(out, (char)v);
}

/* Field `number` with a number in it; left out when 0. */
static void pb_number(struct strbuf *out, int number, uint64_t v)
{
	if (!v)
		return;
	pb_varint(out, (uint64_t)number << 3);
	pb_varint(out, v);
}

static void pb_text(struct strbuf *out, int number, struct str s)
{
	if (!s.len)
		return;
	pb_varint(out, (uint64_t)number << 3 | 2);
	pb_varint(out, s.len);
	strbuf_add(out, s.p, s.len);
}

/* A google.rpc.Status: {1 code, 2 message}. */
static void reply_status(const struct request *rq, struct reply *out, unsigned int http,
			 unsigned int code, const char *message)
{
	struct json j = {&out->body, false};

	out->status = http;
	strbuf_clear(&out->body);
	if (!type_is(rq->content_type, TYPE_JSON)) {
		out->type = PROTOBUF_IN;
		pb_number(&out->body, 1, code);
		pb_text(&out->body, 2, str_of(message));
		return;
	}
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_num(&j, "code", code);
	json_str(&j, "message", str_of(message));
	json_close(&j, '}');
}

static const char REJECTED[] = "spans without a trace id or a span id were left out";

static void success_json(struct reply *out, size_t rejected)
{
	struct json j = {&out->body, false};

	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_open(&j, "partialSuccess", '{');
	json_opt_num_str(&j, "rejectedSpans", rejected);
	if (rejected)
		json_str(&j, "errorMessage", str_of(REJECTED));
	json_close(&j, '}');
	json_close(&j, '}');
}

/* ExportTraceServiceResponse{1 partial_success{1 rejected_spans, 2 error_message}}. */
static void success_protobuf(struct reply *out, size_t rejected)
{
	struct strbuf partial;

	strbuf_init(&partial);
	pb_number(&partial, 1, rejected);
	pb_text(&partial, 2, rejected ? str_of(REJECTED) : STR(""));
	out->type = PROTOBUF_IN;
	pb_varint(&out->body, 1 << 3 | 2);
	pb_varint(&out->body, partial.len);
	strbuf_add(&out->body, partial.p, partial.len);
	strbuf_fini(&partial);
}

static void reply_success(const struct request *rq, struct reply *out, size_t rejected)
{
	out->status = 200;
	if (type_is(rq->content_type, TYPE_JSON))
		success_json(out, rejected);
	else
		success_protobuf(out, rejected);
}

/* --- the way in --- */

static void count(const struct otlp_spans *spans)
{
	stat_add(stats_cell(STAT_COUNTER, "ingest_spans_total", "", "Spans received by OTLP."),
		 spans->cnt);
	stat_add(stats_cell(STAT_COUNTER, "ingest_rejected_total", "",
			    "Spans received by OTLP and left out because they had no ids."),
		 spans->rejected);
}

static void store_spans(const struct request *rq, const struct otlp_spans *spans, struct reply *out)
{
	int err = spans->cnt ? store_append(rq->store, spans->at, spans->cnt) : 0;

	if (err) {
		reply_status(rq, out, 503, RPC_UNAVAILABLE, strerror(-err));
		return;
	}
	count(spans);
	reply_success(rq, out, spans->rejected);
}

static void decode(const struct request *rq, struct str body, struct reply *out)
{
	struct otlp_spans spans;
	struct strbuf why;
	struct arena a;
	int err;

	arena_init(&a, MEMORY_MIN + body.len * MEMORY_PER_BYTE);
	strbuf_init(&why);
	if (type_is(rq->content_type, TYPE_JSON))
		err = otlp_decode_json(&a, body.p, body.len, &spans, &why);
	else
		err = otlp_decode_pb(&a, body.p, body.len, &spans, &why);
	if (err == -ENOMEM)
		reply_status(rq, out, 413, RPC_RESOURCE_EXHAUSTED,
			     "the request needs too much memory");
	else if (err)
		reply_status(rq, out, 400, RPC_INVALID_ARGUMENT, why.p);
	else
		store_spans(rq, &spans, out);
	strbuf_fini(&why);
	arena_fini(&a);
}

static void gunzip_and_decode(const struct request *rq, struct reply *out)
{
	struct strbuf plain;
	int err;

	strbuf_init(&plain);
	err = body_gunzip(rq->body, HTTP_BODY_MAX, &plain);
	if (err == -EFBIG)
		reply_status(rq, out, 413, RPC_RESOURCE_EXHAUSTED, "the request body is too large");
	else if (err)
		reply_status(rq, out, 400, RPC_INVALID_ARGUMENT, "the request body is not gzip");
	else
		decode(rq, (struct str){plain.p, plain.len}, out);
	strbuf_fini(&plain);
}

void ingest_traces(const struct request *rq, struct reply *out)
{
	const char *coding = rq->content_encoding;

	if (strcmp(rq->method, "POST") != 0)
		reply_text(out, 405, "405 method not allowed, supported: [POST]");
	else if (!type_is(rq->content_type, TYPE_JSON) && !type_is(rq->content_type, PROTOBUF_IN))
		reply_text(out, 415, "415 unsupported media type, supported: [%s, %s]", TYPE_JSON,
			   PROTOBUF_IN);
	else if (strcasecmp(coding, "gzip") == 0)
		gunzip_and_decode(rq, out);
	else if (*coding && strcasecmp(coding, "identity") != 0)
		reply_status(rq, out, 400, RPC_INVALID_ARGUMENT,
			     "only gzip is understood as Content-Encoding");
	else
		decode(rq, rq->body, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ingest.c - OTLP in: the bytes of a request into the store, and around that HTTP's form, POST
 * /v1/traces as protobuf or JSON, plain or gzip. Does not answer for what a span says: only ids and
 * sheer size get one rejected, and then it is counted and the answer says so. The invariant: the
 * answer speaks the language of the request, and 503 (which exporters repeat) is given only when
 * repeating may help. */
#include "web/ingest.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "store/otlp.h"
#include "store/stats.h"
#include "web/handler.h"
#include "web/json.h"

enum { MEMORY_PER_BYTE = 24, MEMORY_MIN = 4 * 1024 * 1024 };

/* --- what is too much --- */

static bool span_is_large(const struct span *sp)
{
	bool large = sp->attrs.cnt > INGEST_ATTRS_MAX || sp->res->attrs.cnt > INGEST_ATTRS_MAX ||
		     sp->scope->attrs.cnt > INGEST_ATTRS_MAX;

	for (uint32_t i = 0; i < sp->event_cnt && !large; i++)
		large = sp->events[i].attrs.cnt > INGEST_ATTRS_MAX;
	for (uint32_t i = 0; i < sp->link_cnt && !large; i++)
		large = sp->links[i].attrs.cnt > INGEST_ATTRS_MAX;
	return large;
}

/* Leaves the large ones out; how many those were. */
static size_t drop_large(struct otlp_spans *spans)
{
	size_t kept = 0, large;

	for (size_t i = 0; i < spans->cnt; i++)
		if (!span_is_large(&spans->at[i]))
			spans->at[kept++] = spans->at[i];
	large = spans->cnt - kept;
	spans->cnt = kept;
	return large;
}

static stat_cell *rejected_cell(const char *labels)
{
	return stats_cell(STAT_COUNTER, "ingest_rejected_total", labels,
			  "Spans received by OTLP and left out, by reason.");
}

static void count(const struct otlp_spans *spans, size_t large)
{
	stat_add(stats_cell(STAT_COUNTER, "ingest_spans_total", "", "Spans received by OTLP."),
		 spans->cnt);
	stat_add(rejected_cell("reason=\"no_id\""), spans->rejected);
	stat_add(rejected_cell("reason=\"attributes\""), large);
}

static void say_rejected(struct ingest_said *said, const struct otlp_spans *spans, size_t large)
{
	said->rejected = spans->rejected + large;
	if (spans->rejected)
		strbuf_printf(&said->why, "%zu spans without a trace id or a span id",
			      spans->rejected);
	if (large)
		strbuf_printf(&said->why,
			      "%s%zu spans with more than %d attributes (of the span, an event, a "
			      "link, its scope or its resource)",
			      said->why.len ? " and " : "", large, INGEST_ATTRS_MAX);
	if (said->rejected)
		strbuf_adds(&said->why, " were left out");
}

/* --- into the store --- */

static void fail(struct ingest_said *said, int rpc, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void fail(struct ingest_said *said, int rpc, const char *fmt, ...)
{
	va_list ap;

	said->rpc = rpc;
	va_start(ap, fmt);
	strbuf_vprintf(&said->why, fmt, ap);
	va_end(ap);
}

static void store_spans(struct store *s, bool commits, struct otlp_spans *spans,
			struct ingest_said *said)
{
	size_t large = drop_large(spans);
	int err = spans->cnt ? store_append(s, spans->at, spans->cnt) : 0;

	if (err == -EINVAL) {
		fail(said, RPC_INVALID_ARGUMENT, "a value is nested too deeply");
		return;
	}
	if (!err && commits && spans->cnt)
		err = store_flush(s);
	if (err) {
		fail(said, RPC_UNAVAILABLE, "the store takes no spans now: %s", strerror(-err));
		return;
	}
	count(spans, large);
	say_rejected(said, spans, large);
}

void ingest_take(struct store *s, enum ingest_form form, bool commits, struct str body,
		 struct ingest_said *ret)
{
	struct otlp_spans spans;
	struct arena a;
	int err;

	*ret = (struct ingest_said){0};
	strbuf_init(&ret->why);
	arena_init(&a, MEMORY_MIN + body.len * MEMORY_PER_BYTE);
	if (form == INGEST_JSON)
		err = otlp_decode_json(&a, body.p, body.len, &spans, &ret->why);
	else
		err = otlp_decode_pb(&a, body.p, body.len, &spans, &ret->why);
	if (err == -ENOMEM)
		fail(ret, RPC_RESOURCE_EXHAUSTED,
		     "the request needs too much memory: send smaller batches");
	else if (err)
		ret->rpc = RPC_INVALID_ARGUMENT;
	else if (spans.cnt + spans.rejected > INGEST_SPANS_MAX)
		fail(ret, RPC_RESOURCE_EXHAUSTED,
		     "the request has %zu spans, more than the %d that are taken at once: send "
		     "smaller batches",
		     spans.cnt + spans.rejected, INGEST_SPANS_MAX);
	else
		store_spans(s, commits, &spans, ret);
	arena_fini(&a);
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

/* ExportTraceServiceResponse{1 partial_success{1 rejected_spans, 2 error_message}}. */
void ingest_response(struct strbuf *out, const struct ingest_said *said)
{
	struct strbuf partial;

	strbuf_init(&partial);
	pb_number(&partial, 1, said->rejected);
	pb_text(&partial, 2, (struct str){said->why.p, said->why.len});
	pb_varint(out, 1 << 3 | 2);
	pb_varint(out, partial.len);
	strbuf_add(out, partial.p, partial.len);
	strbuf_fini(&partial);
}

/* --- HTTP --- */

static const char PROTOBUF_IN[] = "application/x-protobuf";

/* The media type without its parameters. */
static bool type_is(const char *content_type, const char *type)
{
	size_t len = strcspn(content_type, "; \t");

	return len == strlen(type) && strncasecmp(content_type, type, len) == 0;
}

/* A google.rpc.Status: {1 code, 2 message}. */
static void reply_status(const struct request *rq, struct reply *out, unsigned int http,
			 int code, const char *message)
{
	struct json j = {&out->body, false};

	out->status = http;
	strbuf_clear(&out->body);
	if (!type_is(rq->content_type, TYPE_JSON)) {
		out->type = PROTOBUF_IN;
		pb_number(&out->body, 1, (uint64_t)code);
		pb_text(&out->body, 2, str_of(message));
		return;
	}
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_num(&j, "code", (uint64_t)code);
	json_str(&j, "message", str_of(message));
	json_close(&j, '}');
}

static void success_json(struct reply *out, const struct ingest_said *said)
{
	struct json j = {&out->body, false};

	json_open(&j, NULL, '{');
	json_open(&j, "partialSuccess", '{');
	json_opt_num_str(&j, "rejectedSpans", said->rejected);
	json_opt_str(&j, "errorMessage", (struct str){said->why.p, said->why.len});
	json_close(&j, '}');
	json_close(&j, '}');
}

static unsigned int http_status(int rpc)
{
	return rpc == RPC_INVALID_ARGUMENT ? 400 : rpc == RPC_RESOURCE_EXHAUSTED ? 413 : 503;
}

static void take(const struct request *rq, struct str body, struct reply *out)
{
	bool json = type_is(rq->content_type, TYPE_JSON);
	struct ingest_said said;

	ingest_take(rq->store, json ? INGEST_JSON : INGEST_PROTOBUF, rq->commits, body, &said);
	if (said.rpc) {
		reply_status(rq, out, http_status(said.rpc), said.rpc, said.why.p);
	} else {
		out->status = 200;
		out->type = json ? TYPE_JSON : PROTOBUF_IN;
		if (json)
			success_json(out, &said);
		else
			ingest_response(&out->body, &said);
	}
	strbuf_fini(&said.why);
}

static void gunzip_and_take(const struct request *rq, struct reply *out)
{
	struct strbuf plain;
	int err;

	strbuf_init(&plain);
	err = body_gunzip(rq->body, HTTP_BODY_MAX, &plain);
	if (err == -EFBIG)
		reply_status(rq, out, 413, RPC_RESOURCE_EXHAUSTED,
			     "the request body is larger than 16 MiB: send smaller batches");
	else if (err)
		reply_status(rq, out, 400, RPC_INVALID_ARGUMENT, "the request body is not gzip");
	else
		take(rq, (struct str){plain.p, plain.len}, out);
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
		gunzip_and_take(rq, out);
	else if (*coding && strcasecmp(coding, "identity") != 0)
		reply_status(rq, out, 400, RPC_INVALID_ARGUMENT,
			     "only gzip is understood as Content-Encoding");
	else
		take(rq, rq->body, out);
}

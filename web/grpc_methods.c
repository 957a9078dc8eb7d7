/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_methods.c - the one table of gRPC methods, and for each how its message becomes a request to
 * HTTP. A new method is a row here. The invariant: whatever a message holds is percent-encoded, so
 * it ends up in the one parameter, or the one segment of the path, that it is meant for. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/grpc.pb-c.h"
#include "web/grpc.h"

enum { QUERY_MAX = 64 * 1024 }; /* as long as an URI may be */

/* --- targets --- */

static void add_encoded(struct strbuf *t, ProtobufCBinaryData text)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] && strchr(plain, text.data[i]))
			strbuf_addc(t, (char)text.data[i]);
		else
			strbuf_printf(t, "%%%02X", text.data[i]);
	}
}

static void add_key(struct strbuf *t, const char *key)
{
	strbuf_addc(t, strchr(t->p, '?') ? '&' : '?');
	strbuf_adds(t, key);
	strbuf_addc(t, '=');
}

/* What is not said in a message is empty, and left out. */
static void add_text(struct strbuf *t, const char *key, ProtobufCBinaryData text)
{
	if (!text.len)
		return;
	add_key(t, key);
	add_encoded(t, text);
}

static void add_number(struct strbuf *t, const char *key, uint64_t n, const char *unit)
{
	if (!n)
		return;
	add_key(t, key);
	strbuf_printf(t, "%" PRIu64 "%s", n, unit);
}

static void take_target(struct request *rq, struct strbuf *t)
{
	rq->target = arena_str(rq->arena, t->p, t->len);
	strbuf_fini(t);
}

/* --- Search --- */

/* k="v" with the quote and the backslash escaped, as the tags parameter has it. */
static void add_tags(struct strbuf *t, const Grpcpb__SearchRequest *m)
{
	struct strbuf tags;

	strbuf_init(&tags);
	for (size_t i = 0; i < m->n_tags; i++) {
		ProtobufCBinaryData key = m->tags[i]->key, value = m->tags[i]->value;

		if (i)
			strbuf_addc(&tags, ' ');
		strbuf_add(&tags, key.data, key.len);
		strbuf_adds(&tags, "=\"");
		for (size_t k = 0; k < value.len; k++) {
			if (value.data[k] == '"' || value.data[k] == '\\')
				strbuf_addc(&tags, '\\');
			strbuf_addc(&tags, (char)value.data[k]);
		}
		strbuf_addc(&tags, '"');
	}
	add_text(t, "tags", pb_bytes((struct str){tags.p, tags.len}));
	strbuf_fini(&tags);
}

static void write_search(struct strbuf *t, const Grpcpb__SearchRequest *m)
{
	strbuf_adds(t, "/api/search");
	add_tags(t, m);
	add_number(t, "minDuration", m->min_duration_ms, "ms");
	add_number(t, "maxDuration", m->max_duration_ms, "ms");
	add_number(t, "limit", m->limit, "");
	add_number(t, "start", m->start, "");
	add_number(t, "end", m->end, "");
	add_text(t, "q", m->query);
	add_number(t, "spss", m->spans_per_span_set, "");
}

/* --- tags --- */

static void write_tags(struct strbuf *t, const char *path, const Grpcpb__SearchTagsRequest *m)
{
	strbuf_adds(t, path);
	add_text(t, "scope", m->scope);
	add_text(t, "q", m->query);
	add_number(t, "start", m->start, "");
	add_number(t, "end", m->end, "");
	add_number(t, "limit", m->max_tags_per_scope, "");
}

static void write_tags_v1(struct strbuf *t, const Grpcpb__SearchTagsRequest *m)
{
	write_tags(t, "/api/search/tags", m);
}

static void write_tags_v2(struct strbuf *t, const Grpcpb__SearchTagsRequest *m)
{
	write_tags(t, "/api/v2/search/tags", m);
}

/* --- values --- */

static void write_values(struct strbuf *t, const char *path,
			 const Grpcpb__SearchTagValuesRequest *m)
{
	strbuf_adds(t, path);
	add_encoded(t, m->tag_name);
	strbuf_adds(t, "/values");
	add_text(t, "q", m->query);
	add_number(t, "start", m->start, "");
	add_number(t, "end", m->end, "");
	add_number(t, "limit", m->max_tag_values, "");
}

static void write_values_v1(struct strbuf *t, const Grpcpb__SearchTagValuesRequest *m)
{
	write_values(t, "/api/search/tag/", m);
}

static void write_values_v2(struct strbuf *t, const Grpcpb__SearchTagValuesRequest *m)
{
	write_values(t, "/api/v2/search/tag/", m);
}

/* --- metrics --- */

static void write_range(struct strbuf *t, const Grpcpb__QueryRangeRequest *m)
{
	strbuf_adds(t, "/api/metrics/query_range");
	add_text(t, "q", m->query);
	add_number(t, "start", m->start, "");
	add_number(t, "end", m->end, "");
	add_number(t, "step", m->step, "ns");
	add_number(t, "exemplars", m->exemplars, "");
}

static void write_instant(struct strbuf *t, const Grpcpb__QueryInstantRequest *m)
{
	strbuf_adds(t, "/api/metrics/query");
	add_text(t, "q", m->query);
	add_number(t, "start", m->start, "");
	add_number(t, "end", m->end, "");
}

/* --- the methods --- */

static int not_a(const char *name, struct strbuf *why)
{
	strbuf_printf(why, "the message is not a %s", name);
	return -EINVAL;
}

#define TAG_NAME_MISSING(m) ((m)->tag_name.len == 0)
#define NOTHING_MISSING(m)  false

/* A message of protobuf-c's, and who writes its target. */
#define ASK(fn, Message, message, write, is_missing)                                               \
	static int fn(struct request *rq, struct str bytes, struct strbuf *why)                    \
	{                                                                                          \
		Grpcpb__##Message *m =                                                             \
			grpcpb__##message##__unpack(NULL, bytes.len, (const uint8_t *)bytes.p);    \
		struct strbuf target;                                                              \
                                                                                                   \
		if (!m || is_missing(m)) {                                                         \
			grpcpb__##message##__free_unpacked(m, NULL);                               \
			return not_a(#Message, why);                                               \
		}                                                                                  \
		strbuf_init(&target);                                                              \
		write(&target, m);                                                                 \
		take_target(rq, &target);                                                          \
		grpcpb__##message##__free_unpacked(m, NULL);                                       \
		return 0;                                                                          \
	}

ASK(ask_search, SearchRequest, search_request, write_search, NOTHING_MISSING)
ASK(ask_tags_v1, SearchTagsRequest, search_tags_request, write_tags_v1, NOTHING_MISSING)
ASK(ask_tags_v2, SearchTagsRequest, search_tags_request, write_tags_v2, NOTHING_MISSING)
ASK(ask_values_v1, SearchTagValuesRequest, search_tag_values_request, write_values_v1,
    TAG_NAME_MISSING)
ASK(ask_values_v2, SearchTagValuesRequest, search_tag_values_request, write_values_v2,
    TAG_NAME_MISSING)
ASK(ask_range, QueryRangeRequest, query_range_request, write_range, NOTHING_MISSING)
ASK(ask_instant, QueryInstantRequest, query_instant_request, write_instant, NOTHING_MISSING)

/* Its message is the body of OTLP/HTTP as it is, and so is the answer. */
static int ask_export(struct request *rq, struct str message, struct strbuf *why)
{
	(void)why;
	rq->method = "POST";
	rq->target = STR("/v1/traces");
	rq->content_type = "application/x-protobuf";
	rq->body = message;
	return 0;
}

static int ask_health(struct request *rq, struct str message, struct strbuf *why)
{
	(void)message, (void)why;
	rq->target = STR("/ready");
	return 0;
}

static void finish_health(struct reply *out)
{
	Grpcpb__HealthCheckResponse m;

	grpcpb__health_check_response__init(&m);
	m.status = out->status == 200 ? 1 : 2;
	reply_protobuf(out, &m.base);
}

#define QUERIER "/tempopb.StreamingQuerier/"
#define OTLP	"/opentelemetry.proto.collector.trace.v1."

static const struct grpc_method methods[] = {
	{.path = OTLP "TraceService/Export",
	 .ask = ask_export,
	 .message_max = HTTP_BODY_MAX,
	 .ingest = true},
	{.path = QUERIER "Search", .ask = ask_search, .message_max = QUERY_MAX},
	{.path = QUERIER "SearchTags", .ask = ask_tags_v1, .message_max = QUERY_MAX},
	{.path = QUERIER "SearchTagsV2", .ask = ask_tags_v2, .message_max = QUERY_MAX},
	{.path = QUERIER "SearchTagValues", .ask = ask_values_v1, .message_max = QUERY_MAX},
	{.path = QUERIER "SearchTagValuesV2", .ask = ask_values_v2, .message_max = QUERY_MAX},
	{.path = QUERIER "MetricsQueryRange", .ask = ask_range, .message_max = QUERY_MAX},
	{.path = QUERIER "MetricsQueryInstant", .ask = ask_instant, .message_max = QUERY_MAX},
	{.path = "/grpc.health.v1.Health/Check",
	 .ask = ask_health,
	 .finish = finish_health,
	 .message_max = QUERY_MAX,
	 .open = true},
};

const struct grpc_method *grpc_method_find(struct str path)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (str_eq(path, str_of(methods[i].path)))
			return &methods[i];
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* api_search.c - /api/search: parameters to a query, its result to Tempo's SearchResponse in JSON
 * or protobuf. Decides nothing about which traces match. The invariant: clients parse the JSON
 * strictly, so no key is written that the SearchResponse of 2025-05-29 does not have. */
#include <string.h>

#include "proto/tempopb.pb-c.h"
#include "web/handler.h"
#include "web/json.h"
#include "web/legacy.h"

static const char NO_ROOT[] = "<root span not yet received>";

/* --- what both forms share --- */

/* Hex without leading zeros. */
static struct str trace_id_text(const struct search_trace *t, char text[33])
{
	size_t zeros;

	hex_encode(text, t->trace_id, sizeof(t->trace_id));
	zeros = strspn(text, "0");
	return (struct str){text + zeros, 32 - zeros};
}

static struct str root_service(const struct search_trace *t)
{
	return t->has_root && t->root_service.len ? t->root_service : str_of(NO_ROOT);
}

static uint64_t duration_ns(uint64_t start_ns, uint64_t end_ns)
{
	return end_ns > start_ns ? end_ns - start_ns : 0;
}

static uint32_t duration_ms(const struct search_trace *t)
{
	uint64_t ms = duration_ns(t->start_ns, t->end_ns) / NS_PER_MS;

	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

/* --- JSON --- */

static void json_span(struct json *j, const struct search_span *s)
{
	char id[17];

	hex_encode(id, s->span->span_id, sizeof(s->span->span_id));
	json_open(j, NULL, '{');
	json_str(j, "spanID", str_of(id));
	if (s->show_name)
		json_opt_str(j, "name", s->span->name);
	json_opt_num_str(j, "startTimeUnixNano", s->span->start_ns);
	json_opt_num_str(j, "durationNanos", duration_ns(s->span->start_ns, s->span->end_ns));
	json_opt_attrs(j, "attributes", &s->attrs);
	json_close(j, '}');
}

static void json_set(struct json *j, const char *key, const struct search_set *set)
{
	json_open(j, key, '{');
	if (set->cnt) {
		json_open(j, "spans", '[');
		for (uint32_t i = 0; i < set->cnt; i++)
			json_span(j, &set->spans[i]);
		json_close(j, ']');
	}
	json_opt_num(j, "matched", set->matched);
	json_opt_attrs(j, "attributes", &set->attrs);
	json_close(j, '}');
}

static void json_services(struct json *j, const struct search_trace *t)
{
	json_open(j, "serviceStats", '{');
	for (uint32_t i = 0; i < t->service_cnt; i++) {
		json_key(j, t->services[i].name);
		json_open(j, NULL, '{');
		json_opt_num(j, "spanCount", t->services[i].spans);
		json_opt_num(j, "errorCount", t->services[i].errors);
		json_close(j, '}');
	}
	json_close(j, '}');
}

static void json_trace(struct json *j, const struct search_trace *t)
{
	char id[33];

	json_open(j, NULL, '{');
	json_str(j, "traceID", trace_id_text(t, id));
	json_str(j, "rootServiceName", root_service(t));
	json_opt_str(j, "rootTraceName", t->root_name);
	json_opt_num_str(j, "startTimeUnixNano", t->start_ns);
	json_opt_num(j, "durationMs", duration_ms(t));
	if (t->set_cnt) {
		json_set(j, "spanSet", &t->sets[0]);
		json_open(j, "spanSets", '[');
		for (uint32_t i = 0; i < t->set_cnt; i++)
			json_set(j, NULL, &t->sets[i]);
		json_close(j, ']');
	}
	if (t->service_cnt)
		json_services(j, t);
	json_close(j, '}');
}

/* How many nodes were asked, and have answered: what Tempo calls jobs. */
struct jobs {
	uint32_t total, completed;
};

static void write_json(const struct search_result *res, struct jobs jobs, struct reply *out)
{
	struct json j = {&out->body, false};

	out->status = 200;
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_open(&j, "traces", '[');
	for (uint32_t i = 0; i < res->cnt; i++)
		json_trace(&j, &res->traces[i]);
	json_close(&j, ']');
	json_open(&j, "metrics", '{');
	json_opt_num_str(&j, "inspectedBytes", res->inspected_bytes);
	json_num(&j, "completedJobs", jobs.completed);
	json_num(&j, "totalJobs", jobs.total);
	json_close(&j, '}');
	json_close(&j, '}');
}

/* --- protobuf; the tree lives in a scratch arena without a limit --- */

static Tempopb__Span *pb_span(struct arena *a, const struct search_span *from)
{
	Tempopb__Span *to = arena_new(a, Tempopb__Span);
	char *id = arena_alloc(a, 17);

	tempopb__span__init(to);
	hex_encode(id, from->span->span_id, sizeof(from->span->span_id));
	to->span_id = pb_bytes((struct str){id, 16});
	if (from->show_name)
		to->name = pb_bytes(from->span->name);
	to->start_time_unix_nano = from->span->start_ns;
	to->duration_nanos = duration_ns(from->span->start_ns, from->span->end_ns);
	to->n_attributes = from->attrs.cnt;
	to->attributes = pb_attrs(a, &from->attrs);
	return to;
}

static Tempopb__SpanSet *pb_set(struct arena *a, const struct search_set *from)
{
	Tempopb__SpanSet *to = arena_new(a, Tempopb__SpanSet);

	tempopb__span_set__init(to);
	to->n_spans = from->cnt;
	to->spans = arena_array(a, Tempopb__Span *, from->cnt);
	for (uint32_t i = 0; i < from->cnt; i++)
		to->spans[i] = pb_span(a, &from->spans[i]);
	to->matched = from->matched;
	to->n_attributes = from->attrs.cnt;
	to->attributes = pb_attrs(a, &from->attrs);
	return to;
}

static Tempopb__ServiceStatsEntry *pb_service(struct arena *a, const struct search_service *from)
{
	Tempopb__ServiceStatsEntry *to = arena_new(a, Tempopb__ServiceStatsEntry);

	tempopb__service_stats_entry__init(to);
	to->key = pb_bytes(from->name);
	to->value = arena_new(a, Tempopb__ServiceStats);
	tempopb__service_stats__init(to->value);
	to->value->span_count = from->spans;
	to->value->error_count = from->errors;
	return to;
}

static Tempopb__TraceSearchMetadata *pb_trace(struct arena *a, const struct search_trace *from)
{
	Tempopb__TraceSearchMetadata *to = arena_new(a, Tempopb__TraceSearchMetadata);
	char *id = arena_alloc(a, 33);

	tempopb__trace_search_metadata__init(to);
	to->trace_id = pb_bytes(trace_id_text(from, id));
	to->root_service_name = pb_bytes(root_service(from));
	to->root_trace_name = pb_bytes(from->root_name);
	to->start_time_unix_nano = from->start_ns;
	to->duration_ms = duration_ms(from);
	to->n_span_sets = from->set_cnt;
	to->span_sets = arena_array(a, Tempopb__SpanSet *, from->set_cnt);
	for (uint32_t i = 0; i < from->set_cnt; i++)
		to->span_sets[i] = pb_set(a, &from->sets[i]);
	to->span_set = from->set_cnt ? to->span_sets[0] : NULL;
	to->n_service_stats = from->service_cnt;
	to->service_stats = arena_array(a, Tempopb__ServiceStatsEntry *, from->service_cnt);
	for (uint32_t i = 0; i < from->service_cnt; i++)
		to->service_stats[i] = pb_service(a, &from->services[i]);
	return to;
}

static void write_protobuf(const struct search_result *res, struct jobs jobs, struct reply *out)
{
	Tempopb__SearchResponse m;
	Tempopb__SearchMetrics metrics;
	struct arena a;

	arena_init(&a, 0);
	tempopb__search_metrics__init(&metrics);
	metrics.inspected_bytes = res->inspected_bytes;
	metrics.completed_jobs = jobs.completed;
	metrics.total_jobs = jobs.total;
	tempopb__search_response__init(&m);
	m.metrics = &metrics;
	m.n_traces = res->cnt;
	m.traces = arena_array(&a, Tempopb__TraceSearchMetadata *, res->cnt);
	for (uint32_t i = 0; i < res->cnt; i++)
		m.traces[i] = pb_trace(&a, &res->traces[i]);
	reply_protobuf(out, &m.base);
	arena_fini(&a);
}

/* --- the handler --- */

/* A search by tags says which traces, never which spans. */
static void drop_sets(struct search_result *res)
{
	for (uint32_t i = 0; i < res->cnt; i++)
		res->traces[i].set_cnt = res->traces[i].service_cnt = 0;
}

/* What other nodes found. */
static int add_peers(const struct request *rq, struct query *q, const struct search_params *p,
		     struct search_result *res, struct jobs *jobs)
{
	struct arena *a = query_arena(q);
	struct peers_said said;
	int err = 0;

	if (!rq->peers)
		return 0;
	peers_ask(rq->peers, a, rq->target, TYPE_JSON, &said);
	for (uint32_t i = 0; i < said.cnt && !err; i++)
		err = peers_merge_search(a, said.bodies[i], p->limit, p->spss, res);
	jobs->completed += said.answered;
	jobs->total += said.asked;
	strbuf_fini(&said.missing);
	return err;
}

/* Messages of a stream, one after another: each has what the ones before it did not. */
struct stream {
	const struct request *rq;
	bool by_tags;
};

static bool send_some(void *arg, const struct search_result *some)
{
	struct stream *st = arg;
	struct search_result res = *some;
	struct reply part = {0};
	bool taken;

	strbuf_init(&part.body);
	if (st->by_tags)
		drop_sets(&res);
	write_protobuf(&res, (struct jobs){.total = 1}, &part);
	taken = st->rq->part(st->rq->part_arg, &part);
	strbuf_fini(&part.body);
	return taken;
}

static void drop_known(struct search_result *res)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < res->cnt; i++)
		if (!res->traces[i].is_known)
			res->traces[cnt++] = res->traces[i];
	res->cnt = cnt;
}

/* What other nodes find changes what we have found: then there is one message. */
static void run(const struct request *rq, struct search_params *p, bool by_tags, struct reply *out)
{
	struct stream st = {rq, by_tags};
	struct jobs jobs = {1, 1};
	struct search_result res;
	struct query *q = NULL;
	int err;

	if (reply_query_begin(rq, &q, out))
		return;
	if (rq->part && !rq->peers) {
		p->found = send_some;
		p->found_arg = &st;
	}
	err = query_search(q, p, &res);
	err = err ?: add_peers(rq, q, p, &res, &jobs);
	if (!err && by_tags)
		drop_sets(&res);
	if (!err)
		drop_known(&res);
	if (err)
		reply_query_error(out, q, err);
	else if (wants_protobuf(rq))
		write_protobuf(&res, jobs, out);
	else
		write_json(&res, jobs, out);
	query_end(q);
}

void api_search(const struct request *rq, struct reply *out)
{
	struct str tags = params_get(&rq->params, "tags");
	struct search_params p;
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = params_search(&rq->params, clock_real_ns(), &p, &why);
	if (!err && tags.len)
		err = legacy_query(rq->arena, tags, &p.q, &why);
	if (err)
		reply_bad(out, &why);
	else
		run(rq, &p, tags.len > 0, out);
	strbuf_fini(&why);
}

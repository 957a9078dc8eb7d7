/* SPDX-License-Identifier: Apache-2.0 */
/* api_trace.c - a trace by id: v1 (404 when there is none) and v2 (200 with an empty trace, which
 * is what Grafana understands), the latter filtered by q when asked. start and end are checked and
 * otherwise ignored: the store looks everywhere. The invariant: Tempo's answers carry no flags, so ours do not either; export does. */
#include "proto/tempopb.pb-c.h"
#include "store/otlp.h"
#include "web/handler.h"

enum { PARTIAL = 1 }; /* Tempo's PartialStatus */

static void drop_flags(struct query_trace *t)
{
	for (size_t i = 0; i < t->cnt; i++) {
		t->spans[i].flags = 0;
		for (uint32_t k = 0; k < t->spans[i].link_cnt; k++)
			t->spans[i].links[k].flags = 0;
	}
}

/* What other nodes have of it. missing: which did not answer; empty: all did. */
static int add_peers(const struct request *rq, struct query *q, struct query_trace *t, struct strbuf *missing)
{
	struct arena *a = query_arena(q);
	struct peers_said said;
	struct strbuf target;
	int err = 0;

	if (!rq->peers)
		return 0;
	strbuf_init(&target);
	strbuf_printf(&target, "/api/traces/" STR_FMT, STR_ARG(rq->segment));
	peers_ask(rq->peers, a, (struct str){target.p, target.len}, TYPE_PROTOBUF, &said);
	for (uint32_t i = 0; i < said.cnt && !err; i++)
		err = peers_merge_trace(a, said.bodies[i], t);
	strbuf_add(missing, said.missing.p, said.missing.len);
	strbuf_fini(&said.missing);
	strbuf_fini(&target);
	return err;
}

static int read_params(const struct request *rq, uint8_t id[16], struct trace_filter *filter,
		       struct reply *out)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = params_trace_id(rq->segment, id, &why);
	err = err ?: params_trace_range(&rq->params, &why);
	if (!err && filter)
		err = params_trace_filter(&rq->params, filter, &why);
	if (err)
		reply_bad(out, &why);
	strbuf_fini(&why);
	return err;
}

static const char FILTERED[] =
    "Trace filtered, only a subset of spans matching the filter is returned";

/* Reads the trace into q's arena; filter NULL: all of it. missing says why it is not all. False: the
 * reply is an error. *q is to be ended either way. */
static bool find(const struct request *rq, struct query **q, struct query_trace *t,
		 struct trace_filter *filter, struct strbuf *missing, struct reply *out)
{
	uint8_t id[16];
	bool found;
	int err = read_params(rq, id, filter, out);

	if (err || reply_query_begin(rq, q, out))
		return false;
	err = query_trace(*q, id, t);
	err = err ?: add_peers(rq, *q, t, missing);
	found = !err && t->cnt;
	if (!err && filter)
		err = query_trace_filter(*q, filter, t);
	if (!err && found && filter && filter->q.len)
		strbuf_printf(missing, "%s%s", missing->len ? "; " : "", FILTERED);
	if (err) {
		reply_query_error(out, *q, err);
		return false;
	}
	drop_flags(t);
	return true;
}

static void write_v1(const struct request *rq, const struct query_trace *t, struct reply *out)
{
	if (t->cnt == 0) {
		*out = (struct reply){.status = 404, .body = out->body};
		return;
	}
	out->status = 200;
	if (wants_protobuf(rq)) {
		out->type = TYPE_PROTOBUF;
		otlp_encode_pb(&out->body, t->spans, t->cnt);
		return;
	}
	out->type = TYPE_JSON;
	strbuf_adds(&out->body, "{\"batches\":");
	otlp_encode_json(&out->body, t->spans, t->cnt);
	strbuf_addc(&out->body, '}');
}

static void write_v2_protobuf(const struct query_trace *t, struct str missing, struct reply *out)
{
	Tempopb__TraceByIDResponse m;
	Tempopb__TraceByIDMetrics metrics;
	struct strbuf trace;

	strbuf_init(&trace);
	otlp_encode_pb(&trace, t->spans, t->cnt);
	tempopb__trace_by_idmetrics__init(&metrics);
	tempopb__trace_by_idresponse__init(&m);
	m.trace_case_case = TEMPOPB__TRACE_BY_IDRESPONSE__TRACE_CASE_TRACE;
	m.trace = pb_bytes((struct str){trace.p, trace.len});
	m.metrics = &metrics;
	m.status = missing.len ? PARTIAL : 0;
	m.message = pb_bytes(missing);
	reply_protobuf(out, &m.base);
	strbuf_fini(&trace);
}

static void write_v2(const struct request *rq, const struct query_trace *t, struct str missing,
		     struct reply *out)
{
	if (wants_protobuf(rq)) {
		write_v2_protobuf(t, missing, out);
		return;
	}
	out->status = 200;
	out->type = TYPE_JSON;
	strbuf_adds(&out->body, "{\"trace\":{");
	if (t->cnt) {
		strbuf_adds(&out->body, "\"resourceSpans\":");
		otlp_encode_json(&out->body, t->spans, t->cnt);
	}
	strbuf_adds(&out->body, "},\"metrics\":{}");
	if (missing.len) {
		strbuf_adds(&out->body, ",\"status\":\"PARTIAL\",\"message\":");
		otlp_json_string(&out->body, missing);
	}
	strbuf_addc(&out->body, '}');
}

void api_trace_v1(const struct request *rq, struct reply *out)
{
	struct query *q = NULL;
	struct strbuf missing;
	struct query_trace t;

	strbuf_init(&missing);
	if (find(rq, &q, &t, NULL, &missing, out))
		write_v1(rq, &t, out);
	strbuf_fini(&missing);
	query_end(q);
}

void api_trace_v2(const struct request *rq, struct reply *out)
{
	struct query *q = NULL;
	struct trace_filter filter;
	struct strbuf missing;
	struct query_trace t;

	strbuf_init(&missing);
	if (find(rq, &q, &t, &filter, &missing, out))
		write_v2(rq, &t, (struct str){missing.p, missing.len}, out);
	strbuf_fini(&missing);
	query_end(q);
}

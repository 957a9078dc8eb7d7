/* SPDX-License-Identifier: Apache-2.0 */
/* tql.c - any bytes as a query: parsed, checked, and run on a trace of three spans, as a search
 * and as the filter of a trace by id, so that the evaluator sees every shape of tree
 * that the parser lets through. */
// uses: query/*.c store/*.c build/proto/otlp_trace.pb-c.c build/proto/parts.pb-c.c
// libs: -lpcre2-8 -llmdb -ljansson -lprotobuf-c -lz -lpthread -lm
#include "query/plan.h"
#include "query/search.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct resource res;
static const struct scope scope;
static struct event event = {.name = {"e", 1}, .time_ns = 5};
static struct attr attrs[] = {
    {{"a", 1}, {.type = VAL_INT, .i = 7}},
    {{"b", 1}, {.type = VAL_STR, .str = {"x", 1}}},
};

static struct span span_of(uint8_t id, uint8_t parent)
{
	return (struct span){.trace_id = {1},
			     .span_id = {id},
			     .parent_id = {parent},
			     .start_ns = id,
			     .end_ns = 9,
			     .attrs = {.at = attrs, .cnt = 2},
			     .events = &event,
			     .event_cnt = 1,
			     .res = &res,
			     .scope = &scope};
}

static void filter(struct str text, struct span *spans, size_t cnt, const struct query_limits *limits)
{
	struct query_trace t = {spans, cnt};
	const struct trace_filter f = {.q = text, .up = 1, .down = UINT32_MAX};
	struct query *q;

	must(query_begin(&q, NULL, limits) == 0);
	query_trace_filter(q, &f, &t);
	must(t.cnt <= cnt);
	query_end(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct span spans[] = {span_of(1, 0), span_of(2, 1), span_of(3, 9)};
	struct query_limits limits = {.memory = 8 << 20, .timeout_ms = 1000};
	struct search_trace found;
	struct show *show;
	struct query *q;
	struct eval e;
	struct tql t;

	must(query_begin(&q, NULL, &limits) == 0);
	if (query_parse(q, (struct str){(const char *)data, len}, &t) == 0 && !t.metrics) {
		show = show_new(&q->arena, &t);
		eval_init(&e, q, &t);
		search_trace(&e, show, spans, 3, 3, &found);
		if (!t.trace && !e.err && t.pipe->kind == STAGE_FILTER &&
		    eval_begin(&e, spans, 3) == 0)
			must(plan_is_local(t.pipe->expr));
	}
	query_end(q);
	filter((struct str){(const char *)data, len}, spans, 3, &limits);
	return 0;
}

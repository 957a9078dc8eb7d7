/* SPDX-License-Identifier: Apache-2.0 */
/* eval_test.c - TraceQL on spans in memory. First what a running Tempo answered to some 220 queries
 * over 300 traces (recorded once: tests/tql/recorded, OTLP/JSON with times relative to a moment
 * T0), compared attribute by attribute; then rules that Tempo has other opinions on (README.md,
 * TraceQL), and traces that nobody wishes for. Needs no store. */
#include "query/search.h"
#include "query/tree.h"
#include "tests/unit/recorded.h"

#include <errno.h>

struct run {
	struct query *q;
	struct tql tql;
	struct eval eval;
	struct show *show;
};

static int run_begin(struct run *r, const char *text)
{
	int err;

	assert_int_equal(query_begin(&r->q, NULL, NULL), 0);
	err = query_parse(r->q, str_of(text), &r->tql);
	if (err)
		return err;
	r->show = show_new(&r->q->arena, &r->tql);
	eval_init(&r->eval, r->q, &r->tql);
	return 0;
}

static bool overlaps(const struct data_trace *t, uint64_t from, uint64_t to)
{
	struct trace tr;

	trace_init(&tr, t->spans, t->cnt);
	return tr.start_ns <= to && tr.end_ns >= from;
}

static json_t *run_all(struct run *r, json_t *query)
{
	uint64_t from = time_param(query, "start"), to = time_param(query, "end");
	uint32_t spss = int_param(query, "spss") ? int_param(query, "spss") : 3;
	json_t *list = json_array();

	for (uint32_t i = 0; i < data_cnt; i++) {
		struct search_trace t;
		int rc;

		if (!overlaps(&data[i], from, to))
			continue;
		arena_reset(&r->q->scratch);
		rc = search_trace(&r->eval, r->show, data[i].spans, data[i].cnt, spss, &t);
		if (rc < 0)
			fail_msg("%s", query_error(r->q));
		if (rc)
			json_array_append_new(list, trace_json(&t));
	}
	return list;
}

static bool run_case(json_t *c)
{
	json_t *query = json_object_get(c, "query"), *want, *got;
	const char *text = json_string_value(json_object_get(query, "q"));
	bool valid = json_integer_value(json_object_get(c, "status")) == 200, ok;
	struct run r;

	if (run_begin(&r, text)) {
		ok = !valid;
		if (valid)
			print_error("%s: %s\n", text, query_error(r.q));
	} else if (!valid) {
		print_error("%s: not refused\n", text);
		ok = false;
	} else {
		want = json_object_get(c, "superset");
		want = want ? want : json_object_get(json_object_get(c, "body"), "traces");
		got = run_all(&r, query);
		ok = r.tql.most_recent ? json_array_size(got) >= json_array_size(want)
				       : same_traces(text, want, got);
		json_decref(got);
	}
	query_end(r.q);
	return ok;
}

static void recorded_cases(void **state)
{
	FILE *f = fopen("tests/tql/recorded/cases.jsonl", "r");
	char *line = NULL;
	size_t len = 0;
	int cnt = 0, wrong = 0;

	(void)state;
	assert_non_null(f);
	for (; getline(&line, &len, f) > 0; cnt++) {
		json_t *c = json_loads(line, 0, NULL);

		assert_non_null(c);
		wrong += !differs_on_purpose(c) && !run_case(c);
		json_decref(c);
	}
	free(line);
	fclose(f);
	print_message("%d cases\n", cnt);
	assert_true(cnt > 200);
	assert_int_equal(wrong, 0);
}

/* --- rules of our own --- */
/* How many spans of the recorded traces a query finds, in all sets together. */
static uint32_t found(const char *text)
{
	uint32_t sum = 0;
	struct run r;

	if (run_begin(&r, text))
		fail_msg("%s: %s", text, query_error(r.q));
	for (uint32_t i = 0; i < data_cnt; i++) {
		struct span_set *sets = NULL;

		arena_reset(&r.q->scratch);
		if (eval_begin(&r.eval, data[i].spans, data[i].cnt) || eval_trace(&r.eval, &sets))
			fail_msg("%s: %s", text, query_error(r.q));
		for (; sets; sets = sets->next)
			sum += sets->cnt;
	}
	query_end(r.q);
	return sum;
}

static void expect_found(const char *text, uint32_t cnt)
{
	uint32_t got = found(text);

	if (got != cnt)
		fail_msg("%s: want %u spans, got %u", text, cnt, got);
}

/* An attribute is compared with a literal by value, whatever kind of number either is. */
static void numbers_compare(void **state)
{
	(void)state;
	expect_found("{ span.t.int = 42.0 }", 1);
	expect_found("{ span.t.int = 42ns }", 1);
	expect_found("{ span.t.dbl2 = 2 }", 1);
	expect_found("{ span.t.dbl > 1 }", 1);
	expect_found("{ span.t.darr < 1 }", 1);
	expect_found("{ 41 < span.t.int }", 1);
	expect_found("{ span.t.numstr > 1 }", 0);
	expect_found("{ span.t.int =~ `42` }", 0);
	expect_found("{ span.t.int ^ 2 = 1764 }", 1);
	expect_found("{ 2 ^ span.t.iarr = 4 }", 0);
	expect_found("{ span.t.neg % 4 = -3 }", 1);
	expect_found("{ span.t.big + 1 < 0 }", 1);
	expect_found("{ span.t.big = maxInt && -span.t.big - 1 = minInt }", 1);
	expect_found("{ -span.t.int * 2 = -84 }", 1);
}

static void nil_and_not(void **state)
{
	(void)state;
	expect_found("{ span.t.kv != nil || span.t.bytes != nil || span.t.marr != nil || "
		     "span.t.earr != nil }",
		     0);
	expect_found("{ span.edge.case = `types` && span.t.kv = nil }", 1);
	expect_found("{ span.edge.case = `types` && !(span.nosuch = 1) }", 1);
	expect_found("{ span.edge.case = `types` && !span.nosuch }", 0);
	expect_found("{ !span.t.false }", 1);
	expect_found("{ span.t.int = `42` || span.t.int != `x` }", 0);
	expect_found("{ span:parentID = `` && span.edge.case = `hops` }", 1);
	expect_found("{ event.foo = nil && span.edge.case = `scopes` }", 2);
	expect_found("{ .foo = nil && span.edge.case = `scopes` }", 0);
	expect_found("{ event:name = `ev1` && event.foo = `evt2` }", 1);
}

static void arrays(void **state)
{
	(void)state;
	expect_found("{ span.t.sarr != `b` }", 0);
	expect_found("{ span.t.sarr != `z` }", 1);
	expect_found("{ span.t.sarr !~ `[bc]` }", 0);
	expect_found("{ span.t.sarr != 5 }", 0);
	expect_found("{ span.t.iarr = span.t.iarr }", 1);
	expect_found("{ span.t.barr = true && span.t.barr = false }", 1);
}

/* A tree whose root was not received is a tree all the same, but has no root. */
static void missing_root(void **state)
{
	(void)state;
	expect_found("{ span.edge.case = `orphan` } > { }", 1);
	expect_found("{ name = `orphan child` } << { }", 1);
	expect_found("{ name =~ `orphan.*` && nestedSetParent < 0 }", 0);
	expect_found(
	    "{ name = `orphan` && nestedSetParent = 0 && nestedSetLeft = 1 && nestedSetRight = 4 }",
	    1);
	expect_found("{ name = `orphan` && rootName = `` && span:childCount = 1 }", 1);
}

static void pipelines(void **state)
{
	(void)state;
	expect_found("{ span.edge.case = `wide` } | by(span.branch) | { status = error }", 1);
	expect_found(
	    "{ span.edge.case = `wide` } | by(span.branch) | { name = `leaf` } ~ { name = `leaf` }",
	    12);
	expect_found(
	    "({ span.edge.case = `wide` } | count() > 99) || ({ name = `leaf` } | count() > 1)",
	    12);
	expect_found(
	    "({ span.edge.case = `wide` } | count() > 99) && ({ name = `leaf` } | count() > 1)", 0);
	expect_found("count() > 100", 150);
	expect_found("by(span.nosuch) | count() > 100", 150);
	expect_found("{ span.edge.case = `wide` } | count() > 0.5", 16);
	expect_found("{ span.edge.case = `wide` } | max(span.nosuch) > 0", 0);
	expect_found("{ span.edge.case = `wide` } | by(span:id) | count() = 1", 16);
	expect_found("{ span.edge.case = `wide` } | select(name) | by(span.branch) | coalesce()",
		     16);
	expect_found("{ name = `leaf` } &~ { name = `leaf` && status = error }", 4);
	expect_found("{ name = `leaf` } && { name = `wide root` } && { name =~ `branch.*` }", 16);
}

static void division_by_zero(void **state)
{
	struct span_set *sets;
	struct run r;

	(void)state;
	assert_int_equal(run_begin(&r, "{ duration / 0 > 1 }"), 0);
	assert_int_equal(eval_begin(&r.eval, data[0].spans, data[0].cnt), 0);
	assert_int_equal(eval_trace(&r.eval, &sets), -EDOM);
	assert_non_null(strstr(query_error(r.q), "division by zero"));
	query_end(r.q);
}

/* --- traces that nobody wishes for --- */
static struct span *many_spans(uint32_t cnt, struct str value)
{
	static const struct resource res;
	static const struct scope scope;
	struct span *spans = calloc(cnt, sizeof(*spans));

	for (uint32_t i = 0; i < cnt; i++) {
		struct attr *at = calloc(1, sizeof(*at));

		*at = (struct attr){STR("x"), {.type = VAL_STR, .str = value}};
		spans[i] = (struct span){.res = &res,
					 .scope = &scope,
					 .start_ns = i,
					 .end_ns = i,
					 .name = STR("n"),
					 .attrs = {.at = at, .cnt = 1}};
		spans[i].trace_id[0] = 1;
		for (int b = 0; b < 4; b++)
			spans[i].span_id[b] = (uint8_t)((i + 1) >> (8 * b));
	}
	return spans;
}

static void free_spans(struct span *spans, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		free(spans[i].attrs.at);
	free(spans);
}

static int eval_on(const char *text, const struct query_limits *limits, const struct span *spans,
		   uint32_t cnt, uint32_t *ret_cnt, char *why, size_t why_len)
{
	struct span_set *sets = NULL;
	struct query *q;
	struct eval e;
	struct tql t;
	int err;

	assert_int_equal(query_begin(&q, NULL, limits), 0);
	assert_int_equal(query_parse(q, str_of(text), &t), 0);
	eval_init(&e, q, &t);
	err = eval_begin(&e, spans, cnt);
	err = err ? err : eval_trace(&e, &sets);
	for (*ret_cnt = 0; !err && sets; sets = sets->next)
		*ret_cnt += sets->cnt;
	snprintf(why, why_len, "%s", query_error(q));
	query_end(q);
	return err;
}

enum { MANY = 100000 };

/* Parents in a chain, in a circle, all the same, all missing: linear time, no recursion. */
static void hostile_trees(void **state)
{
	static const char *const queries[] = {
	    "{ } >> { }",  "{ } << { }",  "{ } ~ { }",
	    "{ } !>> { }", "{ } &>> { }", "{ } > { nestedSetLeft > 0 }",
	};
	struct span *spans = many_spans(MANY, STR("v"));
	uint32_t cnt;
	char why[256];

	(void)state;
	for (int shape = 0; shape < 4; shape++) {
		for (uint32_t i = 0; i < MANY; i++) {
			const uint8_t *parent = shape == 0   ? spans[i ? i - 1 : 1].span_id
						: shape == 1 ? spans[(i + 1) % MANY].span_id
						: shape == 2 ? spans[0].span_id
							     : spans[i].span_id;

			memcpy(spans[i].parent_id, parent, 8);
			if (shape == 0 && i == 0)
				memset(spans[i].parent_id, 0, 8);
		}
		for (size_t n = 0; n < ARRAY_SIZE(queries); n++)
			assert_int_equal(
			    eval_on(queries[n], NULL, spans, MANY, &cnt, why, sizeof(why)), 0);
	}
	free_spans(spans, MANY);
}

static void deep_chain_relations(void **state)
{
	struct span *spans = many_spans(MANY, STR("v"));
	uint32_t cnt;
	char why[256];

	(void)state;
	for (uint32_t i = 1; i < MANY; i++)
		memcpy(spans[i].parent_id, spans[i - 1].span_id, 8);
	assert_int_equal(eval_on("{ } >> { }", NULL, spans, MANY, &cnt, why, sizeof(why)), 0);
	assert_int_equal(cnt, MANY - 1);
	assert_int_equal(eval_on("{ nestedSetLeft = 1 } &>> { nestedSetRight = 100001 }", NULL,
				 spans, MANY, &cnt, why, sizeof(why)),
			 0);
	assert_int_equal(cnt, 2);
	free_spans(spans, MANY);
}

/* A hostile pattern ends with a sentence; one that RE2 can do is right. */
static void hostile_regex(void **state)
{
	char text[5001];
	struct span *spans;
	uint32_t cnt;
	char why[256];
	int err;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	spans = many_spans(10, str_of(text));
	err = eval_on("{ span.x =~ `(a+)+b` }", NULL, spans, 10, &cnt, why, sizeof(why));
	assert_true(err == -ERANGE || (err == 0 && cnt == 0));
	err = eval_on("{ span.x =~ `(a|aa|aaa)*c|(a*)*(a*)*(a*)*d` }", NULL, spans, 10, &cnt, why,
		      sizeof(why));
	assert_true(err == -ERANGE || (err == 0 && cnt == 0));
	assert_int_equal(eval_on("{ span.x =~ `(a|b)*` }", NULL, spans, 10, &cnt, why, sizeof(why)),
			 0);
	assert_int_equal(cnt, 10);
	assert_int_equal(eval_on("{ span.x =~ `a` }", NULL, spans, 10, &cnt, why, sizeof(why)), 0);
	assert_int_equal(cnt, 0);
	free_spans(spans, 10);
}

static bool gone(void *arg)
{
	return ++*(int *)arg > 3;
}

static void limits_end_it(void **state)
{
	struct span *spans = many_spans(MANY, STR("v"));
	int asked = 0;
	struct query_limits small = {.memory = 1 << 20}, late = {.timeout_ms = 1};
	struct query_limits left = {.gone = gone, .gone_arg = &asked};
	static const char heavy[] = "{ } | { span.x =~ `.*(v|w).*` } | by(span:id) | { } > { }";
	uint32_t cnt;
	char why[256];

	(void)state;
	assert_int_equal(eval_on(heavy, &small, spans, MANY, &cnt, why, sizeof(why)), -ERANGE);
	assert_non_null(strstr(why, "1 MiB"));
	assert_int_equal(eval_on(heavy, &late, spans, MANY, &cnt, why, sizeof(why)), -ETIMEDOUT);
	assert_non_null(strstr(why, "1 ms"));
	assert_int_equal(eval_on(heavy, &left, spans, MANY, &cnt, why, sizeof(why)), -ECANCELED);
	assert_int_equal(asked, 4);
	free_spans(spans, MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recorded_cases),	    cmocka_unit_test(numbers_compare),
	    cmocka_unit_test(nil_and_not),	    cmocka_unit_test(arrays),
	    cmocka_unit_test(missing_root),	    cmocka_unit_test(pipelines),
	    cmocka_unit_test(division_by_zero),	    cmocka_unit_test(hostile_trees),
	    cmocka_unit_test(deep_chain_relations), cmocka_unit_test(hostile_regex),
	    cmocka_unit_test(limits_end_it),
	};

	return cmocka_run_group_tests(tests, data_load, data_free);
}

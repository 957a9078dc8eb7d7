/* SPDX-License-Identifier: Apache-2.0 */
/* query_test.c - questions to a real store that holds the recorded data set: searches, tag names,
 * tag values and traces by id, judged by what a running Tempo answered (recorded once); then
 * limits, time ranges, and traces that are spread over partitions. */
#include "query/query.h"
#include "tests/unit/recorded.h"

#include <errno.h>
#include <unistd.h>

static char store_dir[] = "/tmp/wirespan-query-test-XXXXXX";
static struct store *store;

static void store_fill(void)
{
	struct store_conf conf = {.dir = store_dir};
	struct strbuf why;

	strbuf_init(&why);
	assert_non_null(mkdtemp(store_dir));
	if (store_open(&store, &conf, &why))
		fail_msg("%s", why.p);
	for (uint32_t i = 0; i < data_cnt; i++)
		assert_int_equal(store_append(store, data[i].spans, data[i].cnt), 0);
	assert_int_equal(store_flush(store), 0);
	strbuf_fini(&why);
}

static int group_begin(void **state)
{
	data_load(state);
	store_fill();
	return 0;
}

static int group_end(void **state)
{
	char cmd[128];

	store_close(store);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", store_dir);
	assert_int_equal(system(cmd), 0);
	return data_free(state);
}

static struct query *query_new(void)
{
	struct query *q;

	assert_int_equal(query_begin(&q, store, NULL), 0);
	return q;
}

static struct str str_param(json_t *query, const char *key)
{
	const char *v = json_string_value(json_object_get(query, key));

	return v ? str_of(v) : STR("");
}

/* --- searches --- */
static bool search_case(json_t *c)
{
	json_t *query = json_object_get(c, "query"), *full = json_object_get(c, "superset");
	json_t *want = full ? full : json_object_get(json_object_get(c, "body"), "traces");
	struct search_params p = {
	    .q = str_param(query, "q"),
	    .spss = int_param(query, "spss"),
	    .from_ns = time_param(query, "start"),
	    .to_ns = time_param(query, "end"),
	    .limit = full ? 1000 : int_param(query, "limit"),
	};
	struct query *q = query_new();
	struct search_result r;
	json_t *got;
	bool ok;
	int err = query_search(q, &p, &r);

	if (err || json_integer_value(json_object_get(c, "status")) != 200) {
		ok = err == -EINVAL && json_integer_value(json_object_get(c, "status")) == 400;
		if (!ok)
			print_error(STR_FMT ": %d %s\n", STR_ARG(p.q), err, query_error(q));
	} else {
		got = json_array();
		for (uint32_t i = 0; i < r.cnt; i++)
			json_array_append_new(got, trace_json(&r.traces[i]));
		for (uint32_t i = 1; i < r.cnt; i++)
			assert_true(r.traces[i - 1].start_ns >= r.traces[i].start_ns);
		ok = same_traces(p.q.p, want, got);
		json_decref(got);
	}
	query_end(q);
	return ok;
}

static int for_cases(const char *path, bool (*run)(json_t *))
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t len = 0;
	int cnt = 0, wrong = 0;

	assert_non_null(f);
	for (; getline(&line, &len, f) > 0; cnt++) {
		json_t *c = json_loads(line, 0, NULL);

		assert_non_null(c);
		wrong += !differs_on_purpose(c) && !run(c);
		json_decref(c);
	}
	free(line);
	fclose(f);
	print_message("%d cases\n", cnt);
	return cnt ? wrong : -1;
}

static void recorded_searches(void **state)
{
	(void)state;
	assert_int_equal(for_cases("tests/tql/recorded/cases.jsonl", search_case), 0);
}

/* --- tags --- */
static json_t *names_json(const struct tag_names *n)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n->cnt; i++) {
		json_t *names = json_array();

		for (uint32_t k = 0; k < n->scopes[i].cnt; k++)
			json_array_append_new(names, json_stringn(n->scopes[i].names[k].p,
								  n->scopes[i].names[k].len));
		json_array_append_new(list, json_pack("[s,o]", n->scopes[i].scope, names));
	}
	return list;
}

static json_t *values_json(const struct tag_values *v)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < v->cnt; i++)
		json_array_append_new(
		    list, json_pack("[s,s%]", v->at[i].type, v->at[i].text.p, v->at[i].text.len));
	return list;
}

static bool same_list(const char *what, json_t *want, json_t *got)
{
	char *x, *y;
	bool ok;

	canon(want);
	canon(got);
	x = dump(want);
	y = dump(got);
	ok = strcmp(x, y) == 0;
	if (!ok)
		print_error("%s:\n  want %s\n  got  %s\n", what, x, y);
	free(x);
	free(y);
	return ok;
}

static bool tag_case(json_t *c)
{
	json_t *query = json_object_get(c, "query"), *body = json_object_get(c, "body"),
	       *got = NULL;
	const char *name = json_string_value(json_object_get(c, "values"));
	struct tag_params p = {
	    .name = name ? str_of(name) : str_param(query, "scope"),
	    .q = str_param(query, "q"),
	    .from_ns = time_param(query, "start"),
	    .to_ns = time_param(query, "end"),
	    .limit = int_param(query, "limit"),
	};
	bool valid = json_integer_value(json_object_get(c, "status")) == 200, ok;
	struct query *q = query_new();
	struct tag_values values;
	struct tag_names names;
	int err = name ? query_tag_values(q, &p, &values) : query_tag_names(q, &p, &names);

	if (err || !valid) {
		ok = err == -EINVAL && !valid && *query_error(q);
	} else if (json_object_get(c, "count_values")) {
		ok = (json_int_t)values.cnt ==
		     json_integer_value(json_object_get(c, "count_values"));
	} else {
		got = name ? values_json(&values) : names_json(&names);
		ok = same_list(json_string_value(json_object_get(c, "id")),
			       json_object_get(body, name ? "tagValues" : "scopes"), got);
		json_decref(got);
	}
	if (!ok)
		print_error("%s: %d %s\n", json_string_value(json_object_get(c, "id")), err,
			    query_error(q));
	query_end(q);
	return ok;
}

static void recorded_tags(void **state)
{
	(void)state;
	assert_int_equal(for_cases("tests/tql/recorded/tags.jsonl", tag_case), 0);
}

/* --- traces by id --- */
static void traces_by_id(void **state)
{
	static const uint8_t nobody[16] = {0xff};
	struct query_trace t;
	struct query *q;

	(void)state;
	for (uint32_t i = 0; i < data_cnt; i++) {
		q = query_new();
		assert_int_equal(query_trace(q, data[i].spans->trace_id, &t), 0);
		assert_int_equal(t.cnt, data[i].cnt);
		for (size_t n = 0; n < t.cnt; n++)
			assert_memory_equal(t.spans[n].trace_id, data[i].spans->trace_id, 16);
		query_end(q);
	}
	q = query_new();
	assert_int_equal(query_trace(q, nobody, &t), 0);
	assert_int_equal(t.cnt, 0);
	query_end(q);
}

/* A trace is found by any of its spans and shown whole, over the borders of partitions. */
static void spread_over_partitions(void **state)
{
	static char dir[] = "/tmp/wirespan-query-test-XXXXXX";
	static const struct resource res;
	static const struct scope scope;
	struct store_conf conf = {.partition_ns = 60ull * NS_PER_S};
	struct search_params p = {.q = STR("{ }"), .spss = 100};
	struct search_result r;
	struct span sp[5];
	struct store *s;
	struct query *q;
	char cmd[64];

	(void)state;
	conf.dir = mkdtemp(dir);
	assert_int_equal(store_open(&s, &conf, NULL), 0);
	for (uint32_t i = 0; i < 5; i++) {
		sp[i] = (struct span){.trace_id = {7},
				      .span_id = {(uint8_t)(i + 1)},
				      .res = &res,
				      .scope = &scope,
				      .parent_id = {(uint8_t)i},
				      .start_ns = (T0_S + i * 100) * NS_PER_S};
		sp[i].end_ns = sp[i].start_ns + 1;
	}
	assert_int_equal(store_append(s, sp, 5), 0);
	assert_int_equal(store_flush(s), 0);
	for (uint32_t i = 0; i < 10; i++) { /* in spans and in the gaps between them */
		p.from_ns = p.to_ns = (T0_S + i * 40) * NS_PER_S;
		assert_int_equal(query_begin(&q, s, NULL), 0);
		assert_int_equal(query_search(q, &p, &r), 0);
		assert_int_equal(r.cnt, 1);
		assert_int_equal(r.traces[0].sets[0].matched, 5);
		query_end(q);
	}
	p.from_ns = p.to_ns = (T0_S + 401) * NS_PER_S;
	assert_int_equal(query_begin(&q, s, NULL), 0);
	assert_int_equal(query_search(q, &p, &r), 0);
	assert_int_equal(r.cnt, 0);
	query_end(q);
	store_close(s);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

/* --- limits --- */
static int search(const char *text, uint32_t limit, struct query *q, struct search_result *ret)
{
	struct search_params p = {.q = str_of(text), .to_ns = UINT64_MAX, .limit = limit};

	return query_search(q, &p, ret);
}

static void most_recent(void **state)
{
	struct query *q = query_new(), *all = query_new();
	struct search_result r, a;

	(void)state;
	assert_int_equal(search("{ kind = server }", 1000, all, &a), 0);
	assert_true(a.cnt > 50);
	assert_int_equal(search("{ kind = server } with(most_recent=true)", 17, q, &r), 0);
	assert_int_equal(r.cnt, 17);
	for (uint32_t i = 0; i < 17; i++)
		assert_int_equal(r.traces[i].start_ns, a.traces[i].start_ns);
	query_end(q);
	query_end(all);
	q = query_new();
	assert_int_equal(search("{ kind = server }", 5, q, &r), 0);
	assert_int_equal(r.cnt, 5);
	assert_true(r.inspected_spans < 1941 && r.inspected_spans > 0);
	query_end(q);
}

static void without_a_query(void **state)
{
	struct query *q = query_new();
	struct search_params p = {
	    .to_ns = UINT64_MAX, .limit = 1000, .min_ns = 2000000000, .max_ns = 3000000000};
	struct search_result r;

	(void)state;
	assert_int_equal(query_search(q, &p, &r), 0);
	assert_true(r.cnt > 0);
	for (uint32_t i = 0; i < r.cnt; i++) {
		uint64_t ns = r.traces[i].end_ns - r.traces[i].start_ns;

		assert_true(ns >= p.min_ns && ns <= p.max_ns);
		assert_int_equal(r.traces[i].set_cnt, 0);
	}
	query_end(q);
}

static bool always_gone(void *arg)
{
	(void)arg;
	return true;
}

static void limits(void **state)
{
	struct query_limits small = {.memory = 64 << 10}, left = {.gone = always_gone};
	struct search_result r;
	struct query *q;

	(void)state;
	assert_int_equal(query_begin(&q, store, &small), 0);
	assert_int_equal(search("{ }", 1000, q, &r), -ERANGE);
	assert_non_null(strstr(query_error(q), "memory"));
	query_end(q);
	assert_int_equal(query_begin(&q, store, &left), 0);
	assert_int_equal(search("{ }", 1000, q, &r), -ECANCELED);
	query_end(q);
	q = query_new();
	assert_int_equal(search("{ } | rate()", 1000, q, &r), -EINVAL);
	assert_non_null(strstr(query_error(q), "a metrics query"));
	query_end(q);
	q = query_new();
	assert_int_equal(search("{ name / 2 }", 1000, q, &r), -EINVAL);
	assert_non_null(strstr(query_error(q), "line 1, col 8"));
	query_end(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recorded_searches),
	    cmocka_unit_test(recorded_tags),
	    cmocka_unit_test(traces_by_id),
	    cmocka_unit_test(spread_over_partitions),
	    cmocka_unit_test(most_recent),
	    cmocka_unit_test(without_a_query),
	    cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, group_begin, group_end);
}

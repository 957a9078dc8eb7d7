/* SPDX-License-Identifier: Apache-2.0 */
/* columnar_test.c - columns never change an answer: the same spans in two stores, one that has
 * blocks and one whose partitions are too small for any, asked the same questions. */
#include "tests/lib/store_fix.h"

#include "query/query.h"
#include "store/columns.h"

enum { SPANS = 17000, PER_TRACE = 5 };

static uint64_t base_ns;
static struct store *with, *without;
static char dir_without[80];

static struct val str_val(const char *s)
{
	return (struct val){.type = VAL_STR, .str = str_of(s)};
}

static struct val int_val(int64_t i)
{
	return (struct val){.type = VAL_INT, .i = i};
}

static struct span traced(uint32_t i, uint32_t seed)
{
	static const char *const services[] = {"web", "api", "db"};
	static struct resource res[3];
	static struct attr names[3];
	static struct scope scopes[2] = {{.name = {"one", 3}}, {.name = {"two", 3}}};
	struct attr *at = arena_array(&mem, struct attr, 6);
	uint32_t trace = i / PER_TRACE, nth = i % PER_TRACE, n = 0;
	struct span sp = {.start_ns = base_ns + trace * 400000ull + nth * 1000,
			  .name = str_of(nth % 2 ? "GET /a" : "SELECT t")};
	struct val *elems = arena_array(&mem, struct val, 2);
	struct event *ev = arena_new(&mem, struct event);

	for (uint32_t r = 0; r < 3; r++) {
		names[r] = (struct attr){STR("service.name"), str_val(services[r])};
		res[r].attrs = (struct attrs){.at = &names[r], .cnt = 1};
	}
	memcpy(sp.trace_id, &trace, 4);
	sp.trace_id[15] = 1;
	memcpy(sp.span_id, &i, 4);
	sp.span_id[7] = 1;
	if (nth) {
		uint32_t parent = trace * PER_TRACE + (nth - 1) / 2;

		memcpy(sp.parent_id, &parent, 4);
		sp.parent_id[7] = trace % 13 == 0 ? 2 : 1; /* parents that nobody received */
	}
	sp.end_ns = sp.start_ns + (seed % 7 == 0 ? 0 : seed % 100000);
	sp.kind = nth % 3 + 1;
	sp.status = seed % 17 == 0 ? STATUS_ERROR : STATUS_UNSET;
	sp.status_message = seed % 17 ? STR("") : STR("oops");
	sp.res = &res[nth % 3];
	sp.scope = &scopes[nth % 2];
	elems[0] = int_val(seed % 3);
	elems[1] = int_val(9);
	at[n++] = (struct attr){STR("code"), int_val(200 + seed % 5 * 100)};
	if (seed % 2)
		at[n++] = (struct attr){STR("ratio"), {.type = VAL_DOUBLE, .d = seed % 10 / 4.0}};
	if (nth == 1)
		at[n++] = (struct attr){STR("path"), str_val(arena_printf(&mem, "/a/%u", i / 8))};
	if (nth == 2)
		at[n++] = (struct attr){STR("list"), {.type = VAL_ARRAY, .cnt = 2, .elems = elems}};
	if (seed % 5 == 0)
		at[n++] = (struct attr){STR("service.name"), str_val("mine")};
	if (nth == 3 && seed % 2) { /* opaque: never twice the same and long */
		char *text = arena_printf(&mem, "%u-%064u", i, seed);

		at[n++] = (struct attr){STR("text"), str_val(text)};
	}
	sp.attrs = (struct attrs){.at = at, .cnt = n};
	if (seed % 29 == 0) {
		*ev = (struct event){.time_ns = sp.start_ns, .name = STR("exception")};
		sp.events = ev;
		sp.event_cnt = 1;
	}
	return sp;
}

static void fill(struct store *s)
{
	struct gen same = {&mem, 5};

	for (uint32_t i = 0; i < SPANS; i += 100) {
		struct span *spans = arena_array(&mem, struct span, 100);

		for (uint32_t k = 0; k < 100; k++)
			spans[k] = traced(i + k, (uint32_t)gen_u64(&same) >> 8);
		assert_int_equal(store_append(s, spans, 100), 0);
	}
	assert_int_equal(store_flush(s), 0);
}

static int stores_open(void **state)
{
	setup(state);
	base_ns = (clock_real_ns() / HOUR_NS - 2) * HOUR_NS;
	snprintf(dir_without, sizeof(dir_without), "%s/without", dir);
	with = open_conf(&(struct store_conf){.dir = arena_printf(&mem, "%s/with", dir)});
	without = open_conf(&(struct store_conf){.dir = dir_without, .partition_ns = NS_PER_S / 2});
	fill(with);
	fill(without);
	return 0;
}

static int stores_close(void **state)
{
	store_close(with);
	store_close(without);
	return teardown(state);
}

static int block_count(void *arg, const struct column_block *b)
{
	(void)b;
	++*(uint32_t *)arg;
	return 0;
}

static int span_skip(void *arg, const struct span *sp)
{
	(void)arg;
	(void)sp;
	return 0;
}

static uint32_t blocks_in(struct store *s)
{
	struct store_read *r;
	uint32_t cnt = 0;

	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_walk_blocks(r, block_count, span_skip, &cnt), 0);
	store_read_end(r);
	return cnt;
}

/* --- questions --- */

static const char *const filters[] = {
	"{}",
	"{ false }",
	"{ span.code = 500 }",
	"{ span.code != 200 }",
	"{ span.code > 300 && span.code < 600 }",
	"{ span.code = 500 || status = error }",
	"{ !(span.code = 200) }",
	"{ !(span.code = 200 || kind = client) }",
	"{ span.ratio > 1 }",
	"{ span.ratio = nil }",
	"{ span.ratio != nil && span.ratio <= 0.5 }",
	"{ span.path =~ \"/a/12.*\" }",
	"{ span.path !~ \"/a/1.*\" }",
	"{ span.path = \"/a/77\" }",
	"{ .path = \"/a/77\" }",
	"{ span.list = 2 }",
	"{ span.list != 2 }",
	"{ .service.name = \"mine\" }",
	"{ .service.name = \"db\" }",
	"{ resource.service.name = \"db\" && span.code = 400 }",
	"{ resource.service.name =~ \"web|db\" }",
	"{ resource.nothing = 1 }",
	"{ duration > 50us }",
	"{ duration <= 10us }",
	"{ duration = 0 }",
	"{ 50us < duration }",
	"{ duration > span.code * 100 }",
	"{ span.code / 100 = 5 }",
	"{ span.code + 1 = 501 && name = \"SELECT t\" }",
	"{ name =~ \"GET.*\" }",
	"{ kind = server }",
	"{ status = error }",
	"{ statusMessage = \"oops\" }",
	"{ instrumentation:name = \"two\" && kind = internal }",
	"{ nestedSetParent < 0 }",
	"{ nestedSetParent >= 0 }",
	"{ nestedSetParent = -1 && span.code = 500 }",
	"{ nestedSetParent = 1 }",
	"{ 0 > nestedSetParent }",
	"{ rootName = \"SELECT t\" && span.code = 300 }",
	"{ event:name = \"exception\" }",
	"{ event:name = \"exception\" && span.code = 200 }",
	"{ event.nothing = nil && span.code = 200 }",
	"{ span.text =~ \"12.*\" }",
	"{ span.text != nil }",
	"{ span:parentID = \"\" }",
	"{ traceDuration > 90us }",
	"{ span.code = span.ratio || span.code = 200 }",
};

static const char *const more[] = {
	"{ span.code = 500 } && { status = error }",
	"{ span.code = 500 } || { status = error }",
	"{ span.code = 500 } >> { status = error }",
	"{ kind = server } > { span.ratio > 1 }",
	"{ status = error } < { span.code = 300 }",
	"{ status = error } !> { span.code = 300 }",
	"{ status = error } &>> { span.code = 300 }",
	"{ status = error } ~ { span.code = 300 }",
	"({ status = error } | count() > 1) && ({ span.code = 400 } | count() > 0)",
	"{ span.code = 500 } | count() > 2",
	"{ span.code = 500 } | by(resource.service.name)",
	"{ } | avg(duration) > 60us",
	"count() > 2",
};

/* Every trace with what was found in it, in a form that can be compared. */
static char *answer(struct store *s, const char *text, uint64_t from_ns, uint64_t to_ns,
		    uint32_t limit)
{
	struct search_params p = {
		.q = str_of(text), .from_ns = from_ns, .to_ns = to_ns, .limit = limit, .spss = 1};
	struct search_result res;
	struct query *q;
	struct strbuf out;

	strbuf_init(&out);
	assert_int_equal(query_begin(&q, s, NULL), 0);
	if (query_search(q, &p, &res))
		fail_msg("%s: %s", text, query_error(q));
	strbuf_printf(&out, "%u:", res.cnt);
	for (uint32_t i = 0; i < res.cnt; i++) {
		uint32_t trace;

		memcpy(&trace, res.traces[i].trace_id, 4);
		strbuf_printf(&out, " %u", trace);
		for (uint32_t k = 0; k < res.traces[i].set_cnt; k++)
			strbuf_printf(&out, "/%u", res.traces[i].sets[k].matched);
	}
	query_end(q);
	return strbuf_take(&out, NULL);
}

static void assert_same(const char *text, uint64_t from_ns, uint64_t to_ns, uint32_t limit)
{
	char *a = answer(with, text, from_ns, to_ns, limit);
	char *b = answer(without, text, from_ns, to_ns, limit);

	if (strcmp(a, b) != 0)
		fail_msg("%s: with columns %.200s, without %.200s", text, a, b);
	free(a);
	free(b);
}

static void test_searches(void **state)
{
	(void)state;
	assert_int_equal(blocks_in(with), 1);
	assert_int_equal(blocks_in(without), 0);
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_same(filters[i], 0, UINT64_MAX, SPANS);
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		assert_same(more[i], 0, UINT64_MAX, SPANS);
}

/* The most recent ones are the same few, too. */
static void test_most_recent(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
		const char *text = arena_printf(&mem, "%s with(most_recent=true)", filters[i]);

		assert_same(text, 0, UINT64_MAX, 7);
		assert_same(text, base_ns + 300 * NS_PER_MS, base_ns + 700 * NS_PER_MS, 7);
	}
}

static uint32_t trace_of(const struct search_trace *t)
{
	uint32_t n;

	memcpy(&n, t->trace_id, 4);
	return n;
}

struct told {
	bool by_found[SPANS];
	uint32_t cnt, calls;
};

static bool found(void *arg, const struct search_result *some)
{
	struct told *t = arg;

	if (t->calls++ % 3 == 0)
		return false;
	for (uint32_t i = 0; i < some->cnt; i++) {
		bool *at = &t->by_found[trace_of(&some->traces[i])];

		assert_false(*at || some->traces[i].is_known);
		*at = true;
		t->cnt++;
	}
	return true;
}

/* What was told early is in the result, and marked there: nothing is told twice, nor too much. */
static uint32_t told_early(const char *text, uint32_t limit)
{
	static struct told told;
	struct search_params p = {.q = str_of(text),
				  .to_ns = UINT64_MAX,
				  .limit = limit,
				  .found = found,
				  .found_arg = &told};
	struct query_limits often = {.part_ns = 1};
	struct search_result res;
	uint32_t known = 0;
	struct query *q;

	memset(&told, 0, sizeof(told));
	assert_int_equal(query_begin(&q, with, &often), 0);
	assert_int_equal(query_search(q, &p, &res), 0);
	assert_true(res.cnt > 0 && res.cnt <= limit);
	for (uint32_t i = 0; i < res.cnt; i++) {
		assert_int_equal(res.traces[i].is_known, told.by_found[trace_of(&res.traces[i])]);
		known += res.traces[i].is_known;
	}
	assert_int_equal(known, told.cnt);
	query_end(q);
	return told.cnt;
}

static void test_told_early(void **state)
{
	(void)state;
	assert_true(told_early("{ }", SPANS) > 100);
	assert_true(told_early("{ status = error }", SPANS) > 100);
	assert_true(told_early("{ }", 1000) > 100);
	assert_int_equal(told_early("{ } with(most_recent=true)", 1000), 0);
}

static void test_range(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_same(filters[i], base_ns + 500 * NS_PER_MS, base_ns + 600 * NS_PER_MS,
			    SPANS);
}

static char *values(struct store *s, const char *field, const char *filter, uint64_t to_ns)
{
	struct tag_params p = {.name = str_of(field), .q = str_of(filter), .to_ns = to_ns};
	struct tag_values res;
	struct strbuf out;
	struct query *q;

	strbuf_init(&out);
	assert_int_equal(query_begin(&q, s, NULL), 0);
	assert_int_equal(query_tag_values(q, &p, &res), 0);
	for (uint32_t i = 0; i < res.cnt; i++)
		strbuf_printf(&out, "%s:" STR_FMT " ", res.at[i].type, STR_ARG(res.at[i].text));
	query_end(q);
	strbuf_addc(&out, '.');
	return strbuf_take(&out, NULL);
}

static void test_values(void **state)
{
	static const char *const fields[] = {
		"span.code",
		".code",
		"resource.service.name",
		".service.name",
		"name",
		"span.list",
		"span.ratio",
		"span.text",
		"statusMessage",
		"event:name",
		"rootName",
		"span.path",
		"instrumentation:name",
		"span.nothing",
	};

	(void)state;
	for (size_t f = 0; f < ARRAY_SIZE(fields); f++)
		for (size_t i = 0; i < ARRAY_SIZE(filters); i += 3)
			for (int cut = 0; cut < 2; cut++) {
				uint64_t to = cut ? base_ns + 30 * NS_PER_MS : UINT64_MAX;
				char *a = values(with, fields[f], filters[i], to);
				char *b = values(without, fields[f], filters[i], to);

				if (strcmp(a, b) != 0)
					fail_msg("%s of %s: with columns %.200s, without %.200s",
						 fields[f], filters[i], a, b);
				free(a);
				free(b);
			}
}

static char *series(struct store *s, const char *text)
{
	struct metrics_params p = {.q = str_of(text),
				   .from_ns = base_ns + 100 * NS_PER_MS,
				   .to_ns = base_ns + 1200 * NS_PER_MS,
				   .step_ns = 100 * NS_PER_MS};
	struct metrics_result res;
	struct strbuf out;
	struct query *q;

	strbuf_init(&out);
	assert_int_equal(query_begin(&q, s, NULL), 0);
	if (query_metrics_range(q, &p, &res))
		fail_msg("%s: %s", text, query_error(q));
	for (uint32_t i = 0; i < res.cnt; i++) {
		for (uint32_t k = 0; k < res.series[i].labels.cnt; k++) {
			const struct val *v = &res.series[i].labels.at[k].val;

			if (v->type == VAL_STR)
				strbuf_add(&out, v->str.p, v->str.len);
			else
				strbuf_printf(&out, "%lld", (long long)v->i);
			strbuf_addc(&out, ' ');
		}
		for (uint32_t k = 0; k < res.interval_cnt; k++)
			strbuf_printf(&out, " %g", res.series[i].values[k]);
		strbuf_addc(&out, '\n');
	}
	query_end(q);
	strbuf_addc(&out, '.');
	return strbuf_take(&out, NULL);
}

static void test_metrics(void **state)
{
	static const char *const metrics[] = {
		"rate()",
		"count_over_time() by (resource.service.name, name)",
		"count_over_time() by (.service.name, span.code, kind)",
		"rate() by (span.path)",
		"sum_over_time(span.code) by (status)",
		"min_over_time(span.ratio)",
		"max_over_time(duration) by (span.list)",
		"avg_over_time(span.ratio) by (event:name)",
		"quantile_over_time(duration, .5, .9) by (resource.service.name)",
		"histogram_over_time(span.code)",
		"count_over_time() by (rootName)",
	};

	(void)state;
	for (size_t m = 0; m < ARRAY_SIZE(metrics); m++)
		for (size_t i = 0; i < ARRAY_SIZE(filters); i += m % 2 ? 3 : 5) {
			const char *text = arena_printf(&mem, "%s | %s", filters[i], metrics[m]);
			char *a = series(with, text), *b = series(without, text);

			if (strcmp(a, b) != 0)
				fail_msg("%s: with columns\n%.600s\nwithout\n%.600s", text, a, b);
			free(a);
			free(b);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_searches),   cmocka_unit_test(test_most_recent),
		cmocka_unit_test(test_told_early), cmocka_unit_test(test_range),
		cmocka_unit_test(test_values),	   cmocka_unit_test(test_metrics),
	};

	return cmocka_run_group_tests(tests, stores_open, stores_close);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_test.c - metrics queries where the recorded cases and the model in tests/api do not go:
 * the rule of quantiles and of steps by table, values at the edges of their types, exemplars over
 * time, and what happens when there are more series than fit. */
#include "query/metrics.h"
#include "tests/lib/store_fix.h"

#include <float.h>
#include <stdarg.h>

enum { T0_S = 1700000040 }; /* a full minute */
static const uint64_t T0 = T0_S * 1000000000ull;

/* --- asking --- */
static struct query *ask_of(struct store *s, size_t memory, struct metrics_params p, bool range,
			    struct metrics_result *r)
{
	struct query_limits limits = {.memory = memory};
	struct query *q;
	int err;

	assert_int_equal(query_begin(&q, s, &limits), 0);
	err = range ? query_metrics_range(q, &p, r) : query_metrics_instant(q, &p, r);
	if (err)
		fail_msg("%d %s", err, query_error(q));
	return q;
}

/* Over ten minutes, in minutes. */
static struct query *ask(struct store *s, const char *text, struct metrics_result *r)
{
	struct metrics_params p = {.q = str_of(text),
				   .from_ns = T0,
				   .to_ns = T0 + 600ull * NS_PER_S,
				   .step_ns = 60ull * NS_PER_S};

	return ask_of(s, 0, p, true, r);
}

static void refused(struct store *s, struct metrics_params p, bool range, const char *want)
{
	struct metrics_result r;
	struct query *q;

	assert_int_equal(query_begin(&q, s, NULL), 0);
	assert_int_equal(range ? query_metrics_range(q, &p, &r) : query_metrics_instant(q, &p, &r),
			 -EINVAL);
	if (!strstr(query_error(q), want))
		fail_msg("%s: want %s", query_error(q), want);
	query_end(q);
}

static double instant(struct store *s, const char *text)
{
	struct metrics_params p = {
		.q = str_of(text), .from_ns = T0, .to_ns = T0 + 600ull * NS_PER_S};
	struct metrics_result r;
	struct query *q = ask_of(s, 0, p, false, &r);
	double v = r.cnt ? r.series[0].values[0] : NAN;

	assert_true(r.cnt <= 1);
	query_end(q);
	return v;
}

static struct attr attr(const char *key, struct val v)
{
	return (struct attr){str_of(key), v};
}

static void put_attr(struct store *s, uint32_t n, struct val v)
{
	struct span sp = simple(n, T0 + n * (uint64_t)NS_PER_S, "x");
	struct attr at = attr("v", v);

	sp.attrs = (struct attrs){.at = &at, .cnt = 1};
	put_one(s, sp);
}

/* --- tables --- */
static void quantiles(void **state)
{
	/* counts of the buckets up to 2, 4, 8, 16 */
	static const struct {
		double q;
		uint32_t cnt[4];
		double want;
	} rows[] = {
		{0.5, {0, 0, 0, 0}, 0},
		{0.5, {0, 1, 0, 0}, 4},
		{0, {0, 1, 0, 0}, 4},
		{1, {1, 1, 1, 1}, 16},
		{0.25, {1, 1, 1, 1}, 2},
		{0.26, {1, 1, 1, 1}, 4},
		{0.5, {0, 2, 0, 0}, 2 * M_SQRT2},
		{0.5, {1, 0, 0, 3}, 4},
		{0.75, {2, 0, 0, 2}, 4 * M_SQRT2},
		{0, {0, 0, 4, 0}, 4.756828460010884},
		{1.5, {1, 1, 1, 1}, 0},
		{-0.5, {1, 1, 1, 1}, 0},
		{NAN, {1, 1, 1, 1}, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t cnt[SERIES_BUCKETS] = {0};
		double got;

		memcpy(cnt + 1, rows[i].cnt, sizeof(rows[i].cnt));
		got = metrics_quantile(rows[i].q, cnt);
		if (fabs(got - rows[i].want) > 1e-9)
			fail_msg("row %zu: %.17g, want %.17g", i, got, rows[i].want);
	}
}

static void buckets(void **state)
{
	(void)state;
	assert_int_equal(series_bucket(2), 1);
	assert_int_equal(series_bucket(3), 2);
	assert_int_equal(series_bucket(4), 2);
	assert_int_equal(series_bucket(5), 3);
	assert_int_equal(series_bucket(1ull << 62), 62);
	assert_int_equal(series_bucket((1ull << 62) + 1), 63);
	assert_int_equal(series_bucket(INT64_MAX), 63);
}

static void steps(void **state)
{
	static const struct {
		double range_s, want_s;
	} rows[] = {
		{0, 0.05},  {1, 0.05},	{30, 0.1},   {59.999, 0.2}, {60, 1},
		{240, 1},   {480, 2},	{1200, 5},   {1440, 5},	    {1800, 5},
		{3600, 15}, {7200, 30}, {21600, 60}, {40000, 120},  {86400, 300},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t range = (uint64_t)(rows[i].range_s * NS_PER_S);
		uint64_t got = query_metrics_step(T0, T0 + range);

		if (fabs((double)got / NS_PER_S - rows[i].want_s) > 1e-12)
			fail_msg("%g s: %g, want %g", rows[i].range_s, (double)got / NS_PER_S,
				 rows[i].want_s);
	}
}

static void intervals(void **state)
{
	struct grid g = {100, 10, 3};
	struct grid early = {(uint64_t)-10, 10, 2}; /* (-10, 0] and (0, 10] */

	(void)state;
	assert_int_equal(grid_at(&g, 100), GRID_OUT);
	assert_int_equal(grid_at(&g, 101), 0);
	assert_int_equal(grid_at(&g, 110), 0);
	assert_int_equal(grid_at(&g, 111), 1);
	assert_int_equal(grid_at(&g, 130), 2);
	assert_int_equal(grid_at(&g, 131), GRID_OUT);
	assert_int_equal(grid_at(&g, 0), GRID_OUT);
	assert_int_equal(grid_at(&early, 0), 0);
	assert_int_equal(grid_at(&early, 1), 1);
	assert_int_equal(grid_at(&early, 11), GRID_OUT);
}

/* --- values at the edges --- */
static void edges(void **state)
{
	struct store *s = open_plain();

	(void)state;
	put_attr(s, 1, (struct val){.type = VAL_INT, .i = INT64_MIN});
	put_attr(s, 2, (struct val){.type = VAL_DOUBLE, .d = NAN});
	put_attr(s, 3, (struct val){.type = VAL_STR, .str = STR("7")});
	assert_true(instant(s, "{ } | min_over_time(span.v)") == (double)INT64_MIN);
	assert_true(instant(s, "{ } | avg_over_time(span.v)") == (double)INT64_MIN);
	assert_true(isnan(instant(s, "{ } | quantile_over_time(span.v, .5)")));
	assert_true(isnan(instant(s, "{ } | histogram_over_time(span.v)")));
	put_attr(s, 4, (struct val){.type = VAL_DOUBLE, .d = DBL_MAX});
	put_attr(s, 5, (struct val){.type = VAL_DOUBLE, .d = DBL_MAX});
	assert_true(isinf(instant(s, "{ } | sum_over_time(span.v)")));
	assert_true(instant(s, "{ } | max_over_time(span.v)") == DBL_MAX);
	assert_true(isinf(instant(s, "({ } | max_over_time(span.v)) * 1e308")));
	assert_true(isnan(instant(s, "({ } | max_over_time(span.v)) / 0")));
	put_attr(s, 6, (struct val){.type = VAL_INT, .i = INT64_MAX});
	assert_true(instant(s, "{ } | quantile_over_time(span.v, 1)") == 0x1p63);
	assert_true(instant(s, "{ } | max_over_time(span.v) > minInt") == DBL_MAX);
	store_close(s);
}

/* Ends before it begins: no negative duration. */
static void backwards(void **state)
{
	struct span sp = simple(1, T0 + 5, "x");
	struct store *s = open_plain();

	(void)state;
	sp.end_ns = T0 - 1000;
	put_one(s, sp);
	assert_true(instant(s, "{ } | max_over_time(duration)") == 0);
	assert_true(instant(s, "{ } | count_over_time()") == 1);
	assert_true(instant(s, "{ } | max_over_time(duration) < 1s") == 0);
	assert_true(isnan(instant(s, "{ } | max_over_time(duration) > 1s")));
	store_close(s);
}

static void bad_questions(void **state)
{
	struct store *s = open_plain();
	struct metrics_params p = {.q = STR("{ } | rate()"), .from_ns = T0, .to_ns = T0 + 100000};

	(void)state;
	refused(s, p, true, "step of 0s is too small, minimum step for given range is 10ns");
	p.step_ns = 9;
	refused(s, p, true, "step of 9ns is too small");
	p.step_ns = INT64_MAX;
	refused(s, p, true, "is too large");
	p.to_ns = T0;
	refused(s, p, true, "end must be greater than start");
	refused(s, p, false, "end must be greater than start");
	p = (struct metrics_params){.q = STR("{ }"), .to_ns = 100, .step_ns = 10};
	refused(s, p, true, "not a metrics query");
	refused(s, p, false, "not a metrics query");
	p.q = STR("{ } | rate(");
	refused(s, p, true, "parse error at line 1, col 12: ");
	refused(s, p, false, "compiling query: parse error at line 1, col 12: ");
	p.q = STR("{ } | rate() by (.a, .b, .c, .d, .e, .f)");
	refused(s, p, true, "compiling query: line 1, col 7: metrics can be grouped by at most 5");
	store_close(s);
}

/* From the beginning of time, where the first interval begins before it. */
static void beginning_of_time(void **state)
{
	struct metrics_params p = {.q = STR("{ } | count_over_time()"),
				   .to_ns = 3600ull * NS_PER_S,
				   .step_ns = 1800ull * NS_PER_S};
	struct metrics_result r;
	struct store *s = open_plain();
	struct query *q;

	(void)state;
	put_one(s, simple(1, 0, "x"));
	put_one(s, simple(2, 1, "x"));
	q = ask_of(s, 0, p, true, &r);
	assert_int_equal(r.interval_cnt, 3);
	assert_int_equal(r.start_ns, 0);
	assert_true(r.series[0].values[0] == 1 && r.series[0].values[1] == 1);
	query_end(q);
	store_close(s);
}

/* --- exemplars --- */
/* 6000 spans, ten a second. */
static struct store *many(void)
{
	enum { CNT = 6000 };
	struct span *spans = calloc(CNT, sizeof(*spans));
	struct store *s = open_plain();

	for (uint32_t i = 0; i < CNT; i++)
		spans[i] = simple(i + 1, T0 + (i + 1) * 100ull * NS_PER_MS, "x");
	assert_int_equal(store_append(s, spans, CNT), 0);
	assert_int_equal(store_flush(s), 0);
	free(spans);
	return s;
}

static void exemplars(void **state)
{
	struct store *s = many();
	struct metrics_result r;
	struct query *q = ask(s, "{ } | rate()", &r);
	const struct metrics_exemplar *x = r.series[0].exemplars;

	(void)state;
	assert_int_equal(r.series[0].exemplar_cnt, 91); /* of 100 parts nine are before the first */
	for (uint32_t i = 1; i < r.series[0].exemplar_cnt; i++)
		assert_in_range(x[i].t_ns - x[i - 1].t_ns, NS_PER_MS, 15ull * NS_PER_S);
	for (uint32_t i = 0; i < r.series[0].exemplar_cnt; i++)
		assert_true(x[i].value ==
			    r.series[0].values[(x[i].t_ns - T0 - 1) / 60 / NS_PER_S + 1]);
	query_end(q);
	q = ask(s, "{ } | rate() with(exemplars=false)", &r);
	assert_int_equal(r.series[0].exemplar_cnt, 0);
	query_end(q);
	q = ask(s, "{ } | min_over_time(duration) < 0", &r);
	assert_int_equal(r.cnt, 0);
	query_end(q);
	store_close(s);
}

/* --- from columns --- */
/* Every other span began before the range, in the same hour, and goes on in it. */
static void long_spans_between(void **state)
{
	enum { CNT = 17000, PER_APPEND = 100 };
	struct span *spans = calloc(CNT, sizeof(*spans));
	struct store *s = open_plain();
	struct metrics_result r;
	struct query *q;

	(void)state;
	for (uint32_t i = 0; i < CNT; i++) {
		spans[i] = simple(i + 1, T0 + 90ull * NS_PER_S + i, "x");
		if (i % 2)
			spans[i].start_ns -= 200ull * NS_PER_S;
	}
	for (uint32_t i = 0; i < CNT; i += PER_APPEND)
		assert_int_equal(store_append(s, spans + i, PER_APPEND), 0);
	assert_int_equal(store_flush(s), 0);
	q = ask(s, "{ } | count_over_time() by(name)", &r);
	assert_int_equal(r.cnt, 1);
	for (uint32_t i = 0; i < r.interval_cnt; i++)
		assert_int_equal((int)r.series[0].values[i], i == 2 ? CNT / 2 : 0);
	query_end(q);
	store_close(s);
	free(spans);
}

/* --- limits --- */
static void too_many_series(void **state)
{
	struct store *s = many();
	struct metrics_result r;
	struct query *q = ask(s, "{ } | count_over_time() by(span:id)", &r);

	(void)state;
	assert_true(r.partial);
	assert_int_equal(r.cnt, 1000);
	assert_non_null(strstr(r.message, "6000 series"));
	query_end(q);
	q = ask(s, "{ } | count_over_time() by(span:id) | topk(2)", &r);
	assert_false(r.partial);
	assert_true(r.cnt <= 22);
	query_end(q);
	store_close(s);
}

static void small_memory(void **state)
{
	static const char *const texts[] = {
		"{ } | count_over_time() by(span:id)",
		"{ } | quantile_over_time(duration, .1, .2, .3) by(span:id)",
		"{ } | histogram_over_time(duration) by(span:id)",
		"{ } | avg_over_time(duration) by(span:id, name, kind, status, trace:id)",
		"({ } | rate() by(span:id)) / ({ } | rate() by(span:id))",
		"{ } | count() > 0 | rate() by(span:id)",
	};
	struct metrics_params p = {
		.from_ns = T0, .to_ns = T0 + 600ull * NS_PER_S, .step_ns = NS_PER_S};
	struct store *s = many();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct metrics_result r;
		struct query *q;

		p.q = str_of(texts[i]);
		q = ask_of(s, 8 << 20, p, true, &r);
		if (!r.partial || !r.cnt || !strstr(r.message, "memory"))
			fail_msg("%s: %u series, %s", texts[i], r.cnt, r.message);
		query_end(q);
	}
	store_close(s);
}

/* An attribute with a value of its own on each span. */
static void compare_many_values(void **state)
{
	enum { CNT = 5000 };
	struct span *spans = calloc(CNT, sizeof(*spans));
	struct attr *ids = calloc(CNT, sizeof(*ids));
	struct store *s = open_plain();
	struct metrics_result r;
	struct query *q;
	uint32_t values = 0, marks = 0;

	(void)state;
	for (uint32_t i = 0; i < CNT; i++) {
		ids[i] = attr("id", (struct val){.type = VAL_INT, .i = i});
		spans[i] = simple(i, T0 + NS_PER_S, "x");
		spans[i].attrs = (struct attrs){.at = &ids[i], .cnt = 1};
	}
	assert_int_equal(store_append(s, spans, CNT), 0);
	assert_int_equal(store_flush(s), 0);
	q = ask(s, "{ } | compare({ span.id > 2500 }, 3)", &r);
	assert_false(r.partial);
	for (uint32_t i = 0; i < r.cnt; i++) {
		const struct attr *at = r.series[i].labels.at;

		if (!str_eq(at[1].key, STR("span.id")))
			continue;
		marks += str_eq(at[0].key, STR("__meta_error"));
		values += at[1].val.type == VAL_INT;
	}
	assert_int_equal(values, 6);
	assert_int_equal(marks, 1);
	query_end(q);
	store_close(s);
	free(spans);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantiles),
		cmocka_unit_test(buckets),
		cmocka_unit_test(steps),
		cmocka_unit_test(intervals),
		TEST(edges),
		TEST(backwards),
		TEST(bad_questions),
		TEST(beginning_of_time),
		TEST(exemplars),
		TEST(too_many_series),
		TEST(small_memory), TEST(long_spans_between),
		TEST(compare_many_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

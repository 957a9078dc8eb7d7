/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_parts_test.c - spans spread over three stores: what one of them answers with the parts of the others is
 * what a store with all spans answers; and parts that are cut, damaged, or of another question. */
#include "query/metrics.h"
#include "tests/lib/store_fix.h"

enum { NODES = 3, SPANS = 900, WHOLE = NODES };

static const uint64_t T0 = 1700000040ull * 1000000000;
static struct store *stores[NODES + 1]; /* the last has all */

static const char *const questions[] = {
	"{} | rate()",
	"{} | rate() by (resource.service.name)",
	"{} | count_over_time() by (span.n, span.s, status, kind)",
	"{} | sum_over_time(span.n)",
	"{} | avg_over_time(span.n) by (span.s)",
	"{} | avg_over_time(duration)",
	"{} | min_over_time(span.n) by (span.s)",
	"{} | max_over_time(duration) by (span.s)",
	"{} | quantile_over_time(duration, .5, .9, .99) by (span.s)",
	"{} | histogram_over_time(duration)",
	"{} | count_over_time() by (span.n) | topk(2)",
	"{} | count_over_time() by (span.f) | bottomk(2)",
	"({ status = error } | rate()) / ({} | rate())",
	"{} | compare({ status = error }, 3)",
	"{ span.s = \"no such\" } | rate() by (span.s)",
	"{} | count() > 0 | sum_over_time(span.n) by (span.s)",
};

static void fill(void)
{
	static const char *const words[] = {"a", "b", "", "\xc3\xa9"};
	struct resource res[NODES];
	struct attr service[NODES];

	for (uint32_t n = 0; n < NODES; n++) {
		service[n] = (struct attr){STR("service.name"), {.type = VAL_STR, .str = str_of(words[n])}};
		res[n] = (struct resource){.attrs = {.at = &service[n], .cnt = 1}};
	}
	for (uint32_t i = 0; i < SPANS; i++) {
		uint32_t r = (uint32_t)rand_r(&(unsigned){i * 2654435761u}), node = r % NODES;
		struct span sp = simple(i, T0 + r % 700 * NS_PER_S, "x");
		struct attr at[] = {
			{STR("n"), {.type = VAL_INT, .i = r / 7 % 5}},
			{STR("s"), {.type = VAL_STR, .str = str_of(words[r / 11 % 4])}},
			{STR("f"), {.type = VAL_DOUBLE, .d = r / 13 % 4 / 2.0}},
		};

		sp.end_ns = sp.start_ns + r / 17 % 100000;
		sp.status = r % 5 ? STATUS_UNSET : STATUS_ERROR;
		sp.kind = r % 3 ? KIND_SERVER : KIND_CLIENT;
		sp.res = &res[node];
		sp.attrs = (struct attrs){.at = at, .cnt = r % 19 ? 3 : 0};
		assert_int_equal(store_append(stores[node], &sp, 1), 0);
		assert_int_equal(store_append(stores[WHOLE], &sp, 1), 0);
	}
}

static int open_all(void **state)
{
	static char dirs[NODES + 1][80];

	setup(state);
	for (int i = 0; i <= NODES; i++) {
		snprintf(dirs[i], sizeof(dirs[i]), "%s/%d", dir, i);
		stores[i] = open_conf(&(struct store_conf){.dir = dirs[i], .max_age_ns = 0});
	}
	fill();
	for (int i = 0; i <= NODES; i++)
		assert_int_equal(store_flush(stores[i]), 0);
	return 0;
}

static int close_all(void **state)
{
	for (int i = 0; i <= NODES; i++)
		store_close(stores[i]);
	return teardown(state);
}

static struct metrics_params params(const char *text)
{
	return (struct metrics_params){.q = str_of(text), .from_ns = T0, .to_ns = T0 + 600ull * NS_PER_S,
				       .step_ns = 60ull * NS_PER_S};
}

static struct query *ask(struct store *s, struct metrics_params p, bool range, struct metrics_result *r)
{
	struct query *q;
	int err;

	assert_int_equal(query_begin(&q, s, NULL), 0);
	err = range ? query_metrics_range(q, &p, r) : query_metrics_instant(q, &p, r);
	if (err)
		fail_msg(STR_FMT ": %d %s", STR_ARG(p.q), err, query_error(q));
	return q;
}

static void parts_of(struct store *s, struct metrics_params p, bool range, struct strbuf *to)
{
	strbuf_init(to);
	p.parts = to;
	query_end(ask(s, p, range, NULL));
}

static void same(const char *text, const struct metrics_result *a, const struct metrics_result *b)
{
	uint32_t exemplars[2] = {0};

	if (a->cnt != b->cnt || a->interval_cnt != b->interval_cnt)
		fail_msg("%s: %u series, want %u", text, a->cnt, b->cnt);
	for (uint32_t i = 0; i < a->cnt; i++) {
		assert_int_equal(labels_cmp(&a->series[i].labels, &b->series[i].labels), 0);
		for (uint32_t k = 0; k < a->interval_cnt; k++) {
			double x = a->series[i].values[k], y = b->series[i].values[k];

			if (isnan(x) != isnan(y) || (!isnan(x) && fabs(x - y) > 1e-12 * fabs(y)))
				fail_msg("%s: series %u, interval %u: %.17g, want %.17g", text, i, k, x, y);
		}
		exemplars[0] += a->series[i].exemplar_cnt;
		exemplars[1] += b->series[i].exemplar_cnt;
	}
	assert_int_equal(exemplars[0] > 0, exemplars[1] > 0);
}

static void three_are_one(const char *text, bool range)
{
	struct metrics_params p = params(text);
	struct metrics_result all, sum;
	struct strbuf parts[NODES];
	struct str bodies[NODES];
	struct query *q, *whole;

	for (int i = 1; i < NODES; i++) {
		parts_of(stores[i], p, range, &parts[i]);
		bodies[i] = (struct str){parts[i].p, parts[i].len};
	}
	whole = ask(stores[WHOLE], p, range, &all);
	p.others = &bodies[1];
	p.other_cnt = NODES - 1;
	q = ask(stores[0], p, range, &sum);
	same(text, &sum, &all);
	assert_int_equal(sum.jobs_done, NODES);
	assert_int_equal(sum.partial, all.partial);
	query_end(q);
	query_end(whole);
	for (int i = 1; i < NODES; i++)
		strbuf_fini(&parts[i]);
}

static void sums(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		three_are_one(questions[i], true);
		three_are_one(questions[i], false);
	}
}

/* --- parts of an answer --- */

struct told {
	const struct metrics_result *all;
	const char *text;
	uint32_t calls;
};

static const struct metrics_series *series_in(const struct metrics_result *r,
					      const struct attrs *labels)
{
	for (uint32_t i = 0; i < r->cnt; i++)
		if (!labels_cmp(&r->series[i].labels, labels))
			return &r->series[i];
	return NULL;
}

/* What is told early is told again; of counts there is never too much. */
static void found(void *arg, const struct metrics_result *some)
{
	struct told *t = arg;

	t->calls++;
	assert_int_equal(some->start_ns, t->all->start_ns);
	assert_int_equal(some->interval_cnt, t->all->interval_cnt);
	assert_true(some->jobs_done < some->jobs);
	for (uint32_t i = 0; i < some->cnt; i++) {
		const struct metrics_series *s = &some->series[i],
					    *in = series_in(t->all, &s->labels);

		assert_non_null(in);
		assert_int_equal(s->exemplar_cnt, 0);
		for (uint32_t k = 0; k < some->interval_cnt; k++) {
			assert_true(isnan(s->values[k]) || !isnan(in->values[k]));
			if (strstr(t->text, "rate()") || strstr(t->text, "count_over_time()"))
				assert_true(s->values[k] <= in->values[k]);
		}
	}
}

static bool may_vanish(const char *text)
{
	return strstr(text, "topk") || strstr(text, "bottomk") || strstr(text, ") / (") ||
	       strstr(text, "compare");
}

/* The answer is the same whether parts of it are told or not. */
static void told_early(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		struct metrics_params p = params(questions[i]);
		struct query_limits often = {.part_ns = 1};
		struct metrics_result all, r;
		struct query *whole = ask(stores[WHOLE], p, true, &all), *q;
		struct told told = {&all, questions[i], 0};

		p.found = found;
		p.found_arg = &told;
		assert_int_equal(query_begin(&q, stores[WHOLE], &often), 0);
		assert_int_equal(query_metrics_range(q, &p, &r), 0);
		same(questions[i], &r, &all);
		assert_int_equal(told.calls > 0, all.cnt > 0 && !may_vanish(questions[i]));
		query_end(q);
		query_end(whole);
	}
}

/* --- others --- */

/* How many of one body's answers could be used. */
static uint32_t used(struct metrics_params p, struct str body)
{
	struct metrics_result r;
	struct query *q;

	p.others = &body;
	p.other_cnt = 1;
	q = ask(stores[0], p, true, &r);
	query_end(q);
	return r.jobs_done - 1;
}

static void other_questions(void **state)
{
	struct metrics_params p = params("{} | rate()"), later = p, wider = p, other = params("{} | rate() by (span.s)");
	struct strbuf parts;
	struct str body;

	(void)state;
	parts_of(stores[1], p, true, &parts);
	body = (struct str){parts.p, parts.len};
	later.to_ns += later.step_ns;
	wider.step_ns *= 2;
	assert_int_equal(used(p, body), 1);
	assert_int_equal(used(later, body), 0);
	assert_int_equal(used(wider, body), 0);
	assert_int_equal(used(other, body), 0);
	assert_int_equal(used(params("({} | rate()) + ({} | rate())"), body), 0);
	assert_int_equal(used(p, STR("")), 0);
	assert_int_equal(used(p, STR("{\"series\":[]}")), 0);
	strbuf_fini(&parts);
}

/* Anything may be in there; ASan and UBSan watch. */
static void damaged(void **state)
{
	static const char bytes[] = {0, 1, 2, 0x7f, (char)0x80, (char)0xff};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		struct metrics_params p = params(questions[i]);
		struct strbuf parts;

		parts_of(stores[1], p, true, &parts);
		for (uint32_t n = 0; n < 150; n++) {
			size_t at = (n * 7919u) % parts.len;
			char *copy = malloc(parts.len);

			memcpy(copy, parts.p, parts.len);
			copy[at] = bytes[n % sizeof(bytes)];
			used(p, (struct str){copy, parts.len});
			used(p, (struct str){copy, at});
			free(copy);
		}
		strbuf_fini(&parts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(told_early),
		cmocka_unit_test(other_questions),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}

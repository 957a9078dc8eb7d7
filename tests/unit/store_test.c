/* SPDX-License-Identifier: Apache-2.0 */
/* store_test.c - store.h by its words, on real files: what was flushed is there again, bit for bit,
 * in the promised order, by trace, by walk and by key, also after close and beside a writer. */
#include "tests/lib/store_fix.h"

#include <sys/wait.h>

/* --- what goes in comes out --- */

static int span_order(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

/* Traces of 1 to 40 spans with starts that differ, in any order. */
static struct span *random_spans(size_t cnt, uint64_t now_ns)
{
	struct span *spans = arena_array(&mem, struct span, cnt);
	uint8_t id[16] = {0};

	for (size_t i = 0; i < cnt; i++) {
		if (i == 0 || gen_below(&gen, 20) == 0)
			gen_bytes(&gen, id, 16);
		spans[i] = gen_span(&gen, id, now_ns);
	}
	return spans;
}

static void assert_traces(struct store *s, struct span *spans, size_t cnt)
{
	struct store_read *r;
	struct arena a;

	arena_init(&a, 0);
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	for (size_t i = 0, n; i < cnt; i += n) {
		struct span *back;
		size_t back_cnt;

		for (n = 1; i + n < cnt && !memcmp(spans[i].trace_id, spans[i + n].trace_id, 16);)
			n++;
		qsort(&spans[i], n, sizeof(*spans), span_order);
		assert_int_equal(store_trace(r, &a, spans[i].trace_id, &back, &back_cnt), 0);
		assert_int_equal(back_cnt, n);
		for (size_t k = 0; k < n; k++)
			assert_true(gen_span_eq(&back[k], &spans[i + k]));
	}
	store_read_end(r);
	arena_fini(&a);
}

static void test_round_trip(void **state)
{
	enum { CNT = 10000 };
	struct store *s = open_plain();
	struct span *spans = random_spans(CNT, clock_real_ns());
	struct store_stat st;

	(void)state;
	for (size_t i = 0; i < CNT; i += 100)
		assert_int_equal(store_append(s, spans + i, 100), 0);
	assert_int_equal(store_flush(s), 0);
	assert_traces(s, spans, CNT);
	assert_int_equal(walk_cnt(s), CNT);
	store_close(s);

	s = open_plain();
	assert_traces(s, spans, CNT);
	store_stat(s, &st);
	assert_int_equal(st.spans, CNT);
	assert_true(st.bytes > 100000 && st.partitions >= 1);
	assert_true(st.oldest_ns && st.newest_ns >= st.oldest_ns);
	put_one(s, simple(1, clock_real_ns(), "after"));
	assert_int_equal(trace_cnt(s, 1), 1);
	assert_int_equal(walk_cnt(s), CNT + 1);
	store_close(s);
}

/* A trace that comes in pieces, in two partitions, with a repeat. */
static void test_trace_in_pieces(void **state)
{
	struct store *s = open_plain();
	uint64_t now = clock_real_ns();
	struct span a = simple(7, now - 2 * HOUR_NS, "a"), b = simple(7, now - 1000, "b"),
		    c = simple(7, now - 2000, "c"), *spans, server = a;
	struct store_read *r;
	size_t cnt;

	(void)state;
	server.kind = KIND_SERVER;
	put_one(s, b);
	put_one(s, a);
	put_one(s, c);
	put_one(s, a);
	put_one(s, server);
	put_one(s, simple(8, now, "other"));
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_trace(r, &mem, a.trace_id, &spans, &cnt), 0);
	assert_int_equal(cnt, 4);
	assert_true(str_eq(spans[0].name, STR("a")) && spans[0].kind == KIND_UNSPECIFIED);
	assert_true(str_eq(spans[1].name, STR("a")) && spans[1].kind == KIND_SERVER);
	assert_true(str_eq(spans[2].name, STR("c")));
	assert_true(str_eq(spans[3].name, STR("b")));
	store_read_end(r);
	assert_int_equal(trace_cnt(s, 9), 0);
	store_close(s);
}

static void test_walk_order_and_time(void **state)
{
	struct store *s = open_plain();
	uint64_t now = clock_real_ns(), noon = now - now % HOUR_NS;

	(void)state;
	assert_walk(s, 0, UINT64_MAX, "");
	put_one(s, simple(1, noon - 5 * HOUR_NS, "old"));
	put_one(s, simple(2, noon, "one"));
	put_one(s, simple(1, noon + 1, "two"));
	put_one(s, simple(3, noon - 5 * HOUR_NS + 9, "late"));
	put_one(s, simple(2, noon, "three"));
	assert_walk(s, 0, UINT64_MAX, "three two one late old ");
	assert_walk(s, noon, noon, "three two one ");
	assert_walk(s, 0, noon - HOUR_NS, "late old ");
	assert_walk(s, noon - 3 * HOUR_NS, noon - 2 * HOUR_NS, "");
	store_close(s);
}

static int stop_at_two(void *arg, const struct span *sp)
{
	(void)sp;
	return ++*(int *)arg == 2 ? 77 : 0;
}

static void test_walk_ends_early(void **state)
{
	struct store *s = open_plain();
	struct store_read *r;
	int calls = 0;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		put_one(s, simple(i, clock_real_ns(), "x"));
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_walk(r, stop_at_two, &calls), 77);
	assert_int_equal(calls, 2);
	store_read_end(r);
	store_close(s);
}

static int add_tag(void *arg, enum tag_scope scope, struct str key)
{
	strbuf_printf(arg, "%d:" STR_FMT " ", scope, STR_ARG(key));
	return 0;
}

static void test_tag_keys(void **state)
{
	struct store *s = open_plain();
	struct val one = {.type = VAL_INT, .i = 1};
	struct attr attrs[] = {
	    gen_s("text", STR("x")),
	    gen_i("number", 1),
	    gen_s("number", STR("also text")),
	    {STR("list"), {.type = VAL_ARRAY, .cnt = 1, .elems = &one}},
	    {STR("map"), {.type = VAL_KVLIST}},
	    {STR("bytes"), {.type = VAL_BYTES, .str = STR("x")}},
	};
	struct attr name = gen_s("service.name", STR("api"));
	struct resource res = {.attrs = {&name, 1, 0}};
	struct event ev = {.name = STR("e"), .attrs = {attrs, 1, 0}};
	struct span sp = simple(1, clock_real_ns(), "x");
	struct store_read *r;
	struct strbuf out;

	(void)state;
	sp.attrs = (struct attrs){attrs, ARRAY_SIZE(attrs), 0};
	sp.res = &res;
	sp.events = &ev;
	sp.event_cnt = 1;
	put_one(s, sp);
	sp.start_ns -= 2 * HOUR_NS;
	put_one(s, sp);
	strbuf_init(&out);
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_tag_keys(r, add_tag, &out), 0);
	assert_string_equal(out.p, "1:service.name 0:text 0:number 0:list 0:map 0:bytes 2:text ");
	store_read_end(r);
	strbuf_fini(&out);
	store_close(s);
}

static void test_bad_spans(void **state)
{
	struct store *s = open_plain();
	struct val deep[80];
	struct attr at = {STR("deep"), {.type = VAL_ARRAY, .cnt = 1, .elems = deep}};
	struct span sp = simple(1, clock_real_ns(), "x");

	(void)state;
	for (size_t i = 0; i + 1 < ARRAY_SIZE(deep); i++)
		deep[i] = (struct val){.type = VAL_ARRAY, .cnt = 1, .elems = &deep[i + 1]};
	deep[ARRAY_SIZE(deep) - 1] = (struct val){.type = VAL_EMPTY};
	sp.attrs = (struct attrs){&at, 1, 0};
	assert_int_equal(store_append(s, &sp, 1), -EINVAL);
	deep[40].cnt = 0;
	assert_int_equal(store_append(s, &sp, 1), 0);
	sp.start_ns = 0; /* times are hostile too */
	sp.end_ns = UINT64_MAX;
	put_one(s, sp);
	sp.start_ns = UINT64_MAX;
	sp.end_ns = 0;
	put_one(s, sp);
	assert_int_equal(trace_cnt(s, 1), 3);
	store_close(s);
	s = open_plain();
	assert_int_equal(trace_cnt(s, 1), 3);
	store_close(s);
}

/* One commit over more hours than it may write partitions. */
static void test_many_partitions(void **state)
{
	struct store *s = open_plain();
	struct store_stat st;
	struct span spans[30];

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(spans); i++)
		spans[i] = simple(i, clock_real_ns() - i * HOUR_NS, "x");
	assert_int_equal(store_append(s, spans, ARRAY_SIZE(spans)), 0);
	assert_int_equal(store_flush(s), 0);
	store_stat(s, &st);
	assert_true(st.partitions >= 8 && st.partitions <= 16);
	for (uint32_t i = 0; i < ARRAY_SIZE(spans); i++)
		assert_int_equal(trace_cnt(s, i), 1);
	store_close(s);
}

static void test_read_only_beside_writer(void **state)
{
	struct store *s = open_plain(), *ro;
	struct span sp = simple(5, clock_real_ns(), "x");

	(void)state;
	put_one(s, simple(1, clock_real_ns(), "one"));
	store_close(s);
	/* One process may not open an environment twice, so the writer is another one. */
	int ends[2], go[2], status;
	char c;
	pid_t pid;

	assert_int_equal(pipe(ends) | pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		s = open_plain();
		put_one(s, simple(2, clock_real_ns(), "two"));
		c = (char)write(ends[1], "x", 1);
		c += (char)read(go[0], &c, 1);
		put_one(s, simple(3, clock_real_ns() - 5 * HOUR_NS, "three"));
		put_one(s, simple(2, clock_real_ns(), "more"));
		c = (char)write(ends[1], "x", 1);
		c += (char)read(go[0], &c, 1);
		store_close(s);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &c, 1), 1);
	ro = open_conf(&(struct store_conf){.dir = dir, .read_only = true});
	assert_int_equal(trace_cnt(ro, 1), 1);
	assert_int_equal(trace_cnt(ro, 2), 1);
	assert_int_equal(store_append(ro, &sp, 1), -EROFS);
	assert_int_equal(store_flush(ro), 0);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(read(ends[0], &c, 1), 1);
	assert_int_equal(trace_cnt(ro, 3), 1);
	assert_int_equal(trace_cnt(ro, 2), 2);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	store_close(ro);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_round_trip),
	    TEST(test_trace_in_pieces),
	    TEST(test_walk_order_and_time),
	    TEST(test_walk_ends_early),
	    TEST(test_tag_keys),
	    TEST(test_bad_spans),
	    TEST(test_many_partitions),
	    TEST(test_read_only_beside_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

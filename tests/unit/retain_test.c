/* SPDX-License-Identifier: Apache-2.0 */
/* retain_test.c - the oldest partitions go by size (as du sees it) and by age, also at start; reads
 * that began before go on, and readers in threads see no damage while partitions come and go. */
#include "tests/lib/store_fix.h"

#include <pthread.h>

/* --- retention --- */

static uint64_t du(void)
{
	char cmd[128];
	unsigned long long kib = 0;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "du -sk '%s'", dir);
	f = popen(cmd, "r");
	assert_int_equal(fscanf(f, "%llu", &kib), 1);
	pclose(f);
	return kib * 1024;
}

static void test_retention_by_size(void **state)
{
	struct store_conf conf = {.dir = dir, .max_bytes = 8 << 20};
	struct store *s = open_conf(&conf);
	struct store_stat st;
	uint64_t most = 0;
	char text[900];

	(void)state;
	gen_bytes(&gen, text, sizeof(text));
	for (uint32_t n = 0; n < 30000; n++) {
		struct span sp = simple(n, clock_real_ns(), "x");

		memcpy(text, &n, sizeof(n));
		sp.status_message = (struct str){text, sizeof(text)};
		assert_int_equal(store_append(s, &sp, 1), 0);
		if (n % 1000 == 999) {
			assert_int_equal(store_flush(s), 0);
			most = du() > most ? du() : most;
		}
	}
	assert_true(most <= conf.max_bytes && most > conf.max_bytes / 2);
	store_stat(s, &st);
	assert_true(st.partitions > 3 && st.bytes <= conf.max_bytes && st.bytes <= du());
	assert_int_equal(trace_cnt(s, 29999), 1);
	assert_int_equal(trace_cnt(s, 0), 0);
	store_close(s);
	conf.max_bytes = 4 << 20; /* a smaller limit counts at start */
	s = open_conf(&conf);
	assert_true(du() <= conf.max_bytes);
	assert_int_equal(trace_cnt(s, 29999), 1);
	store_close(s);
}

static void test_retention_by_age(void **state)
{
	struct store_conf conf = {.dir = dir};
	struct store *s = open_conf(&conf);
	uint64_t now = clock_real_ns();
	struct store_stat st;

	(void)state;
	put_one(s, simple(1, now - 90 * HOUR_NS, "old"));
	put_one(s, simple(2, now - 20 * HOUR_NS, "day"));
	put_one(s, simple(3, now, "new"));
	store_close(s);
	conf.max_age_ns = 24 * HOUR_NS;
	s = open_conf(&conf);
	assert_walk(s, 0, UINT64_MAX, "new day ");
	/* Older than the limit, or from the future: kept within sane partitions, time untouched. */
	put_one(s, simple(4, now - 1000 * HOUR_NS, "ancient"));
	put_one(s, simple(5, now + 1000 * HOUR_NS, "future"));
	store_stat(s, &st);
	assert_int_equal(st.partitions, 4);
	assert_walk(s, 0, UINT64_MAX, "future new day ancient ");
	assert_true(st.newest_ns == now + 1000 * HOUR_NS);
	store_close(s);
}

/* Waits until the thread's retention has left so many partitions. */
static void wait_partitions(struct store *s, uint32_t cnt)
{
	uint64_t deadline = clock_mono_ns() + 10ull * NS_PER_S;
	struct store_stat st;

	do {
		usleep(10000);
		store_stat(s, &st);
	} while (st.partitions != cnt && clock_mono_ns() < deadline);
	assert_int_equal(st.partitions, cnt);
}

static void test_read_outlives_retention(void **state)
{
	struct store_conf conf = {
	    .dir = dir, .max_age_ns = NS_PER_S, .partition_ns = NS_PER_S, .commit_ms = 1};
	struct store *s = open_conf(&conf);
	struct store_read *r;
	struct span sp = simple(1, clock_real_ns(), "x"), *spans;
	size_t cnt = 0;

	(void)state;
	put_one(s, sp);
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	wait_partitions(s, 0);
	assert_int_equal(trace_cnt(s, 1), 0);
	assert_int_equal(store_trace(r, &mem, sp.trace_id, &spans, &cnt), 0);
	assert_int_equal(cnt, 1);
	cnt = 0;
	assert_int_equal(store_walk(r, count_span, &cnt), 0);
	assert_int_equal(cnt, 1);
	store_read_end(r);
	put_one(s, simple(2, clock_real_ns(), "y"));
	assert_int_equal(trace_cnt(s, 2), 1);
	store_close(s);
}

static _Atomic bool reading_ends;

static void *read_always(void *arg)
{
	size_t reads = 0;

	while (!reading_ends || reads == 0) {
		struct store_read *r;
		struct arena a;
		struct span *spans, last = {0};
		size_t cnt = 0, n;

		if (store_read_begin(&r, arg, 0, UINT64_MAX))
			abort();
		memcpy(last.trace_id, &(uint32_t){(uint32_t)reads}, 4);
		last.trace_id[15] = 1;
		arena_init(&a, 0);
		if (store_walk(r, count_span, &cnt) ||
		    store_trace(r, &a, last.trace_id, &spans, &n))
			abort();
		arena_fini(&a);
		store_read_end(r);
		reads++;
	}
	return NULL;
}

/* Spans for three seconds of partitions of a second that live for a second, under four readers. */
static void test_readers_and_retention(void **state)
{
	struct store_conf conf = {
	    .dir = dir, .max_age_ns = NS_PER_S, .partition_ns = NS_PER_S, .commit_ms = 5};
	struct store *s = open_conf(&conf);
	uint64_t end = clock_mono_ns() + 3500ull * NS_PER_MS,
		 unclean = stat_of("store_unclean_total");
	pthread_t threads[4];
	uint32_t n = 0;

	(void)state;
	reading_ends = false;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_always, s), 0);
	while (clock_mono_ns() < end) {
		struct span sp[5];

		for (int i = 0; i < 5; i++)
			sp[i] = simple(n, clock_real_ns(), "x");
		assert_int_equal(store_append(s, sp, 5), 0);
		if (++n % 20 == 0)
			assert_int_equal(store_flush(s), 0);
	}
	reading_ends = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(stat_of("store_unclean_total"), unclean);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_retention_by_size),
	    TEST(test_retention_by_age),
	    TEST(test_read_outlives_retention),
	    TEST(test_readers_and_retention),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

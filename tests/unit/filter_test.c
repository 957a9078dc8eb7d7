/* SPDX-License-Identifier: Apache-2.0 */
/* filter_test.c - filters of partitions: every key is known again, one of a hundred others passes, a
 * file that was changed is none; and with a store: a trace by id looks where it may be and nowhere
 * else, also after a late span. */
#include "store/keys.h"
#include "store/read.h"
#include "store/tools.h"
#include "tests/lib/store_fix.h"

#include <glob.h>

enum { KEYS = 20000, TRACES = 600 };

/* --- alone --- */

static uint64_t key_of(uint64_t n)
{
	uint8_t id[16] = {0};

	memcpy(id + 8, &n, sizeof(n)); /* they begin alike, as those of one time do */
	return trace_key(id);
}

static int dir_fd(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	return fd;
}

static void save(int at, uint64_t chunks)
{
	struct filter_maker *m = filter_maker_new(KEYS);

	for (uint64_t n = 0; n < KEYS; n++)
		filter_add(m, key_of(n));
	assert_int_equal(filter_save(m, chunks, at, "f"), 0);
	filter_maker_free(m);
}

static void test_keys(void **state)
{
	int at = dir_fd(), strangers = 0;
	struct filter f;

	(void)state;
	assert_int_equal(filter_open(&f, at, "f"), -ENOENT);
	save(at, 7);
	assert_int_equal(filter_open(&f, at, "f"), 0);
	assert_int_equal(f.chunks, 7);
	for (uint64_t n = 0; n < KEYS; n++)
		assert_true(filter_may_have(&f, key_of(n)));
	for (uint64_t n = KEYS; n < 11ull * KEYS; n++)
		strangers += filter_may_have(&f, key_of(n));
	assert_in_range(strangers, 1, 10 * KEYS / 50);
	filter_close(&f);
	close(at);
}

/* Each byte flipped, and each length. */
static void test_changed(void **state)
{
	int at = dir_fd(), fd;
	struct filter f;
	struct stat st;
	uint8_t byte, other;

	(void)state;
	save(at, 7);
	fd = openat(at, "f", O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t i = 0; i < st.st_size; i += i < 64 ? 1 : 97) {
		assert_int_equal(pread(fd, &byte, 1, i), 1);
		other = byte ^ 0x10;
		assert_int_equal(pwrite(fd, &other, 1, i), 1);
		assert_int_equal(filter_open(&f, at, "f"), -EUCLEAN);
		assert_int_equal(pwrite(fd, &byte, 1, i), 1);
	}
	assert_int_equal(filter_open(&f, at, "f"), 0);
	filter_close(&f);
	for (off_t len = st.st_size - 1; len >= 0; len -= len > 64 ? 101 : 1) {
		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(filter_open(&f, at, "f"), -EUCLEAN);
	}
	close(fd);
	close(at);
}

/* --- with a store --- */

static uint64_t now_ns;

/* Traces [first, first + TRACES) some hours ago. */
static void put(struct store *s, uint32_t first, uint32_t hours_ago)
{
	for (uint32_t i = 0; i < TRACES; i++) {
		struct span sp = simple(first + i, now_ns - hours_ago * HOUR_NS + i, "x");

		assert_int_equal(store_append(s, &sp, 1), 0);
	}
	assert_int_equal(store_flush(s), 0);
}

static struct store *store_of_three_hours(void)
{
	struct store *s = open_plain();

	now_ns = clock_real_ns();
	put(s, 0, 6);
	put(s, TRACES, 4);
	put(s, 2 * TRACES, 2);
	store_close(s);
	return open_plain();
}

static void open_all(struct store *s)
{
	struct store_read *r;

	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	store_read_end(r);
}

static size_t filter_cnt(struct store *s)
{
	size_t cnt = 0;

	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next)
		cnt += part_filter(s, p) != NULL;
	pthread_mutex_unlock(&s->parts_lock);
	return cnt;
}

/* At once; but the committer's thread may have begun with one of them. */
static void seal(struct store *s)
{
	uint64_t end_ns = clock_mono_ns() + 10ull * NS_PER_S;

	open_all(s);
	parts_seal(s);
	while (filter_cnt(s) < 3 && clock_mono_ns() < end_ns)
		usleep(1000);
	assert_int_equal(filter_cnt(s), 3);
}

struct place {
	size_t parts, spans; /* looked into; found */
};

static struct place find(struct store *s, uint32_t trace)
{
	struct span sp = simple(trace, 0, ""), *spans;
	struct store_read *r;
	struct place ret;
	struct arena a;

	arena_init(&a, 0);
	assert_int_equal(store_read_begin_trace(&r, s, sp.trace_id), 0);
	assert_int_equal(store_trace(r, &a, sp.trace_id, &spans, &ret.spans), 0);
	ret.parts = r->cnt;
	store_read_end(r);
	arena_fini(&a);
	return ret;
}

static void test_trace(void **state)
{
	struct store *s = store_of_three_hours();
	size_t strangers = 0;

	(void)state;
	assert_int_equal(find(s, 5).parts, 3);
	seal(s);
	for (uint32_t n = 0; n < 3 * TRACES; n++) {
		struct place at = find(s, n);

		assert_int_equal(at.spans, 1);
		strangers += at.parts - 1;
	}
	assert_true(strangers < 3 * TRACES / 10);
	assert_int_equal(find(s, 100000).spans, 0);
	store_close(s);
	s = open_plain();
	assert_int_equal(find(s, 5).spans, 1);
	assert_int_equal(filter_cnt(s), 3);
	store_close(s);
}

static size_t file_cnt(void)
{
	char pattern[128];
	size_t cnt = 0;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*/filter", dir);
	if (glob(pattern, 0, NULL, &found) == 0)
		cnt = found.gl_pathc;
	globfree(&found);
	return cnt;
}

/* Spans that come late: what the filter says is old, and it goes. */
static void test_late(void **state)
{
	struct store *s = store_of_three_hours();
	struct span late;

	(void)state;
	seal(s);
	late = simple(TRACES + 5, now_ns - 6 * HOUR_NS, "late");
	assert_int_equal(store_append(s, &late, 1) | store_flush(s), 0);
	assert_int_equal(file_cnt(), 2);
	assert_int_equal(filter_cnt(s), 2);
	assert_int_equal(find(s, TRACES + 5).spans, 2);
	store_close(s);
	s = open_plain();
	seal(s);
	assert_int_equal(find(s, TRACES + 5).spans, 2);
	store_close(s);
}

static void test_damaged(void **state)
{
	struct store *s = store_of_three_hours();
	struct store_check found;
	char cmd[256];

	(void)state;
	seal(s);
	store_close(s);
	assert_int_equal(store_check(dir, NULL, NULL, &found, NULL), 0);
	assert_int_equal(found.bad, 0);
	snprintf(cmd, sizeof(cmd), "for f in %s/*/filter; do echo junk >> $f; done", dir);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(store_check(dir, NULL, NULL, &found, NULL), 0);
	assert_int_equal(found.bad, 3);
	s = open_plain();
	assert_int_equal(find(s, 5).spans, 1);
	seal(s);
	store_close(s);
	assert_int_equal(store_check(dir, NULL, NULL, &found, NULL), 0);
	assert_int_equal(found.bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keys), TEST(test_changed), TEST(test_trace),
		TEST(test_late), TEST(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* stats_test.c - the registry: same cell for same name and labels, cells of one name together,
 * functions that freshen, notes in order of first use, and counting from many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/stats.h"

static void add_row(void *arg, const struct stat_row *row)
{
	strbuf_printf(arg, "%s{%s}%c=%llu ", row->name, row->labels,
		      row->kind == STAT_GAUGE ? 'g' : 'c', (unsigned long long)row->value);
	if (strcmp(row->name, "a_total") == 0)
		assert_string_equal(row->help, "The first help.");
}

static void test_cells(void **state)
{
	stat_cell *a1 = stats_cell(STAT_COUNTER, "a_total", "x=\"1\"", "The first help.");
	stat_cell *b = stats_cell(STAT_GAUGE, "b", "", "B.");
	stat_cell *a2 = stats_cell(STAT_COUNTER, "a_total", "x=\"2\"", "Another help.");
	struct strbuf out;

	(void)state;
	assert_ptr_equal(a1, stats_cell(STAT_COUNTER, "a_total", "x=\"1\"", ""));
	assert_ptr_not_equal(a1, a2);
	stat_add(a1, 2);
	stat_add(a1, 3);
	stat_add(a2, 1);
	stat_set(b, 42);
	strbuf_init(&out);
	stats_walk(add_row, &out);
	assert_string_equal(out.p, "a_total{x=\"1\"}c=5 a_total{x=\"2\"}c=1 b{}g=42 ");
	strbuf_fini(&out);
}

static void freshen(void *arg)
{
	++*(int *)arg;
	stat_set(stats_cell(STAT_GAUGE, "fresh", "", "F."), (uint64_t) * (int *)arg);
	stats_note("fresh", "n", "%d", *(int *)arg);
}

static void ignore_row(void *arg, const struct stat_row *row)
{
	(void)arg;
	(void)row;
}

static void test_on_read(void **state)
{
	int calls = 0;

	(void)state;
	stats_on_read(freshen, &calls);
	stats_walk(ignore_row, NULL);
	assert_int_equal(calls, 1);
	stats_off_read(freshen, &calls);
	stats_walk(ignore_row, NULL);
	assert_int_equal(calls, 1);
	stats_note_drop("fresh", "n");
}

static void add_note(void *arg, const char *section, const char *key, const char *text)
{
	strbuf_printf(arg, "%s.%s=%s ", section, key, text);
}

static void test_notes(void **state)
{
	struct strbuf out;

	(void)state;
	stats_note("providers", "will_send", "tp_btf");
	stats_note("kernel", "release", "6.%d", 18);
	stats_note("providers", "sent", "fexit");
	stats_note("providers", "will_send", "fentry");
	stats_note_drop("nothing", "there");
	strbuf_init(&out);
	stats_notes_walk(add_note, &out);
	assert_string_equal(out.p,
			    "providers.will_send=fentry providers.sent=fexit kernel.release=6.18 ");
	strbuf_clear(&out);
	stats_note_drop("providers", "will_send");
	stats_notes_walk(add_note, &out);
	assert_string_equal(out.p, "providers.sent=fexit kernel.release=6.18 ");
	strbuf_fini(&out);
}

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++)
		stat_add(stats_cell(STAT_COUNTER, "many_total", "", "M."), 1);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(*stats_cell(STAT_COUNTER, "many_total", "", ""), 40000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cells),
	    cmocka_unit_test(test_on_read),
	    cmocka_unit_test(test_notes),
	    cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

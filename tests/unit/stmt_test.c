/* SPDX-License-Identifier: Apache-2.0 */
/* stmt_test.c - SQL texts by connection and statement: pieces in any interleaving, lost pieces, cut
 * texts, replacement, and that memory stays bounded while a flood of single queries does not drive
 * out what is in use. */
#include "agent/stmt.h"
#include "store/stats.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct stmts *open_stmts(uint32_t max, bool sanitize)
{
	struct stmts *s = NULL;

	assert_int_equal(stmts_new(&s, max, sanitize), 0);
	return s;
}

static void add(struct stmts *s, uint64_t conn, uint64_t stmt, uint32_t off, uint32_t total,
		struct str piece)
{
	struct rec_stmt rs = {.conn = conn, .stmt = stmt, .off = off, .total = total};

	memcpy(rs.text, piece.p, piece.len);
	stmts_add(s, &rs, piece.len);
}

static void add_whole(struct stmts *s, uint64_t conn, uint64_t stmt, const char *text)
{
	add(s, conn, stmt, 0, strlen(text), str_of(text));
}

static void check(struct stmts *s, uint64_t conn, uint64_t stmt, const char *text, bool cut)
{
	const struct stmt *st = stmts_find(s, conn, stmt);

	assert_non_null(st);
	if (!str_eq(st->text, str_of(text)))
		fail_msg("'" STR_FMT "' is not '%s'", STR_ARG(st->text), text);
	assert_int_equal(st->cut, cut);
}

static void test_whole(void **state)
{
	struct stmts *s = open_stmts(100, true);
	const struct stmt *st;

	(void)state;
	assert_null(stmts_find(s, 1, 1));
	add_whole(s, 1, 1, "SELECT * FROM todos WHERE id = 42");
	check(s, 1, 1, "SELECT * FROM todos WHERE id = ?", false);
	st = stmts_find(s, 1, 1);
	assert_true(str_eq(st->operation, STR("SELECT")));
	assert_true(str_eq(st->collection, STR("todos")));
	assert_true(str_eq(st->summary, STR("SELECT todos")));
	assert_null(stmts_find(s, 1, 2));
	assert_null(stmts_find(s, 2, 1));
	add_whole(s, 1, 1, "COMMIT");
	check(s, 1, 1, "COMMIT", false);
	stmts_free(s);
	stmts_free(NULL);
}

static void test_raw(void **state)
{
	struct stmts *s = open_stmts(100, false);

	(void)state;
	add_whole(s, 1, 1, "SELECT '\xff'  , 1");
	check(s, 1, 1, "SELECT '\xef\xbf\xbd'  , 1", false);
	stmts_free(s);
}

static void test_shared(void **state)
{
	struct stmts *s = open_stmts(1000, true);
	const char *text;

	(void)state;
	add_whole(s, 1, 1, "SELECT 1");
	text = stmts_find(s, 1, 1)->text.p;
	for (uint64_t conn = 2; conn < 500; conn++) {
		add_whole(s, conn, 7, "SELECT   2");
		assert_ptr_equal(stmts_find(s, conn, 7)->text.p, text);
	}
	add_whole(s, 1, STMT_DATABASE, "SELECT ?");
	assert_ptr_not_equal(stmts_database(s, 1).p, text);
	stmts_free(s);
}

static void test_database(void **state)
{
	struct stmts *s = open_stmts(100, true);

	(void)state;
	assert_int_equal(stmts_database(s, 5).len, 0);
	add_whole(s, 5, STMT_DATABASE, "my db 42");
	assert_true(str_eq(stmts_database(s, 5), STR("my db 42")));
	assert_null(stmts_find(s, 5, 1));
	stmts_free(s);
}

static void test_pieces(void **state)
{
	struct stmts *s = open_stmts(100, true);

	(void)state;
	for (uint64_t conn = 1; conn <= 10; conn++)
		add(s, conn, 1, 0, 16, STR("SELECT 'se"));
	for (uint64_t conn = 10; conn >= 1; conn--)
		add(s, conn, 1, 10, 16, STR("cret'"));
	for (uint64_t conn = 1; conn <= 10; conn++) {
		add(s, conn, 1, 15, 16, STR("x"));
		check(s, conn, 1, "SELECT ?", false);
	}
	stmts_free(s);
}

/* Until the last piece the total is only a bound. */
static void test_late_total(void **state)
{
	struct stmts *s = open_stmts(100, true);

	(void)state;
	add(s, 1, 1, 0, 100, STR("SELECT a"));
	add(s, 1, 1, 8, 60, STR(" FROM"));
	add(s, 1, 1, 13, 15, STR(" t"));
	check(s, 1, 1, "SELECT a FROM t", false);
	add(s, 1, 2, 0, 100, STR("SELECT a"));
	add(s, 1, 2, 8, 8, STR(""));
	check(s, 1, 2, "SELECT a", false);
	stmts_free(s);
}

static void test_lost_pieces(void **state)
{
	struct stmts *s = open_stmts(100, true);

	(void)state;
	add(s, 1, 1, 10, 16, STR("cret'"));
	assert_null(stmts_find(s, 1, 1));
	add(s, 1, 2, 0, 30, STR("SELECT a, "));
	add(s, 1, 2, 20, 30, STR("FROM t"));
	check(s, 1, 2, "SELECT a,", true);
	add(s, 1, 3, 0, 30, STR("SELECT b, 'sec"));
	check(s, 1, 3, "SELECT b, ?", true);
	add(s, 1, 3, 14, 30, STR("ret'"));
	check(s, 1, 3, "SELECT b, ?", true);
	add(s, 1, 4, 0, 30, STR("SELECT lost, "));
	add(s, 1, 4, 0, 8, STR("SELECT c"));
	check(s, 1, 4, "SELECT c", false);
	for (uint64_t conn = 100; conn < 200; conn++)
		add(s, conn, 1, 0, 20, STR("SELECT d"));
	check(s, 100, 1, "SELECT d", true);
	check(s, 199, 1, "SELECT d", true);
	stmts_free(s);
}

static void test_long(void **state)
{
	struct stmts *s = open_stmts(100, true);
	static char chunk[STMT_CHUNK];
	const struct stmt *st;
	uint32_t total = 1 << 20;

	(void)state;
	memset(chunk, 'a', sizeof(chunk));
	for (uint32_t off = 0; off < STMT_TEXT_MAX; off += STMT_CHUNK)
		add(s, 1, 1, off, total, (struct str){chunk, STMT_CHUNK});
	st = stmts_find(s, 1, 1);
	assert_non_null(st);
	assert_int_equal(st->text.len, STMT_TEXT_MAX);
	assert_true(st->cut);
	stmts_free(s);
}

static void test_hostile(void **state)
{
	struct stmts *s = open_stmts(100, true);
	struct rec_stmt rs = {.conn = 1, .stmt = 1, .total = UINT32_MAX};

	(void)state;
	memset(rs.text, 'b', sizeof(rs.text));
	stmts_add(s, &rs, UINT32_MAX);
	assert_int_equal(stmts_find(s, 1, 1)->text.len, STMT_CHUNK);
	rs.off = UINT32_MAX;
	stmts_add(s, &rs, 100);
	rs.off = rs.total = 0;
	stmts_add(s, &rs, 0);
	check(s, 1, 1, "", false);
	rs.total = 10;
	for (int i = 0; i < 100; i++)
		stmts_add(s, &rs, 0);
	check(s, 1, 1, "", true);
	stmts_free(s);
}

static void test_flood(void **state)
{
	struct stmts *s = open_stmts(1000, true);
	char text[64];

	(void)state;
	add_whole(s, 1, STMT_DATABASE, "db");
	for (uint64_t st = 1; st <= 100; st++) {
		add_whole(s, 1, st, "SELECT * FROM kept");
		stmts_find(s, 1, st);
		stmts_find(s, 1, st);
	}
	for (uint64_t n = 0; n < 50000; n++) {
		snprintf(text, sizeof(text), "SELECT c%llu", (unsigned long long)n);
		add_whole(s, 2, n + 1, text);
		check(s, 2, n + 1, text, false);
	}
	for (uint64_t st = 1; st <= 100; st++)
		check(s, 1, st, "SELECT * FROM kept", false);
	assert_true(str_eq(stmts_database(s, 1), STR("db")));
	assert_null(stmts_find(s, 2, 1));
	stmts_free(s);
}

static void test_bytes(void **state)
{
	struct stmts *s = open_stmts(10000, true);
	char text[STMT_CHUNK + 1];
	uint32_t known = 0;

	(void)state;
	for (uint64_t n = 1; n <= 9000; n++) {
		memset(text, 'x', STMT_CHUNK);
		text[STMT_CHUNK] = '\0';
		snprintf(text, sizeof(text), "SELECT c%llu", (unsigned long long)n);
		text[strlen(text)] = ',';
		add(s, 1, n, 0, STMT_CHUNK, (struct str){text, STMT_CHUNK});
		assert_non_null(stmts_find(s, 1, n));
		stmts_find(s, 1, n);
	}
	for (uint64_t n = 1; n <= 9000; n++)
		known += stmts_find(s, 1, n) != NULL;
	assert_in_range(known, 1000, 1600); /* 3 MiB of 2 KiB texts */
	stmts_free(s);
}

static void add_long_of(struct stmts *s, uint64_t conn, uint64_t stmt)
{
	char text[STMT_CHUNK];

	memset(text, 'x', sizeof(text));
	text[snprintf(text, sizeof(text), "SELECT c%llu", (unsigned long long)stmt)] = ',';
	add(s, conn, stmt, 0, sizeof(text), (struct str){text, sizeof(text)});
}

static void add_long(struct stmts *s, uint64_t stmt)
{
	add_long_of(s, 1, stmt);
}

/* What was used twice by connections that are gone leaves room for what is used now. */
static void test_new_ones_have_room(void **state)
{
	struct stmts *s = open_stmts(20000, true);

	(void)state;
	for (uint64_t n = 1; n <= 3000; n++) {
		add_long(s, n);
		stmts_find(s, 1, n);
		stmts_find(s, 1, n);
	}
	for (uint64_t n = 10001; n <= 10300; n++)
		add_long(s, n);
	for (uint64_t n = 10001; n <= 10300; n++)
		assert_non_null(stmts_find(s, 1, n));
	stmts_free(s);
}

static uint64_t counted(const char *name, const char *labels)
{
	return *stats_cell(STAT_COUNTER, name, labels, "");
}

static void pool_text(char *text, size_t cap, unsigned n)
{
	int len = snprintf(text, cap, "SELECT * FROM t%u WHERE ", n);

	memset(text + len, 'x', cap - len - 1);
	text[cap - 1] = '\0';
}

/* 1,000 connections of a pool with 50 prepared statements of 300 bytes each. A flood of other
 * texts, each used twice, goes over the bound of bytes many times. The pool's, which one connection
 * of it uses now and then, stay, those of all its connections: they cost next to nothing. */
static void test_pool(void **state)
{
	enum { CONNS = 1000, STMTS = 50, TEXT = 301 };
	uint64_t bytes = counted("statements_evicted_total", "reason=\"bytes\"");
	uint64_t number = counted("statements_evicted_total", "reason=\"number\"");
	struct stmts *s = open_stmts(65536, true);
	char text[TEXT];

	(void)state;
	for (uint64_t conn = 1; conn <= CONNS; conn++) {
		for (unsigned n = 1; n <= STMTS; n++) {
			pool_text(text, sizeof(text), n);
			add_whole(s, conn + 1, n, text);
			stmts_find(s, conn + 1, n);
			stmts_find(s, conn + 1, n);
		}
	}
	assert_int_equal(counted("statements", ""), CONNS * STMTS);
	assert_in_range(counted("statement_bytes", ""), STMTS * (TEXT - 1), 2 * STMTS * TEXT);
	for (uint64_t n = 100; n < 10000; n++) {
		add_long(s, n);
		stmts_find(s, 1, n);
		stmts_find(s, 1, n);
		for (unsigned st = 1; n % 100 == 0 && st <= STMTS; st++)
			stmts_find(s, CONNS, st);
	}
	assert_true(counted("statements_evicted_total", "reason=\"bytes\"") > bytes + 5000);
	assert_int_equal(counted("statements_evicted_total", "reason=\"number\""), number);
	for (uint64_t conn = 1; conn <= CONNS; conn++) {
		for (unsigned n = 1; n <= STMTS; n++) {
			pool_text(text, sizeof(text), n);
			check(s, conn + 1, n, text, false);
		}
	}
	stmts_free(s);
}

/* All of a list share their texts by two: nothing is given back by the first of each pair. */
static void test_pairs(void **state)
{
	struct stmts *s = open_stmts(65536, true);
	uint32_t known = 0;

	(void)state;
	for (uint64_t n = 1; n <= 5000; n++) {
		add_long(s, n);
		assert_non_null(stmts_find(s, 1, n));
		assert_in_range(counted("statement_bytes", ""), 1, 3 << 20);
		add_long_of(s, 2, n);
		assert_non_null(stmts_find(s, 2, n));
	}
	for (uint64_t n = 1; n <= 5000; n++)
		known += stmts_find(s, 1, n) || stmts_find(s, 2, n);
	assert_in_range(known, 1000, 1600);
	stmts_free(s);
}

static void test_counted(void **state)
{
	uint64_t unknown = counted("statements_unknown_total", "");
	uint64_t number = counted("statements_evicted_total", "reason=\"number\"");
	struct stmts *s = open_stmts(100, true);
	char text[64];

	(void)state;
	for (uint64_t n = 1; n <= 150; n++) {
		snprintf(text, sizeof(text), "SELECT c%llu", (unsigned long long)n);
		add_whole(s, 1, n, text);
	}
	assert_int_equal(counted("statements", ""), 100);
	assert_int_equal(counted("statements_evicted_total", "reason=\"number\""), number + 50);
	assert_null(stmts_find(s, 1, 50));
	check(s, 1, 51, "SELECT c51", false);
	assert_int_equal(stmts_database(s, 1).len, 0); /* is not a text that a span lacks */
	assert_int_equal(counted("statements_unknown_total", ""), unknown + 1);
	stmts_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	    cmocka_unit_test(test_raw),
		cmocka_unit_test(test_shared),	    cmocka_unit_test(test_database),
		cmocka_unit_test(test_pieces),	    cmocka_unit_test(test_late_total),
		cmocka_unit_test(test_lost_pieces), cmocka_unit_test(test_long),
		cmocka_unit_test(test_hostile),	    cmocka_unit_test(test_flood),
		cmocka_unit_test(test_bytes),	    cmocka_unit_test(test_new_ones_have_room),
		cmocka_unit_test(test_pool),	    cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* sql_test.c - sql_sanitize and sql_describe: tables of cases, every truncation, input against the
 * end of its allocation, and random statements built from known literals, none of which may be seen
 * again, under both settings of standard_conforming_strings. */
#include "agent/sql.h"
#include "agent/utf8.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The text in memory of exactly its length, so that an over-read faults under ASan. */
static void sanitize(struct strbuf *out, struct str text)
{
	char *exact = malloc(text.len ? text.len : 1);

	assert_non_null(exact);
	memcpy(exact, text.p, text.len);
	strbuf_clear(out);
	sql_sanitize(out, (struct str){exact, text.len});
	free(exact);
}

static const struct {
	const char *in, *out;
} clean_cases[] = {
    {"", ""},
    {"   ", ""},
    {"SELECT 1", "SELECT ?"},
    {"  SELECT\n\t1 ;  ", "SELECT ? ;"},
    {"SELECT * FROM t WHERE a='x''y' AND b=2", "SELECT * FROM t WHERE a=? AND b=?"},
    {"SELECT E'a\\'b', e'\\\\', 3", "SELECT ?, ?, ?"},
    {"SELECT U&'d\\0061t', B'101', x'1F', N'n'", "SELECT ?, ?, ?, ?"},
    {"SELECT $$it's$$, $t$ $$ $x$ $t$, $1", "SELECT ?, ?, $1"},
    {"SELECT a$b$c, $_1$ z $_1$", "SELECT a$b$c, ?"},
    {"SELECT $123456", "SELECT ?"},
    {"SELECT \"Weird \"\"Name\", U&\"x\"", "SELECT \"Weird \"\"Name\", U&\"x\""},
    {"SELECT 1 -- 'secret\n, 2", "SELECT ? , ?"},
    {"SELECT/* a /* b */ 'c' */1", "SELECT ?"},
    {"SELECT 1 /* open", "SELECT ?"},
    {"SELECT 1e5, 1.5e-7, .5, 5., 0x1F, 0b11, 1_000, 123abc", "SELECT ?, ?, ?, ?, ?, ?, ?, ?"},
    {"SELECT x::int, '{1,2}'::int[], a[1], '5'::text", "SELECT x::int, ?::int[], a[?], ?::text"},
    {"SELECT ARRAY[1, 2, 3], ARRAY['a']", "SELECT ARRAY[?], ARRAY[?]"},
    {"SELECT -1, a - 1, a-1, (-1), a = -1, a=- 1, LIMIT -5",
     "SELECT ?, a - ?, a-?, (?), a = ?, a=?, LIMIT ?"},
    {"SELECT f(x) -1, a[1]+2, $1-3", "SELECT f(x) -?, a[?]+?, $1-?"},
    {"a IN (1,2,3)", "a IN (?)"},
    {"a in ( 'x' , 'y' )", "a in (?)"},
    {"a IN (-1, +2)", "a IN (?)"},
    {"a IN (1, b, 3)", "a IN (?, b, ?)"},
    {"a IN ($1, $2)", "a IN ($1, $2)"},
    {"a IN (SELECT 1)", "a IN (SELECT ?)"},
    {"a IN ()", "a IN ()"},
    {"f(1, 2)", "f(?, ?)"},
    {"INSERT INTO t (a) VALUES (1, 'x'), (2, 'y'), (3, 'z')", "INSERT INTO t (a) VALUES (?, ?)"},
    {"VALUES (1, now()), (2, now()) RETURNING id", "VALUES (?, now()) RETURNING id"},
    {"VALUES (1, NULL), (2, 3), (4, 5)", "VALUES (?, NULL), (?, ?)"},
    {"VALUES ($1, $2), ($3, $4)", "VALUES ($1, $2), ($3, $4)"},
    {"VALUES ((1)), ((2)), (", "VALUES ((?)), ("},
    {"SELECT 1 LIMIT 10 OFFSET 20", "SELECT ? LIMIT ? OFFSET ?"},
    {"SELECT true, FALSE, null", "SELECT true, FALSE, null"},
    {"SELECT interval '1 day', DATE'2020-01-01'", "SELECT interval ?, DATE?"},
    {"x @> '{}' AND y ? 'k' AND z #>> '{a}'", "x @> ? AND y ? ? AND z #>> ?"},
    {"COPY t (a, b) FROM stdin", "COPY t (a, b) FROM stdin"},
    {"ALTER ROLE bob PASSWORD 'x' LOGIN", "ALTER ROLE bob PASSWORD ? LOGIN"},
    {"alter user bob with encrypted password hunter2; SELECT 1",
     "alter user bob with encrypted password ?"},
    {"CREATE ROLE bob PASSWORD \"hunter2\"", "CREATE ROLE bob PASSWORD ?"},
    {"CREATE ROLE bob PASSWORD NULL LOGIN", "CREATE ROLE bob PASSWORD NULL LOGIN"},
    {"SELECT password FROM users", "SELECT password FROM users"},
    /* doubt */
    {"SELECT 'a\\' , 'b'", "SELECT ?"},
    {"SELECT 'a\\\\', 'b'", "SELECT ?, ?"},
    {"a LIKE $1 ESCAPE '\\' ORDER BY b", "a LIKE $1 ESCAPE ? ORDER BY b"},
    {"SELECT 'O'Brien', 1", "SELECT ?"},
    {"SELECT 'cut off he", "SELECT ?"},
    {"SELECT $tag$ cut $ta", "SELECT ?"},
    {"SELECT E'cut \\", "SELECT ?"},
    {"SELECT \"cut off he", "SELECT ?"},
    {"SELECT `a`, 1", "SELECT ?, ?"},
    {"SELECT `a", "SELECT ?"},
    {"SELECT E'\x95\\', secret --'", "SELECT ?"},
    {"SELECT \xc3\xa4, \xff", "SELECT \xc3\xa4, ?"},
};

static void test_sanitize(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	for (size_t i = 0; i < ARRAY_SIZE(clean_cases); i++) {
		const char *want = clean_cases[i].out;

		sanitize(&out, str_of(clean_cases[i].in));
		if (out.len != strlen(want) || memcmp(out.p, want, out.len))
			fail_msg("%s\n  is    %s\n  wants %s", clean_cases[i].in, out.p, want);
	}
	strbuf_fini(&out);
}

static void test_appends(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	strbuf_adds(&out, "\xff kept:");
	sql_sanitize(&out, STR(" SELECT 1"));
	assert_string_equal(out.p, "\xff kept:SELECT ?");
	strbuf_fini(&out);
}

static const struct {
	const char *in, *operation, *collection, *summary;
} say_cases[] = {
    {"SELECT * FROM todos WHERE id = ?", "SELECT", "todos", "SELECT todos"},
    {"select 1", "SELECT", "", "SELECT"},
    {"SELECT a.x FROM a JOIN b ON a.id = b.id, c", "SELECT", "", "SELECT a b c"},
    {"SELECT * FROM a AS q (x, y), LATERAL f(q.x) z WHERE m IN (n, o)", "SELECT", "a", "SELECT a"},
    {"SELECT x FROM (SELECT y FROM orders o JOIN customers c ON o.c = c.id) s", "SELECT", "",
     "SELECT SELECT orders customers"},
    {"SELECT * FROM public.\"Song List\" s", "SELECT", "public.Song List",
     "SELECT public.Song List"},
    {"SELECT extract(year FROM ts), trim(both FROM n) FROM t WHERE a IS DISTINCT FROM b", "SELECT",
     "t", "SELECT t"},
    {"SELECT * FROM t WHERE a = (SELECT max(b) FROM t)", "SELECT", "t", "SELECT t SELECT t"},
    {"SELECT * FROM t FOR UPDATE OF t SKIP LOCKED", "SELECT", "t", "SELECT t"},
    {"(SELECT a FROM x) UNION ALL (SELECT b FROM y)", "SELECT", "", "SELECT x SELECT y"},
    {"SELECT * FROM (a JOIN b USING (id))", "SELECT", "", "SELECT a b"},
    {"SELECT count(*) FROM generate_series(1, 9)", "SELECT", "", "SELECT"},
    {"INSERT INTO shop (a, b) SELECT c, d FROM orders", "INSERT", "", "INSERT shop SELECT orders"},
    {"INSERT INTO t(a) VALUES (?) ON CONFLICT (a) DO UPDATE SET a = excluded.a RETURNING id",
     "INSERT", "t", "INSERT t"},
    {"UPDATE ONLY t SET a = (SELECT b FROM u) FROM v WHERE t.x = v.x", "UPDATE", "",
     "UPDATE t SELECT u v"},
    {"DELETE FROM t USING u WHERE t.id = u.id", "DELETE", "", "DELETE t u"},
    {"MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = ? WHEN NOT MATCHED THEN "
     "INSERT (a) VALUES (?)",
     "MERGE", "", "MERGE t s"},
    {"WITH q AS (SELECT * FROM a), r (x) AS MATERIALIZED (SELECT * FROM q) SELECT * FROM q, r, b",
     "SELECT", "", "SELECT a SELECT SELECT b"},
    {"WITH RECURSIVE q AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM q", "INSERT", "",
     "DELETE a INSERT b SELECT"},
    {"VALUES (?), (?)", "VALUES", "", "VALUES"},
    {"TABLE todos", "TABLE", "todos", "TABLE todos"},
    {"COPY t (a, b) FROM stdin WITH (FORMAT csv)", "COPY", "t", "COPY t"},
    {"COPY (SELECT * FROM t) TO stdout", "COPY", "t", "COPY SELECT t"},
    {"TRUNCATE TABLE a, ONLY b CASCADE", "TRUNCATE", "", "TRUNCATE a b"},
    {"LOCK TABLE t IN EXCLUSIVE MODE", "LOCK", "t", "LOCK t"},
    {"VACUUM (ANALYZE, FULL) t (a)", "VACUUM", "t", "VACUUM t"},
    {"CALL do_it(?, ?)", "CALL", "", "CALL do_it"},
    {"CREATE TABLE IF NOT EXISTS todos (id int REFERENCES b ON DELETE CASCADE)", "CREATE", "todos",
     "CREATE TABLE todos"},
    {"create temp table x as select * from y", "CREATE", "", "CREATE TABLE x SELECT y"},
    {"CREATE OR REPLACE VIEW v AS SELECT * FROM t", "CREATE", "", "CREATE VIEW v SELECT t"},
    {"CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE", "", "CREATE INDEX i"},
    {"DROP TABLE IF EXISTS a.b, c", "DROP", "", "DROP TABLE a.b c"},
    {"ALTER TABLE ONLY t ADD COLUMN x int", "ALTER", "t", "ALTER TABLE t"},
    {"REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH", "v", "REFRESH MATERIALIZED VIEW v"},
    {"ALTER ROLE bob PASSWORD ?", "ALTER", "", "ALTER ROLE bob"},
    {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN", "", "BEGIN"},
    {"commit", "COMMIT", "", "COMMIT"},
    {"SAVEPOINT s_17", "SAVEPOINT", "", "SAVEPOINT"},
    {"SET LOCAL search_path TO a", "SET", "", "SET search_path"},
    {"SHOW server_version", "SHOW", "", "SHOW server_version"},
    {"EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM t", "EXPLAIN", "t", "EXPLAIN SELECT t"},
    {"EXPLAIN ANALYZE VERBOSE WITH q AS (SELECT 1) SELECT * FROM q", "EXPLAIN", "",
     "EXPLAIN SELECT SELECT"},
    {"PREPARE p (int) AS SELECT * FROM t WHERE a = $1", "PREPARE", "t", "PREPARE SELECT t"},
    {"EXECUTE pdo_stmt_00000012 (?)", "EXECUTE", "", "EXECUTE"},
    {"DECLARE c SCROLL CURSOR FOR SELECT * FROM t FOR UPDATE", "DECLARE", "t", "DECLARE SELECT t"},
    {"FETCH 10 FROM c", "FETCH", "", "FETCH"},
    {"LISTEN ch", "LISTEN", "", "LISTEN"},
    {"GRANT SELECT, UPDATE ON t TO bob", "GRANT", "", "GRANT"},
    {"BEGIN; SELECT * FROM a; UPDATE a SET b = ?; COMMIT", "BEGIN", "a",
     "BEGIN; SELECT a; UPDATE a; COMMIT"},
    {"SELECT 'FROM secret', $$FROM b$$ FROM t", "SELECT", "t", "SELECT t"},
    {"SELECT * FROM t WHERE a = 'cut", "SELECT", "t", "SELECT t"},
    {"SELECT 'a\\' FROM t, 'b'", "SELECT", "", "SELECT"},
    {"", "", "", ""},
    {";;", "", "", ""},
    {"hunter2", "", "", ""},
    {"FROB t; SELECT * FROM u", "SELECT", "u", "SELECT u"},
};

static void check_str(const char *in, const char *what, struct str is, const char *want)
{
	if (!str_eq(is, str_of(want)))
		fail_msg("%s\n  %s is    '" STR_FMT "'\n  wants '%s'", in, what, STR_ARG(is), want);
}

static void test_describe(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (size_t i = 0; i < ARRAY_SIZE(say_cases); i++) {
		const char *in = say_cases[i].in;
		struct str op, coll, sum;

		sql_describe(&a, str_of(in), &op, &coll, &sum);
		check_str(in, "operation", op, say_cases[i].operation);
		check_str(in, "collection", coll, say_cases[i].collection);
		check_str(in, "summary", sum, say_cases[i].summary);
	}
	arena_fini(&a);
}

static void test_describe_bounds(void **state)
{
	struct str op, coll, sum;
	struct strbuf text;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&text);
	strbuf_adds(&text, "SELECT * FROM a");
	for (int i = 0; i < 200; i++)
		strbuf_printf(&text, ", table_%d", i);
	sql_describe(&a, (struct str){text.p, text.len}, &op, &coll, &sum);
	assert_true(sum.len <= 255 && sum.len > 240);
	assert_true(str_starts(sum, STR("SELECT a table_0 table_1 ")));
	assert_int_equal(coll.len, 0);
	strbuf_clear(&text);
	for (int i = 0; i < 4000; i++)
		strbuf_adds(&text, "(SELECT");
	sql_describe(&a, (struct str){text.p, text.len}, &op, &coll, &sum);
	assert_true(str_eq(op, STR("SELECT")));
	strbuf_fini(&text);
	arena_fini(&a);
}

static void check_output(const struct strbuf *out, size_t in_len)
{
	assert_true(out->len <= in_len + 1);
	for (size_t i = 0; i < out->len;) {
		size_t n = utf8_len(out->p + i, out->len - i);

		assert_true(n > 0);
		i += n;
	}
}

static void test_truncations(void **state)
{
	struct strbuf out;
	struct arena a;

	(void)state;
	strbuf_init(&out);
	arena_init(&a, 0);
	for (size_t i = 0; i < ARRAY_SIZE(clean_cases); i++) {
		struct str text = str_of(clean_cases[i].in), op, coll, sum;

		for (; text.len > 0; text.len--) {
			sanitize(&out, text);
			check_output(&out, text.len);
			sql_describe(&a, text, &op, &coll, &sum);
			assert_true(sum.len <= 255);
		}
	}
	arena_fini(&a);
	strbuf_fini(&out);
}

/* --- the property: literals full of Q and 7, which stand nowhere else --- */

static uint32_t rnd_state;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % below;
}

static void add_secret(struct strbuf *b, const char *extras)
{
	static const char *const filler[] = {"Q",   "7",  "QQ ", ";Q", "--Q\n",	    "/*Q",
					     "\"Q", "(Q", "$Q",	 "Q,", "\xc3\xa4Q", " Q "};

	strbuf_addc(b, 'Q');
	for (uint32_t n = rnd(5); n > 0; n--) {
		if (rnd(3) == 0)
			strbuf_adds(b, extras);
		else
			strbuf_adds(b, filler[rnd(ARRAY_SIZE(filler))]);
	}
}

/* conforming: how the server of this statement reads a backslash in '…'. */
static void add_literal(struct strbuf *b, bool conforming)
{
	switch (rnd(8)) {
	case 0:
		strbuf_adds(b, "E'");
		add_secret(b, rnd(2) ? "\\'" : "''");
		strbuf_adds(b, "'");
		break;
	case 1:
		strbuf_adds(b, "$s$");
		add_secret(b, "'$$");
		strbuf_adds(b, "$s$");
		break;
	case 2:
		strbuf_adds(b, "$$");
		add_secret(b, "'");
		strbuf_adds(b, " $$");
		break;
	case 3:
		strbuf_printf(b, "%s7%u", rnd(2) ? "-" : "", rnd(2) * 77);
		break;
	case 4:
		strbuf_adds(b, rnd(2) ? "7.7e-7" : "0x7777");
		break;
	case 5:
		strbuf_adds(b, rnd(2) ? "X'" : "U&'");
		add_secret(b, "''");
		strbuf_adds(b, "'");
		break;
	default:
		strbuf_adds(b, "'");
		add_secret(b, conforming ? "\\" : rnd(2) ? "\\'" : "\\\\");
		strbuf_adds(b, "'");
		break;
	}
}

static void add_statement(struct strbuf *b, bool conforming)
{
	static const char *const between[] = {
	    " ",	 ", ",	      " = ",	 " AND a = ",	 ") VALUES (", "), (",
	    " || ",	 "::text, ",  " -- x\n", "/* x */",	 " IN (",      " LIKE ",
	    "; SELECT ", " \"x\" = ", " $1, ",	 " ESCAPE '!' ", "\n"};

	strbuf_adds(b, "SELECT a, ");
	for (uint32_t n = 1 + rnd(6); n > 0; n--) {
		add_literal(b, conforming);
		strbuf_adds(b, between[rnd(ARRAY_SIZE(between))]);
	}
}

static void test_no_leak(void **state)
{
	struct strbuf in, out;

	(void)state;
	strbuf_init(&in);
	strbuf_init(&out);
	for (uint32_t seed = 0; seed < 20000; seed++) {
		rnd_state = seed;
		strbuf_clear(&in);
		add_statement(&in, seed % 2);
		if (rnd(4) == 0)
			in.len = rnd(in.len) + 1; /* cut anywhere */
		sanitize(&out, (struct str){in.p, in.len});
		check_output(&out, in.len);
		if (memchr(out.p, 'Q', out.len) || memchr(out.p, '7', out.len))
			fail_msg("seed %u leaks\n%.*s\n->\n%s", seed, (int)in.len, in.p, out.p);
	}
	strbuf_fini(&out);
	strbuf_fini(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sanitize),	cmocka_unit_test(test_appends),
	    cmocka_unit_test(test_describe),	cmocka_unit_test(test_describe_bounds),
	    cmocka_unit_test(test_truncations), cmocka_unit_test(test_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

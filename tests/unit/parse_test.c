/* SPDX-License-Identifier: Apache-2.0 */
/* parse_test.c - what is TraceQL and what is not: 187 texts judged by a running Tempo (recorded
 * once, tests/tql/parse/cases.jsonl), the rules of precedence, places in error sentences, and
 * hostile text: every truncation, every byte, ten thousand parentheses, a megabyte. */
#include "query/parse.h"
#include "query/query.h"
#include "query/text.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int check_text(const char *text, char **ret_why)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = query_check(str_of(text), &why);
	if (err && !why.len)
		fail_msg("no sentence for: %s", text);
	if (ret_why)
		*ret_why = strdup(why.p ? why.p : "");
	strbuf_fini(&why);
	return err;
}

static void recorded_cases(void **state)
{
	FILE *f = fopen("tests/tql/parse/cases.jsonl", "r");
	char *line = NULL;
	size_t len = 0;
	int cnt = 0, wrong = 0;

	(void)state;
	assert_non_null(f);
	while (getline(&line, &len, f) > 0) {
		json_t *c = json_loads(line, 0, NULL);
		const char *q =
		    json_string_value(json_object_get(json_object_get(c, "query"), "q"));
		bool want = json_integer_value(json_object_get(c, "status")) == 200;
		char *why;
		int err;

		assert_non_null(q);
		err = check_text(q, &why);
		if (!err != want) {
			print_error("%s: want %s, got: %s\n", q, want ? "valid" : "error", why);
			wrong++;
		}
		free(why);
		json_decref(c);
		cnt++;
	}
	free(line);
	fclose(f);
	assert_int_equal(cnt, 187);
	assert_int_equal(wrong, 0);
}

/* What by(expr) is called shows how it was understood. */
static void expect_form(const char *expr, const char *form)
{
	struct arena a;
	struct strbuf why;
	struct tql t;
	char text[256];

	arena_init(&a, 0);
	strbuf_init(&why);
	snprintf(text, sizeof(text), "by(%s)", expr);
	if (parse_query(&a, str_of(text), &t, &why))
		fail_msg("%s: %s", expr, why.p);
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(t.pipe->label));
	assert_string_equal(text, form);
	re_free(t.regexes);
	strbuf_fini(&why);
	arena_fini(&a);
}

static void precedence(void **state)
{
	(void)state;
	expect_form(".a||.b&&.c", "by((.a || .b) && .c)");
	expect_form(".a + 1 * 2", "by(.a + (1 * 2))");
	expect_form("(.a + 1) * 2", "by((.a + 1) * 2)");
	expect_form(".a ^ 2 ^ 3", "by(.a ^ (2 ^ 3))");
	expect_form("-.a * 2 + 1", "by(-(.a * 2) + 1)");
	expect_form("! .a = 1", "by(!.a = 1)");
	expect_form(".a - .b - .c", "by((.a - .b) - .c)");
	expect_form("span:status = error", "by(status = error)");
	expect_form("duration > 90s", "by(duration > 1m30s)");
	expect_form("span.\"my attr\" =~ \"x\"", "by(span.my attr =~ `x`)");
}

static void expect_why(const char *text, const char *part)
{
	char *why;

	assert_int_equal(check_text(text, &why), -EINVAL);
	if (!strstr(why, part))
		fail_msg("%s: '%s' is not in '%s'", text, part, why);
	free(why);
}

static void error_sentences(void **state)
{
	(void)state;
	expect_why("{ .a = }", "line 1, col 8: unexpected }");
	expect_why("{ .a = 1 ||\n  foo }", "line 2, col 3: unknown identifier foo");
	expect_why("{ .é = }", "line 1, col 8: unexpected }");
	expect_why("{", "line 1, col 2: unexpected end");
	expect_why("{ .a = \"x", "string not terminated");
	expect_why("{ duration = \"1s\" }", "line 1, col 12: binary operations");
	expect_why("{ name }", "must be true or false");
	expect_why("{ .a =~ \"(\" }", "invalid regular expression");
	expect_why("{ .a =~ \"(?=x)y\" }", "invalid regular expression");
	expect_why("{ .a =~ \"(x)\\\\1\" }", "invalid regular expression");
	expect_why("{ name = nil }", "cannot be nil");
	expect_why("{ resource.service.name = nil }", "cannot be nil");
	expect_why("{ .a > nil }", "nil can only be compared");
	expect_why("{} | topk(3)", "this stage cannot stand here");
	expect_why("", "unexpected end");
}

/* What Go's regexp/syntax (RE2) takes, and what it refuses although PCRE2 would take it. */
static void regex_syntax(void **state)
{
	static const char *const good[] = {
	    "",		 "(?i)get.*", "(?P<n>a)(?<m>b)", "[[:alpha:]]+", "\\pL\\p{Greek}", "\\Q(?=a++\\E+",
	    "a{2,1000}", "a{2}?",     "a{,5}{",		 "\\x{41}\\101", "[]a](|a)*",	     "(?-s:.)(?U)a+",
	    "(a{10}){100}", "(a{10}b{100})*", "\\+*", "[+*?]+", "(?m)^a$\\z",
	};
	static const char *const refused[] = {
	    "(?!a)b", "(?<=a)b", "(?<!a)b", "(?>a)", "(?#c)a", "(?R)", "(?1)", "(?x)a b", "(?P=n)", "(a)\\1",
	    "(?P<n>a)\\k<n>", "\\Ga", "\\h", "\\R", "\\K", "\\cA", "\\Z", "a++", "a*+", "a?+", "a{2}+", "a**",
	    "a{2}{3}", "a+{2}", "a???", "a{1001}", "a{1,1001}", "(a{100}){11}", "((a{11}b)*{10}){10}", "(*ACCEPT)",
	    "(", ")", "[a", "*a", "[b-a]", "[[:foo:]]", "\\p{Foo}", "\\",
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		snprintf(text, sizeof(text), "{ .a =~ `%s` }", good[i]);
		if (check_text(text, NULL))
			fail_msg("refused: %s", text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		snprintf(text, sizeof(text), "{ .a =~ `%s` }", refused[i]);
		expect_why(text, "invalid regular expression");
	}
}

static char *repeat(const char *part, size_t cnt, const char *middle, const char *tail)
{
	struct strbuf b;

	strbuf_init(&b);
	strbuf_adds(&b, "{ ");
	for (size_t i = 0; i < cnt; i++)
		strbuf_adds(&b, part);
	strbuf_adds(&b, middle);
	for (size_t i = 0; i < cnt; i++)
		strbuf_adds(&b, tail);
	strbuf_adds(&b, " }");
	return strbuf_take(&b, NULL);
}

static void expect_error(char *text)
{
	assert_int_equal(check_text(text, NULL), -EINVAL);
	free(text);
}

static void hostile_depth(void **state)
{
	(void)state;
	expect_error(repeat("(", 10000, ".a", ")"));
	expect_error(repeat("!", 10000, ".a", ""));
	expect_error(repeat("-", 10000, ".a = 1", ""));
	expect_error(repeat(".a || ", 10000, ".a", ""));
	expect_error(repeat(".a ^ ", 10000, "2 = 2", ""));
	expect_error(repeat("} > {", 10000, "", ""));
	expect_error(repeat("} | {", 10000, "", ""));
	expect_error(repeat("1.", 1 << 19, "", ""));
	expect_error(repeat(".a = \"", 1 << 17, "", ""));
	expect_error(repeat("\\", 1 << 20, "", ""));
}

static void hostile_pipelines(void **state)
{
	struct strbuf b;

	(void)state;
	strbuf_init(&b);
	for (int i = 0; i < 10000; i++)
		strbuf_adds(&b, "(");
	strbuf_adds(&b, "{} | count() > 1");
	for (int i = 0; i < 10000; i++)
		strbuf_adds(&b, ")");
	expect_error(strbuf_take(&b, NULL));
}

/* Depth below the limit is fine. */
static void reasonable_depth(void **state)
{
	char *text = repeat("(", 400, ".a", ")");

	(void)state;
	assert_int_equal(check_text(text, NULL), 0);
	free(text);
	text = repeat(".a || ", 400, ".a", "");
	assert_int_equal(check_text(text, NULL), 0);
	free(text);
}

static const char sample[] =
    "({ span.\"a b\" = \"x\\u00e9\" && event:name =~ `a.*` } &>> { duration > 1.5s }) | by(.a) | "
    "count() > 1 | select(name, link.x) with(most_recent=true)";

/* Every truncation and every byte changed: an answer, never a fault (exact-size heap copies, so
 * that ASan sees one byte too many). */
static void damaged_text(void **state)
{
	size_t len = sizeof(sample) - 1;

	(void)state;
	assert_int_equal(check_text(sample, NULL), 0);
	for (size_t n = 0; n <= 2 * len; n++) {
		size_t cut = n < len ? n : len;
		char *copy = malloc(cut + !cut);
		struct strbuf why;

		memcpy(copy, sample, cut);
		if (n > len)
			copy[n - len - 1] ^= 0x55;
		strbuf_init(&why);
		query_check((struct str){copy, cut}, &why);
		strbuf_fini(&why);
		free(copy);
	}
}

static void field_names(void **state)
{
	struct field_ref f;
	struct strbuf why;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&why);
	assert_int_equal(parse_field(&a, STR("span.http.route"), &f, &why), 0);
	assert_true(f.scope == ATTR_SPAN && str_eq(f.key, STR("http.route")));
	assert_int_equal(parse_field(&a, STR("span.slash/ed"), &f, &why), 0);
	assert_int_equal(parse_field(&a, STR("span.\"my attr\""), &f, &why), 0);
	assert_true(str_eq(f.key, STR("my attr")));
	assert_int_equal(parse_field(&a, STR("span:status"), &f, &why), 0);
	assert_int_equal(parse_field(&a, STR("service.name"), &f, &why), -EINVAL);
	assert_int_equal(parse_field(&a, STR("bogus:thing"), &f, &why), -EINVAL);
	assert_int_equal(parse_field(&a, STR("span.my attr"), &f, &why), -EINVAL);
	assert_int_equal(parse_field(&a, STR("1"), &f, &why), -EINVAL);
	assert_int_equal(parse_field(&a, STR(""), &f, &why), -EINVAL);
	strbuf_fini(&why);
	arena_fini(&a);
}

static void small_memory(void **state)
{
	struct strbuf why;
	struct tql t;

	(void)state;
	strbuf_init(&why);
	for (size_t limit = 64; limit < 6000; limit += 64) {
		struct arena a;

		arena_init(&a, limit);
		strbuf_clear(&why);
		if (parse_query(&a, STR(sample), &t, &why))
			assert_true(why.len > 0);
		re_free(t.regexes);
		arena_fini(&a);
	}
	strbuf_fini(&why);
}

static void formats(void **state)
{
	char out[TEXT_NUMBER];

	(void)state;
#define DURATION(ns, want) (text_duration(out, (ns)), assert_string_equal(out, want))
	DURATION(0, "0s");
	DURATION(15, "15ns");
	DURATION(1500, "1.5µs");
	DURATION(750300300, "750.3003ms");
	DURATION(5000000000, "5s");
	DURATION(90000000000, "1m30s");
	DURATION(3600000000000, "1h0m0s");
	DURATION(-1000000, "-1ms");
	DURATION(INT64_MIN, "-2562047h47m16.854775808s");
#define FLOAT(d, want) (text_float(out, (d)), assert_string_equal(out, want))
	FLOAT(0, "0.0");
	FLOAT(1, "1.0");
	FLOAT(100, "100.0");
	FLOAT(0.125, "0.125");
	FLOAT(-0.25, "-0.25");
	FLOAT(1e21, "1e+21");
	FLOAT(0.1, "0.1");
	FLOAT(1.7976931348623157e308, "1.7976931348623157e+308");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recorded_cases),	 cmocka_unit_test(precedence),
	    cmocka_unit_test(error_sentences), cmocka_unit_test(regex_syntax),
	    	 cmocka_unit_test(hostile_depth),
	    cmocka_unit_test(hostile_pipelines), cmocka_unit_test(reasonable_depth),
	    cmocka_unit_test(damaged_text),	 cmocka_unit_test(field_names),
	    cmocka_unit_test(small_memory),	 cmocka_unit_test(formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* base_test.c - base.h by its words: limits, growth, zeroed memory, globs, hex, and that a log line
 * lets no control character through. Needs no file and no network. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/base.h"

static void test_str(void **state)
{
	(void)state;
	assert_true(str_eq(STR("abc"), str_of("abc")));
	assert_false(str_eq(STR("abc"), STR("abd")));
	assert_true(str_eq((struct str){NULL, 0}, STR("")));
	assert_int_equal(str_cmp(STR("ab"), STR("abc")), -1);
	assert_true(str_cmp(STR("b"), STR("abc")) > 0);
	assert_int_equal(str_cmp((struct str){NULL, 0}, STR("")), 0);
	assert_true(str_starts(STR("http.route"), STR("http.")));
	assert_true(str_starts(STR("x"), STR("")));
	assert_false(str_starts(STR("ht"), STR("http")));
}

static void test_glob(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool is_match;
	} cases[] = {
	    {"", "", true},
	    {"", "a", false},
	    {"*", "", true},
	    {"*", "any/thing", true},
	    {"a*c", "abbbc", true},
	    {"a*c", "abbbd", false},
	    {"a?c", "abc", true},
	    {"a?c", "ac", false},
	    {"*.so", "lib.so.so", true},
	    {"**b*", "aab", true},
	    {"?*?", "a", false},
	    {"/usr/*/nginx", "/usr/sbin/nginx", true},
	    {"abc", "abcd", false},
	    {"abcd", "abc", false},
	    {"*a*b*c", "xaybzc", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(str_glob(cases[i].pattern, str_of(cases[i].text)),
				 cases[i].is_match);
}

/* Would take for ever with a recursive matcher. */
static void test_glob_is_quick(void **state)
{
	char text[5000];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_false(str_glob("*a*a*a*a*a*a*a*a*a*a*b", (struct str){text, sizeof(text)}));
}

static void test_arena(void **state)
{
	struct arena a;
	char *first, *p;

	(void)state;
	arena_init(&a, 0);
	first = arena_alloc(&a, 100);
	memset(first, 0xee, 100);
	for (size_t len = 0; len < 3000; len += 7) {
		p = arena_alloc(&a, len);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 8, 0);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xee, len);
	}
	assert_non_null(arena_alloc(&a, 10 << 20));
	arena_reset(&a);
	assert_int_equal(a.used, 0);
	p = arena_alloc(&a, 64);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(p[i], 0);
	assert_string_equal(arena_printf(&a, "%d %s", 7, "dwarfs"), "7 dwarfs");
	assert_string_equal(arena_str(&a, "xyz", 2).p, "xy");
	arena_fini(&a);
	arena_fini(&a);
}

static void test_arena_limit(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 1000);
	assert_null(arena_alloc(&a, 1001));
	assert_null(arena_alloc(&a, SIZE_MAX - 100));
	assert_non_null(arena_alloc(&a, 900));
	assert_null(arena_alloc(&a, 101));
	assert_null(arena_str(&a, "x", 200).p);
	assert_null(arena_printf(&a, "%200d", 1));
	assert_non_null(arena_alloc(&a, 8));
	arena_reset(&a);
	assert_non_null(arena_alloc(&a, 1000));
	arena_fini(&a);
}

static void test_strbuf(void **state)
{
	struct strbuf b, zero = {0};
	size_t len;
	char *p;

	(void)state;
	strbuf_init(&b);
	assert_string_equal(b.p, "");
	strbuf_clear(&b);
	strbuf_adds(&b, "one");
	strbuf_addc(&b, ' ');
	strbuf_printf(&b, "%s %0500d", "two", 3);
	assert_int_equal(b.len, 8 + 500);
	assert_int_equal(b.p[b.len], '\0');
	strbuf_add(&b, "\0x", 2);
	assert_int_equal(b.len, 510);
	p = strbuf_take(&b, &len);
	assert_int_equal(len, 510);
	assert_memory_equal(p, "one two 000", 11);
	free(p);
	assert_int_equal(b.len, 0);
	p = strbuf_take(&b, NULL);
	assert_string_equal(p, "");
	free(p);
	strbuf_adds(&zero, "works zeroed");
	assert_string_equal(zero.p, "works zeroed");
	strbuf_fini(&zero);
	strbuf_fini(&b);
}

static void test_hex(void **state)
{
	uint8_t in[] = {0x00, 0x7f, 0xab, 0xff}, out[4];
	char text[9];

	(void)state;
	hex_encode(text, in, 4);
	assert_string_equal(text, "007fabff");
	assert_int_equal(hex_decode(out, "007FabFf", 8), 0);
	assert_memory_equal(out, in, 4);
	assert_int_equal(hex_decode(out, "abc", 3), -EINVAL);
	assert_int_equal(hex_decode(out, "0g", 2), -EINVAL);
	assert_int_equal(hex_decode(out, "@@", 2), -EINVAL);
	assert_int_equal(hex_decode(out, "", 0), 0);
}

/* What log_write wrote to stderr. */
static ssize_t logged(char *to, size_t cap, enum log_level level, const char *text)
{
	int saved = dup(STDERR_FILENO), ends[2];
	ssize_t len;

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	dup2(ends[1], STDERR_FILENO);
	log_write(level, "%s", text);
	dup2(saved, STDERR_FILENO);
	len = read(ends[0], to, cap - 1);
	to[len > 0 ? len : 0] = '\0';
	close(ends[0]);
	close(ends[1]);
	close(saved);
	return len;
}

static void test_log(void **state)
{
	char text[5000], line[6000];
	enum log_level level;

	(void)state;
	assert_true(logged(line, sizeof(line), LOG_WARN, "evil\x1b[2J\nnext") > 0);
	assert_non_null(strstr(line, "Z warn  evil?[2J?next\n"));
	assert_true(logged(line, sizeof(line), LOG_DEBUG, "quiet") < 0);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(logged(line, sizeof(line), LOG_ERROR, text), 2048);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse("DEBUG", &level), -EINVAL);
	log_set_level(LOG_DEBUG);
	assert_true(logged(line, sizeof(line), LOG_DEBUG, "loud") > 0);
	log_set_level(LOG_INFO);
}

static void test_clock(void **state)
{
	uint64_t a = clock_mono_ns();

	(void)state;
	assert_true(clock_mono_ns() >= a);
	assert_true(clock_real_ns() > 1700000000ull * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_str),		  cmocka_unit_test(test_glob),
	    cmocka_unit_test(test_glob_is_quick), cmocka_unit_test(test_arena),
	    cmocka_unit_test(test_arena_limit),	  cmocka_unit_test(test_strbuf),
	    cmocka_unit_test(test_hex),		  cmocka_unit_test(test_log),
	    cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

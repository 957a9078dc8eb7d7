/* SPDX-License-Identifier: Apache-2.0 */
/* term_test.c - nothing that a terminal would obey gets through, and columns are counted right. */
#include "agent/term.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const struct {
	const char *in, *out;
	size_t max, cols;
} cases[] = {
	{"plain /path?x=1", "plain /path?x=1", 0, 15},
	{"\x1b[31mred\x07", "\\x1b[31mred\\x07", 0, 15},
	{"a\r\nb\tc\x7f", "a\\x0d\\x0ab\\x09c\\x7f", 0, 19},
	{"h\xc3\xa9llo", "h\xc3\xa9llo", 0, 5},
	{"\xc2\x9b"
	 "31m",
	 "\\u009b31m", 0, 9},
	{"a\xe2\x80\xae"
	 "b",
	 "a\\u202eb", 0, 8},
	{"\xff\xc3", "\\xff\\xc3", 0, 8},
	{"abcdef", "abcdef", 6, 6},
	{"abcdefg", "abcde\xe2\x80\xa6", 6, 6},
	{"\x1b\x1b", "\\x1b\xe2\x80\xa6", 6, 5},
	{"\x1b\x1b", "\xe2\x80\xa6", 4, 1},
	{"", "", 3, 0},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf out;

		strbuf_init(&out);
		assert_int_equal(term_add(&out, str_of(cases[i].in), cases[i].max), cases[i].cols);
		assert_string_equal(out.p, cases[i].out);
		strbuf_fini(&out);
	}
}

/* Every pair of bytes, at the end of its memory. */
static void test_all_pairs(void **state)
{
	struct strbuf out;
	char *two = malloc(2);

	(void)state;
	strbuf_init(&out);
	for (unsigned i = 0; i < 65536; i++) {
		two[0] = (char)(i >> 8);
		two[1] = (char)i;
		strbuf_clear(&out);
		term_add(&out, (struct str){two, 2}, 0);
		for (size_t k = 0; k < out.len; k++)
			assert_true((unsigned char)out.p[k] >= ' ' && out.p[k] != 0x7f);
	}
	free(two);
	strbuf_fini(&out);
}

static void test_numbers(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} durations[] = {
		{0, "0ns"},
		{999, "999ns"},
		{1000, "1.00us"},
		{12345, "12.3us"},
		{1500000, "1.50ms"},
		{250000000, "250ms"},
		{2000000000, "2.00s"},
		{UINT64_MAX, "18446744074s"},
	};
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
		strbuf_clear(&out);
		term_add_duration(&out, durations[i].ns);
		assert_string_equal(out.p, durations[i].text);
	}
	strbuf_clear(&out);
	term_add_time(&out, 1767225600123456789ull);
	assert_string_equal(out.p, "2026-01-01T00:00:00.123Z");
	term_add_time(&out, UINT64_MAX);
	strbuf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_all_pairs),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* lex_test.c - tokens of TraceQL: what each kind looks like, what ends it, and what is none. Texts are
 * heap copies of exact size, so that ASan sees a byte read too many. */
#include "query/lex.h"
#include "query/text.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Tokens as one line: w:word v:value o:operator p:punctuation f:field, !why at the end. */
static char *tokens(const char *text, size_t len)
{
	char *copy = malloc(len + !len);
	struct strbuf out;
	struct arena a;
	struct lex l;
	struct token t;
	char num[TEXT_NUMBER];

	memcpy(copy, text, len);
	arena_init(&a, 1 << 20);
	strbuf_init(&out);
	lex_init(&l, (struct str){copy, len}, &a);
	for (t = lex_next(&l); t.kind != TOKEN_END && t.kind != TOKEN_BAD; t = lex_next(&l)) {
		struct str s = t.kind == TOKEN_VALUE ? text_short(num, &t.value) : t.text;

		if (t.kind == TOKEN_FIELD && !t.field.intrinsic)
			strbuf_printf(&out, "f:%s%s.", t.field.parent ? "parent." : "",
				      fields_scope_name(t.field.scope));
		else
			strbuf_printf(&out, "%c:", "ewfvopb"[t.kind]);
		s = t.kind == TOKEN_FIELD && !t.field.intrinsic ? t.field.key : s;
		strbuf_add(&out, s.p, s.len);
		strbuf_addc(&out, ' ');
		assert_true(t.at + t.text.len <= len);
	}
	if (t.kind == TOKEN_BAD)
		strbuf_printf(&out, "!%s", l.why);
	assert_int_equal(lex_next(&l).kind, t.kind);
	arena_fini(&a);
	free(copy);
	return strbuf_take(&out, NULL);
}

static void expect(const char *text, const char *want)
{
	char *got = tokens(text, strlen(text));

	if (strcmp(got, want) != 0)
		fail_msg("%s\n  want %s\n  got  %s", text, want, got);
	free(got);
}

static void words_and_operators(void **state)
{
	(void)state;
	expect("{ a }", "p:{ w:a p:} ");
	expect("{}&&{}||{}", "p:{ p:} o:&& p:{ p:} o:|| p:{ p:} ");
	expect("{}!>>{}&<<{}", "p:{ p:} o:!>> p:{ p:} o:&<< p:{ p:} ");
	expect("=~ != !~ >= >> > !", "o:=~ o:!= o:!~ o:>= o:>> o:> o:! ");
	expect("|count()", "p:| w:count p:( p:) ");
	expect("a // b\n c /* d { */ e", "w:a w:c w:e ");
	expect("a /* b", "w:a !comment not terminated");
	expect("a ; b", "w:a !unexpected character");
	expect("'x'", "!unexpected character");
	expect("", "");
}

static void field_tokens(void **state)
{
	(void)state;
	expect("span.a.b=1", "f:span.a.b o:= v:1 ");
	expect(".a+b <c", "f:.a+b o:< w:c ");
	expect(".a,.b)", "f:.a p:, f:.b p:) ");
	expect("resource.x event.x link.x instrumentation.x",
	       "f:resource.x f:event.x f:link.x f:instrumentation.x ");
	expect("parent.a parent.span.b parent", "f:parent..a f:parent.span.b w:parent ");
	expect("span.\"a b\".c .a\"{\\\"}\"d", "f:span.a b.c f:.a{\"}d ");
	expect("span.\"\" x", "f:span. w:x ");
	expect("span:name event:timeSinceStart", "f:span:name f:event:timeSinceStart ");
	expect("link:id", "!unknown intrinsic");
	expect("span. x", "!attribute without a name");
	expect("span.\"a\\n\"", "!invalid escape in a quoted name");
	expect("span.\"a", "!quoted name not terminated");
	expect("span.caf\xc3\xa9 = 1", "f:span.caf\xc3\xa9 o:= v:1 ");
	expect("trace.a", "w:trace f:.a ");
}

static void strings(void **state)
{
	(void)state;
	expect("\"a\\t\\\"\\\\\\x41\\u00e9\\U0001F600\\101\"", "v:a\t\"\\A\xc3\xa9\xf0\x9f\x98\x80"
							       "A ");
	expect("`a\\n\"`", "v:a\\n\" ");
	expect("\"\" ``", "v: v: ");
	expect("\"\\q\"", "!invalid escape in a string");
	expect("\"\\'\"", "!invalid escape in a string");
	expect("\"\\ud800\"", "!invalid escape in a string");
	expect("\"\\400\"", "!invalid escape in a string");
	expect("\"\\x4\"", "!invalid escape in a string");
	expect("\"a", "!string not terminated");
	expect("\"a\\", "!invalid escape in a string");
	expect("\"a\nb\"", "!string not terminated");
	expect("`a", "!string not terminated");
}

static void numbers(void **state)
{
	(void)state;
	expect("0 007 9223372036854775807", "v:0 v:7 v:9223372036854775807 ");
	expect("1.5 .5 5. 1e3 1e-3", "v:1.5 v:0.5 v:5.0 v:1000.0 v:0.001 ");
	expect("1h2m3s4ms5us6ns", "v:1h2m3.004005006s ");
	expect("1.5h 1d 1w", "v:1h30m0s v:24h0m0s v:168h0m0s ");
	expect("1\xc2\xb5s 1\xce\xbcs", "v:1\xc2\xb5s v:1\xc2\xb5s ");
	expect("-1", "o:- v:1 ");
	expect("9223372036854775808", "!number too large");
	expect("0x10", "!not a number or a duration");
	expect("0b1", "!not a number or a duration");
	expect("1_000", "!not a number or a duration");
	expect("1.2.3", "!not a number or a duration");
	expect("1x", "!not a number or a duration");
	expect("999999y", "!not a number or a duration");
}

/* All bytes, alone and after each kind of token: an answer, never a fault. */
static void any_bytes(void **state)
{
	static const char *const before[] = {"", "span.", "\"", "`", "1", "/", "\"\\", ".\"\\", "a:"};
	char text[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		size_t len = strlen(before[i]);

		memcpy(text, before[i], len);
		for (int c = 0; c < 65536; c++) {
			text[len] = (char)c;
			text[len + 1] = (char)(c >> 8);
			free(tokens(text, len + 1 + (c > 255)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(words_and_operators), cmocka_unit_test(field_tokens),
	    cmocka_unit_test(strings),             cmocka_unit_test(numbers),
	    cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

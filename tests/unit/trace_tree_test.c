/* SPDX-License-Identifier: Apache-2.0 */
/* trace_tree_test.c - traces drawn: a whole one, orphans, circles, repeats, deep chains, hostile
 * names, answers that are none. What is drawn is compared without the bars, whose length is checked
 * by itself; every span must be drawn exactly once whatever the parents say. */
#include "agent/trace_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static struct strbuf json, out;

static void begin(const char *service)
{
	strbuf_clear(&json);
	strbuf_printf(&json,
		      "{\"trace\":{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":"
		      "\"service.name\",\"value\":{\"stringValue\":\"%s\"}}]},\"scopeSpans\":[{"
		      "\"spans\":[",
		      service);
}

static void span(const char *id, const char *parent, const char *name, unsigned from, unsigned to)
{
	if (json.p[json.len - 1] == '}')
		strbuf_addc(&json, ',');
	strbuf_printf(&json,
		      "{\"spanId\":\"%s\",\"name\":\"%s\",\"kind\":\"SPAN_KIND_SERVER\","
		      "\"startTimeUnixNano\":\"%u\",\"endTimeUnixNano\":\"%u\"",
		      id, name, from, to);
	if (*parent)
		strbuf_printf(&json, ",\"parentSpanId\":\"%s\"", parent);
	strbuf_adds(&json, ",\"status\":{}}");
}

static int draw(void)
{
	strbuf_adds(&json, "]}]}]},\"metrics\":{}}");
	strbuf_clear(&out);
	return trace_tree_format(&out, (struct str){json.p, json.len}, STR("ab"));
}

/* The label of each line: what stands before the kind. */
static void assert_labels(const char *want)
{
	struct strbuf got;
	char *line = strchr(out.p, '\n');

	strbuf_init(&got);
	for (line = line ? line + 1 : NULL; line && *line; line = strchr(line, '\n') + 1) {
		char *end = strstr(line, "  SERVER");

		if (!end || (strchr(line, '\n') && end > strchr(line, '\n')))
			break;
		while (end > line && end[-1] == ' ')
			end--;
		strbuf_add(&got, line, (size_t)(end - line));
		strbuf_addc(&got, '\n');
	}
	assert_string_equal(got.p, want);
	strbuf_fini(&got);
}

static unsigned lines(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < out.len; i++)
		n += out.p[i] == '\n';
	return n;
}

static void test_tree(void **state)
{
	(void)state;
	begin("web");
	span("D", "B", "d", 3000, 4000); /* not in the order of the tree */
	span("B", "A", "b", 2000, 5000);
	span("A", "", "a", 1000, 9000);
	span("C", "A", "c", 6000, 8000);
	assert_int_equal(draw(), 0);
	assert_labels("web a\n├─ web b\n│  └─ web d\n└─ web c\n");
	assert_non_null(strstr(out.p, "trace ab  4 spans  8.00us  1970-01-01T00:00:00.000Z\n"));
	assert_non_null(strstr(out.p, "▕     ███████████████                    ▏\n"));
}

static void test_status(void **state)
{
	static const char text[] = "{\"trace\":{\"resourceSpans\":[{\"resource\":{},\"scopeSpans\":"
				   "[{\"spans\":[{\"spanId\":"
				   "\"A\",\"kind\":\"SPAN_KIND_CLIENT\",\"startTimeUnixNano\":"
				   "\"5\",\"endTimeUnixNano\":\"5\","
				   "\"attributes\":[{\"key\":\"http.response.status_code\","
				   "\"value\":{\"intValue\":\"502\"}}],"
				   "\"status\":{\"code\":\"STATUS_CODE_ERROR\"}}]}]}]}}";

	(void)state;
	strbuf_clear(&out);
	assert_int_equal(trace_tree_format(&out, str_of(text), STR("1")), 0);
	assert_non_null(strstr(out.p, "(no service) "));
	assert_non_null(strstr(out.p, "CLIENT"));
	assert_non_null(strstr(out.p, "▏  ERROR 502\n"));
}

static void test_orphans(void **state)
{
	(void)state;
	begin("s");
	span("B", "gone", "b", 1, 2);
	span("A", "", "a", 3, 4);
	span("C", "B", "c", 1, 2);
	assert_int_equal(draw(), 0);
	assert_labels("? s b\n└─ s c\ns a\n");
	assert_non_null(strstr(out.p, "? the parent of this span is not in the trace\n"));
}

static void test_circles(void **state)
{
	(void)state;
	begin("s");
	span("A", "A", "self", 1, 2);
	span("B", "C", "b", 3, 4);
	span("C", "D", "c", 4, 5);
	span("D", "B", "d", 5, 6);
	span("E", "D", "tail", 7, 8);
	assert_int_equal(draw(), 0);
	assert_int_equal(lines(), 1 + 5 + 1);
	assert_labels("? s self\n? s b\n└─ s d\n   ├─ s c\n   └─ s tail\n");
}

static void test_repeats(void **state)
{
	(void)state;
	begin("s");
	span("A", "", "a", 1, 9);
	span("A", "", "again", 2, 8);
	span("B", "A", "b", 3, 4);
	span("B", "A", "b2", 3, 4);
	assert_int_equal(draw(), 0);
	assert_labels("s a\n├─ s b\n└─ s b2\ns again\n");
}

static void test_deep(void **state)
{
	enum { DEEP = 20000 };
	char id[16], parent[16] = "";

	(void)state;
	begin("s");
	for (unsigned i = 0; i < DEEP; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		span(id, parent, "n", i, 2 * DEEP);
		strcpy(parent, id);
	}
	assert_int_equal(draw(), 0);
	assert_int_equal(lines(), 1 + DEEP);
}

static void test_hostile(void **state)
{
	(void)state;
	begin("\\u001b]0;evil\\u0007");
	span("A", "", "a\\n\\u0000\\u001b[2J\\u202eb", 9, 1);
	assert_int_equal(draw(), 0);
	assert_int_equal(lines(), 2);
	assert_null(strchr(out.p, 0x1b));
	assert_non_null(strstr(out.p, "a\\x0a\\x00\\x1b[2J\\u202eb"));
	begin("s");
	for (int i = 0; i < 300; i++)
		strbuf_adds(&json, "");
	span("A", "",
	     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
	     "4",
	     1, 4000000000u);
	assert_int_equal(draw(), 0);
	assert_non_null(strstr(out.p, "…"));
}

static void test_not_a_trace(void **state)
{
	static const char *const texts[] = {
		"", "[]", "{}", "{\"trace\":[]}", "{\"trace\":", "\xff"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(trace_tree_format(&out, str_of(texts[i]), STR("1")), -EBADMSG);
	assert_int_equal(trace_tree_format(&out, STR("{\"trace\":{},\"metrics\":{}}"), STR("1")),
			 -ENOENT);
	assert_int_equal(trace_tree_format(&out,
					   STR("{\"trace\":{\"resourceSpans\":[7,{\"scopeSpans\":"
					       "[8,{\"spans\":[9,{\"name\":3}]}]}]}}"),
					   STR("1")),
			 0);
}

static int setup(void **state)
{
	(void)state;
	strbuf_init(&json);
	strbuf_init(&out);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	strbuf_fini(&json);
	strbuf_fini(&out);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tree),    TEST(test_status), TEST(test_orphans), TEST(test_circles),
		TEST(test_repeats), TEST(test_deep),   TEST(test_hostile), TEST(test_not_a_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

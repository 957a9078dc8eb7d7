/* SPDX-License-Identifier: Apache-2.0 */
/* status_cmd_test.c - the sections of `wirespan status`, from answers as /status gives them and
 * from what is none. */
#include "agent/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char answer[] =
	"{\"version\":\"1.2\",\"notes\":{\"providers\":{\"send\":\"tp_btf/"
	"x\"},\"processes\":{\"42\":"
	"\"api (/a\\u001b[2Jb) listens on port 80\"},\"odd\":{\"k\":\"v\"}},\"counters\":{"
	"\"lost_total{reason=\\\"gap\\\"}\":3,\"lost_total{reason=\\\"fault\\\"}\":0,"
	"\"undecoded_total{reason=\\\"tls\\\"}\":7,\"spans_total\":9,\"zero_total\":0},"
	"\"store\":{\"spans\":9,\"bytes\":3145728,\"partitions\":2,\"oldest_ns\":"
	"1767225600000000000,"
	"\"newest_ns\":1767225601000000000}}";

static const char want[] = "Wirespan 1.2 at a:1\n"
			   "\nHooks in use\n  send  tp_btf/x\n"
			   "\nTraced processes\n  42  api (/a\\x1b[2Jb) listens on port 80\n"
			   "\nodd\n  k  v\n"
			   "\nConnections seen but not decoded\n  tls             7  TLS\n"
			   "\nLosses\n  gap             3  bytes that were not seen outside a "
			   "counted body: parser restarted\n"
			   "\nCounters\n  spans_total";

static void test_sections(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	assert_int_equal(status_cmd_format(&out, str_of(answer), "a:1"), 0);
	if (strncmp(out.p, want, sizeof(want) - 1) != 0)
		assert_string_equal(out.p, want);
	assert_null(strstr(out.p, "zero_total"));
	assert_non_null(strstr(out.p,
			       "\nStore\n  9 spans, partitions: 2, 3.0 MiB on disk\n"
			       "  from 2026-01-01T00:00:00.000Z to 2026-01-01T00:00:01.000Z\n"));
	strbuf_fini(&out);
}

static void test_nothing_yet(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	assert_int_equal(status_cmd_format(&out, STR("{\"counters\":{}}"), "a:1"), 0);
	assert_non_null(strstr(out.p, "\nTraced processes\n  none\n"));
	assert_non_null(strstr(out.p, "\nLosses\n  none\n"));
	strbuf_fini(&out);
}

static void test_not_a_status(void **state)
{
	static const char *const texts[] = {"", "[]", "{}", "{\"counters\":3}", "\xff\xfe"};
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(status_cmd_format(&out, str_of(texts[i]), "a:1"), -EBADMSG);
	for (size_t len = 0; len < sizeof(answer) - 1; len++)
		assert_int_equal(status_cmd_format(&out, (struct str){answer, len}, "a:1"),
				 -EBADMSG);
	assert_int_equal(status_cmd_format(&out,
					   STR("{\"counters\":{\"lost_total{\":1,\"a\":\"b\"},"
					       "\"notes\":[1],\"store\":7,\"version\":2}"),
					   "a"),
			 0);
	strbuf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_nothing_yet),
		cmocka_unit_test(test_not_a_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

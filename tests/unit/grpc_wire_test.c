/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_wire_test.c - gRPC's frame, timeout and status text, by the examples of its specification, and
 * every truncation of a frame. */
#include "web/grpc.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

static void test_unframe(void **state)
{
	static const char body[] = "\1\0\0\0\5hello";
	struct str message;
	bool packed;

	(void)state;
	assert_int_equal(grpc_unframe(STR(body), &packed, &message), 0);
	assert_true(packed);
	assert_true(str_eq(message, STR("hello")));
	assert_int_equal(grpc_unframe(STR("\0\0\0\0\0"), &packed, &message), 0);
	assert_false(packed);
	assert_int_equal(message.len, 0);
	for (size_t len = 0; len < sizeof(body) - 1; len++)
		assert_int_equal(grpc_unframe((struct str){body, len}, &packed, &message), -EBADMSG);
	assert_int_equal(grpc_unframe(STR("\2\0\0\0\0"), &packed, &message), -EBADMSG);
	assert_int_equal(grpc_unframe(STR("\0\0\0\0\0\0\0\0\0\0"), &packed, &message), -EBADMSG);
	assert_int_equal(grpc_unframe(STR("\0\xff\xff\xff\xffx"), &packed, &message), -EBADMSG);
}

static void test_timeout(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} cases[] = {
	    {"1S", 1000000000},	 {"100m", 100000000},	{"5u", 5000}, {"7n", 7},
	    {"2M", 120000000000}, {"1H", 3600000000000}, {"0S", 1},    {"99999999n", 99999999},
	    {"", 0},		 {"S", 0},		{"1", 0},     {"1s", 0},
	    {"999999999n", 0},	 {"-1S", 0},		{"1SS", 0},   {" 1S", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(grpc_timeout_ns(str_of(cases[i].text)), cases[i].ns);
}

static void test_message(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	grpc_message_encode(&out, "50% of\n\xc3\xbc");
	assert_string_equal(out.p, "50%25 of%0A%C3%BC");
	strbuf_fini(&out);
}

static void test_methods(void **state)
{
	struct request rq = {0};
	struct strbuf why;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&why);
	rq.arena = &a;
	assert_null(grpc_method_find(STR("/tempopb.StreamingQuerier/Searc")));
	assert_int_equal(grpc_method_find(STR("/tempopb.StreamingQuerier/Search"))
			     ->ask(&rq, STR("\x10\x05\x20\x03\x42\x05{&=?}\x48\x02"), &why),
			 0);
	assert_true(str_eq(rq.target,
			   STR("/api/search?minDuration=5ms&limit=3&q=%7B%26%3D%3F%7D&spss=2")));
	assert_int_equal(grpc_method_find(STR("/tempopb.StreamingQuerier/SearchTagValuesV2"))
			     ->ask(&rq, STR("\x0a\x05.a/b?"), &why),
			 0);
	assert_true(str_eq(rq.target, STR("/api/v2/search/tag/.a%2Fb%3F/values")));
	assert_int_equal(grpc_method_find(STR("/tempopb.StreamingQuerier/SearchTagValuesV2"))
			     ->ask(&rq, STR(""), &why),
			 -EINVAL);
	assert_string_equal(why.p, "the message is not a SearchTagValuesRequest");
	strbuf_fini(&why);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unframe),
	    cmocka_unit_test(test_timeout),
	    cmocka_unit_test(test_message),
	    cmocka_unit_test(test_methods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

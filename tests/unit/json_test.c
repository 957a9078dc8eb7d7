/* SPDX-License-Identifier: Apache-2.0 */
/* json_test.c - the writer of answers: commas, defaults left out, keys that others chose. */
#include "web/json.h"

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

static void test_writer(void **state)
{
	struct attr at = {STR("k"), {.type = VAL_BOOL, .b = true}};
	struct attrs one = {&at, 1, 0}, none = {0};
	struct strbuf out;
	struct json j = {&out, false};

	(void)state;
	strbuf_init(&out);
	json_open(&j, NULL, '{');
	json_opt_str(&j, "a", STR(""));
	json_opt_num(&j, "b", 0);
	json_opt_num_str(&j, "c", 0);
	json_opt_attrs(&j, "d", &none);
	json_str(&j, "e", STR(""));
	json_num(&j, "f", 0);
	json_num_str(&j, "g", UINT64_MAX);
	json_open(&j, "h", '[');
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_str(&j, NULL, STR("<\"\n"));
	json_open(&j, NULL, '[');
	json_close(&j, ']');
	json_close(&j, ']');
	json_opt_attrs(&j, "i", &one);
	json_key(&j, STR("x\"y"));
	json_num(&j, NULL, 1);
	json_key(&j, STR("z"));
	json_open(&j, NULL, '{');
	json_opt_num(&j, "n", 2);
	json_close(&j, '}');
	json_close(&j, '}');
	assert_string_equal(
	    out.p, "{\"e\":\"\",\"f\":0,\"g\":\"18446744073709551615\",\"h\":[{},"
		   "\"\\u003c\\\"\\n\",[]],\"i\":[{\"key\":\"k\",\"value\":{\"boolValue\":true}}],"
		   "\"x\\\"y\":1,\"z\":{\"n\":2}}");
	strbuf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_writer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

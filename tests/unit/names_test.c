/* SPDX-License-Identifier: Apache-2.0 */
/* names_test.c - environments, whole and cut; the washing of bytes. What the names become in a
 * resource is procs_test's. */
#include "agent/names.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static struct arena a;

static void test_clean(void **state)
{
	static const char *const cases[][2] = {
		{"plain", "plain"}, {"t\xc3\xb6st", "t\xc3\xb6st"}, {"a\nb\x7f", "a?b?"},
		{"\xff\xc3", "??"}, {"\xed\xa0\x80", "???"},	    {"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_true(str_eq(names_clean(&a, str_of(cases[i][0])), str_of(cases[i][1])));
}

static void test_environ(void **state)
{
	static const char env[] = "X=OTEL_SERVICE_NAME=no\0OTEL_SERVICE_NAME= api \0"
				  "OTEL_RESOURCE_ATTRIBUTES=service.name=b, k = v%20w ,x\0Y=1";
	struct names names;

	(void)state;
	names_of_environ(&names, &a, (struct str){env, sizeof(env)});
	assert_true(str_eq(names.service, STR("api")));
	assert_int_equal(names.cnt, 1);
	assert_true(str_eq(names.at[0].key, STR("k")));
	assert_true(str_eq(names.at[0].value, STR("v w")));
	assert_false(names.has_instance_id);
	for (size_t len = 0; len < sizeof(env); len++) {
		char *copy = malloc(len ? len : 1);

		memcpy(copy, env, len);
		names_of_environ(&names, &a, (struct str){copy, len});
		free(copy);
	}
}

static int setup(void **state)
{
	(void)state;
	arena_init(&a, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_fini(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_clean, setup, teardown),
		cmocka_unit_test_setup_teardown(test_environ, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

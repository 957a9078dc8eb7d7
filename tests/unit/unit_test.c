/* SPDX-License-Identifier: Apache-2.0 */
/* unit_test.c - cgroup files as systemd, container runtimes and strangers write them. */
#include "agent/unit.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const cases[][2] = {
	{"0::/system.slice/nginx.service\n", "nginx"},
	{"0::/system.slice/nginx.service", "nginx"},
	{"0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
	 "postgresql@15-main"},
	{"0::/system.slice/my\\x2dapp.service\n", "my-app"},
	{"0::/system.slice/odd\\x2.service\n", "odd\\x2"},
	{"0::/system.slice/app.service/workers/1\n", "app"},
	{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/todo.service\n", "todo"},
	{"12:cpu:/\n1:name=systemd:/system.slice/api.service\n0::/x.slice\n", "api"},
	{"12:cpu:/\n1:name=systemd:/\n0::/system.slice/api.service\n", "api"},
	{"0::/user.slice/user-0.slice/session-3.scope\n", ""},
	{"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", ""},
	{"0::/user.slice/user-1000.slice/user@1000.service\n", ""},
	{"0::/init.scope\n", ""},
	{"0::/system.slice\n", ""},
	{"0::/\n", ""},
	{"0::/../../a.service/../b\n", "a"},
	{"0::/system.slice/docker-0123456789abcdef0123456789abcdef.scope\n", ""},
	{"0::/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", ""},
	{"0::/system.slice/docker.service\n", "docker"},
	{"0::/system.slice/containerd.service/kubepods-besteffort-pod1:cri-containerd:ab\n", ""},
	{"0::/system.slice/kubelet.service/kubepods.slice/x.service\n", ""},
	{"", ""},
	{"garbage", ""},
	{"::::\n0\n0:\n0::\n", ""},
	{"0::/.service\n", ""},
};

static void test_cases(void **state)
{
	char buf[UNIT_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str name = unit_name(str_of(cases[i][0]), buf);

		if (!str_eq(name, str_of(cases[i][1])))
			fail_msg("%s gives \"" STR_FMT "\"", cases[i][0], STR_ARG(name));
	}
}

/* Each text flush against the end of its memory, cut everywhere. */
static void test_truncations(void **state)
{
	char buf[UNIT_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t len = 0; len <= strlen(cases[i][0]); len++) {
			char *copy = malloc(len ? len : 1);

			memcpy(copy, cases[i][0], len);
			assert_true(unit_name((struct str){copy, len}, buf).len < UNIT_NAME_MAX);
			free(copy);
		}
}

static void test_long_name(void **state)
{
	char text[1024] = "0::/", buf[UNIT_NAME_MAX];

	(void)state;
	memset(text + 4, 'z', 900);
	strcpy(text + 904, ".service\n");
	assert_int_equal(unit_name(str_of(text), buf).len, UNIT_NAME_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_long_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

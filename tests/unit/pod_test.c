/* SPDX-License-Identifier: Apache-2.0 */
/* pod_test.c - cgroup files of pods as recorded on nodes, and what only looks like one. */
#include "agent/pod.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UID "0f3bd2b5-7d4f-4a43-9d2c-4b1d6f0c7a11"
#define UID_ "0f3bd2b5_7d4f_4a43_9d2c_4b1d6f0c7a11"
#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NODE "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define STATIC "aabbccddeeff00112233445566778899"

static const struct {
	const char *cgroup, *uid, *container;
} cases[] = {
	{"0::/kubepods/burstable/pod" UID "/" ID "\n", UID, ID},
	{"12:cpu:/\n11:memory:/kubepods/pod" UID "/" ID "\n0::/\n", UID, ID},
	{"0::/kubelet/kubepods/besteffort/pod" UID "/" ID, UID, ID},
	{"0::/docker/" NODE "/kubelet/kubepods/burstable/pod" UID "/" ID "\n", UID, ID},
	{"0::/../../../burstable/pod" UID "/" ID "\n", UID, ID},
	{"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_
	 ".slice/cri-containerd-" ID ".scope\n", UID, ID},
	{"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	 ".slice/crio-" ID ".scope/container\n", UID, ID},
	{"0::/kubepods/burstable/pod" STATIC "/" ID "\n", STATIC, ID},
	{"0::/kubepods/burstable/pod" UID "\n", UID, ""},
	{"0::/kubepods/burstable/pod" UID "/init.scope\n", UID, ""},
	{"0::/docker/" ID "\n", "", ""},
	{"0::/system.slice/pod.service\n", "", ""},
	{"0::/kubepods/podcafe/" ID "\n", "", ""},
	{"0::/kubepods/pod" UID "0/" ID "\n", "", ""},
	{"0::/kubepods/tripod" UID "/" ID "\n", "", ""},
	{"0::/kubepods/pod0f3bd2b5-7d4f-4a43-9d2c-4b1d6f0c7a", "", ""},
	{"0::/pod", "", ""},
	{"", "", ""},
};

static void test_cgroups(void **state)
{
	struct pod_ref ref;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		/* No NUL behind it. */
		size_t len = strlen(cases[i].cgroup);
		char *text = malloc(len + !len);

		memcpy(text, cases[i].cgroup, len);
		assert_int_equal(pod_of_cgroup(&ref, (struct str){text, len}), *cases[i].uid != 0);
		assert_string_equal(ref.uid, cases[i].uid);
		assert_string_equal(ref.container, cases[i].container);
		free(text);
	}
}

static const char *const owners[][2] = {
	{"web-6d4cf56db6-x7k2p", "web"},
	{"todo-api-5c9b8d7f4-zzzzz", "todo-api"},
	{"db-0", "db"},
	{"db-12", "db"},
	{"agent-x7k2p", "agent"},
	{"a-b", "a-b"},
	{"single", "single"},
	{"-x7k2p", "-x7k2p"},
	{"web-short-x7k2p", "web-short"},
	{"", ""},
};

static void test_owners(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
		struct str got = pod_owner_guess(str_of(owners[i][0]));

		assert_int_equal(got.len, strlen(owners[i][1]));
		assert_memory_equal(got.p, owners[i][1], got.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cgroups),
		cmocka_unit_test(test_owners),
	};

	return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}

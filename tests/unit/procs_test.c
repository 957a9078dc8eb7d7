/* SPDX-License-Identifier: Apache-2.0 */
/* procs_test.c - processes read from a /proc that is made here: names in their order of precedence,
 * resource attributes, inheritance, reuse of a pid, what is gone, and hostile files. The tree is a
 * temporary folder; nothing is read from the real /proc but our own pid. */
#include "agent/procs.h"
#include "agent/span_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#define START(ticks) ((ticks)*10000000ull)

static char root[] = "/tmp/wirespan-procs-XXXXXX";

static void put(unsigned pid, const char *name, const char *text, size_t len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u/%s", root, pid, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

#define PUT(pid, name, literal) put(pid, name, literal, sizeof(literal) - 1)

static void set_exe(unsigned pid, const char *exe)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%u/exe", root, pid);
	unlink(path);
	assert_int_equal(symlink(exe, path), 0);
}

/* A process that began at this many clock ticks. */
static void make(unsigned pid, unsigned ppid, unsigned ticks, const char *exe)
{
	char path[256], stat[256];

	snprintf(path, sizeof(path), "%s/%u", root, pid);
	mkdir(path, 0700);
	snprintf(stat, sizeof(stat),
		 "%u (a) b (c)) S %u 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %u 123 4\n", pid,
		 ppid, ticks);
	put(pid, "stat", stat, strlen(stat));
	PUT(pid, "environ", "PATH=/bin\0");
	PUT(pid, "cmdline", "x\0");
	PUT(pid, "cgroup", "0::/\n");
	PUT(pid, "comm", "short\n");
	set_exe(pid, exe);
}

static void remove_tree(void)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	assert_int_equal(system(cmd), 0);
}

static struct str attr(const struct proc_info *pi, const char *key)
{
	const struct val *v = attrs_find(&pi->res.attrs, str_of(key));

	return v && v->type == VAL_STR ? v->str : STR("");
}

static void assert_str(struct str got, const char *want)
{
	if (!str_eq(got, str_of(want)))
		fail_msg("\"" STR_FMT "\" is not \"%s\"", STR_ARG(got), want);
}

static int setup(void **state)
{
	struct procs *p;

	strcpy(strstr(root, "procs-") + 6, "XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(procs_new(&p, root, "host.example", NULL), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	procs_free(*state);
	remove_tree();
	return 0;
}

static void test_attributes(void **state)
{
	struct procs *p = *state;
	const struct proc_info *pi;

	make(100, 7, 500, "/usr/bin/python3.11");
	PUT(100, "cmdline", "python3\0/srv/todo.py\0");
	pi = procs_get(p, 4100, 100, START(500), 0);
	assert_str(pi->service, "todo");
	assert_str(pi->exe, "/usr/bin/python3.11");
	assert_int_equal(pi->ppid, 7);
	assert_str(attr(pi, "service.name"), "todo");
	assert_str(attr(pi, "host.name"), "host.example");
	assert_str(attr(pi, "process.executable.name"), "python3.11");
	assert_str(attr(pi, "telemetry.sdk.language"), "python");
	assert_str(attr(pi, "telemetry.distro.name"), "wirespan");
	assert_str(attr(pi, "telemetry.distro.version"), VERSION);
	assert_int_equal(attrs_find(&pi->res.attrs, STR("process.pid"))->i, 100);
	assert_int_equal(attr(pi, "service.instance.id").len, 36);
	assert_str(pi->res.schema_url, SEMCONV_SCHEMA_URL);
	assert_false(pi->is_go || pi->is_login || pi->is_self);
	assert_ptr_equal(procs_get(p, 4100, 100, START(500), 0), pi);
	assert_ptr_equal(procs_find_pid(p, 100), pi);
}

static void test_names_in_order(void **state)
{
	struct procs *p = *state;

	make(1, 0, 0, "/usr/lib/systemd/systemd");
	make(101, 1, 10, "/usr/sbin/nginx");
	assert_str(procs_get(p, 101, 101, START(10), 0)->service, "nginx");
	make(102, 1, 10, "/usr/sbin/nginx");
	PUT(102, "cgroup", "0::/system.slice/front.service\n");
	assert_str(procs_get(p, 102, 102, START(10), 0)->service, "front");
	make(103, 1, 10, "/usr/sbin/nginx");
	PUT(103, "cgroup", "0::/system.slice/front.service\n");
	PUT(103, "environ", "A=1\0OTEL_RESOURCE_ATTRIBUTES=service.name=by%20attr\0");
	assert_str(procs_get(p, 103, 103, START(10), 0)->service, "by attr");
	make(104, 1, 10, "/usr/sbin/nginx");
	PUT(104, "environ", "OTEL_RESOURCE_ATTRIBUTES=service.name=b\0OTEL_SERVICE_NAME=a\0");
	assert_str(procs_get(p, 104, 104, START(10), 0)->service, "a");
	make(105, 1, 10, "/opt/app (deleted)");
	assert_str(procs_get(p, 105, 105, START(10), 0)->service, "app");
}

static void test_resource_attributes(void **state)
{
	struct procs *p = *state;
	const struct proc_info *pi;

	make(110, 1, 10, "/x");
	PUT(110, "environ",
	    "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name = prod ,broken,"
	    "process.pid=7,host.name=evil,telemetry.distro.name=evil,a=%zz%4,"
	    "service.instance.id=mine,=x,k=,a=second\0");
	pi = procs_get(p, 110, 110, START(10), 0);
	assert_str(attr(pi, "deployment.environment.name"), "prod");
	assert_str(attr(pi, "service.instance.id"), "mine");
	assert_str(attr(pi, "host.name"), "host.example");
	assert_str(attr(pi, "telemetry.distro.name"), "wirespan");
	assert_str(attr(pi, "a"), "%zz%4");
	assert_int_equal(attrs_find(&pi->res.attrs, STR("process.pid"))->i, 110);
}

static void test_hostile_environment(void **state)
{
	struct procs *p = *state;
	const struct proc_info *pi;
	struct strbuf env;

	strbuf_init(&env);
	strbuf_add(&env, "OTEL_SERVICE_NAME=\x1b[31m\xff\xc3\xa9\n\0", 28);
	strbuf_adds(&env, "OTEL_RESOURCE_ATTRIBUTES=");
	for (int i = 0; i < 40000; i++)
		strbuf_printf(&env, "k%d=v,", i);
	make(111, 1, 10, "/x");
	put(111, "environ", env.p, env.len);
	pi = procs_get(p, 111, 111, START(10), 0);
	assert_str(pi->service, "?[31m?\xc3\xa9?");
	assert_true(pi->res.attrs.cnt > 10 && pi->res.attrs.cnt < 64);
	strbuf_clear(&env);
	strbuf_adds(&env, "OTEL_SERVICE_NAME=");
	for (int i = 0; i < 200; i++)
		strbuf_adds(&env, "\xc3\xa9");
	make(112, 1, 10, "/x");
	put(112, "environ", env.p, env.len);
	assert_int_equal(procs_get(p, 112, 112, START(10), 0)->service.len, 254);
	strbuf_fini(&env);
}

static void test_gone(void **state)
{
	struct procs *p = *state;
	const struct proc_info *pi = procs_get(p, 9120, 120, START(10), 0);

	assert_str(pi->service, "pid 120");
	assert_str(procs_get(p, 9121, 0, START(10), 0)->service, "pid 9121");
	procs_sweep(p, clock_mono_ns());
	assert_non_null(procs_find(p, 9120, START(10)));
	procs_sweep(p, clock_mono_ns() + 11ull * NS_PER_S);
	assert_null(procs_find(p, 9120, START(10)));
	assert_non_null(procs_find(p, 9121, START(10)));
}

static void test_no_executable(void **state)
{
	char path[256];

	make(125, 1, 10, "/x");
	snprintf(path, sizeof(path), "%s/125/exe", root);
	unlink(path);
	assert_str(procs_get(*state, 125, 125, START(10), 0)->service, "short");
}

/* The number belongs to a later process by the time we look. */
static void test_pid_given_away(void **state)
{
	struct procs *p = *state;
	const struct proc_info *old, *new;

	make(130, 1, 900, "/usr/bin/later");
	old = procs_get(p, 130, 130, START(500), 0);
	assert_str(old->service, "pid 130");
	new = procs_get(p, 130, 130, START(900), 0);
	assert_str(new->service, "later");
	assert_ptr_equal(procs_find(p, 130, START(500)), old);
	assert_ptr_equal(procs_find(p, 130, START(900)), new);
	assert_false(str_eq(attr(old, "service.instance.id"), attr(new, "service.instance.id")));
	/* A tick's rounding is no difference. */
	assert_str(procs_get(p, 131, 130, START(900) + 9999999, 0)->service, "later");
}

static void test_fork_inherits(void **state)
{
	struct procs *p = *state;
	const struct proc_info *parent, *child;

	make(140, 1, 10, "/usr/lib/postgresql/15/bin/postgres");
	PUT(140, "environ", "OTEL_RESOURCE_ATTRIBUTES=team=db\0");
	parent = procs_get(p, 140, 140, START(10), 0);
	child = procs_get(p, 141, 141, START(11), 140); /* never seen in /proc */
	assert_str(child->service, "postgres");
	assert_str(child->exe, "/usr/lib/postgresql/15/bin/postgres");
	assert_int_equal(child->ppid, 140);
	assert_str(attr(child, "team"), "db");
	assert_int_equal(attrs_find(&child->res.attrs, STR("process.pid"))->i, 141);
	assert_int_equal(attr(child, "service.instance.id").len, 36);
	assert_false(
		str_eq(attr(parent, "service.instance.id"), attr(child, "service.instance.id")));
	assert_int_equal(child->res.attrs.cnt, parent->res.attrs.cnt);
}

static void test_exec_reads_anew(void **state)
{
	struct procs *p = *state;
	const struct proc_info *old;

	make(150, 1, 10, "/bin/sh");
	old = procs_get(p, 150, 150, START(10), 0);
	assert_true(old->is_login);
	set_exe(150, "/usr/bin/api");
	assert_ptr_equal(procs_get(p, 150, 150, START(10), 0), old);
	procs_changed(p, 150);
	assert_null(procs_find(p, 150, START(10)));
	assert_str(procs_get(p, 150, 150, START(10), 0)->service, "api");
	assert_str(old->exe, "/bin/sh"); /* spans may still point at it */
	procs_sweep(p, clock_mono_ns() + 11ull * NS_PER_S);
	assert_str(procs_find(p, 150, START(10))->service, "api");
}

static void test_who_is_never_traced(void **state)
{
	struct procs *p = *state;

	make(1, 0, 0, "/sbin/anything");
	make(160, 1, 10, "/usr/sbin/sshd");
	make((unsigned)getpid(), 1, 10, "/x");
	assert_true(procs_get(p, 1, 1, 0, 0)->is_login);
	assert_true(procs_get(p, 160, 160, START(10), 0)->is_login);
	assert_true(procs_get(p, 77, (uint32_t)getpid(), START(10), 0)->is_self);
}

/* A session or a CI job that we share says nothing of what runs in it. */
static void test_own_unit_names_nothing(void **state)
{
	struct procs *p;
	char path[256];

	(void)state;
	make(169, 1, 10, "/x");
	PUT(169, "cgroup", "0::/system.slice/runner.service/job\n");
	snprintf(path, sizeof(path), "%s/self", root);
	assert_int_equal(symlink("169", path), 0);
	make(170, 1, 10, "/usr/sbin/nginx");
	PUT(170, "cgroup", "0::/system.slice/runner.service\n");
	assert_int_equal(procs_new(&p, root, "h", NULL), 0);
	assert_str(procs_get(p, 170, 170, START(10), 0)->service, "nginx");
	procs_free(p);
}

#define UID "a3ab0611-3dda-4911-b1d0-890ebf1df9bd"
#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* What containerd writes of a container, for the one with this id. */
static void put_container(const char *id, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path),
		 "mkdir -p %s/1/root/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s", root, id);
	assert_int_equal(system(path), 0);
	snprintf(path, sizeof(path),
		 "%s/1/root/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json", root, id);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_pod(void **state)
{
	struct procs *p;
	struct config c = {.k8s_node_name = (char *)"node-1", .k8s_cluster_name = (char *)"home"};
	const struct proc_info *pi, *child;

	(void)state;
	assert_int_equal(procs_new(&p, root, "wirespan-x7k2p", &c), 0);
	make(190, 1, 10, "/usr/sbin/nginx");
	PUT(190, "cgroup", "0::/kubelet/kubepods/pod" UID "/" ID "\n");
	pi = procs_get(p, 190, 190, START(10), 0); /* the runtime has not written its file yet */
	assert_str(pi->service, "nginx");
	assert_str(attr(pi, "k8s.pod.uid"), UID);
	put_container(ID, "{\"annotations\":{\"io.kubernetes.cri.container-name\":\"web\","
			  "\"io.kubernetes.cri.sandbox-name\":\"front-6d4cf56db6-x7k2p\","
			  "\"io.kubernetes.cri.sandbox-namespace\":\"app\"}}");
	make(191, 1, 10, "/usr/sbin/nginx");
	PUT(191, "cgroup", "0::/kubelet/kubepods/pod" UID "/" ID "\n");
	PUT(191, "environ", "OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name=liar,team=blue\0");
	pi = procs_get(p, 191, 191, START(10), 0);
	child = procs_get(p, 192, 192, START(20), 191);
	assert_str(pi->service, "front");
	assert_str(attr(pi, "k8s.pod.name"), "front-6d4cf56db6-x7k2p");
	assert_str(attr(pi, "k8s.namespace.name"), "app");
	assert_str(attr(pi, "k8s.container.name"), "web");
	assert_str(attr(pi, "k8s.node.name"), "node-1");
	assert_str(attr(pi, "k8s.cluster.name"), "home");
	assert_str(attr(pi, "k8s.deployment.name"), ""); /* a guess is good for a name alone */
	assert_str(attr(pi, "host.name"), "node-1");
	assert_str(attr(pi, "service.namespace"), "app");
	assert_str(attr(pi, "service.instance.id"), "app.front-6d4cf56db6-x7k2p.web");
	assert_str(attr(pi, "team"), "blue");
	assert_str(attr(child, "k8s.pod.name"), "front-6d4cf56db6-x7k2p");
	assert_str(attr(child, "service.instance.id"), "app.front-6d4cf56db6-x7k2p.web");
	procs_free(p);
}

/* A runtime's file that is none: the pod is known by its uid, and no more. */
static void test_pod_nonsense(void **state)
{
	static const char *const texts[] = {"", "[]", "{\"annotations\":7}", "{\"annotations\":{}}",
					    "{\"annotations\":{\"io.kubernetes.cri.sandbox-name\":7}}"};
	struct procs *p = *state;

	make(195, 1, 10, "/usr/sbin/nginx");
	PUT(195, "cgroup", "0::/kubelet/kubepods/pod" UID "/" ID "\n");
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const struct proc_info *pi;

		put_container(ID, texts[i]);
		pi = procs_get(p, 195, 195, START(10), 0);
		assert_str(pi->service, "nginx");
		assert_str(attr(pi, "k8s.pod.uid"), UID);
		assert_str(attr(pi, "k8s.pod.name"), "");
		procs_changed(p, 195);
	}
}

static void test_many(void **state)
{
	struct procs *p = *state;

	make(180, 1, 10, "/x");
	procs_get(p, 180, 180, START(10), 0);
	for (uint32_t i = 0; i < 5000; i++)
		procs_get(p, 10000 + i, 10000 + i, START(20), 180);
	for (uint32_t i = 0; i < 5000; i++)
		procs_ended(p, 10000 + i);
	procs_ended(p, 10000);
	procs_sweep(p, clock_mono_ns() + 11ull * NS_PER_S);
	assert_null(procs_find(p, 12345, 0));
	assert_non_null(procs_find(p, 180, 0));
	assert_null(procs_find(p, 999999, 0));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_attributes),
		TEST(test_names_in_order),
		TEST(test_resource_attributes),
		TEST(test_hostile_environment),
		TEST(test_gone),
		TEST(test_no_executable),
		TEST(test_pid_given_away),
		TEST(test_fork_inherits),
		TEST(test_exec_reads_anew),
		TEST(test_who_is_never_traced),
		TEST(test_own_unit_names_nothing),
		TEST(test_pod),
		TEST(test_pod_nonsense),
		TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* discover_test.c - process events in, decisions out: each selector, none, what is never traced,
 * what the kernel half tracked by itself, fork and exec, and the notes in /status. Processes stand
 * in a /proc that is made here; what would go to the kernel half is kept in a list. */
#include "agent/discover.h"
#include "store/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static char root[] = "/tmp/wirespan-discover-XXXXXX";

struct told {
	uint32_t key, flags;
};

static struct config conf;
static struct procs *procs;
static struct discover *disc;
static struct told told[512];
static size_t told_cnt;

static void set(void *arg, const struct proc_info *pi, uint32_t flags)
{
	assert_ptr_equal(arg, &told);
	assert_true(told_cnt < ARRAY_SIZE(told));
	told[told_cnt++] = (struct told){pi->key, flags};
}

static void put(unsigned pid, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u/%s", root, pid, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void make(unsigned pid, unsigned ppid, const char *exe)
{
	char path[256], stat[256];

	snprintf(path, sizeof(path), "%s/%u", root, pid);
	mkdir(path, 0700);
	snprintf(stat, sizeof(stat), "%u (x) S %u 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 10 1 1\n",
		 pid, ppid);
	put(pid, "stat", stat);
	snprintf(path, sizeof(path), "%s/%u/exe", root, pid);
	unlink(path);
	assert_int_equal(symlink(exe, path), 0);
}

static struct rec_proc event(enum rec_proc_what what, uint32_t key)
{
	return (struct rec_proc){.head = {.type = REC_PROC, .version = RECORD_VERSION, .key = key},
				 .start_ns = 100000000,
				 .pid = key,
				 .what = (__u8)what};
}

static void send_event(struct rec_proc rp)
{
	told_cnt = 0;
	discover_event(disc, &rp);
}

static void begin(void)
{
	assert_int_equal(procs_new(&procs, root, "h", NULL), 0);
	assert_int_equal(discover_new(&disc, &conf, procs, set, &told), 0);
}

static void assert_told(uint32_t key, uint32_t flags)
{
	assert_int_equal(told_cnt, 1);
	assert_int_equal(told[0].key, key);
	assert_int_equal(told[0].flags, flags);
}

struct wanted {
	const char *key;
	char text[256];
	unsigned cnt;
};

static void note_seen(void *arg, const char *section, const char *key, const char *text)
{
	struct wanted *w = arg;

	if (strcmp(section, "processes") != 0)
		return;
	w->cnt++;
	if (strcmp(key, w->key) == 0)
		snprintf(w->text, sizeof(w->text), "%s", text);
}

static void assert_note(const char *key, const char *text)
{
	struct wanted w = {.key = key};

	stats_notes_walk(note_seen, &w);
	assert_string_equal(w.text, text);
}

static void select_ports(uint16_t from, uint16_t to)
{
	conf.open_ports[conf.open_port_cnt++] = (struct port_range){from, to};
}

/* --- tests --- */

static void test_every_listener(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 200);

	(void)state;
	begin();
	assert_true(discover_all_listeners(&conf));
	make(200, 1, "/usr/sbin/nginx");
	rp.port = 8080;
	send_event(rp);
	assert_told(200, PROC_TRACKED);
	assert_note("200", "nginx (/usr/sbin/nginx) listens on port 8080");
	rp.port = 8081;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
	make(201, 1, "/usr/bin/curl");
	send_event(event(PROC_FOUND, 201));
	send_event(event(PROC_EXEC, 201));
	assert_int_equal(told_cnt, 0);
	assert_null(procs_find(procs, 201, 0));
}

static void test_ports(void **state)
{
	struct rec_proc rp = event(PROC_FOUND, 210);

	(void)state;
	select_ports(80, 80);
	select_ports(8000, 8100);
	begin();
	assert_false(discover_all_listeners(&conf));
	make(210, 1, "/x");
	rp.port = 81;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
	rp.port = 8100;
	send_event(rp);
	assert_told(210, PROC_TRACKED);
}

static void test_exe_and_name(void **state)
{
	(void)state;
	conf.exe_path[conf.exe_path_cnt++] = strdup("/opt/*/bin/*");
	conf.name[conf.name_cnt++] = strdup("todo-*");
	begin();
	make(220, 1, "/opt/a/bin/server");
	send_event(event(PROC_EXEC, 220));
	assert_told(220, PROC_TRACKED);
	assert_note("220", "server (/opt/a/bin/server) matches exe_path /opt/*/bin/*");
	make(221, 1, "/srv/todo-api");
	send_event(event(PROC_FOUND, 221));
	assert_told(221, PROC_TRACKED);
	assert_note("221", "todo-api (/srv/todo-api) matches name todo-*");
	make(222, 1, "/srv/other");
	struct rec_proc rp = event(PROC_LISTEN, 222);
	rp.port = 80;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
}

#define POD_UID "a3ab0611-3dda-4911-b1d0-890ebf1df9bd"
#define POD_ID	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"

/* A process in a pod of this namespace; nth makes another container of it. */
static void make_pod(unsigned pid, char nth, const char *namespace)
{
	char cmd[1024], group[256];

	make(pid, 1, "/srv/app");
	snprintf(group, sizeof(group), "0::/kubepods/pod" POD_UID "/" POD_ID "%c\n", nth);
	put(pid, "cgroup", group);
	snprintf(cmd, sizeof(cmd),
		 "d=%s/1/root/run/containerd/io.containerd.runtime.v2.task/k8s.io/" POD_ID "%c; "
		 "mkdir -p $d && echo '{\"annotations\":{\"io.kubernetes.cri.sandbox-name\":\"p\","
		 "\"io.kubernetes.cri.sandbox-namespace\":\"%s\"}}' >$d/config.json",
		 root, nth, namespace);
	assert_int_equal(system(cmd), 0);
}

/* All that a selector asks for, and the same port in another namespace. */
static void test_namespace(void **state)
{
	struct selector s = {.globs = {[SELECT_k8s_namespace] = strdup("app")}};
	struct rec_proc rp = event(PROC_LISTEN, 225);

	(void)state;
	s.open_ports.at[s.open_ports.cnt++] = (struct port_range){80, 80};
	conf.instrument = (struct selectors){malloc(sizeof(s)), 1};
	conf.instrument.at[0] = s;
	begin();
	assert_false(discover_all_listeners(&conf));
	make_pod(225, '0', "app");
	send_event(event(PROC_EXEC, 225));
	assert_told(225, PROC_UNDECIDED | PROC_CANDIDATE);
	rp.port = 81;
	rp.tracked = 1; /* a port of another selector */
	send_event(rp);
	assert_int_equal(told_cnt, 2);
	assert_int_equal(told[0].flags, 0);
	assert_int_equal(told[1].flags, PROC_UNDECIDED | PROC_CANDIDATE);
	rp.tracked = 0;
	rp.port = 80;
	send_event(rp);
	assert_told(225, PROC_TRACKED);
	assert_note("225", "p (/srv/app) matches discovery.instrument, number 1");
	make_pod(226, '1', "other");
	rp = event(PROC_LISTEN, 226);
	rp.port = 80;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
}

/* The pod changes: what it was selected by no longer holds, for its children neither; then it does
 * again, and the kernel half names them once more. */
static void test_pod_changes(void **state)
{
	struct selector s = {.globs = {[SELECT_k8s_namespace] = strdup("app")}};
	struct rec_proc rp = event(PROC_LISTEN, 228), fork = event(PROC_FORK, 229);
	const struct kube_where *was[2];
	struct kube_where now;
	struct proc_info *pi[2];

	(void)state;
	s.open_ports.at[s.open_ports.cnt++] = (struct port_range){80, 80};
	conf.instrument = (struct selectors){malloc(sizeof(s)), 1};
	conf.instrument.at[0] = s;
	begin();
	make_pod(228, '0', "app");
	rp.port = 80;
	send_event(rp);
	assert_told(228, PROC_TRACKED);
	fork.parent_key = 228;
	fork.tracked = 1;
	send_event(fork);
	told_cnt = 0;
	for (uint32_t i = 0; i < 2; i++) {
		pi[i] = procs_find(procs, 228 + i, 0);
		assert_int_equal(pi[i]->flags, PROC_TRACKED);
		discover_renewed(disc, pi[i]);
		assert_int_equal(told_cnt, 0);
		was[i] = pi[i]->where;
		now = *was[i];
	}
	now.pod_namespace = STR("other");
	for (uint32_t i = 0; i < 2; i++) {
		told_cnt = 0;
		pi[i]->where = &now;
		discover_renewed(disc, pi[i]);
		assert_told(228 + i, 0);
		assert_note(i ? "229" : "228", "");
		discover_renewed(disc, pi[i]);
		assert_int_equal(told_cnt, 1);
		pi[i]->where = was[i];
	}
	fork.head.key = 230; /* before the kernel half heard of it */
	send_event(fork);
	assert_int_equal(told[0].flags, 0);
	rp.what = PROC_FOUND;
	send_event(rp);
	assert_told(228, PROC_TRACKED);
	send_event(event(PROC_FOUND, 229)); /* listens on nothing, but its parent does */
	assert_told(229, PROC_TRACKED);
	assert_int_equal(pi[1]->port, 80);
}

/* Without selectors everything that listens, but for what runs the cluster. */
static void test_cluster_is_left_out(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 227);

	(void)state;
	begin();
	make_pod(227, '0', "kube-system");
	rp.port = 80;
	rp.tracked = 1;
	send_event(rp);
	assert_told(227, 0);
}

static void test_never(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 230);

	(void)state;
	begin();
	make(230, 1, "/usr/sbin/sshd");
	rp.port = 22;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
	rp.tracked = 1; /* the kernel half could not know */
	send_event(rp);
	assert_told(230, 0);
	rp = event(PROC_FORK, 231);
	rp.parent_key = 230;
	rp.tracked = 1;
	send_event(rp);
	assert_told(231, 0);
	make(1, 0, "/sbin/x");
	rp = event(PROC_LISTEN, 1);
	rp.port = 80;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
	make((unsigned)getpid(), 1, "/build/wirespan");
	rp = event(PROC_LISTEN, (uint32_t)getpid());
	rp.port = 3200;
	rp.tracked = 1;
	send_event(rp);
	assert_told((uint32_t)getpid(), 0);
}

static void test_kernel_was_first(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 240);

	(void)state;
	select_ports(5432, 5432);
	begin();
	make(240, 1, "/usr/lib/postgresql/15/bin/postgres");
	rp.port = 5432;
	rp.tracked = 1;
	send_event(rp);
	assert_told(240, PROC_TRACKED);
	assert_note("240", "postgres (/usr/lib/postgresql/15/bin/postgres) listens on port 5432");
	rp = event(PROC_FORK, 241);
	rp.parent_key = 240;
	rp.tracked = 1;
	send_event(rp);
	assert_int_equal(told_cnt, 0);
	assert_note("241", "postgres (/usr/lib/postgresql/15/bin/postgres) child of 240");
	send_event(event(PROC_EXIT, 241));
	assert_note("241", "");
}

static void test_go_is_told(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 250);
	char path[256];
	FILE *f;
	static const unsigned char elf[64] = {0x7f, 'E',       'L',	  'F',	   2,
					      1,    [32] = 64, [54] = 56, [56] = 1};
	static const unsigned char seg[64] = {1, 0, 0, 0, 6, 0, 0, 0, 128, [32] = 16};

	(void)state;
	begin();
	snprintf(path, sizeof(path), "%s/go", root);
	f = fopen(path, "w");
	assert_non_null(f);
	fwrite(elf, 1, sizeof(elf), f);
	fwrite(seg, 1, sizeof(seg), f);
	fwrite("\xff Go buildinf:\x08\x02", 1, 16, f);
	fclose(f);
	make(250, 1, path);
	rp.port = 80;
	rp.tracked = 1;
	send_event(rp);
	assert_told(250, PROC_TRACKED | PROC_GO);
}

static void test_exec_decides_anew(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 260);

	(void)state;
	begin();
	make(260, 1, "/usr/bin/server");
	rp.port = 80;
	send_event(rp);
	assert_told(260, PROC_TRACKED);
	make(260, 1, "/usr/bin/curl");
	send_event(event(PROC_EXEC, 260));
	assert_told(260, 0);
	assert_note("260", "");
}

/* A program that forks before we have looked at it, and one that is not selected. */
static void test_undecided(void **state)
{
	struct rec_proc rp = event(PROC_EXEC, 261);

	(void)state;
	conf.exe_path[conf.exe_path_cnt++] = strdup("/opt/*");
	begin();
	make(261, 1, "/opt/server");
	rp.undecided = 1;
	send_event(rp);
	assert_told(261, PROC_TRACKED);
	make(262, 261, "/opt/server");
	rp = event(PROC_FORK, 262);
	rp.parent_key = 261;
	rp.undecided = 1;
	send_event(rp);
	assert_told(262, PROC_TRACKED);
	make(263, 1, "/usr/bin/other");
	rp = event(PROC_EXEC, 263);
	rp.undecided = 1;
	send_event(rp);
	assert_told(263, PROC_UNDECIDED);
	rp = event(PROC_EXIT, 263);
	rp.undecided = 1;
	send_event(rp);
	assert_told(263, 0);
}

/* The kernel half tracks a listener while we still say no to its exec: it is told again. */
static void test_listens_after_exec(void **state)
{
	struct rec_proc rp = event(PROC_EXEC, 264);

	(void)state;
	conf.exe_path[conf.exe_path_cnt++] = strdup("/opt/*");
	select_ports(80, 80);
	begin();
	make(264, 1, "/usr/bin/other");
	rp.undecided = 1;
	send_event(rp);
	assert_told(264, PROC_UNDECIDED);
	rp = event(PROC_LISTEN, 264);
	rp.port = 80;
	rp.tracked = 1;
	send_event(rp);
	assert_told(264, PROC_TRACKED);
}

/* It listens before we have looked at it, and the kernel half traces it until we have: when we say no, what it
 * saw is dropped. */
static void test_listens_undecided(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 267);

	(void)state;
	conf.exe_path[conf.exe_path_cnt++] = strdup("/opt/*");
	begin();
	make(267, 1, "/opt/server");
	rp.port = 80;
	rp.tracked = rp.undecided = 1;
	send_event(rp);
	assert_told(267, PROC_TRACKED);
	assert_false(procs_find(procs, 267, 0)->is_refused);
	make(268, 1, "/usr/bin/other");
	rp = event(PROC_LISTEN, 268);
	rp.port = 80;
	rp.tracked = rp.undecided = 1;
	send_event(rp);
	assert_int_equal(told_cnt, 2);
	assert_int_equal(told[0].flags, 0);
	assert_int_equal(told[1].flags, PROC_UNDECIDED);
	assert_true(procs_find(procs, 268, 0)->is_refused);
}

static void test_same_program_again(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 265);

	(void)state;
	begin();
	make(265, 1, "/usr/sbin/nginx");
	rp.port = 80;
	send_event(rp);
	rp = event(PROC_FORK, 266);
	rp.parent_key = 265;
	rp.tracked = 1;
	send_event(rp);
	make(266, 265, "/usr/sbin/nginx");
	send_event(event(PROC_EXEC, 266));
	assert_told(266, PROC_TRACKED);
	assert_note("266", "nginx (/usr/sbin/nginx) was traced and runs the same program again");
}

/* What forked before we came is found by its parent and its executable. */
static void test_found_children(void **state)
{
	struct rec_proc rp = event(PROC_FOUND, 270);

	(void)state;
	begin();
	make(270, 1, "/usr/bin/postgres");
	rp.port = 5432;
	send_event(rp);
	make(271, 270, "/usr/bin/postgres");
	send_event(event(PROC_FOUND, 271));
	assert_told(271, PROC_TRACKED);
	make(272, 270, "/bin/cat");
	send_event(event(PROC_FOUND, 272));
	assert_int_equal(told_cnt, 0);
	rp = event(PROC_FORK, 273);
	rp.parent_key = 271; /* the kernel half had not heard of our decision yet */
	send_event(rp);
	assert_told(273, PROC_TRACKED);
}

static void test_exit_clears(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 280);

	(void)state;
	begin();
	make(280, 1, "/x");
	rp.port = 80;
	send_event(rp);
	send_event(event(PROC_EXIT, 280));
	assert_told(280, 0);
	assert_note("280", "");
	assert_non_null(procs_find(procs, 280, 0)); /* late spans */
	send_event(event(PROC_EXIT, 999));	    /* only the kernel half knew it */
	assert_told(999, 0);
}

static void test_unknown_event(void **state)
{
	(void)state;
	begin();
	send_event(event(99, 290));
	assert_int_equal(told_cnt, 0);
}

static void test_notes_are_bounded(void **state)
{
	struct rec_proc rp = event(PROC_LISTEN, 300);
	struct wanted w = {.key = "more"};

	(void)state;
	begin();
	make(300, 1, "/x");
	rp.port = 80;
	send_event(rp);
	for (uint32_t i = 1; i <= 400; i++) {
		rp = event(PROC_FORK, 300 + i);
		rp.parent_key = 300;
		rp.tracked = 1;
		send_event(rp);
	}
	stats_notes_walk(note_seen, &w);
	assert_int_equal(w.cnt, 257);
	assert_string_equal(w.text, "145 more are traced");
	for (uint32_t i = 0; i <= 400; i++)
		send_event(event(PROC_EXIT, 300 + i));
	w = (struct wanted){.key = "more"};
	stats_notes_walk(note_seen, &w);
	assert_int_equal(w.cnt, 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(strstr(root, "discover-") + 9, "XXXXXX");
	conf = (struct config){.listen = NULL};
	return mkdtemp(root) ? 0 : -1;
}

static void drop(void *arg, const char *section, const char *key, const char *text)
{
	(void)section;
	(void)text;
	snprintf(arg, 32, "%s", key);
}

static int teardown(void **state)
{
	char cmd[64], key[32];

	(void)state;
	while (key[0] = '\0', stats_notes_walk(drop, key), key[0])
		stats_note_drop("processes", key);
	discover_free(disc);
	procs_free(procs);
	config_fini(&conf);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	return system(cmd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_listener),    TEST(test_ports),
		TEST(test_exe_and_name),      TEST(test_never),
		TEST(test_kernel_was_first),  TEST(test_go_is_told),
		TEST(test_exec_decides_anew), TEST(test_undecided), TEST(test_namespace),
		TEST(test_pod_changes),
		TEST(test_cluster_is_left_out), TEST(test_listens_after_exec), TEST(test_listens_undecided),
		TEST(test_same_program_again),
		TEST(test_found_children),    TEST(test_exit_clears),
		TEST(test_unknown_event),     TEST(test_notes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

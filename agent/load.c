/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - opens the BPF skeleton, sets its constants, takes for each verb the first provider that
 * this kernel lets us load and attach, and says in `wirespan status` which and why. Features are
 * tried, versions are never looked at. The invariant: after a failure nothing is left attached. */
#include "agent/load.h"
#include "agent/cgroup_link.h"
#include "agent/constants.h"
#include "agent/function_link.h"
#include "agent/headers.h"
#include "agent/iter.h"
#include "agent/old_conns.h"
#include "agent/probe.h"
#include "agent/skeleton.h"
#include "agent/twin.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern/record.h"
#include "store/stats.h"
#include "wirespan.skel.h"

enum need {
	CORE,  /* without it there is nothing to capture */
	EXTRA, /* a kernel may lack it */
	/* extra, and attached when there is need: */
	UNIX,	  /* a Unix-domain socket speaks a protocol of ours (kern/unix.h) */
	LOOP,	  /* a program waits for its sockets in epoll (kern/handover.h) */
	FUNCTION, /* a program has the function (agent/hook.h) */
};

/* One line per way to see something: the verb, the program in the object, what it hangs on, and the
 * name by which the kernel's BTF shows that it is there. */
struct provider {
	const char *verb, *program, *hook, *btf_name;
	__u32 btf_kind;
	enum need need;
};

enum { TRACEPOINT = BTF_KIND_TYPEDEF, FUNC = BTF_KIND_FUNC, STRUCT = BTF_KIND_STRUCT };

static const struct provider PROVIDERS[] = {
	{ "send", "send_tp", "tp_btf/tcp_sendmsg_locked", "btf_trace_tcp_sendmsg_locked", TRACEPOINT, CORE },
	{ "send", "send_fentry", "fentry/tcp_sendmsg_locked", "tcp_sendmsg_locked", FUNC, CORE },
	{ "receive", "receive_tp", "tp_btf/sock_recv_length", "btf_trace_sock_recv_length", TRACEPOINT, CORE },
	{ "receive", "receive_fexit", "fexit/tcp_recvmsg", "tcp_recvmsg", FUNC, CORE },
	{ "send_unix", "send_unix_tp", "tp_btf/sock_send_length", "btf_trace_sock_send_length", TRACEPOINT, UNIX },
	{ "send_unix", "send_unix_fexit", "fexit/unix_stream_sendmsg", "unix_stream_sendmsg", FUNC, UNIX },
	{ "receive_unix", "receive_tp", "tp_btf/sock_recv_length", "btf_trace_sock_recv_length", TRACEPOINT, EXTRA },
	{ "receive_unix", "receive_unix_fexit", "fexit/unix_stream_recvmsg", "unix_stream_recvmsg", FUNC, EXTRA },
	{ "send_pages", "send_pages_fentry", "fentry/do_tcp_sendpages", "do_tcp_sendpages", FUNC, EXTRA },
	{ "receive_mptcp", "receive_tp", "tp_btf/sock_recv_length", "btf_trace_sock_recv_length", TRACEPOINT, EXTRA },
	{ "receive_mptcp", "receive_mptcp_fexit", "fexit/mptcp_recvmsg", "mptcp_recvmsg", FUNC, EXTRA },
	{ "loop_turns", "call_done", "tp_btf/sys_exit", "btf_trace_sys_exit", TRACEPOINT, LOOP },
#define X(id, program, function) { #program, #program, function, "task_struct", STRUCT, FUNCTION },
	HOOKS(X)
#undef X
};

enum { PROVIDER_CNT = ARRAY_SIZE(PROVIDERS) };

struct loader {
	struct wirespan_bpf *skel;
	const char *refused[PROVIDER_CNT]; /* why not, or NULL */
	bool chosen[PROVIDER_CNT];
	bool unix_tried, loops_tried;
	bool headers; /* propagation.headers is on, and possible */
	bool multi; /* the kernel attaches to functions by a link of its own */
	bool casts; /* it lets a program look into a socket that it was given */
	bool preempts; /* it preempts programs on tracepoints */
	struct old_conns *old_conns; /* NULL: they need not be adopted */
	unsigned hooked[HOOK_COUNT];
	stat_cell *lost[LOST_COUNT], *undecoded[UNDECODED_COUNT], *conns[PROTO_COUNT], *missed, *dropped;
};

/* --- choosing --- */

static void find_in_btf(struct loader *l, const struct btf *btf)
{
	for (int i = 0; i < PROVIDER_CNT; i++)
		if (btf__find_by_name_kind(btf, PROVIDERS[i].btf_name, PROVIDERS[i].btf_kind) < 0)
			l->refused[i] = "this kernel does not have it";
	l->casts = btf__find_by_name_kind(btf, "bpf_rdonly_cast", FUNC) >= 0;
	l->multi = btf__find_by_name_kind(btf, "bpf_uprobe_multi_link", STRUCT) >= 0;
}

static bool verb_served(const struct loader *l, const char *verb)
{
	for (int i = 0; i < PROVIDER_CNT; i++)
		if (l->chosen[i] && !strcmp(PROVIDERS[i].verb, verb))
			return true;
	return false;
}

/* The sentence for a verb that nothing serves: every way that was tried, and why not. */
static void explain_refusal(const struct loader *l, const char *verb, struct strbuf *why)
{
	strbuf_printf(why, "cannot capture: the kernel offers no way to see what programs %s (", verb);
	for (int i = 0, n = 0; i < PROVIDER_CNT; i++)
		if (!strcmp(PROVIDERS[i].verb, verb))
			strbuf_printf(why, "%s%s: %s", n++ ? "; " : "", PROVIDERS[i].hook,
				      l->refused[i]);
	strbuf_adds(why, "); Linux 6.1 or newer without lockdown is needed, or use --capture off");
}

/* -ENOTSUP when a verb has no provider left. */
static int choose_providers(struct loader *l, struct strbuf *why)
{
	memset(l->chosen, 0, sizeof(l->chosen));
	for (int i = 0; i < PROVIDER_CNT; i++)
		if (!l->refused[i] && !verb_served(l, PROVIDERS[i].verb))
			l->chosen[i] = true;
	for (int i = 0; i < PROVIDER_CNT; i++) {
		if (PROVIDERS[i].need != CORE || verb_served(l, PROVIDERS[i].verb))
			continue;
		explain_refusal(l, PROVIDERS[i].verb, why);
		return -ENOTSUP;
	}
	return 0;
}

static enum hook hook_of(int at)
{
	return (enum hook)(at - (PROVIDER_CNT - HOOK_COUNT)); /* they are the last */
}

static const char *provider_state(const struct loader *l, int at)
{
	enum need need = PROVIDERS[at].need;

	if (!l->chosen[at])
		return l->refused[at] ? l->refused[at] : "not needed";
	if ((need == UNIX && !l->skel->bss->unix_on) || (need == LOOP && !l->skel->bss->loops_on) ||
	    (need == FUNCTION && !l->hooked[hook_of(at)]))
		return "ready for when it is needed";
	return "in use";
}

static void note_providers(const struct loader *l)
{
	for (int i = 0; i < PROVIDER_CNT; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s: %s", PROVIDERS[i].verb, PROVIDERS[i].hook);
		stats_note("providers", key, "%s", provider_state(l, i));
	}
}

/* --- opening --- */

/* Before anything is attached. */
static int set_ignored_paths(struct wirespan_bpf *skel, const struct config *c)
{
	const uint8_t yes = 1;

	for (uint32_t i = 0; i < c->ignore_path_cnt; i++) {
		struct path_key key = {};

		strncpy(key.path, c->ignore_paths[i], sizeof(key.path) - 1);
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.ignored), &key, &yes, BPF_ANY))
			return -errno;
	}
	return 0;
}

static void prepare_provider(struct loader *l, const struct provider *pr)
{
	struct bpf_program *p = bpf_object__find_program_by_name(l->skel->obj, pr->program);
	struct bpf_program *twin = twin_of(l->skel->obj, pr->program, l->preempts);

	bpf_program__set_autoload(p, true);
	if (twin)
		bpf_program__set_autoload(twin, true);
	if (pr->need == FUNCTION)
		function_link_prepare(p, l->multi);
}

static int open_object(struct loader *l, const struct config *c)
{
	l->skel = skeleton_open();
	if (!l->skel)
		return -errno;
	for (int i = 0; i < PROVIDER_CNT; i++)
		if (l->chosen[i])
			prepare_provider(l, &PROVIDERS[i]);
	bpf_program__set_autoload(l->skel->progs.tcp_option, c->tcp_option);
	bpf_program__set_autoload(l->skel->progs.tcp_option_adopt, c->tcp_option && l->casts);
	l->skel->rodata->tracepoints_preempt = l->preempts;
	headers_prepare(l->skel, l->headers);
	return constants_set(l->skel, c);
}

static void close_object(struct loader *l)
{
	wirespan_bpf__destroy(l->skel);
	l->skel = NULL;
}

/* Iterators, and what hangs on a cgroup or on a map. */
static bool is_attached_apart(const struct bpf_program *p)
{
	return !strncmp(bpf_program__section_name(p), "iter/", 5) ||
	       bpf_program__type(p) == BPF_PROG_TYPE_SOCK_OPS || bpf_program__type(p) == BPF_PROG_TYPE_SK_MSG ||
	       bpf_program__type(p) == BPF_PROG_TYPE_CGROUP_SOCKOPT;
}

/* The provider that owns the program, or -1: a program that has no alternative. */
static int provider_of(const struct bpf_program *p)
{
	for (int i = 0; i < PROVIDER_CNT; i++)
		if (!strcmp(PROVIDERS[i].program, bpf_program__name(p)))
			return i;
	return -1;
}

/* And its twin. */
static int attach_one(struct loader *l, struct bpf_program *p)
{
	struct bpf_program *twin = twin_of(l->skel->obj, bpf_program__name(p), l->preempts);
	const struct bpf_object_skeleton *s = l->skel->skeleton;
	struct bpf_link *link = bpf_program__attach(p);

	if (!link)
		return -errno;
	for (int i = 0; i < s->prog_cnt; i++)
		if (*s->progs[i].prog == p)
			*s->progs[i].link = link;
	return twin ? attach_one(l, twin) : 0;
}

static bool is_late(const struct bpf_program *p)
{
	return provider_of(p) >= 0 && PROVIDERS[provider_of(p)].need >= UNIX;
}

/* Attaches everything but what is attached apart, or late. *ret_failed: the program that would not. */
static int attach_all(struct loader *l, const struct bpf_program **ret_failed)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, l->skel->obj)
	{
		int err;

		if (!bpf_program__autoload(p) || is_attached_apart(p) || is_late(p) || is_twin(p))
			continue;
		err = attach_one(l, p);
		if (err) {
			*ret_failed = p;
			return err;
		}
	}
	return 0;
}

/* Does the kernel load this provider's program when it is alone? */
static int load_alone(const struct provider *pr)
{
	struct wirespan_bpf *skel = skeleton_open();
	struct bpf_program *p;
	int err;

	if (!skel)
		return -errno;
	bpf_object__for_each_program(p, skel->obj)
		bpf_program__set_autoload(p, !strcmp(bpf_program__name(p), pr->program));
	err = wirespan_bpf__load(skel);
	wirespan_bpf__destroy(skel);
	return err;
}

static void refuse(struct loader *l, int at, int err)
{
	l->refused[at] = err == -EPERM || err == -EACCES ? "the kernel refuses it (lockdown)"
							 : "the kernel does not take it";
}

/* The object would not load: is it a provider's fault? -EAGAIN: yes, choose again. */
static int blame_provider(struct loader *l, int err)
{
	int fault, ret = err;

	for (int i = 0; i < PROVIDER_CNT; i++) {
		if (!l->chosen[i] || !(fault = load_alone(&PROVIDERS[i])))
			continue;
		refuse(l, i, fault);
		ret = -EAGAIN;
	}
	return ret;
}

/* One try with the providers chosen now. -EAGAIN: one of them is out, choose again. */
static int try_providers(struct loader *l, const struct config *c, struct strbuf *why)
{
	const struct bpf_program *failed = NULL;
	int err = open_object(l, c), at;

	err = err ?: wirespan_bpf__load(l->skel);
	if (err)
		err = blame_provider(l, err);
	if (err == -EAGAIN)
		return err;
	if (err) {
		strbuf_printf(why, "cannot load the BPF programs: %s (log level debug shows the kernel's reason)",
			      strerror(-err));
		return err;
	}
	err = set_ignored_paths(l->skel, c);
	err = err ?: attach_all(l, &failed);
	if (!err || !failed)
		return err;
	at = provider_of(failed);
	if (at < 0) {
		strbuf_printf(why, "cannot attach %s: %s", bpf_program__section_name(failed), strerror(-err));
		return err;
	}
	refuse(l, at, err);
	return -EAGAIN;
}

static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];

	(void)level;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	log_debug("libbpf: %s", line);
	return 0;
}

/* --- counters --- */

static void counters_read(void *arg)
{
	struct loader *l = arg;

	for (int i = 0; i < LOST_COUNT; i++)
		stat_set(l->lost[i], l->skel->bss->lost_cnt[i]);
	for (int i = 0; i < UNDECODED_COUNT; i++)
		stat_set(l->undecoded[i], l->skel->bss->undecoded_cnt[i]);
	for (int i = 1; i < PROTO_COUNT; i++)
		stat_set(l->conns[i], l->skel->bss->conn_cnt[i]);
	stat_set(l->dropped, l->skel->bss->dropped_cnt);
	stat_set(l->missed, twins_missed(l->skel->obj, l->preempts));
}

static void counters_open(struct loader *l)
{
	static const char lost_help[] = "What was lost, by reason; zero means that nothing was";
	static const char undecoded_help[] = "Connections of traced processes that are not decoded, by reason";
	static const char conns_help[] = "Connections recognised, by protocol";

#define X(id, name, help) l->lost[LOST_##id] = stats_cell(STAT_COUNTER, "lost_total", "reason=\"" #name "\"", lost_help);
	LOST(X)
#undef X
#define X(id, name, help) \
	l->undecoded[UNDECODED_##id] = stats_cell(STAT_COUNTER, "undecoded_total", "reason=\"" #name "\"", undecoded_help);
	UNDECODED(X)
#undef X
#define X(id, name) l->conns[PROTO_##id] = stats_cell(STAT_COUNTER, "connections_total", "protocol=\"" #name "\"", conns_help);
	PROTOCOLS(X)
#undef X
	l->missed = stats_cell(STAT_COUNTER, "lost_total", "reason=\"recursion\"", lost_help);
	l->dropped = stats_cell(STAT_COUNTER, "spans_dropped_total", "",
				"Spans that sampling or an ignore rule left out");
	stats_on_read(counters_read, l);
}

/* --- public --- */

int loader_open(struct loader **ret, const struct config *c, struct strbuf *why)
{
	struct loader *l = calloc(1, sizeof(*l));
	struct btf *btf;
	int err;

	must(l);
	libbpf_set_print(print_libbpf);
	btf = btf__load_vmlinux_btf();
	if (!btf) {
		strbuf_adds(why, "cannot capture: this kernel has no type information "
				 "(/sys/kernel/btf/vmlinux is missing; CONFIG_DEBUG_INFO_BTF); use --capture off");
		free(l);
		return -ENOENT;
	}
	find_in_btf(l, btf);
	btf__free(btf);
	l->headers = c->headers && headers_possible();
	l->preempts = probe_tracepoints_preempt();
	do {
		close_object(l);
		err = choose_providers(l, why);
		err = err ?: try_providers(l, c, why);
	} while (err == -EAGAIN);
	if (!err && c->tcp_option)
		err = cgroup_link_open(&l->skel->links.tcp_option, l->skel->progs.tcp_option, why);
	if (!err && l->headers)
		err = headers_open(l->skel, why);
	if (err) {
		close_object(l);
		free(l);
		return err;
	}
	if (c->tcp_option)
		l->old_conns = old_conns_new(l->casts ? l->skel->progs.tcp_option_adopt : NULL);
	note_providers(l);
	counters_open(l);
	*ret = l;
	return 0;
}

void loader_close(struct loader *l)
{
	if (!l)
		return;
	stats_off_read(counters_read, l);
	old_conns_free(l->old_conns);
	close_object(l);
	free(l);
}

int loader_ring_fd(const struct loader *l)
{
	return bpf_map__fd(l->skel->maps.ring);
}

int loader_scan(struct loader *l)
{
	int err = iter_run(l->skel->progs.proc_files);

	return err ?: iter_run(l->skel->progs.proc_tasks);
}

int loader_proc_set(struct loader *l, uint32_t key, uint32_t pid, uint64_t start_ns, uint32_t flags)
{
	struct proc p = { .start_ns = start_ns, .pid = pid, .flags = flags };
	int fd = bpf_map__fd(l->skel->maps.procs), err;

	if (flags & PROC_TOLD)
		l->skel->bss->loops_seen = 1; /* what it tells comes by the same hook */
	err = flags ? bpf_map_update_elem(fd, &key, &p, BPF_ANY) : bpf_map_delete_elem(fd, &key);
	__sync_fetch_and_add(&l->skel->bss->procs_gen, 1); /* connections look it up again */
	return err;
}

void loader_proc_offer(struct loader *l, uint32_t key, uint32_t pid, uint64_t start_ns,
		       uint32_t flags)
{
	struct proc p = { .flags = 0 };
	int fd = bpf_map__fd(l->skel->maps.procs);

	if (bpf_map_lookup_elem(fd, &key, &p) || !(p.flags & PROC_TRACKED))
		loader_proc_set(l, key, pid, start_ns, flags);
}

void loader_proc_end(struct loader *l, uint32_t key, uint64_t start_ns)
{
	struct proc p;
	int fd = bpf_map__fd(l->skel->maps.procs);

	if (!bpf_map_lookup_elem(fd, &key, &p) && p.start_ns == start_ns)
		bpf_map_delete_elem(fd, &key);
}

/* --- what is attached when there is need --- */

static bool attach_late(struct loader *l, enum need need, const char *why)
{
	bool on = false;

	for (int i = 0; i < PROVIDER_CNT; i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(l->skel->obj, PROVIDERS[i].program);
		int err;

		if (!l->chosen[i] || PROVIDERS[i].need != need)
			continue;
		err = attach_one(l, p);
		if (err)
			log_warn("%s, and %s cannot be attached: %s", why, PROVIDERS[i].hook, strerror(-err));
		else
			log_info("%s: %s attached", why, PROVIDERS[i].hook);
		on = !err;
	}
	return on;
}

void loader_adopt(struct loader *l, uint32_t pid)
{
	if (l->old_conns)
		old_conns_adopt(l->old_conns, pid);
}

void loader_attend(struct loader *l)
{
	if (l->old_conns)
		old_conns_rest(l->old_conns);
	if (l->skel->bss->unix_seen && !l->unix_tried) {
		l->unix_tried = true;
		l->skel->bss->unix_on = attach_late(l, UNIX, "a traced program uses Unix-domain sockets");
		note_providers(l);
	}
	if (l->skel->bss->loops_seen && !l->loops_tried) {
		l->loops_tried = true;
		l->skel->bss->loops_on = attach_late(l, LOOP, "a traced program runs an event loop");
		note_providers(l);
	}
}

/* --- functions of programs --- */

struct hook_link {
	enum hook hook;
	struct function_link link;
};

struct hook_link *loader_hook(struct loader *l, enum hook hook, const char *path, uint64_t offset)
{
	int at = PROVIDER_CNT - HOOK_COUNT + (int)hook, err;
	struct hook_link h = {.hook = hook}, *ret;

	if (!l->chosen[at])
		return NULL;
	err = function_link_open(&h.link, bpf_object__find_program_by_name(l->skel->obj, PROVIDERS[at].program),
				 l->multi, path, offset);
	if (err) {
		log_warn("%s of %s cannot be hooked: %s", PROVIDERS[at].hook, path, strerror(-err));
		return NULL;
	}
	log_debug("%s of %s hooked", PROVIDERS[at].hook, path);
	ret = malloc(sizeof(*ret));
	must(ret);
	*ret = h;
	l->hooked[hook]++;
	if (hook == HOOK_SCOPE_ENTERED)
		l->skel->bss->loops_seen = 1; /* the families of contexts begin at accept() */
	loader_attend(l);
	note_providers(l);
	return ret;
}

void loader_unhook(struct loader *l, struct hook_link *h)
{
	l->hooked[h->hook]--;
	function_link_close(&h->link);
	free(h);
	note_providers(l);
}

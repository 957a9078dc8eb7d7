/* SPDX-License-Identifier: Apache-2.0 */
/* procs.c - the table of processes, each described from its /proc/<pid>. The files are read by
 * proc_dir.c; what they mean is decided in names.c, program.c and unit.c; who is traced in
 * discover.c. Called by the drain thread. The invariant: an entry never changes after it was made (a
 * new program gets a new entry, since spans may still point at the old one). */
#include "agent/procs.h"
#include "agent/names.h"
#include "agent/proc_dir.h"
#include "agent/program.h"
#include "agent/span_build.h"
#include "agent/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BUCKETS = 1024,
	FILE_MAX = 128 * 1024, /* of environ and cmdline no more than this is looked at */
	ATTRS_MAX = 32 + NAMES_ATTRS_MAX,
};

static const uint64_t linger_ns = 10ull * NS_PER_S;

struct entry {
	struct proc_info pi; /* first: users hold its address */
	struct entry *next;
	uint64_t ended_ns;    /* monotonic; 0: lives */
	bool is_superseded;   /* another program runs in it now: not to be found any more */
	bool has_instance_id; /* its environment says one */
	struct attr attrs[];  /* and their texts behind them */
};

struct procs {
	char *root, *host, *cluster, *boot_id;
	struct kube *kube;
	char own_unit[UNIT_NAME_MAX];
	struct entry *buckets[BUCKETS];
	size_t ended_cnt; /* entries that a sweep may free */
	char buf[FILE_MAX];
};

/* A process while it is being described. Texts live in the arena until the entry is packed. */
struct draft {
	struct arena a;
	struct proc_info pi;
	bool has_instance_id;
	struct attr at[ATTRS_MAX];
	uint32_t cnt;
};

/* --- drafts --- */

static struct attr *draft_find(struct draft *d, struct str key)
{
	for (uint32_t i = 0; i < d->cnt; i++)
		if (str_eq(d->at[i].key, key))
			return &d->at[i];
	return NULL;
}

/* The first one to set a key wins. */
static struct val *draft_add(struct draft *d, struct str key)
{
	if (d->cnt == ATTRS_MAX || draft_find(d, key))
		return NULL;
	d->at[d->cnt].key = key;
	d->at[d->cnt].val = (struct val){.type = VAL_EMPTY};
	return &d->at[d->cnt++].val;
}

static void draft_add_str(struct draft *d, struct str key, struct str value)
{
	struct val *v = value.len ? draft_add(d, key) : NULL;

	if (v)
		*v = (struct val){.type = VAL_STR, .str = value};
}

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 32) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 29;
}

/* The same process has the same id after a restart of ours: boot, process id and start make it. */
static struct str instance_id(struct procs *p, struct draft *d)
{
	uint64_t w[2] = {0x77697265, 0x7370616e};

	for (int i = 0; i < 2; i++) {
		for (const char *c = p->boot_id; *c; c++)
			w[i] = mix(w[i], (unsigned char)*c);
		w[i] = mix(mix(w[i], d->pi.key), d->pi.start_ns);
	}
	/* Version 8 (custom) and the usual variant of RFC 9562. */
	return str_of(arena_printf(&d->a, "%08x-%04x-8%03x-%04x-%012llx", (uint32_t)(w[0] >> 32),
				   (unsigned)(w[0] >> 16 & 0xffff), (unsigned)(w[0] & 0xfff),
				   (unsigned)(0x8000 | (w[1] >> 48 & 0x3fff)),
				   (unsigned long long)(w[1] & 0xffffffffffff)));
}

/* What differs from one process of a program to the next. */
static void draft_add_own(struct procs *p, struct draft *d)
{
	struct val *v;

	if (!d->has_instance_id)
		draft_add_str(d, STR("service.instance.id"), instance_id(p, d));
	v = d->pi.pid ? draft_add(d, STR("process.pid")) : NULL;
	if (v)
		*v = (struct val){.type = VAL_INT, .i = d->pi.pid};
}

/* --- from draft to entry: one allocation --- */

static size_t val_len(const struct val *v)
{
	return v->type == VAL_STR ? v->str.len : 0;
}

static struct str pack(char **to, struct str s)
{
	struct str at = {*to, s.len};

	if (s.len)
		memcpy(*to, s.p, s.len);
	*to += s.len;
	return at;
}

static struct entry *entry_new(const struct draft *d)
{
	size_t text = d->pi.exe.len + d->pi.service.len;
	struct entry *e;
	char *to;

	for (uint32_t i = 0; i < d->cnt; i++)
		text += d->at[i].key.len + val_len(&d->at[i].val);
	e = calloc(1, sizeof(*e) + d->cnt * sizeof(e->attrs[0]) + text);
	must(e);
	to = (char *)&e->attrs[d->cnt];
	e->pi = d->pi;
	e->has_instance_id = d->has_instance_id;
	kube_hold(e->pi.where);
	e->pi.exe = pack(&to, d->pi.exe);
	e->pi.service = pack(&to, d->pi.service);
	for (uint32_t i = 0; i < d->cnt; i++) {
		e->attrs[i].key = pack(&to, d->at[i].key);
		e->attrs[i].val = d->at[i].val;
		if (d->at[i].val.type == VAL_STR)
			e->attrs[i].val.str = pack(&to, d->at[i].val.str);
	}
	e->pi.res.attrs = (struct attrs){.at = e->attrs, .cnt = d->cnt};
	e->pi.res.schema_url = STR(SEMCONV_SCHEMA_URL);
	return e;
}

static void entry_free(struct entry *e)
{
	kube_put(e->pi.where);
	free(e);
}

/* --- describing --- */

/* In p->buf, until the next one. */
static struct str file_read(struct procs *p, int dir, const char *name)
{
	return proc_dir_read(dir, name, p->buf, sizeof(p->buf));
}

/* A unit that we are in ourselves (a session, a CI job) says nothing of what was started in it. */
static struct str unit_of(struct procs *p, struct draft *d, int dir)
{
	char buf[UNIT_NAME_MAX];
	struct str unit = unit_name(file_read(p, dir, "cgroup"), buf);

	return str_eq(unit, str_of(p->own_unit)) ? STR("") : names_clean(&d->a, unit);
}

static void program_take(struct procs *p, struct draft *d, int dir)
{
	struct program prog;
	int fd;

	d->pi.exe = proc_dir_exe(dir, p->buf, sizeof(p->buf));
	d->pi.exe = arena_str(&d->a, d->pi.exe.p, d->pi.exe.len);
	if (!d->pi.exe.len) {
		/* A kernel thread, or one that we may not look at: its short name is left. */
		struct str comm = file_read(p, dir, "comm");

		comm.len -= comm.len && comm.p[comm.len - 1] == '\n';
		d->pi.service = d->pi.service.len ? d->pi.service : names_clean(&d->a, comm);
		return;
	}
	fd = openat(dir, "exe", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	program_describe(&prog, d->pi.exe, fd, file_read(p, dir, "cmdline"));
	if (fd >= 0)
		close(fd);
	d->pi.is_go = prog.is_go;
	d->pi.is_python = prog.language && !strcmp(prog.language, "python");
	d->pi.is_node = prog.language && !strcmp(prog.language, "nodejs");
	d->pi.is_login |= prog.is_login;
	if (!d->pi.service.len)
		d->pi.service = names_clean(&d->a, prog.name);
	draft_add_str(d, STR("process.executable.name"), names_clean(&d->a, prog.base));
	if (prog.language)
		draft_add_str(d, STR("telemetry.sdk.language"), str_of(prog.language));
}

static void environ_take(struct procs *p, struct draft *d, int dir)
{
	struct names names;

	names_of_environ(&names, &d->a, file_read(p, dir, "environ"));
	d->pi.service = names.service;
	d->has_instance_id = names.has_instance_id;
	for (uint32_t i = 0; i < names.cnt; i++)
		draft_add_str(d, names.at[i].key, names.at[i].value);
}

/* What Kubernetes says of it, before the process has a say. */
static void pod_take(struct procs *p, struct draft *d, int dir)
{
	const struct kube_where *w = kube_get(p->kube, file_read(p, dir, "cgroup"));

	d->pi.where = w;
	if (!w)
		return;
	draft_add_str(d, STR("k8s.namespace.name"), w->pod_namespace);
	draft_add_str(d, STR("k8s.pod.name"), w->pod);
	draft_add_str(d, STR("k8s.pod.uid"), w->pod_uid);
	draft_add_str(d, STR("k8s.container.name"), w->container);
	draft_add_str(d, STR("container.id"), w->container_id);
	draft_add_str(d, STR("container.image.name"), w->image);
	draft_add_str(d, STR("k8s.node.name"), str_of(p->host));
	draft_add_str(d, STR("k8s.cluster.name"), str_of(p->cluster));
	draft_add_str(d, STR("k8s.replicaset.name"), w->replicaset);
	if (w->owner_kind.len)
		draft_add_str(d, str_of(arena_printf(&d->a, "k8s." STR_FMT ".name",
						     STR_ARG(w->owner_kind))),
			      w->owner);
}

/* What the pod says where the process's environment said nothing. */
static void pod_name(struct draft *d)
{
	const struct kube_where *w = d->pi.where;
	struct str said;

	if (!w)
		return;
	if (!d->pi.service.len)
		d->pi.service = kube_service(w);
	said = kube_value(w->annotations, w->annotation_cnt,
			  STR("resource.opentelemetry.io/service.namespace"));
	draft_add_str(d, STR("service.namespace"), said.len ? said : w->pod_namespace);
	if (d->has_instance_id || !w->container.len)
		return;
	d->has_instance_id = true;
	draft_add_str(d, STR("service.instance.id"),
		      str_of(arena_printf(&d->a, STR_FMT "." STR_FMT "." STR_FMT,
					  STR_ARG(w->pod_namespace), STR_ARG(w->pod),
					  STR_ARG(w->container))));
}

static void draft_read(struct procs *p, struct draft *d, int dir)
{
	pod_take(p, d, dir);
	environ_take(p, d, dir);
	pod_name(d);
	if (!d->pi.service.len)
		d->pi.service = unit_of(p, d, dir);
	program_take(p, d, dir);
}

static void draft_inherit(struct draft *d, const struct entry *parent)
{
	d->pi.exe = parent->pi.exe;
	d->pi.service = parent->pi.service;
	d->pi.is_go = parent->pi.is_go;
	d->pi.is_python = parent->pi.is_python;
	d->pi.is_node = parent->pi.is_node;
	d->pi.is_login |= parent->pi.is_login;
	d->pi.ppid = parent->pi.pid;
	d->pi.port = parent->pi.port;
	d->pi.where = kube_hold(parent->pi.where);
	d->has_instance_id = parent->has_instance_id;
	for (uint32_t i = 0; i < parent->pi.res.attrs.cnt; i++) {
		const struct attr *at = &parent->attrs[i];
		struct val *v;

		if (str_eq(at->key, STR("process.pid")) ||
		    (str_eq(at->key, STR("service.instance.id")) && !d->has_instance_id))
			continue;
		v = draft_add(d, at->key);
		if (v)
			*v = at->val;
	}
}

static void draft_finish(struct procs *p, struct draft *d)
{
	if (!d->pi.service.len)
		d->pi.service = str_of(arena_printf(&d->a, "pid %u", d->pi.pid ?: d->pi.key));
	draft_add_str(d, STR("service.name"), d->pi.service);
	draft_add_own(p, d);
	draft_add_str(d, STR("host.name"), str_of(p->host));
	draft_add_str(d, STR("telemetry.distro.name"), STR("wirespan"));
	draft_add_str(d, STR("telemetry.distro.version"), STR(VERSION));
}

/* --- the table --- */

static struct entry *find(struct procs *p, uint32_t key, uint64_t start_ns)
{
	struct entry *e = p->buckets[key % BUCKETS];

	while (e && (e->pi.key != key || e->is_superseded ||
		     (start_ns && e->pi.start_ns && e->pi.start_ns != start_ns)))
		e = e->next;
	return e;
}

static void entry_end(struct procs *p, struct entry *e)
{
	if (!e->ended_ns) {
		e->ended_ns = clock_mono_ns();
		p->ended_cnt++;
	}
}

/* False: it is gone. */
static bool draft_fill(struct procs *p, struct draft *d, const struct entry *parent)
{
	int dir;

	d->pi.is_self = d->pi.pid == (uint32_t)getpid();
	d->pi.is_login = d->pi.pid == 1 || d->pi.key == 1;
	if (parent) {
		draft_inherit(d, parent);
		return true;
	}
	dir = d->pi.pid ? proc_dir_open(p->root, d->pi.pid, d->pi.start_ns, &d->pi.ppid) : -1;
	if (dir < 0)
		return false;
	draft_read(p, d, dir);
	close(dir);
	return true;
}

static struct entry *entry_of(struct procs *p, struct draft *d)
{
	struct entry *e;

	draft_finish(p, d);
	e = entry_new(d);
	kube_put(d->pi.where);
	return e;
}

static struct entry *describe(struct procs *p, struct draft *d, const struct entry *parent)
{
	bool is_there = draft_fill(p, d, parent);
	struct entry *e = entry_of(p, d);

	/* One that was gone already may never be said to have ended. */
	if (!is_there && d->pi.pid)
		entry_end(p, e);
	return e;
}

struct proc_info *procs_get(struct procs *p, uint32_t key, uint32_t pid, uint64_t start_ns,
			    uint32_t parent_key)
{
	struct entry *e = find(p, key, start_ns), *parent = NULL,
		     **bucket = &p->buckets[key % BUCKETS];
	struct draft d = {.pi = {.key = key, .pid = pid, .start_ns = start_ns}};

	if (e)
		return &e->pi;
	procs_ended(p, key); /* an earlier owner of the number */
	if (parent_key && parent_key != key)
		parent = find(p, parent_key, 0);
	arena_init(&d.a, 0);
	e = describe(p, &d, parent);
	arena_fini(&d.a);
	e->next = *bucket;
	*bucket = e;
	return &e->pi;
}

struct proc_info *procs_find(struct procs *p, uint32_t key, uint64_t start_ns)
{
	struct entry *e = find(p, key, start_ns);

	return e ? &e->pi : NULL;
}

struct proc_info *procs_find_pid(struct procs *p, uint32_t pid)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = p->buckets[i]; e; e = e->next)
			if (e->pi.pid == pid && !e->ended_ns)
				return &e->pi;
	return NULL;
}

void procs_changed(struct procs *p, uint32_t key)
{
	for (struct entry *e = p->buckets[key % BUCKETS]; e; e = e->next)
		if (e->pi.key == key) {
			entry_end(p, e);
			e->is_superseded = true;
		}
}

void procs_ended(struct procs *p, uint32_t key)
{
	for (struct entry *e = p->buckets[key % BUCKETS]; e; e = e->next)
		if (e->pi.key == key)
			entry_end(p, e);
}

void procs_sweep(struct procs *p, uint64_t now_mono_ns)
{
	for (size_t i = 0; i < BUCKETS && p->ended_cnt; i++) {
		struct entry **at = &p->buckets[i];

		while (*at) {
			struct entry *e = *at;

			if (!e->ended_ns || e->ended_ns + linger_ns > now_mono_ns) {
				at = &e->next;
				continue;
			}
			*at = e->next;
			entry_free(e);
			p->ended_cnt--;
		}
	}
}

/* What was decided of it. */
static void entry_take_over(struct entry *e, const struct entry *old)
{
	e->pi.flags = old->pi.flags;
	e->pi.port = old->pi.port;
	e->pi.is_noted = old->pi.is_noted;
	e->pi.is_refused = old->pi.is_refused;
}

/* The new entry stands before the old one, which spans may still point at. NULL: the process has just
 * ended, and /proc knows less of it than we do. */
static struct entry *entry_renew(struct procs *p, struct entry *old, struct entry **bucket)
{
	struct draft d = {.pi = {.key = old->pi.key, .pid = old->pi.pid,
				 .start_ns = old->pi.start_ns}};
	struct entry *e = NULL;

	arena_init(&d.a, 0);
	if (draft_fill(p, &d, NULL) && (d.pi.exe.len || !old->pi.exe.len))
		e = entry_of(p, &d);
	else
		kube_put(d.pi.where);
	arena_fini(&d.a);
	if (!e)
		return NULL;
	entry_take_over(e, old);
	e->next = *bucket;
	*bucket = e;
	old->is_superseded = true;
	entry_end(p, old);
	return e;
}

bool procs_refresh(struct procs *p, procs_renewed_fn *fn, void *arg)
{
	if (!kube_refresh(p->kube))
		return false;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = p->buckets[i], *renewed; e; e = e->next) {
			renewed = !e->ended_ns && kube_is_old(e->pi.where)
					  ? entry_renew(p, e, &p->buckets[i])
					  : NULL;
			if (renewed)
				fn(arg, &renewed->pi);
		}
	return true;
}

struct kube *procs_kube(struct procs *p)
{
	return p->kube;
}

/* --- life --- */

/* Our own boot and unit; a tree that lacks them (a test's) has neither. */
static void host_read(struct procs *p)
{
	int root = open(p->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct str text = file_read(p, root, "sys/kernel/random/boot_id");

	p->boot_id = strndup(text.p, text.len);
	must(p->boot_id);
	unit_name(file_read(p, root, "self/cgroup"), p->own_unit);
	if (root >= 0)
		close(root);
}

/* On a node of Kubernetes the host is the node: our own host name is our pod's. */
int procs_new(struct procs **ret, const char *proc_root, const char *host_name,
	      const struct config *c)
{
	struct procs *p = calloc(1, sizeof(*p));
	const char *node = c && c->k8s_node_name ? c->k8s_node_name : host_name;
	int err;

	if (!p)
		return -ENOMEM;
	p->root = strdup(proc_root);
	p->host = strdup(node);
	p->cluster = strdup(c && c->k8s_cluster_name ? c->k8s_cluster_name : "");
	must(p->root && p->host && p->cluster);
	err = kube_new(&p->kube, proc_root, c);
	if (err) {
		procs_free(p);
		return err;
	}
	host_read(p);
	*ret = p;
	return 0;
}

void procs_free(struct procs *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (p->buckets[i]) {
			struct entry *e = p->buckets[i];

			p->buckets[i] = e->next;
			entry_free(e);
		}
	free(p->root);
	free(p->host);
	free(p->cluster);
	free(p->boot_id);
	kube_free(p->kube);
	free(p);
}

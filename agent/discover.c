/* SPDX-License-Identifier: Apache-2.0 */
/* discover.c - one decision per process event: traced or not, and why. Of the selectors
 * (open_ports, exe_path, name, those of discovery.instrument) any match suffices; without one it is
 * enough to listen on TCP. What the kernel half has tracked by itself (a listener on a selected
 * port, a child of a tracked process) stays tracked unless it is a login session or ourselves.
 * Called by the drain thread for each REC_PROC. The invariants: the kernel half is told of every Go
 * program that is traced (it cannot tell), a process that is not traced leaves nothing behind in
 * the table of processes, and the events of one process come in order, so that the last decision is
 * the right one. */
#include "agent/discover.h"
#include "agent/selector.h"
#include "store/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOTES_MAX = 256, WHY_MAX = 96 };

#define SECTION "processes"

struct discover {
	const struct config *conf;
	struct procs *procs;
	discover_set_fn *set;
	void *set_arg;
	uint32_t tracked, noted;
	stat_cell *tracked_cell;
};

bool discover_all_listeners(const struct config *c)
{
	return !c->open_port_cnt && !discover_by_program(c);
}

bool discover_by_program(const struct config *c)
{
	return c->exe_path_cnt || c->name_cnt || c->instrument.cnt;
}

/* --- selectors --- */

static bool port_is_selected(const struct config *c, uint16_t port)
{
	if (discover_all_listeners(c))
		return true;
	for (uint32_t i = 0; i < c->open_port_cnt; i++)
		if (port >= c->open_ports[i].from && port <= c->open_ports[i].to)
			return true;
	return false;
}

static const char *glob_match(char *const *globs, uint32_t cnt, struct str s)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (str_glob(globs[i], s))
			return globs[i];
	return NULL;
}

/* Does a selector match? why: which. */
static bool has_selector(const struct config *c, const struct proc_info *pi, uint16_t port,
			 char *why)
{
	const char *glob;
	uint32_t at;

	if (port && port_is_selected(c, port)) {
		snprintf(why, WHY_MAX, "listens on port %u", port);
		return true;
	}
	glob = glob_match(c->exe_path, c->exe_path_cnt, pi->exe);
	if (glob) {
		snprintf(why, WHY_MAX, "matches exe_path %s", glob);
		return true;
	}
	glob = glob_match(c->name, c->name_cnt, pi->service);
	if (glob) {
		snprintf(why, WHY_MAX, "matches name %s", glob);
		return true;
	}
	at = selectors_match(&c->instrument, pi, port);
	if (at)
		snprintf(why, WHY_MAX, "matches discovery.instrument, number %u", at);
	return at != 0;
}

static bool is_selected(const struct config *c, struct proc_info *pi, uint16_t port, char *why)
{
	if (!has_selector(c, pi, port, why))
		return false;
	pi->port = port;
	return true;
}

/* A fork from before we came, or before its parent was decided on, runs the same program. */
static bool is_like_parent(struct proc_info *pi, const struct proc_info *parent, char *why)
{
	if (!parent || !(parent->flags & PROC_TRACKED) || !str_eq(parent->exe, pi->exe))
		return false;
	pi->port = parent->port;
	snprintf(why, WHY_MAX, "child of %u", parent->pid);
	return true;
}

/* What runs the cluster is left out unless it is asked for by its namespace's name. */
static bool is_clusters(const struct config *c, const struct proc_info *pi)
{
	static const char system[] = "kube-system";

	return pi->where && str_eq(pi->where->pod_namespace, str_of(system)) &&
	       !selectors_name_namespace(&c->instrument, system);
}

static bool is_never(const struct config *c, const struct proc_info *pi, uint16_t port)
{
	return pi->is_login || pi->is_self || is_clusters(c, pi) ||
	       selectors_match(&c->exclude, pi, port);
}

/* --- notes for /status --- */

static void note_key(const struct proc_info *pi, char buf[16])
{
	snprintf(buf, 16, "%u", pi->pid ? pi->pid : pi->key);
}

static void note_rest(struct discover *d)
{
	stat_set(d->tracked_cell, d->tracked);
	if (d->tracked > d->noted)
		stats_note(SECTION, "more", "%u more are traced", d->tracked - d->noted);
	else
		stats_note_drop(SECTION, "more");
}

static void note(struct discover *d, struct proc_info *pi, const char *why)
{
	char key[16];

	d->tracked++;
	if (d->noted < NOTES_MAX) {
		note_key(pi, key);
		stats_note(SECTION, key, STR_FMT " (" STR_FMT ") %s", STR_ARG(pi->service),
			   STR_ARG(pi->exe), why);
		pi->is_noted = true;
		d->noted++;
	}
	note_rest(d);
}

static void note_drop(struct discover *d, struct proc_info *pi)
{
	char key[16];

	d->tracked--;
	if (pi->is_noted) {
		note_key(pi, key);
		stats_note_drop(SECTION, key);
		pi->is_noted = false;
		d->noted--;
	}
	note_rest(d);
}

/* --- decisions --- */

/* The kernel half need not be told what it did itself, but for Go, which it cannot know, and for a
 * listener: our answer to an exec of before may just have undone it. */
static void track(struct discover *d, struct proc_info *pi, bool in_kernel, const char *why)
{
	uint32_t flags = PROC_TRACKED | (pi->is_go ? PROC_GO : 0);

	pi->is_refused = false;
	if (pi->flags & PROC_TRACKED)
		return;
	if (!in_kernel || pi->is_go)
		d->set(d->set_arg, pi, flags);
	pi->flags = flags;
	note(d, pi, why);
	log_debug("tracing %u " STR_FMT ": %s", pi->pid, STR_ARG(pi->service), why);
}

static void forget(struct discover *d, struct proc_info *pi)
{
	if (pi->flags)
		note_drop(d, pi);
	pi->flags = 0;
}

/* Ours and the kernel half's memory of a process that is not traced, or not any more. */
static void untrack(struct discover *d, struct proc_info *pi, bool in_kernel)
{
	if (in_kernel || pi->flags)
		d->set(d->set_arg, pi, 0);
	forget(d, pi);
}

/* The kernel half's ports are those of all selectors together: whether this process may have this
 * one is not for it to say. Nor does it know yet of a parent that is no longer traced. */
static bool kernel_is_right(const struct discover *d, const struct rec_proc *rp,
			    const struct proc_info *pi, const struct proc_info *parent)
{
	if (rp->what == PROC_FORK)
		return rp->tracked && (parent ? parent->flags & PROC_TRACKED : !rp->undecided);
	return rp->tracked && !rp->undecided && (pi->flags & PROC_TRACKED || !d->conf->instrument.cnt);
}

static void decide(struct discover *d, const struct rec_proc *rp, struct proc_info *pi,
		   const struct proc_info *parent)
{
	char why[WHY_MAX] = "child of a traced process";

	pi->is_refused = rp->tracked; /* if we come to the end of this */
	if (is_never(d->conf, pi, rp->port)) {
		untrack(d, pi, rp->tracked);
		if (rp->tracked && rp->undecided)
			procs_ended(d->procs, pi->key); /* but for the spans that are on their way */
		/* It stays known: it may have forked before the kernel half heard of this. */
		if (rp->tracked)
			return;
	} else if (is_selected(d->conf, pi, rp->port, why) || is_like_parent(pi, parent, why) ||
		   kernel_is_right(d, rp, pi, parent)) {
		track(d, pi, rp->tracked && !rp->undecided && rp->what != PROC_LISTEN, why);
		return;
	}
	if (rp->tracked && !pi->flags)
		d->set(d->set_arg, pi, 0);
	if (!is_never(d->conf, pi, 0) && selectors_may_match(&d->conf->instrument, pi)) {
		d->set(d->set_arg, pi, PROC_UNDECIDED | PROC_CANDIDATE);
		return; /* known until the kernel half says that it ended */
	}
	if (rp->undecided)
		d->set(d->set_arg, pi, PROC_UNDECIDED);
	if (pi->is_refused)
		procs_ended(d->procs, pi->key); /* its spans are behind us soon */
	else if (!pi->flags)
		procs_changed(d->procs, pi->key); /* it may never be said to have ended */
}

static struct proc_info *info(struct discover *d, const struct rec_proc *rp, uint32_t parent_key)
{
	return procs_get(d->procs, rp->head.key, rp->pid, rp->start_ns, parent_key);
}

static void on_found(struct discover *d, const struct rec_proc *rp)
{
	struct proc_info *pi = info(d, rp, 0);

	decide(d, rp, pi, pi->ppid ? procs_find_pid(d->procs, pi->ppid) : NULL);
}

/* A traced program that starts itself anew (an upgrade in place) goes on with the sockets that it
 * listens on, and nobody would hear of them. Any other program has to be found by path or name, and
 * without such selectors not every exec of the machine is worth a look at /proc. */
static void on_exec(struct discover *d, const struct rec_proc *rp)
{
	struct proc_info *old = procs_find(d->procs, rp->head.key, rp->start_ns), *pi;
	bool was_tracked = old && (old->flags & PROC_TRACKED);

	if (old)
		forget(d, old);
	procs_changed(d->procs, rp->head.key);
	if (!was_tracked && !discover_by_program(d->conf))
		return;
	pi = info(d, rp, 0);
	if (was_tracked && !is_never(d->conf, pi, 0) && str_eq(pi->exe, old->exe) &&
	    str_eq(pi->service, old->service)) {
		pi->port = old->port;
		track(d, pi, false, "was traced and runs the same program again");
	} else {
		decide(d, rp, pi, NULL);
	}
	if (was_tracked && !pi->flags) /* what we said of the old program may have come after the exec */
		d->set(d->set_arg, pi, 0);
}

static void on_fork(struct discover *d, const struct rec_proc *rp)
{
	struct proc_info *pi = info(d, rp, rp->parent_key);

	decide(d, rp, pi, procs_find(d->procs, rp->parent_key, 0));
}

/* Told even when we do not know it: the kernel half leaves it to us to take its entry out. */
static void on_exit_of(struct discover *d, const struct rec_proc *rp)
{
	struct proc_info *pi = procs_find(d->procs, rp->head.key, rp->start_ns);
	const struct proc_info gone = {
		.key = rp->head.key, .pid = rp->pid, .start_ns = rp->start_ns};

	if (pi)
		forget(d, pi);
	procs_ended(d->procs, rp->head.key);
	d->set(d->set_arg, &gone, 0);
}

void discover_event(struct discover *d, const struct rec_proc *rp)
{
	switch ((enum rec_proc_what)rp->what) {
	case PROC_FOUND:
		on_found(d, rp);
		break;
	case PROC_LISTEN:
		decide(d, rp, info(d, rp, 0), NULL);
		break;
	case PROC_EXEC:
		on_exec(d, rp);
		break;
	case PROC_FORK:
		on_fork(d, rp);
		break;
	case PROC_EXIT:
		on_exit_of(d, rp);
		break;
	}
}

void discover_renewed(struct discover *d, struct proc_info *pi)
{
	char why[WHY_MAX];

	if (is_never(d->conf, pi, pi->port) || !has_selector(d->conf, pi, pi->port, why))
		untrack(d, pi, false);
}

/* --- life --- */

int discover_new(struct discover **ret, const struct config *c, struct procs *procs,
		 discover_set_fn *set, void *set_arg)
{
	struct discover *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = (struct discover){.conf = c, .procs = procs, .set = set, .set_arg = set_arg};
	d->tracked_cell =
		stats_cell(STAT_GAUGE, "tracked_processes", "", "Processes that are traced.");
	*ret = d;
	return 0;
}

void discover_free(struct discover *d)
{
	free(d);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c - the one thread between the ring buffer and the store. It wakes when the kernel half says
 * that much waits, and by itself 20 times a second; spans of one round go to the store together. It
 * owns all memory of names (procs, discover, stmt, route). The invariant: records are handled in the
 * order of the ring, since a span refers to a process and a statement that came before it. */
#include "agent/drain.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/discover.h"
#include "agent/runtimes.h"
#include "agent/span_build.h"
#include "store/stats.h"

enum {
	POLL_MS = 50,		/* an idle node */
	KUBE_WAIT_MS = 3000,	/* for the first answer of an API server */
	POLL_BUSY_MS = 10,	/* the last round brought a lot: do not let the kernel half wake us */
	BUSY_RECORDS = 200,
	BATCH_MAX = 256,	/* spans handed over at once */
	STMTS_MAX = 65536,	/* a pool of 1,000 connections has 50 each; 72 bytes when used */
	ENDING_MAX = 4096,	/* processes that have ended and may still have open sockets */
	CLOCK_STEP_NS = 100 * NS_PER_MS, /* a jump of the wall clock that is followed */
};

#define PROC_ROOT    "/proc"
#define HOUSEKEEP_NS (1ull * NS_PER_S)
#define PROC_END_NS  (5ull * NS_PER_S)
#define RESCAN_NS    (5ull * NS_PER_S) /* all processes are looked at again, no more often */

struct ending {
	uint32_t key;
	uint64_t start_ns, at_mono_ns;
};

struct drain {
	struct loader *loader;
	struct store *store;
	struct ring_buffer *ring;
	struct procs *procs;
	struct discover *discover;
	struct runtimes *runtimes;
	struct span_builder builder;
	struct arena arena; /* of the spans in batch */
	struct span batch[BATCH_MAX];
	uint32_t batch_cnt;
	bool exiting; /* the event at hand is a process's end */
	struct ending ending[ENDING_MAX];
	uint32_t ending_head, ending_tail;
	uint64_t housekept_ns, scanned_ns;
	bool is_scan_due; /* pods have changed */
	stat_cell *spans, *bad;
	pthread_t thread;
	_Atomic bool stop;
};

/* --- time --- */

static int64_t boot_to_real_ns(void)
{
	return (int64_t)(clock_real_ns() - clock_boot_ns());
}

/* One offset for all spans of a boot, or children would start before their parents; only a clock
 * that was set is followed. */
static void clock_follow(struct drain *d)
{
	int64_t now = boot_to_real_ns(), step = now - d->builder.boot_to_real_ns;

	if (step > CLOCK_STEP_NS || step < -CLOCK_STEP_NS) {
		log_info("the clock was set: spans move by %lld ms", (long long)(step / NS_PER_MS));
		d->builder.boot_to_real_ns = now;
	}
}

/* --- processes --- */

/* Sockets of a process that ended are closed after it says so: its entry stays for them. */
static void proc_end_later(struct drain *d, const struct proc_info *pi)
{
	struct ending *e = &d->ending[d->ending_tail % ENDING_MAX];

	if (d->ending_tail - d->ending_head == ENDING_MAX) {
		loader_proc_end(d->loader, pi->key, pi->start_ns);
		return;
	}
	*e = (struct ending){ pi->key, pi->start_ns, clock_mono_ns() + PROC_END_NS };
	d->ending_tail++;
}

static void procs_end(struct drain *d, uint64_t now)
{
	for (; d->ending_head != d->ending_tail; d->ending_head++) {
		struct ending *e = &d->ending[d->ending_head % ENDING_MAX];

		if (e->at_mono_ns > now)
			return;
		loader_proc_end(d->loader, e->key, e->start_ns);
	}
}

static void on_decision(void *arg, const struct proc_info *pi, uint32_t flags)
{
	struct drain *d = arg;

	if (d->exiting && !flags) {
		proc_end_later(d, pi);
		return;
	}
	if (flags & PROC_UNDECIDED)
		loader_proc_offer(d->loader, pi->key, pi->pid, pi->start_ns,
				  flags & PROC_CANDIDATE ? flags : 0);
	else if (loader_proc_set(d->loader, pi->key, pi->pid, pi->start_ns, flags) && flags)
		log_warn("process %u cannot be traced: the kernel's table is full", pi->pid);
	/* That it is Go the kernel half must know at once: it may have answered already. The hooks take some
	 * milliseconds, and hang before /status says that it is traced. */
	if (flags & PROC_GO)
		runtimes_watch(d->runtimes, pi, false);
}

/* Whoever is born of a traced process has connections that were adopted with it. */
static void conns_adopt(struct drain *d, const struct rec_proc *rp, struct proc_info *pi)
{
	if (!pi->is_adopted && rp->what != PROC_FORK)
		loader_adopt(d->loader, pi->pid);
	pi->is_adopted = true;
}

static void on_proc(struct drain *d, const struct rec_proc *rp)
{
	struct proc_info *pi;

	if (rp->what == PROC_EXIT || rp->what == PROC_EXEC)
		runtimes_leave(d->runtimes, rp->head.key);
	d->exiting = rp->what == PROC_EXIT;
	discover_event(d->discover, rp);
	d->exiting = false;
	pi = rp->what == PROC_EXIT ? NULL : procs_find(d->procs, rp->head.key, rp->start_ns);
	if (pi && pi->flags & PROC_TRACKED) {
		conns_adopt(d, rp, pi);
		runtimes_watch(d->runtimes, pi, rp->what != PROC_EXEC);
	} else {
		runtimes_leave(d->runtimes, rp->head.key);
	}
}

static struct hook_link *on_function(void *arg, enum hook hook, const char *path, uint64_t offset)
{
	return loader_hook(((struct drain *)arg)->loader, hook, path, offset);
}

static void on_function_left(void *arg, struct hook_link *h)
{
	loader_unhook(((struct drain *)arg)->loader, h);
}

static void on_told(void *arg, uint32_t key, uint64_t start_ns)
{
	struct drain *d = arg;
	struct proc_info *pi = procs_find(d->procs, key, start_ns);

	if (!pi || !(pi->flags & PROC_TRACKED))
		return;
	pi->flags |= PROC_TOLD;
	loader_proc_set(d->loader, pi->key, pi->pid, pi->start_ns, pi->flags);
	loader_attend(d->loader); /* the hook by which it tells */
}

static void on_renewed(void *arg, struct proc_info *pi)
{
	discover_renewed(((struct drain *)arg)->discover, pi);
}

/* What the API server said of pods may select processes that were left alone before. Those are not
 * known any more, so the kernel half names all of them again. */
static void pods_follow(struct drain *d, uint64_t now)
{
	const struct config *c = d->builder.conf;
	int err;

	d->is_scan_due |= procs_refresh(d->procs, on_renewed, d) &&
			  (discover_by_program(c) || c->exclude.cnt);
	if (!d->is_scan_due || now - d->scanned_ns < RESCAN_NS)
		return;
	d->is_scan_due = false;
	d->scanned_ns = now;
	err = loader_scan(d->loader);
	if (err)
		log_warn("cannot look at the processes again: %s", strerror(-err));
}

/* --- spans --- */

static void batch_flush(struct drain *d)
{
	if (d->batch_cnt)
		store_append(d->store, d->batch, d->batch_cnt); /* counts what it does not take */
	d->batch_cnt = 0;
	arena_reset(&d->arena);
}

static void on_span(struct drain *d, const struct rec_span *rs, size_t len)
{
	struct proc_info *pi = procs_get(d->procs, rs->head.key, rs->pid, rs->proc_start_ns, 0);

	if (pi->is_refused)
		return;
	if (span_build(&d->builder, &d->arena, rs, len, pi, &d->batch[d->batch_cnt])) {
		stat_add(d->bad, 1);
		return;
	}
	stat_add(d->spans, 1);
	if (++d->batch_cnt == BATCH_MAX)
		batch_flush(d);
}

static int on_record(void *arg, void *data, size_t len)
{
	struct drain *d = arg;
	const struct rec_head *h = data;

	if (len < sizeof(*h) || h->version != RECORD_VERSION || h->len != len)
		stat_add(d->bad, 1);
	else if (h->type == REC_SPAN && len >= offsetof(struct rec_span, text))
		on_span(d, data, len);
	else if (h->type == REC_STMT && len >= offsetof(struct rec_stmt, text))
		stmts_add(d->builder.stmts, data, len - offsetof(struct rec_stmt, text));
	else if (h->type == REC_PROC && len == sizeof(struct rec_proc))
		on_proc(d, data);
	else
		stat_add(d->bad, 1);
	return 0;
}

/* --- the thread --- */

static void housekeep(struct drain *d)
{
	uint64_t now = clock_mono_ns();

	if (now - d->housekept_ns < HOUSEKEEP_NS)
		return;
	d->housekept_ns = now;
	clock_follow(d);
	procs_end(d, now);
	procs_sweep(d->procs, now);
	pods_follow(d, now);
}

static void *drain_run(void *arg)
{
	struct drain *d = arg;
	int n, timeout_ms = POLL_MS;

	thread_yields(); /* to the traced: the ring holds what comes in the meantime */
	while (!d->stop) {
		ring_buffer__poll(d->ring, timeout_ms);
		n = ring_buffer__consume(d->ring); /* most records do not wake us */
		timeout_ms = n > BUSY_RECORDS ? POLL_BUSY_MS : POLL_MS;
		batch_flush(d);
		loader_attend(d->loader);
		runtimes_attend(d->runtimes);
		housekeep(d);
	}
	ring_buffer__consume(d->ring);
	batch_flush(d);
	return NULL;
}

static int names_open(struct drain *d, const struct config *c)
{
	char host[256] = "";
	int err;

	gethostname(host, sizeof(host) - 1);
	d->builder.conf = c;
	d->builder.boot_to_real_ns = boot_to_real_ns();
	d->runtimes = runtimes_new(PROC_ROOT, &(struct runtimes_attacher){on_function, on_function_left, on_told,
									 d, c->node});
	err = procs_new(&d->procs, PROC_ROOT, host, c);
	d->builder.kube = err ? NULL : procs_kube(d->procs);
	if (!err)
		kube_wait(d->builder.kube, KUBE_WAIT_MS);
	err = err ?: discover_new(&d->discover, c, d->procs, on_decision, d);
	err = err ?: routes_new(&d->builder.routes, c->max_routes);
	return err ?: stmts_new(&d->builder.stmts, STMTS_MAX, c->sanitize_sql);
}

static void drain_free(struct drain *d)
{
	ring_buffer__free(d->ring);
	runtimes_free(d->runtimes);
	discover_free(d->discover);
	procs_free(d->procs);
	routes_free(d->builder.routes);
	stmts_free(d->builder.stmts);
	arena_fini(&d->arena);
	free(d);
}

int drain_start(struct drain **ret, struct loader *l, const struct config *c, struct store *s,
		struct strbuf *why)
{
	struct drain *d = calloc(1, sizeof(*d));
	int err;

	must(d);
	d->loader = l;
	d->store = s;
	d->spans = stats_cell(STAT_COUNTER, "spans_total", "", "Spans made from what the kernel saw");
	d->bad = stats_cell(STAT_COUNTER, "lost_total", "reason=\"bad_record\"",
			    "What was lost, by reason; zero means that nothing was");
	arena_init(&d->arena, 0);
	err = names_open(d, c);
	if (!err && !(d->ring = ring_buffer__new(loader_ring_fd(l), on_record, d, NULL)))
		err = -errno;
	err = err ?: loader_scan(l);
	if (!err)
		ring_buffer__consume(d->ring); /* ready means: whoever is there is traced */
	err = err ?: -pthread_create(&d->thread, NULL, drain_run, d);
	if (err) {
		strbuf_printf(why, "cannot begin to read what the kernel sees: %s", strerror(-err));
		drain_free(d);
		return err;
	}
	*ret = d;
	return 0;
}

void drain_stop(struct drain *d)
{
	if (!d)
		return;
	d->stop = true;
	pthread_join(d->thread, NULL);
	drain_free(d);
}

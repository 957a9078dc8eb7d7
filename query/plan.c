/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - finds candidate traces: walks the spans of the range, newest stored first, asks the
 * filters of the first stage about each span alone, and loads each trace that has a promising span
 * once, whole. A trace is judged by its own start and end, so the walk reaches a little beyond the
 * range on both sides; what of a trace lies further away than that, in partitions that the read
 * does not have, is not seen. */
#include "query/plan.h"

#include <errno.h>
#include <string.h>

static const uint64_t MARGIN_NS = 600ull * NS_PER_S;

/* --- trace ids, each once --- */
struct seen {
	struct arena *arena;
	uint8_t (*ids)[16];
	bool *used;
	uint32_t cap, cnt; /* cap: a power of two */
	uint64_t seed;	   /* so that nobody can choose ids that collide */
};

static uint32_t id_hash(const uint8_t id[16], uint64_t seed)
{
	uint64_t a, b;

	memcpy(&a, id, 8);
	memcpy(&b, id + 8, 8);
	a = (a ^ seed) * 0xff51afd7ed558ccdull;
	a = (a ^ (a >> 33) ^ b) * 0xc4ceb9fe1a85ec53ull;
	a = (a ^ (a >> 29) ^ seed) * 0xff51afd7ed558ccdull;
	return (uint32_t)(a >> 32);
}

/* The slot with this id, or the free one for it. */
static uint32_t seen_slot(const struct seen *s, const uint8_t id[16])
{
	uint32_t h = id_hash(id, s->seed);

	while (s->used[h & (s->cap - 1)] && memcmp(s->ids[h & (s->cap - 1)], id, 16) != 0)
		h++;
	return h & (s->cap - 1);
}

static int seen_grow(struct seen *s)
{
	struct seen old = *s;

	s->cap = old.cap ? old.cap * 2 : 256;
	s->ids = arena_alloc(s->arena, s->cap * sizeof(*s->ids));
	s->used = arena_array(s->arena, bool, s->cap);
	if (!s->ids || !s->used)
		return -ERANGE;
	for (uint32_t i = 0; i < old.cap; i++) {
		uint32_t to;

		if (!old.used[i])
			continue;
		to = seen_slot(s, old.ids[i]);
		memcpy(s->ids[to], old.ids[i], 16);
		s->used[to] = true;
	}
	return 0;
}

/* 1: new; 0: was there; -ERANGE. */
static int seen_add(struct seen *s, const uint8_t id[16])
{
	uint32_t at;

	if (s->cnt * 2 >= s->cap && seen_grow(s))
		return -ERANGE;
	at = seen_slot(s, id);
	if (s->used[at])
		return 0;
	memcpy(s->ids[at], id, 16);
	s->used[at] = true;
	s->cnt++;
	return 1;
}

/* --- the walk --- */
struct walk {
	struct plan *plan;
	struct eval probe; /* one span alone */
	struct seen seen;
	plan_trace_fn *trace_fn;
	plan_span_fn *span_fn;
	void *arg;
};

static uint64_t before(uint64_t ns)
{
	return ns > MARGIN_NS ? ns - MARGIN_NS : 0;
}

static uint64_t after(uint64_t ns)
{
	return ns < UINT64_MAX - MARGIN_NS ? ns + MARGIN_NS : UINT64_MAX;
}

static uint64_t span_bytes(const struct span *sp)
{
	return sizeof(*sp) + sp->attrs.cnt * sizeof(*sp->attrs.at) +
	       sp->event_cnt * sizeof(*sp->events) + sp->link_cnt * sizeof(*sp->links);
}

static int count(struct plan *p, const struct span *sp)
{
	p->inspected_spans++;
	p->inspected_bytes += span_bytes(sp);
	return query_poll(p->q);
}

static bool promising(struct walk *w, const struct span *sp)
{
	struct plan *p = w->plan;

	if (sp->end_ns < before(p->from_ns) || sp->start_ns > after(p->to_ns))
		return false;
	if (!p->tql)
		return true;
	trace_init(&w->probe.trace, sp, 1);
	return eval_candidate(&w->probe, p->tql->pipe, 0);
}

static bool in_range(const struct plan *p, const struct span *spans, size_t cnt)
{
	uint64_t start = UINT64_MAX, end = 0;

	for (size_t i = 0; i < cnt; i++) {
		start = spans[i].start_ns < start ? spans[i].start_ns : start;
		end = spans[i].end_ns > end ? spans[i].end_ns : end;
	}
	return cnt && start <= p->to_ns && (end > start ? end : start) >= p->from_ns;
}

static int load(struct walk *w, const uint8_t trace_id[16])
{
	struct plan *p = w->plan;
	struct span *spans;
	size_t cnt = 0;
	int err;

	arena_reset(&p->q->scratch);
	err = store_trace(p->q->read, &p->q->scratch, trace_id, &spans, &cnt);
	if (err == -ENOMEM || cnt > UINT32_MAX / 2)
		return query_fail_memory(p->q);
	if (err)
		return query_fail(p->q, err, "the store cannot be read: %s", strerror(-err));
	return in_range(p, spans, cnt) ? w->trace_fn(w->arg, spans, (uint32_t)cnt) : 0;
}

static int on_trace(void *arg, const struct span *sp)
{
	struct walk *w = arg;
	int rc = count(w->plan, sp);
	bool yes = !rc && promising(w, sp);

	rc = rc ?: w->probe.err;
	if (rc || !yes)
		return rc;
	rc = seen_add(&w->seen, sp->trace_id);
	if (rc < 0)
		return query_fail_memory(w->plan->q);
	return rc ? load(w, sp->trace_id) : 0;
}

static int on_span(void *arg, const struct span *sp)
{
	struct walk *w = arg;
	int rc = count(w->plan, sp);

	if (rc || !in_range(w->plan, sp, 1))
		return rc;
	return w->span_fn(w->arg, sp);
}

static int walk(struct walk *w, store_span_fn *fn)
{
	struct plan *p = w->plan;
	int rc = query_read(p->q, before(p->from_ns), after(p->to_ns));

	rc = rc ?: store_walk(p->q->read, fn, w);
	if (rc < 0 && !*query_error(p->q))
		return query_fail(p->q, rc, "the store cannot be read: %s", strerror(-rc));
	return rc < 0 ? rc : 0;
}

int plan_traces(struct plan *p, plan_trace_fn *fn, void *arg)
{
	struct walk w = {.plan = p, .trace_fn = fn, .arg = arg};

	eval_init(&w.probe, p->q, p->tql);
	w.seen.arena = &p->q->arena;
	w.seen.seed = clock_mono_ns();
	return walk(&w, on_trace);
}

int plan_spans(struct plan *p, plan_span_fn *fn, void *arg)
{
	struct walk w = {.plan = p, .span_fn = fn, .arg = arg};

	return walk(&w, on_span);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - finds candidate traces: walks the spans of the range, newest stored first, asks some of
 * the query's filters about each span alone, and loads each trace that has a promising span once,
 * whole. A trace is judged by its own start and end, so the walk reaches a little beyond the range
 * on both sides; what of a trace lies further away than that, in partitions that the read does not
 * have, is not seen.
 *
 * Of two sides that a trace must both have, only the one with fewer spans in the first block is
 * looked for. In a block candidates come by start, the newest first, so that a search for the most
 * recent traces can leave out most of them. */
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

/* --- what to look for --- */

/* Every trace that the query finds has a span that one of the filters accepts. */
enum { FILTERS_MAX = 16 };

struct filters {
	const struct expr *at[FILTERS_MAX];
	uint32_t cnt;
	bool all; /* no filters: every span will do */
};

typedef uint64_t weigh_fn(void *arg, const struct expr *x);

static void filters_join(struct filters *to, const struct filters *more)
{
	to->all = to->all || more->all || to->cnt + more->cnt > FILTERS_MAX;
	for (uint32_t i = 0; i < more->cnt && !to->all; i++)
		to->at[to->cnt++] = more->at[i];
}

static uint64_t filters_weigh(const struct filters *f, weigh_fn *weigh, void *arg)
{
	uint64_t sum = f->all ? UINT32_MAX : 0;

	for (uint32_t i = 0; i < f->cnt && !f->all; i++)
		sum += weigh(arg, f->at[i]);
	return sum;
}

/* Whether the left side has to be there too, or instead. */
static struct filters filters_of(const struct stage *s, weigh_fn *weigh, void *arg)
{
	struct filters l, r, one = {.at = {s->expr}, .cnt = 1};
	const struct op_row *op = &ops_table[s->op];

	if (s->kind == STAGE_FILTER)
		return s->expr ? one : (struct filters){.all = true};
	if (s->kind == STAGE_NUMBER)
		return (struct filters){0};
	if (s->kind != STAGE_SETOP && s->kind != STAGE_MATH)
		return (struct filters){.all = true};
	r = filters_of(s->r, weigh, arg);
	if (op->negated && s->kind == STAGE_SETOP)
		return r;
	l = filters_of(s->l, weigh, arg);
	if (s->op == OP_OR || s->kind == STAGE_MATH)
		filters_join(&r, &l);
	else if (weigh && filters_weigh(&l, weigh, arg) < filters_weigh(&r, weigh, arg))
		return l;
	return r;
}

/* --- the walk --- */
struct candidate {
	uint64_t start_ns, chunk;
};

struct walk {
	struct plan *plan;
	struct eval probe; /* one span alone */
	struct arena mem;  /* of a block */
	struct seen seen;
	struct filters filters;
	bool has_filters;
	plan_trace_fn *trace_fn;
	plan_span_fn *span_fn;
	const struct plan_rows *rows;
	void *arg;
	const struct column_block *block;
	struct candidate *heap; /* the newest on top */
	uint32_t heap_cnt;
};

static uint64_t before(uint64_t ns)
{
	return ns > MARGIN_NS ? ns - MARGIN_NS : 0;
}

static uint64_t after(uint64_t ns)
{
	return ns < UINT64_MAX - MARGIN_NS ? ns + MARGIN_NS : UINT64_MAX;
}

/* No trace with a span that starts then can be wanted any more. */
static bool is_below(const struct plan *p, uint64_t start_ns)
{
	return p->floor_ns && start_ns <= p->floor_ns;
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

static int count_block(struct walk *w, const struct column_block *b)
{
	w->plan->inspected_spans += b->spans;
	w->plan->inspected_bytes += b->bytes;
	arena_reset(&w->mem);
	return query_poll_now(w->plan->q);
}

static struct columnar columnar_of(struct walk *w, const struct column_block *b, uint32_t group)
{
	return (struct columnar){&w->probe, b, &b->groups[group], &w->mem};
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

/* --- traces --- */

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

static int load_once(struct walk *w, const uint8_t trace_id[16])
{
	int rc = seen_add(&w->seen, trace_id);

	if (rc < 0)
		return query_fail_memory(w->plan->q);
	return rc ? query_poll(w->plan->q) ?: load(w, trace_id) : 0;
}

/* Whether a division by zero counts is known when the whole trace is: it may not be in the range.
 */
static bool maybe_true(struct eval *e, const struct expr *x)
{
	bool yes = eval_true(e, x, 0);

	if (e->err != -EDOM)
		return yes;
	e->err = query_fail(e->q, 0, "%s", "");
	return true;
}

static bool promising(struct walk *w, const struct span *sp)
{
	const struct plan *p = w->plan;
	const struct filters *f = &w->filters;

	if (sp->end_ns < before(p->from_ns) || sp->start_ns > after(p->to_ns) ||
	    is_below(p, sp->start_ns))
		return false;
	if (!w->has_filters && p->tql) {
		w->filters = filters_of(p->tql->pipe, NULL, NULL);
		w->has_filters = true;
	}
	if (f->all)
		return true;
	trace_init(&w->probe.trace, sp, 1);
	for (uint32_t i = 0; i < f->cnt; i++)
		if (f->at[i]->whole || maybe_true(&w->probe, f->at[i]))
			return true;
	return false;
}

static int on_trace(void *arg, const struct span *sp)
{
	struct walk *w = arg;
	int rc = count(w->plan, sp);
	bool yes = !rc && promising(w, sp);

	rc = rc ?: w->probe.err;
	return rc || !yes ? rc : load_once(w, sp->trace_id);
}

/* --- traces by column --- */

static uint64_t weigh(void *arg, const struct expr *x)
{
	struct walk *w = arg;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < w->block->group_cnt && !w->probe.err; i++) {
		struct columnar c = columnar_of(w, w->block, i);
		struct rows rows;

		if (columnar_rows(&c, x, &rows) == 0)
			sum += rows_count(&rows);
	}
	return sum;
}

static void heap_sift(struct walk *w, uint32_t i)
{
	for (;;) {
		uint32_t most = i;

		for (uint32_t k = 2 * i + 1; k <= 2 * i + 2 && k < w->heap_cnt; k++)
			if (w->heap[k].start_ns > w->heap[most].start_ns)
				most = k;
		if (most == i)
			return;
		struct candidate swap = w->heap[i];
		w->heap[i] = w->heap[most];
		w->heap[most] = swap;
		i = most;
	}
}

/* Spans of one trace come side by side: of those only the newest is kept. */
static void candidate_add(struct walk *w, uint64_t start_ns, uint64_t chunk)
{
	struct candidate *last = w->heap_cnt ? &w->heap[w->heap_cnt - 1] : NULL;

	if (is_below(w->plan, start_ns))
		return;
	if (last && last->chunk == chunk)
		last->start_ns = start_ns > last->start_ns ? start_ns : last->start_ns;
	else
		w->heap[w->heap_cnt++] = (struct candidate){start_ns, chunk};
}

static void candidates_of_rows(struct walk *w, const struct columnar *c, const struct rows *rows)
{
	uint64_t start[COLUMN_RUN], chunk[COLUMN_RUN];
	uint32_t read_to = 0, from = 0;

	for (uint32_t row = rows_next(rows, 0); row < rows->cnt; row = rows_next(rows, row + 1)) {
		if (row >= read_to) {
			uint32_t n;

			from = row / COLUMN_RUN * COLUMN_RUN;
			n = rows->cnt - from < COLUMN_RUN ? rows->cnt - from : COLUMN_RUN;
			column_read(&c->group->columns[COLUMN_START], from, n, start);
			column_read(&c->group->columns[COLUMN_CHUNK], from, n, chunk);
			read_to = from + n;
		}
		candidate_add(w, c->block->min_start_ns + start[row - from], chunk[row - from]);
	}
}

static int candidates_of_group(struct walk *w, struct columnar *c)
{
	struct rows rows;
	int err = 0;

	if (w->filters.all) {
		err = columnar_rows(c, NULL, &rows);
		if (!err)
			candidates_of_rows(w, c, &rows);
	}
	for (uint32_t i = 0; i < w->filters.cnt && !w->filters.all && !err; i++) {
		err = columnar_rows(c, w->filters.at[i], &rows);
		if (!err)
			candidates_of_rows(w, c, &rows);
	}
	return err;
}

static int load_candidates(struct walk *w, const struct column_block *b)
{
	uint8_t id[16];
	int rc = 0;

	for (uint32_t i = w->heap_cnt / 2; i-- > 0;)
		heap_sift(w, i);
	while (!rc && w->heap_cnt > 0 && !is_below(w->plan, w->heap[0].start_ns)) {
		if (store_block_trace_id(b, w->heap[0].chunk, id) == 0)
			rc = load_once(w, id);
		w->heap[0] = w->heap[--w->heap_cnt];
		heap_sift(w, 0);
	}
	return rc;
}

static int on_trace_block(void *arg, const struct column_block *b)
{
	struct walk *w = arg;
	struct plan *p = w->plan;
	int err = count_block(w, b);

	if (err || b->max_end_ns < before(p->from_ns) || b->min_start_ns > after(p->to_ns) ||
	    is_below(p, b->max_start_ns))
		return err;
	w->block = b;
	if (!w->has_filters && p->tql)
		w->filters = filters_of(p->tql->pipe, weigh, w);
	w->has_filters = true;
	w->heap_cnt = 0;
	w->heap = arena_array(&w->mem, struct candidate,
			      (size_t)b->spans * (w->filters.cnt ? w->filters.cnt : 1));
	if (!w->heap)
		return query_fail_memory(p->q);
	for (uint32_t i = 0; i < b->group_cnt && !err; i++) {
		struct columnar c = columnar_of(w, b, i);

		err = candidates_of_group(w, &c);
	}
	return err ?: w->probe.err ?: load_candidates(w, b);
}

/* --- spans and rows --- */

static int on_span(void *arg, const struct span *sp)
{
	struct walk *w = arg;
	int rc = count(w->plan, sp);

	if (rc || !in_range(w->plan, sp, 1))
		return rc;
	return w->span_fn(w->arg, sp);
}

struct group_rows {
	struct rows rows;
	struct columnar_field fields[PLAN_FIELDS_MAX];
};

/* 1: the columns cannot tell. */
static int group_rows_get(struct walk *w, struct columnar *c, struct group_rows *ret)
{
	const struct plan_rows *pr = w->rows;
	int err = columnar_rows(c, pr->filter, &ret->rows);

	if (err || rows_next(&ret->rows, 0) == ret->rows.cnt)
		return err;
	if (!ret->rows.exact)
		return 1;
	err = columnar_overlap(c, w->plan->from_ns, w->plan->to_ns, &ret->rows);
	for (uint32_t i = 0; i < pr->field_cnt && !err; i++) {
		err = columnar_field(c, pr->fields[i], &ret->fields[i]);
		if (!err && ret->fields[i].form == COLUMNAR_UNKNOWN)
			return 1;
	}
	return err;
}

static int on_rows_block(void *arg, const struct column_block *b)
{
	struct walk *w = arg;
	struct group_rows *all;
	int err = count_block(w, b);

	if (err || b->max_end_ns < w->plan->from_ns || b->min_start_ns > w->plan->to_ns)
		return err;
	all = arena_array(&w->mem, struct group_rows, b->group_cnt);
	if (!all)
		return query_fail_memory(w->plan->q);
	for (uint32_t i = 0; i < b->group_cnt && !err; i++) {
		struct columnar c = columnar_of(w, b, i);

		err = group_rows_get(w, &c, &all[i]);
	}
	if (err)
		return err == 1 ? STORE_BLOCK_SPANS : err;
	for (uint32_t i = 0; i < b->group_cnt && !err; i++) {
		struct columnar c = columnar_of(w, b, i);

		if (rows_next(&all[i].rows, 0) < all[i].rows.cnt)
			err = w->rows->rows_fn(w->arg, &c, &all[i].rows, all[i].fields);
	}
	return err;
}

static bool is_root_test(const struct expr *x)
{
	const struct expr *f = x->l && x->l->kind == EXPR_FIELD ? x->l : x->r;
	const struct expr *lit = f == x->l ? x->r : x->l;

	return x->kind == EXPR_BINARY && f->kind == EXPR_FIELD && lit->kind == EXPR_LITERAL &&
	       f->field.intrinsic && f->field.intrinsic->column == COLUMN_ROOT &&
	       columnar_is_root_test(x, lit);
}

bool plan_is_local(const struct expr *x)
{
	if (!x || !x->whole || is_root_test(x))
		return true;
	if (x->kind == EXPR_UNARY)
		return plan_is_local(x->r);
	return x->kind == EXPR_BINARY && (x->op == OP_AND || x->op == OP_OR) &&
	       plan_is_local(x->l) && plan_is_local(x->r);
}

/* --- all of them --- */

static int walk(struct walk *w, uint64_t from_ns, uint64_t to_ns, store_block_fn *block_fn,
		store_span_fn *fn)
{
	struct plan *p = w->plan;
	int rc = query_read(p->q, from_ns, to_ns);

	eval_init(&w->probe, p->q, p->tql);
	arena_init(&w->mem, p->q->limits.memory);
	if (!rc && block_fn)
		rc = store_walk_blocks(p->q->read, block_fn, fn, w);
	else if (!rc)
		rc = store_walk(p->q->read, fn, w);
	arena_fini(&w->mem);
	if (rc < 0 && !*query_error(p->q))
		return query_fail(p->q, rc, "the store cannot be read: %s", strerror(-rc));
	return rc < 0 ? rc : 0;
}

int plan_traces(struct plan *p, plan_trace_fn *fn, void *arg)
{
	struct walk w = {.plan = p, .trace_fn = fn, .arg = arg, .filters.all = !p->tql};

	w.seen.arena = &p->q->arena;
	w.seen.seed = clock_mono_ns();
	return walk(&w, before(p->from_ns), after(p->to_ns), on_trace_block, on_trace);
}

int plan_spans(struct plan *p, plan_span_fn *fn, void *arg)
{
	struct walk w = {.plan = p, .span_fn = fn, .arg = arg};

	return walk(&w, before(p->from_ns), after(p->to_ns), NULL, on_span);
}

int plan_rows(struct plan *p, const struct plan_rows *pr)
{
	struct walk w = {.plan = p, .span_fn = pr->span_fn, .rows = pr, .arg = pr->arg};

	must(pr->field_cnt <= PLAN_FIELDS_MAX && plan_is_local(pr->filter));
	return walk(&w, p->from_ns, p->to_ns, on_rows_block, on_span);
}

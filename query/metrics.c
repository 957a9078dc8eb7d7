/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - query_metrics_range and query_metrics_instant: which intervals there are, which
 * metrics the text has, and the one walk that feeds them all. Queries that judge each span by
 * itself take spans one by one; all others load whole traces, and take the spans of the sets that
 * the pipeline finds in each. Either way a span counts by its start alone, in one interval. */
#include "query/metrics.h"
#include "query/plan.h"
#include "query/text.h"

#include <errno.h>
#include <stdlib.h>

enum { INTERVALS_MAX = 10000 };
/* Of an answer. compare() has some ten series for each of all attributes. */
enum { SERIES_MAX = 1000, COMPARE_MAX = 10000, POINTS_MAX = 1000000 };

/* --- the text --- */
static const struct stage *metric_of(const struct stage *s)
{
	while (s && s->kind < STAGE_METRIC)
		s = s->next;
	return s;
}

static uint32_t metric_cnt(const struct stage *s)
{
	s = metric_of(s);
	if (s && s->kind == STAGE_MATH)
		return metric_cnt(s->l) + metric_cnt(s->r);
	return s && s->kind == STAGE_METRIC;
}

/* The stages before end, on their own. */
static struct stage *before(struct arena *a, const struct stage *s, const struct stage *end)
{
	struct stage *first = NULL, **to = &first;

	for (; s != end; s = s->next) {
		*to = arena_new(a, struct stage);
		if (!*to)
			return NULL;
		**to = *s;
		to = &(*to)->next;
		*to = NULL;
	}
	return first;
}

static bool wants_exemplars(const struct tql *t)
{
	for (uint32_t i = 0; i < t->hint_cnt; i++)
		if (str_eq(t->hints[i].name, STR("exemplars")) &&
		    t->hints[i].value.type == TYPE_BOOL && !t->hints[i].value.b)
			return false;
	return true;
}

static enum acc acc_of(enum func_id id)
{
	switch (id) {
	case FN_MIN_OT:
		return ACC_MIN;
	case FN_MAX_OT:
		return ACC_MAX;
	case FN_SUM_OT:
	case FN_AVG_OT:
		return ACC_SUM;
	case FN_QUANTILE_OT:
	case FN_HISTOGRAM_OT:
		return ACC_HIST;
	default:
		return ACC_COUNT;
	}
}

/* What the answer will take for one series: numbers are made in place unless it is of a histogram,
 * or goes through arithmetic. */
static void reserve(const struct metrics *ms, const struct stage *st, struct series_conf *conf)
{
	size_t label = sizeof(struct attr) + TEXT_NUMBER;
	size_t bare = sizeof(struct metrics_series) + (SERIES_LABELS + 1) * label;
	size_t whole = bare + ms->grid.cnt * sizeof(double);

	conf->room = ms->q->limits.memory / 4 * 3 / ms->cnt;
	conf->later = ms->cnt > 1 ? bare + whole : 2 * bare;
	if (st->func->id == FN_QUANTILE_OT)
		conf->later = st->num_cnt * (whole + conf->later);
	if (st->func->id == FN_HISTOGRAM_OT)
		conf->later_hist = whole + conf->later;
}

static int keys_init(struct metrics *ms, struct metric *m)
{
	for (uint32_t i = 0; i < m->stage->field_cnt; i++) {
		m->keys[i] = text_field(&ms->q->arena, &m->stage->fields[i]->field);
		if (!m->keys[i].p)
			return query_fail_memory(ms->q);
	}
	return 0;
}

static int metric_init(struct metrics *ms, struct metric *m, const struct tql *t,
		       const struct stage *pipe, uint32_t exemplars)
{
	const struct stage *st = metric_of(pipe);
	bool compare = st->func->id == FN_COMPARE;
	struct series_conf conf = {
		.grid = ms->grid,
		.acc = acc_of(st->func->id),
		.label_cnt = compare ? SERIES_LABELS - 1 : st->field_cnt,
		.exemplars = compare ? 0 : exemplars,
	};

	reserve(ms, st, &conf);
	m->stage = st;
	m->tql = *t;
	m->tql.pipe = before(&ms->q->arena, pipe, st);
	m->seconds = st->expr && st->expr->type == TYPE_DURATION;
	eval_init(&m->eval, ms->q, &m->tql);
	series_set_init(&m->set, &ms->q->arena, &conf);
	return m->tql.pipe ? keys_init(ms, m) : query_fail_memory(ms->q);
}

static int metrics_find(struct metrics *ms, const struct tql *t, const struct stage *pipe,
			uint32_t exemplars, struct metric **next)
{
	const struct stage *st = metric_of(pipe);

	if (st->kind == STAGE_MATH)
		return metrics_find(ms, t, st->l, exemplars, next)
			       ?: metrics_find(ms, t, st->r, exemplars, next);
	return st->kind == STAGE_METRIC ? metric_init(ms, (*next)++, t, pipe, exemplars) : 0;
}

static bool has_compare(const struct metrics *ms)
{
	for (uint32_t i = 0; i < ms->cnt; i++)
		if (ms->at[i].stage->func->id == FN_COMPARE)
			return true;
	return false;
}

/* --- one span --- */
/* As it stands in a label: what is no value is the text nil, and what has no name is one. */
struct tval metrics_label(const struct tval *v)
{
	struct tval to = *v;

	if (v->type == TYPE_NIL || v->type == TYPE_ARRAY)
		return TVAL_STR(STR("nil"));
	if ((v->type == TYPE_KIND && !*text_kind(v->i)) ||
	    (v->type == TYPE_STATUS && !*text_status(v->i)))
		to.i = -1;
	return to;
}

/* The series that span i belongs to; NULL: none, the set is full. */
static struct series *group_of(struct metric *m, uint32_t i)
{
	struct tval labels[SERIES_LABELS];

	for (uint32_t n = 0; n < m->stage->field_cnt; n++) {
		struct tval v;

		eval_value(&m->eval, m->stage->fields[n], i, &v);
		labels[n] = metrics_label(&v);
	}
	return series_of(&m->set, labels);
}

static void add_exemplar(struct metric *m, struct series *s, uint32_t i, uint32_t at, double value)
{
	const struct span *sp = &m->eval.trace.spans[i];
	struct exemplar x = {.t_ns = sp->start_ns, .value = value, .at = at};

	if (!series_wants_exemplar(&m->set, s))
		return;
	memcpy(x.trace_id, sp->trace_id, sizeof(x.trace_id));
	series_exemplar_new(&m->set, s, &x);
}

static void span_add(struct metric *m, uint32_t i, uint32_t at)
{
	struct tval v = TVAL_NIL;
	struct series *s;

	if (m->set.conf.acc != ACC_COUNT) {
		eval_value(&m->eval, m->stage->expr, i, &v);
		if (!metrics_counts(m, &v))
			return;
	}
	s = group_of(m, i);
	if (s)
		add_exemplar(m, s, i, at, metrics_add_value(m, s, at, &v));
}

/* Span i is one of the metric's. */
static void metric_add(struct metric *m, uint32_t i)
{
	uint32_t at = grid_at(&m->set.conf.grid, m->eval.trace.spans[i].start_ns);

	if (at == GRID_OUT)
		return;
	if (m->stage->func->id == FN_COMPARE)
		compare_add(m, i, at);
	else
		span_add(m, i, at);
}

/* --- all spans --- */
/* Of queries that judge each span by itself: what is no filter changes nothing. */
static bool passes(struct metric *m)
{
	for (const struct stage *s = m->tql.pipe; s; s = s->next)
		if (s->kind == STAGE_FILTER && !eval_true(&m->eval, s->expr, 0))
			return false;
	return true;
}

static int on_span(void *arg, const struct span *sp)
{
	struct metrics *ms = arg;
	int err = 0;

	if (grid_at(&ms->grid, sp->start_ns) == GRID_OUT)
		return 0;
	for (uint32_t i = 0; i < ms->cnt && !err; i++) {
		struct metric *m = &ms->at[i];

		if (m->tql.tree)
			arena_reset(&ms->q->scratch);
		err = eval_begin(&m->eval, sp, 1);
		if (!err && passes(m))
			metric_add(m, 0);
		err = m->eval.err;
	}
	return err;
}

static int metric_trace(struct metric *m, const struct span *spans, uint32_t cnt)
{
	struct span_set *found = NULL;
	int err = eval_begin(&m->eval, spans, cnt);

	err = err ?: eval_trace(&m->eval, &found);
	for (; found && !err; found = found->next) {
		for (uint32_t n = 0; n < found->cnt; n++)
			metric_add(m, found->at[n]);
		err = m->eval.err;
	}
	return err;
}

static int on_trace(void *arg, const struct span *spans, uint32_t cnt)
{
	struct metrics *ms = arg;
	int err = 0;

	for (uint32_t i = 0; i < ms->cnt && !err; i++)
		err = metric_trace(&ms->at[i], spans, cnt);
	return err;
}

/* The one place that knows where spans come from. */
static int feed(struct metrics *ms, struct plan *plan)
{
	if (metrics_fits_rows(ms))
		return metrics_feed_rows(ms, plan, on_span);
	if (plan->tql->trace || has_compare(ms))
		return plan_traces(plan, on_trace, ms);
	return plan_spans(plan, on_span, ms);
}

/* --- the answer --- */
/* As many series as a client can bear. */
static uint32_t most_series(const struct metrics *ms)
{
	uint32_t most = has_compare(ms) ? COMPARE_MAX : SERIES_MAX;

	return most < POINTS_MAX / ms->grid.cnt ? most : POINTS_MAX / ms->grid.cnt;
}

static const char *what_is_missing(struct metrics *ms, uint32_t cnt, uint32_t most)
{
	bool full = false;

	for (uint32_t i = 0; i < ms->cnt; i++)
		full |= ms->at[i].set.full;
	if (full)
		return "there are more series than the memory of a query can hold, and some are "
		       "not counted: narrow the time range or the filter, widen the step, or group "
		       "by something with fewer values";
	if (cnt <= most)
		return NULL;
	return arena_printf(&ms->q->arena,
			    "the answer has %u series, and these are the first %u: narrow the "
			    "filter, group by something with fewer values, or keep some with "
			    "topk()",
			    cnt, most);
}

static int answer(struct metrics *ms, const struct tql *t, const struct plan *plan,
		  struct metrics_result *ret)
{
	uint32_t most = most_series(ms);
	struct series_list l;
	const char *missing;
	int err = metrics_math(ms, t->pipe, &l);

	if (err)
		return err;
	missing = what_is_missing(ms, l.cnt, most);
	*ret = (struct metrics_result){
		.start_ns = ms->grid.base_ns + ms->grid.step_ns,
		.step_ns = ms->grid.step_ns,
		.interval_cnt = ms->grid.cnt,
		.series = l.at,
		.cnt = l.cnt > most ? most : l.cnt,
		.partial = missing,
		.message = missing ? missing : "",
		.inspected_spans = plan->inspected_spans,
		.inspected_bytes = plan->inspected_bytes,
	};
	return 0;
}

/* With nothing added up. */
static int begin(struct metrics *ms, const struct tql *t, uint32_t exemplars)
{
	struct metric *next;

	ms->cnt = metric_cnt(t->pipe);
	ms->at = next = arena_array(&ms->q->arena, struct metric, ms->cnt);
	if (!next)
		return query_fail_memory(ms->q);
	return metrics_find(ms, t, t->pipe, wants_exemplars(t) ? exemplars : 0, &next);
}

/* --- parts of the answer --- */
struct news {
	struct metrics *ms;
	const struct tql *tql;
	const struct plan *plan;
	const struct metrics_params *p;
};

/* Once a sample is there, it stays. */
static bool only_grows(const struct tql *t)
{
	const struct stage *st = metric_of(t->pipe);

	return st && st->kind == STAGE_METRIC && st->func->id != FN_COMPARE && !st->next;
}

/* Takes what was added up so far as another node would, so that it stays as it is here. */
static int answer_so_far(const struct news *n, struct query *q, struct str so_far)
{
	struct metrics ms = {.q = q, .grid = n->ms->grid};
	struct plan plan = {.q = q};
	struct metrics_result res;
	int err = begin(&ms, n->tql, 0);

	err = err ?: metrics_parts_add(&ms, &plan, so_far);
	err = err ?: answer(&ms, n->tql, &plan, &res);
	if (err || res.partial || !res.cnt)
		return err;
	res.jobs = 1;
	n->p->found(n->p->found_arg, &res);
	return 0;
}

/* The memory that is left and the time that is left are what a part may take; what does not fit is not said. */
static void say_so_far(const struct news *n, struct str so_far)
{
	struct query_limits limits = n->ms->q->limits;
	struct query *q;

	if (n->ms->q->arena.used >= limits.memory)
		return;
	limits.memory -= n->ms->q->arena.used;
	if (query_begin(&q, n->ms->q->store, &limits))
		return;
	q->deadline_ns = n->ms->q->deadline_ns;
	answer_so_far(n, q, so_far);
	query_end(q);
}

/* The trace at hand lies in the scratch arena. */
static void say_news(void *arg)
{
	const struct news *n = arg;
	struct query *q = n->ms->q;
	struct arena scratch = q->scratch;
	struct strbuf so_far;
	int err;

	strbuf_init(&so_far);
	arena_init(&q->scratch, q->limits.memory);
	err = metrics_parts_put(n->ms, n->plan, &so_far);
	arena_fini(&q->scratch);
	q->scratch = scratch;
	if (!err)
		say_so_far(n, (struct str){so_far.p, so_far.len});
	strbuf_fini(&so_far);
}

/* --- all of it --- */
/* Adds up what this store has. */
static int gather(struct metrics *ms, const struct tql *t, const struct metrics_params *p,
		  struct plan *plan)
{
	struct news news = {ms, t, plan, p};
	uint64_t first = ms->grid.base_ns + 1;
	int err;

	plan->to_ns = ms->grid.base_ns + ms->grid.step_ns * ms->grid.cnt;
	plan->from_ns = first <= plan->to_ns ? first : 0;
	if (p->found && only_grows(t))
		query_beat(ms->q, say_news, &news);
	err = feed(ms, plan);
	query_beat(ms->q, NULL, NULL);
	return err;
}

/* What another node says that cannot be used is missing. */
static int add_others(struct metrics *ms, const struct metrics_params *p, struct plan *plan, uint32_t *ret_used)
{
	int err = 0;

	for (uint32_t i = 0; i < p->other_cnt && !err; i++) {
		err = metrics_parts_add(ms, plan, p->others[i]);
		*ret_used += !err;
		err = err == -EBADMSG ? 0 : err;
	}
	return err;
}

static int run(struct metrics *ms, const struct tql *t, const struct metrics_params *p, uint32_t exemplars,
	       struct metrics_result *ret)
{
	struct plan plan = {.q = ms->q, .tql = t};
	uint32_t used = 0;
	int err = begin(ms, t, exemplars) ?: gather(ms, t, p, &plan);

	if (!err && p->parts)
		return metrics_parts_put(ms, &plan, p->parts);
	err = err ?: add_others(ms, p, &plan, &used);
	err = err ?: answer(ms, t, &plan, ret);
	if (!err) {
		ret->jobs = 1 + p->other_cnt;
		ret->jobs_done = 1 + used;
	}
	return err;
}

/* --- what is asked for --- */
uint64_t query_metrics_step(uint64_t from_ns, uint64_t to_ns)
{
	static const uint64_t minute = 60ull * NS_PER_S, tick = 50ull * NS_PER_MS;
	static const uint64_t rungs[] = {3600ull * NS_PER_S, 300ull * NS_PER_S, minute,
					 15ull * NS_PER_S,   5ull * NS_PER_S,	NS_PER_S};
	uint64_t range = to_ns > from_ns ? to_ns - from_ns : 0, step = range / 240;

	if (range < minute)
		return step > tick ? step - step % tick : tick;
	for (size_t i = 0; i < ARRAY_SIZE(rungs); i++)
		if (step > rungs[i])
			return step - step % rungs[i];
	return NS_PER_S;
}

static int check_step(struct query *q, const struct metrics_params *p)
{
	uint64_t range = p->to_ns - p->from_ns;
	char step[TEXT_NUMBER], least[TEXT_NUMBER];

	text_duration(step, p->step_ns > INT64_MAX ? INT64_MAX : (int64_t)p->step_ns);
	text_duration(least, range > INT64_MAX ? INT64_MAX : (int64_t)(range / INTERVALS_MAX));
	if (!p->step_ns || range / p->step_ns > INTERVALS_MAX)
		return query_fail(q, -EINVAL,
				  "step of %s is too small, minimum step for given range is %s",
				  step, least);
	if (p->step_ns > INT64_MAX / 4 || p->to_ns > INT64_MAX)
		return query_fail(q, -EINVAL, "step of %s is too large for this range", step);
	return 0;
}

static int parse(struct query *q, struct str text, const char *syntax, struct tql *ret)
{
	int err = query_parse_as(q, text, ret, syntax, "compiling query: ");

	if (!err && !ret->metrics)
		return query_fail(q, -EINVAL, "not a metrics query");
	return err;
}

static int check_range(struct query *q, const struct metrics_params *p)
{
	if (p->to_ns <= p->from_ns)
		return query_fail(q, -EINVAL, "end must be greater than start");
	return 0;
}

static uint32_t exemplar_cnt(const struct metrics_params *p)
{
	return p->exemplars && p->exemplars < EXEMPLARS_MAX ? p->exemplars : EXEMPLARS_MAX;
}

int query_metrics_range(struct query *q, const struct metrics_params *p, struct metrics_result *ret)
{
	struct metrics ms = {.q = q};
	uint64_t step = p->step_ns, first, last;
	struct tql t;
	int err = check_range(q, p);

	err = err ?: check_step(q, p);
	err = err ?: parse(q, p->q, "parse error at ", &t);
	if (err)
		return err;
	first = p->from_ns / step;
	last = p->to_ns / step + (p->to_ns % step != 0);
	ms.grid = (struct grid){(first - 1) * step, step, (uint32_t)(last - first + 1)};
	return run(&ms, &t, p, exemplar_cnt(p), ret);
}

int query_metrics_instant(struct query *q, const struct metrics_params *p,
			  struct metrics_result *ret)
{
	struct metrics ms = {.q = q, .grid = {p->from_ns, p->to_ns - p->from_ns, 1}};
	struct tql t;
	int err = check_range(q, p);

	err = err ?: parse(q, p->q, "compiling query: parse error at ", &t);
	return err ?: run(&ms, &t, p, 0, ret);
}

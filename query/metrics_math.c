/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_math.c - what the text does with finished series: topk and bottomk, comparisons that
 * drop points, arithmetic. Works on lists sorted by labels. A point that is not there is
 * NaN; a series that has lost all its points goes. */
#include "query/metrics.h"
#include "query/text.h"

#include <errno.h>
#include <stdlib.h>

static const struct str NAME = {"__name__", 8};

/* --- what is left --- */
static bool is_empty(const struct metrics *ms, const struct metrics_series *s)
{
	for (uint32_t i = 0; i < ms->grid.cnt; i++)
		if (!isnan(s->values[i]))
			return false;
	return true;
}

static uint32_t interval_of(const struct metrics *ms, const struct metrics_exemplar *x)
{
	return grid_at(&ms->grid, x->t_ns);
}

static void drop_exemplars(const struct metrics *ms, struct metrics_series *s)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < s->exemplar_cnt; i++) {
		uint32_t at = interval_of(ms, &s->exemplars[i]);

		if (at != GRID_OUT && !isnan(s->values[at]))
			s->exemplars[to++] = s->exemplars[i];
	}
	s->exemplar_cnt = to;
}

static void drop_empty(const struct metrics *ms, struct series_list *l)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < l->cnt; i++) {
		if (is_empty(ms, &l->at[i]))
			continue;
		drop_exemplars(ms, &l->at[i]);
		l->at[to++] = l->at[i];
	}
	l->cnt = to;
}

/* --- topk(n), bottomk(n): per interval --- */
struct point {
	double v;
	uint32_t place; /* of the series among all, by the text of its labels */
	double *value;
};

/* The best first. Of equals topk likes the first, bottomk the last. */
static int top_first(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	if (x->v != y->v)
		return x->v < y->v ? 1 : -1;
	return x->place < y->place ? -1 : 1;
}

static int bottom_first(const void *a, const void *b)
{
	return top_first(b, a);
}

static int by_text(const void *a, const void *b)
{
	const struct metrics_series *x = a, *y = b;
	char text[2][TEXT_NUMBER];
	int c = 0;

	for (uint32_t i = 0; i < x->labels.cnt && i < y->labels.cnt && !c; i++) {
		struct tval v = tval_of(&x->labels.at[i].val), w = tval_of(&y->labels.at[i].val);

		c = str_cmp(text_short(text[0], &v), text_short(text[1], &w));
	}
	return c ? c : labels_cmp(&x->labels, &y->labels);
}

/* Keeps the best points of one interval. */
static int rank_interval(struct metrics *ms, const struct stage *st, struct series_list *l,
			 uint32_t at, struct point *points)
{
	uint64_t keep = (uint64_t)st->num.i;
	uint32_t cnt = 0;
	int err = 0;

	for (uint32_t i = 0; i < l->cnt && !err; i++) {
		double *v = &l->at[i].values[at];

		if (!isnan(*v))
			points[cnt++] = (struct point){*v, i, v};
		err = query_poll(ms->q);
	}
	if (cnt > keep)
		qsort(points, cnt, sizeof(*points),
		      st->func->id == FN_TOPK ? top_first : bottom_first);
	for (uint64_t i = keep; i < cnt; i++)
		*points[i].value = NAN;
	return err;
}

static int rank(struct metrics *ms, const struct stage *st, struct series_list *l)
{
	struct point *points = arena_array(&ms->q->arena, struct point, l->cnt + 1);
	int err = points ? 0 : query_fail_memory(ms->q);

	if (l->cnt)
		qsort(l->at, l->cnt, sizeof(*l->at), by_text);
	for (uint32_t i = 0; i < ms->grid.cnt && !err; i++)
		err = rank_interval(ms, st, l, i, points);
	series_list_sort(l);
	return err;
}

/* --- op number: drops points --- */
/* Values that are durations are in seconds, so numbers written as durations are too. */
static double number_of(const struct tval *v)
{
	return v->type == TYPE_DURATION ? (double)v->i / NS_PER_S : tval_number(v);
}

static void compare(struct metrics *ms, const struct stage *st, struct series_list *l)
{
	struct tval limit = {.type = TYPE_FLOAT, .d = number_of(&st->num)};

	for (uint32_t k = 0; k < l->cnt; k++) {
		for (uint32_t i = 0; i < ms->grid.cnt; i++) {
			struct tval v = {.type = TYPE_FLOAT, .d = l->at[k].values[i]};
			struct tval pass = TVAL_BOOL(false);

			ops_binary(st->op, &v, &limit, &pass);
			if (!pass.b)
				l->at[k].values[i] = NAN;
		}
	}
}

/* --- arithmetic --- */
/* A point that only one side has is 0 on the other; dividing by 0 gives no point. */
static double math(enum op op, double l, double r)
{
	l = isnan(l) ? 0 : l;
	r = isnan(r) ? 0 : r;
	switch (op) {
	case OP_ADD:
		return l + r;
	case OP_SUB:
		return l - r;
	case OP_MUL:
		return l * r;
	default:
		return r == 0 ? NAN : l / r;
	}
}

/* With a number, what is not there stays away, and labels stay. */
static void math_number(struct metrics *ms, enum op op, struct series_list *l,
			const struct tval *num, bool flipped)
{
	double d = number_of(num);

	for (uint32_t k = 0; k < l->cnt; k++) {
		double *v = l->at[k].values;

		for (uint32_t i = 0; i < ms->grid.cnt; i++)
			if (!isnan(v[i]))
				v[i] = flipped ? math(op, d, v[i]) : math(op, v[i], d);
	}
}

static bool is_plain(const struct metrics_series *s)
{
	return s->labels.cnt == 1 && str_eq(s->labels.at[0].key, NAME);
}

/* The series without labels; NULL: none. */
static const struct metrics_series *plain_of(const struct series_list *l)
{
	return l->cnt == 1 && is_plain(&l->at[0]) ? &l->at[0] : NULL;
}

static int by_labels(const void *a, const void *b)
{
	const struct metrics_series *x = a, *y = b;

	return labels_cmp(&x->labels, &y->labels);
}

/* The series of l that goes with s: the one with its labels, or the one without any. */
static const struct metrics_series *partner(const struct series_list *l,
					    const struct metrics_series *s)
{
	const struct metrics_series *plain = plain_of(l);

	if (plain || !l->cnt)
		return plain;
	return bsearch(s, l->at, l->cnt, sizeof(*l->at), by_labels);
}

/* "(rate / count_over_time)" when neither side has labels, else those of the side that has. */
static int math_labels(struct metrics *ms, enum op op, const struct metrics_series *l,
		       const struct metrics_series *r, struct attrs *ret)
{
	struct str a, b;
	char *name;

	if (!is_plain(l) || !is_plain(r)) {
		*ret = is_plain(l) ? r->labels : l->labels;
		return 0;
	}
	a = l->labels.at[0].val.str;
	b = r->labels.at[0].val.str;
	name = arena_printf(&ms->q->arena, "(" STR_FMT " %s " STR_FMT ")", STR_ARG(a),
			    ops_table[op].text, STR_ARG(b));
	ret->at = arena_new(&ms->q->arena, struct attr);
	if (!name || !ret->at)
		return query_fail_memory(ms->q);
	*ret->at = (struct attr){NAME, {.type = VAL_STR, .str = str_of(name)}};
	ret->cnt = 1;
	return 0;
}

static int join_exemplars(struct metrics *ms, const struct metrics_series *l,
			  const struct metrics_series *r, struct metrics_series *to)
{
	uint32_t most = l->exemplar_cnt + r->exemplar_cnt;

	most = most < EXEMPLARS_MAX ? most : EXEMPLARS_MAX;
	to->exemplars = arena_array(&ms->q->arena, struct metrics_exemplar, most + 1);
	if (!to->exemplars)
		return query_fail_memory(ms->q);
	for (uint32_t i = 0, k = 0;
	     to->exemplar_cnt < most && (i < l->exemplar_cnt || k < r->exemplar_cnt);) {
		bool left = k == r->exemplar_cnt ||
			    (i < l->exemplar_cnt && l->exemplars[i].t_ns <= r->exemplars[k].t_ns);

		to->exemplars[to->exemplar_cnt++] = left ? l->exemplars[i++] : r->exemplars[k++];
	}
	return 0;
}

static int join_one(struct metrics *ms, enum op op, const struct metrics_series *l,
		    const struct metrics_series *r, struct metrics_series *to)
{
	int err = math_labels(ms, op, l, r, &to->labels);

	to->values = arena_array(&ms->q->arena, double, ms->grid.cnt);
	if (!to->values)
		return query_fail_memory(ms->q);
	for (uint32_t i = 0; i < ms->grid.cnt; i++)
		to->values[i] = math(op, l->values[i], r->values[i]);
	return err ?: join_exemplars(ms, l, r, to);
}

static int join(struct metrics *ms, enum op op, const struct series_list *l,
		const struct series_list *r, struct series_list *ret)
{
	bool by_left = plain_of(r) != NULL;
	const struct series_list *lead = by_left ? l : r, *other = by_left ? r : l;
	int err = 0;

	*ret = (struct series_list){
		.at = arena_array(&ms->q->arena, struct metrics_series, lead->cnt + 1)};
	if (!ret->at)
		return query_fail_memory(ms->q);
	for (uint32_t i = 0; i < lead->cnt && !err; i++) {
		const struct metrics_series *s = &lead->at[i], *with = partner(other, s);

		if (with)
			err = by_left ? join_one(ms, op, s, with, &ret->at[ret->cnt++])
				      : join_one(ms, op, with, s, &ret->at[ret->cnt++]);
		err = err ?: query_poll(ms->q);
	}
	return err;
}

static int binary(struct metrics *ms, const struct stage *st, struct series_list *ret)
{
	struct series_list l = {0}, r = {0};
	int err = st->l->kind == STAGE_NUMBER ? 0 : metrics_math(ms, st->l, &l);

	err = err ?: st->r->kind == STAGE_NUMBER ? 0 : metrics_math(ms, st->r, &r);
	if (err)
		return err;
	if (st->l->kind == STAGE_NUMBER) {
		math_number(ms, st->op, &r, &st->l->num, true);
		*ret = r;
	} else if (st->r->kind == STAGE_NUMBER) {
		math_number(ms, st->op, &l, &st->r->num, false);
		*ret = l;
	} else {
		return join(ms, st->op, &l, &r, ret);
	}
	return 0;
}

/* --- a pipeline from its metric on --- */
static struct metric *metric_for(struct metrics *ms, const struct stage *st)
{
	for (uint32_t i = 0; i < ms->cnt; i++)
		if (ms->at[i].stage == st)
			return &ms->at[i];
	return NULL;
}

static int apply(struct metrics *ms, const struct stage *st, struct series_list *l)
{
	int err = 0;

	if (st->kind == STAGE_RANK)
		err = rank(ms, st, l);
	else
		compare(ms, st, l);
	if (!err)
		drop_empty(ms, l);
	return err;
}

int metrics_math(struct metrics *ms, const struct stage *s, struct series_list *ret)
{
	int err;

	while (s->kind < STAGE_METRIC)
		s = s->next;
	if (s->kind == STAGE_MATH)
		err = binary(ms, s, ret);
	else
		err = metrics_sum(ms, metric_for(ms, s), ret);
	if (!err)
		drop_empty(ms, ret);
	for (s = s->next; s && !err; s = s->next)
		err = apply(ms, s, ret);
	return err;
}

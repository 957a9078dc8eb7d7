/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_sum.c - from what was added up to the series of the answer: rates, means, quantiles,
 * buckets, labels with their names, exemplars with their values. Numbers are made in place where
 * they can be. What has no value at all is no series. */
#include "query/metrics.h"
#include "query/text.h"

#include <errno.h>
#include <stdlib.h>

/* --- labels --- */
static int val_cmp(const struct val *a, const struct val *b)
{
	struct tval x = tval_of(a), y = tval_of(b);

	return tval_cmp(&x, &y);
}

int labels_cmp(const struct attrs *a, const struct attrs *b)
{
	int c = 0;

	for (uint32_t i = 0; i < a->cnt && i < b->cnt && !c; i++) {
		c = val_cmp(&a->at[i].val, &b->at[i].val);
		c = c ? c : str_cmp(a->at[i].key, b->at[i].key);
	}
	return c ? c : (a->cnt > b->cnt) - (a->cnt < b->cnt);
}

static int by_labels(const void *a, const void *b)
{
	const struct metrics_series *x = a, *y = b;

	return labels_cmp(&x->labels, &y->labels);
}

void series_list_sort(struct series_list *l)
{
	if (l->cnt)
		qsort(l->at, l->cnt, sizeof(*l->at), by_labels);
}

/* The labels of a group, behind `more` that come first: p, __bucket, or __name__. */
static int labels_of(struct metrics *ms, const struct metric *m, const struct series *s,
		     const struct attr *more, struct attrs *ret)
{
	struct arena *a = &ms->q->arena;
	uint32_t cnt = m->stage->field_cnt;

	ret->at = arena_array(a, struct attr, cnt + 1);
	if (!ret->at)
		return query_fail_memory(ms->q);
	if (more)
		ret->at[ret->cnt++] = *more;
	for (uint32_t i = 0; i < cnt; i++) {
		struct attr *at = &ret->at[ret->cnt++];

		at->key = m->keys[i];
		at->val = text_val(a, &s->labels[i]);
		if (at->val.type == VAL_STR && !at->val.str.p)
			return query_fail_memory(ms->q);
	}
	if (!ret->cnt)
		ret->at[ret->cnt++] = (struct attr){
			STR("__name__"), {.type = VAL_STR, .str = str_of(m->stage->func->name)}};
	return 0;
}

static struct attr number_label(const char *key, double d)
{
	return (struct attr){str_of(key), {.type = VAL_DOUBLE, .d = d}};
}

/* --- exemplars --- */
static int by_time(const void *a, const void *b)
{
	const struct metrics_exemplar *x = a, *y = b;

	return (x->t_ns > y->t_ns) - (x->t_ns < y->t_ns);
}

static void exemplar_put(const struct exemplar *x, struct metrics_series *to)
{
	double value = isnan(x->value) ? to->values[x->at] : x->value;
	struct metrics_exemplar *at = &to->exemplars[to->exemplar_cnt];

	if (isnan(to->values[x->at]))
		return;
	to->exemplar_cnt++;
	memcpy(at->trace_id, x->trace_id, sizeof(at->trace_id));
	at->t_ns = x->t_ns;
	at->value = value;
}

static int exemplars_room(struct metrics *ms, const struct series *s, struct metrics_series *to)
{
	to->exemplars = arena_array(&ms->q->arena, struct metrics_exemplar, s->exemplar_cnt + 1);
	return to->exemplars ? 0 : query_fail_memory(ms->q);
}

static void exemplars_sort(struct metrics_series *to)
{
	if (to->exemplar_cnt)
		qsort(to->exemplars, to->exemplar_cnt, sizeof(*to->exemplars), by_time);
}

int exemplars_of(struct metrics *ms, const struct series *s, struct metrics_series *to)
{
	int err = exemplars_room(ms, s, to);

	for (const struct exemplar *x = s->exemplars; x && !err; x = x->next)
		exemplar_put(x, to);
	exemplars_sort(to);
	return err;
}

/* --- one number per interval --- */
static double *counts(const struct metrics *ms, const struct series *s, double divisor)
{
	double *to = (double *)(void *)s->cnt; /* in place: both take eight bytes */

	for (uint32_t i = 0; i < ms->grid.cnt; i++)
		to[i] = (double)s->cnt[i] / divisor;
	return to;
}

static double *sums(const struct metrics *ms, const struct series *s, bool mean)
{
	for (uint32_t i = 0; i < ms->grid.cnt; i++) {
		if (!s->cnt[i])
			s->num[i] = NAN;
		else if (mean)
			s->num[i] /= (double)s->cnt[i];
	}
	return s->num;
}

static double *values_of(const struct metrics *ms, const struct metric *m, const struct series *s)
{
	switch (m->stage->func->id) {
	case FN_RATE:
		return counts(ms, s, (double)ms->grid.step_ns / NS_PER_S);
	case FN_COUNT_OT:
		return counts(ms, s, 1);
	case FN_SUM_OT:
	case FN_AVG_OT:
		return sums(ms, s, m->stage->func->id == FN_AVG_OT);
	default:
		return s->num;
	}
}

static int sum_plain(struct metrics *ms, struct metric *m, const struct series *s,
		     struct series_list *to)
{
	struct metrics_series *out = &to->at[to->cnt++];
	int err = labels_of(ms, m, s, NULL, &out->labels);

	out->values = values_of(ms, m, s);
	return err ?: exemplars_of(ms, s, out);
}

/* --- histograms --- */
double metrics_quantile(double q, const uint32_t cnt[SERIES_BUCKETS])
{
	uint64_t total = 0, before = 0, want;
	double low = -1; /* log2 of the bucket before that is not empty */

	for (uint32_t b = 0; b < SERIES_BUCKETS; b++)
		total += cnt[b];
	if (!total || !(q >= 0 && q <= 1))
		return 0;
	want = (uint64_t)ceil(q * (double)total);
	want = want ? want : 1;
	for (uint32_t b = 0; b < SERIES_BUCKETS; b++) {
		if (!cnt[b])
			continue;
		if (before + cnt[b] == want)
			return ldexp(1, (int)b);
		if (before + cnt[b] > want) {
			low = low < 0 ? b - 1.0 : low;
			return exp2(low + (b - low) * (double)(want - before) / cnt[b]);
		}
		before += cnt[b];
		low = b;
	}
	return ldexp(1, SERIES_BUCKETS - 1); /* not reached: want is at most total */
}

static double quantile_at(const struct metric *m, const struct series *s, double q, uint32_t at)
{
	uint32_t cnt[SERIES_BUCKETS];
	double v;

	for (uint32_t b = 0; b < SERIES_BUCKETS; b++)
		cnt[b] = s->hist[b] ? s->hist[b][at] : 0;
	v = metrics_quantile(q, cnt);
	return m->seconds ? v / NS_PER_S : v;
}

/* Of several quantiles an exemplar belongs to the one that it is nearest to. */
static int quantile_exemplars(struct metrics *ms, const struct series *s,
			      struct metrics_series *out, uint32_t cnt)
{
	int err = 0;

	for (uint32_t i = 0; i < cnt && !err; i++)
		err = exemplars_room(ms, s, &out[i]);
	for (const struct exemplar *x = s->exemplars; x && !err; x = x->next) {
		uint32_t best = 0;

		for (uint32_t i = 1; i < cnt; i++)
			if (fabs(out[i].values[x->at] - x->value) <
			    fabs(out[best].values[x->at] - x->value))
				best = i;
		exemplar_put(x, &out[best]);
	}
	for (uint32_t i = 0; i < cnt && !err; i++)
		exemplars_sort(&out[i]);
	return err;
}

static int sum_quantiles(struct metrics *ms, struct metric *m, const struct series *s,
			 struct series_list *to)
{
	struct metrics_series *out = &to->at[to->cnt];
	int err = 0;

	for (uint32_t i = 0; i < m->stage->num_cnt && !err; i++) {
		double q = tval_number(&m->stage->nums[i]);
		struct attr p = number_label("p", q);

		err = labels_of(ms, m, s, &p, &out[i].labels);
		out[i].values = arena_array(&ms->q->arena, double, ms->grid.cnt);
		if (!out[i].values)
			return query_fail_memory(ms->q);
		for (uint32_t k = 0; k < ms->grid.cnt; k++)
			out[i].values[k] = quantile_at(m, s, q, k);
		err = err ?: query_poll(ms->q);
		to->cnt++;
	}
	return err ?: quantile_exemplars(ms, s, out, m->stage->num_cnt);
}

static uint32_t bucket_of(const struct metric *m, double value)
{
	double v = m->seconds ? round(value * NS_PER_S) : value;

	return v >= 2 && v < 0x1p63 ? series_bucket((uint64_t)v) : SERIES_BUCKETS - 1;
}

static int sum_bucket(struct metrics *ms, struct metric *m, const struct series *s, uint32_t b,
		      struct metrics_series *out)
{
	double max = ldexp(1, (int)b);
	struct attr label = number_label("__bucket", m->seconds ? max / NS_PER_S : max);
	int err = labels_of(ms, m, s, &label, &out->labels);

	out->values = arena_array(&ms->q->arena, double, ms->grid.cnt);
	if (!out->values)
		return query_fail_memory(ms->q);
	for (uint32_t k = 0; k < ms->grid.cnt; k++)
		out->values[k] = s->hist[b][k];
	err = err ?: exemplars_room(ms, s, out);
	for (const struct exemplar *x = s->exemplars; x && !err; x = x->next)
		if (bucket_of(m, x->value) == b)
			exemplar_put(x, out);
	exemplars_sort(out);
	return err;
}

static int sum_buckets(struct metrics *ms, struct metric *m, const struct series *s,
		       struct series_list *to)
{
	int err = 0;

	for (uint32_t b = 0; b < SERIES_BUCKETS && !err; b++)
		if (s->hist[b])
			err = sum_bucket(ms, m, s, b, &to->at[to->cnt++]);
	return err;
}

/* --- all series --- */
static uint32_t buckets_cnt(const struct series *s)
{
	uint32_t cnt = 0;

	for (uint32_t b = 0; b < SERIES_BUCKETS; b++)
		cnt += s->hist[b] != NULL;
	return cnt;
}

static uint64_t list_room(const struct metric *m, struct series **all)
{
	uint64_t room = 0;

	if (m->stage->func->id == FN_QUANTILE_OT)
		return (uint64_t)m->set.cnt * m->stage->num_cnt;
	if (m->stage->func->id != FN_HISTOGRAM_OT)
		return m->set.cnt;
	for (uint32_t i = 0; i < m->set.cnt; i++)
		room += buckets_cnt(all[i]);
	return room;
}

static int sum_one(struct metrics *ms, struct metric *m, const struct series *s,
		   struct series_list *to)
{
	switch (m->stage->func->id) {
	case FN_QUANTILE_OT:
		return sum_quantiles(ms, m, s, to);
	case FN_HISTOGRAM_OT:
		return sum_buckets(ms, m, s, to);
	default:
		return sum_plain(ms, m, s, to);
	}
}

/* Without groups there is a count even of nothing. */
static void count_nothing(struct metric *m)
{
	if (m->set.conf.acc == ACC_COUNT && !m->set.conf.label_cnt)
		series_of(&m->set, NULL);
}

int metrics_sum(struct metrics *ms, struct metric *m, struct series_list *ret)
{
	struct series_list l = {0};
	struct series **all;
	int err = 0;

	if (m->stage->func->id == FN_COMPARE)
		return compare_finish(ms, m, ret);
	count_nothing(m);
	all = series_sorted(&m->set);
	if (all)
		l.at = arena_array(&ms->q->arena, struct metrics_series, list_room(m, all) + 1);
	if (!l.at)
		return query_fail_memory(ms->q);
	for (uint32_t i = 0; i < m->set.cnt && !err; i++)
		err = query_poll(ms->q) ?: sum_one(ms, m, all[i], &l);
	series_list_sort(&l);
	*ret = l;
	return err;
}

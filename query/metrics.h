/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - a metrics query at work: each metric of its text (there are several when they are
 * operands of arithmetic) with the pipeline that finds its spans and what it has added up so far.
 * metrics.c reads spans into it, compare.c is the one function with many labels per span,
 * metrics_sum.c makes numbers of what was added up, metrics_math.c what comes after. */
#ifndef WIRESPAN_QUERY_METRICS_H
#define WIRESPAN_QUERY_METRICS_H

#include "query/eval_impl.h"
#include "query/plan.h"
#include "query/series.h"

struct metric {
	const struct stage *stage;	 /* of kind STAGE_METRIC */
	struct tql tql;			 /* the pipeline before it, alone */
	struct str keys[AST_MAX_GROUPS]; /* of the labels */
	struct eval eval;
	struct series_set set;
	bool seconds;	/* the values are durations: ns in, seconds out */
	uint32_t spans; /* compare: how many, to know each span again */
};

struct metrics {
	struct query *q;
	struct grid grid;
	struct metric *at; /* in the order of the text */
	uint32_t cnt;
	bool cut; /* the answer is not whole for another reason than a full set */
};

/* Finished series, sorted by labels. */
struct series_list {
	struct metrics_series *at;
	uint32_t cnt;
};

/* compare(): counts span i, which is in interval at. */
void compare_add(struct metric *m, uint32_t i, uint32_t at);
/* Could compare() have given a series these labels? */
bool compare_labels_ok(const struct tval *labels);
/* The labels, and which to keep. 0 or -ERANGE; the sentence is set. */
int compare_finish(struct metrics *ms, struct metric *m, struct series_list *ret);

/* What a metric has added up. 0 or -ERANGE. */
int metrics_sum(struct metrics *ms, struct metric *m, struct series_list *ret);
/* The same with what stands around it in the text: ranks, comparisons, arithmetic. 0 or -errno. */
int metrics_math(struct metrics *ms, const struct stage *s, struct series_list *ret);

/* --- feeding --- */
/* v as it stands in a label. */
struct tval metrics_label(const struct tval *v);
static inline double metrics_unit(const struct metric *m, double v)
{
	return m->seconds ? v / NS_PER_S : v;
}

/* Does the metric count a span whose field has this value? Of metrics that have a field. Buckets
 * begin above 1, and floats have none. */
static inline bool metrics_counts(const struct metric *m, const struct tval *v)
{
	if (m->set.conf.acc == ACC_HIST)
		return (v->type == TYPE_INT || v->type == TYPE_DURATION) && v->i >= 2;
	return tval_is_number(v) && !isnan(tval_number(v));
}

/* Adds it (of those without a field: one more) and returns what an exemplar shows; NaN: the sample.
 */
static inline double metrics_add_value(struct metric *m, struct series *s, uint32_t at,
				       const struct tval *v)
{
	double d;

	if (m->set.conf.acc == ACC_COUNT) {
		series_count(s, at);
		return NAN;
	}
	d = metrics_unit(m, tval_number(v));
	if (m->set.conf.acc == ACC_HIST)
		series_hist(&m->set, s, at, (uint64_t)v->i);
	else if (m->set.conf.acc == ACC_MIN)
		series_min(s, at, d);
	else if (m->set.conf.acc == ACC_MAX)
		series_max(s, at, d);
	else
		series_sum(s, at, d);
	return d;
}

/* Can it be fed from columns? */
bool metrics_fits_rows(const struct metrics *ms);
/* Does that; spans that are in no columns go to span_fn. */
int metrics_feed_rows(struct metrics *ms, struct plan *plan, plan_span_fn *span_fn);

/* --- of several nodes --- */
/* What was added up, in the form of proto/parts.proto. 0, -ERANGE or that of query_poll. */
int metrics_parts_put(struct metrics *ms, const struct plan *plan, struct strbuf *to);
/* Adds what another node has, and what it has looked at. -EBADMSG: it is not for this question, or damaged, and
 * nothing was added. The scratch arena is used up. */
int metrics_parts_add(struct metrics *ms, struct plan *plan, struct str body);

/* --- shared by the three --- */
int labels_cmp(const struct attrs *a, const struct attrs *b);
void series_list_sort(struct series_list *l);
/* Copies the exemplars, by time; those without a value get the sample's. 0 or -ERANGE. */
int exemplars_of(struct metrics *ms, const struct series *s, struct metrics_series *to);

/* How the q-th part of what is in a histogram is: TraceQL's rule, in the unit of the buckets. cnt
 * is per bucket of series.h. 0 when it is empty, or q is not in 0..1. */
double metrics_quantile(double q, const uint32_t cnt[SERIES_BUCKETS]);

#endif

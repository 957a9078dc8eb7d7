/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - which traces, or which spans, a query has to look at. What is in column blocks is judged
 * by column; the newest spans, which are in no block yet, and what columns cannot tell, one by one.
 */
#ifndef WIRESPAN_QUERY_PLAN_H
#define WIRESPAN_QUERY_PLAN_H

#include "query/columnar.h"

struct plan {
	struct query *q;
	const struct tql *tql;
	uint64_t from_ns, to_ns; /* traces, or spans, that overlap it, inclusive */
	uint64_t floor_ns;	 /* only traces that start later; 0: any; may rise while it runs */
	uint64_t inspected_spans, inspected_bytes; /* so far */
};

/* The whole trace, in the scratch arena, until the function returns. > 0 ends the walk. */
typedef int plan_trace_fn(void *arg, const struct span *spans, uint32_t cnt);
/* A span. > 0 ends the walk. */
typedef int plan_span_fn(void *arg, const struct span *sp);
/* Rows of a group, not none, and the fields in the order in which they were asked for. */
typedef int plan_rows_fn(void *arg, struct columnar *c, const struct rows *rows,
			 const struct columnar_field *fields);

/* Every trace that overlaps the range and may have spans that the query finds, each once, those
 * with the newest spans first. Opens the query's read. 0 or -errno. */
int plan_traces(struct plan *p, plan_trace_fn *fn, void *arg);
/* Every span that overlaps the range. */
int plan_spans(struct plan *p, plan_span_fn *fn, void *arg);

/* What plan_rows looks for. */
struct plan_rows {
	const struct expr *filter; /* NULL: every row; must be plan_is_local */
	const struct field_ref *const *fields;
	uint32_t field_cnt; /* at most PLAN_FIELDS_MAX */
	plan_rows_fn *rows_fn;
	/* For spans that do not come as rows; it has to apply the filter itself. */
	plan_span_fn *span_fn;
	void *arg;
};
enum { PLAN_FIELDS_MAX = 8 };

/* Can x be told from a span alone? Fields of the trace cannot, but whether nestedSetParent is
 * negative can: when the span has no parent. (A server that shares its id with a root client,
 * as Zipkin has it, counts as a root then.) */
bool plan_is_local(const struct expr *x);
/* Every span that overlaps the range and fulfils the filter, once, as rows or as a span. */
int plan_rows(struct plan *p, const struct plan_rows *pr);

#endif

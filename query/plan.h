/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - which traces a query has to look at. */
#ifndef WIRESPAN_QUERY_PLAN_H
#define WIRESPAN_QUERY_PLAN_H

#include "query/eval.h"

struct plan {
	struct query *q;
	const struct tql *tql;
	uint64_t from_ns, to_ns;		   /* traces that overlap it, inclusive */
	uint64_t inspected_spans, inspected_bytes; /* so far */
};

/* The whole trace, in the scratch arena, until the function returns. > 0 ends the walk. */
typedef int plan_trace_fn(void *arg, const struct span *spans, uint32_t cnt);
/* A span. > 0 ends the walk. */
typedef int plan_span_fn(void *arg, const struct span *sp);

/* Every trace that overlaps the range and may have spans that the query finds, each once, those
 * with the newest spans first. Opens the query's read. 0 or -errno. */
int plan_traces(struct plan *p, plan_trace_fn *fn, void *arg);
/* Every span that overlaps the range. */
int plan_spans(struct plan *p, plan_span_fn *fn, void *arg);

#endif

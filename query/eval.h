/* SPDX-License-Identifier: Apache-2.0 */
/* eval.h - what a query finds in one trace. The spans come as an array from wherever; memory is the
 * query's scratch arena, so a result is valid until the scratch is reset for the next trace. */
#ifndef WIRESPAN_QUERY_EVAL_H
#define WIRESPAN_QUERY_EVAL_H

#include "query/query_impl.h"

/* The value of a field that does not come from a span. */
struct field_given {
	const struct field_ref *field; /* by address: where it stands in the query */
	struct tval val;
};

struct eval {
	struct query *q;
	const struct tql *tql;
	struct trace trace;
	uint8_t *marks;			 /* one per span, for set operators */
	uint32_t *families;		 /* two per span, for siblings */
	const struct field_given *given; /* NULL: fields come from the trace */
	uint32_t given_cnt;
	int err; /* the first error; sticky */
};

struct span_set {
	struct span_set *next;
	uint32_t *at; /* indices of spans, ascending */
	uint32_t cnt;
	struct attrs attrs; /* by(), aggregates */
};

void eval_init(struct eval *e, struct query *q, const struct tql *t);
/* Sets the trace; the scratch arena must be fresh. 0 or -ERANGE. */
int eval_begin(struct eval *e, const struct span *spans, uint32_t cnt);
/* The span sets that the query finds; *ret NULL: none. */
int eval_trace(struct eval *e, struct span_set **ret);
/* Is expr (NULL: true) true for span i? Errors are in e->err. */
bool eval_true(struct eval *e, const struct expr *x, uint32_t i);
/* Of a comparison of a field with a literal: is it true when the field has this value? */
bool eval_true_for(struct eval *e, const struct expr *x, const struct tval *v);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* eval_impl.h - eval.c (values and conditions on one span) and eval_sets.c (sets of spans). */
#ifndef WIRESPAN_QUERY_EVAL_IMPL_H
#define WIRESPAN_QUERY_EVAL_IMPL_H

#include "query/eval.h"

void eval_value(struct eval *e, const struct expr *x, uint32_t i, struct tval *ret);
/* Scratch memory; NULL and e->err when there is no more. */
void *eval_alloc(struct eval *e, size_t len);
/* The same value in memory that stays: ids as text do not. */
struct tval eval_keep(struct eval *e, const struct tval *v);

#endif

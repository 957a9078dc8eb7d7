/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - the static rules of TraceQL: types, nil, what must name a span, limits of functions.
 * Also sets what follows from the text: expr.type, expr.re, ids in normal form, tql.trace,
 * tql.tree. */
#ifndef WIRESPAN_QUERY_CHECK_H
#define WIRESPAN_QUERY_CHECK_H

#include "query/ast.h"

/* 0, or -EINVAL with a sentence in why. */
int check_query(struct tql *t, struct strbuf *why);
/* The value of an expression of literals; -EINVAL when it is none, or divides by zero. */
int check_constant(const struct expr *e, struct tval *ret);

#endif

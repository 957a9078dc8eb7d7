/* SPDX-License-Identifier: Apache-2.0 */
/* show.h - which attributes a search result lists for a span: those that the query names. */
#ifndef WIRESPAN_QUERY_SHOW_H
#define WIRESPAN_QUERY_SHOW_H

#include "query/eval.h"

struct show;

/* Every field that the query names, once. NULL: the arena is full. */
struct show *show_new(struct arena *a, const struct tql *t);
/* Fills show_name and attrs for span i, in the query's arena. 0 or -errno, as e->err. */
int show_span(const struct show *s, struct eval *e, uint32_t i, struct search_span *ret);
/* A copy that borrows nothing. */
int show_val(struct arena *a, const struct val *v, struct val *ret);

#endif

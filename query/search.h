/* SPDX-License-Identifier: Apache-2.0 */
/* search.h - what a search says of one trace; apart from query_search so that it can be asked of
 * spans that come from no store. */
#ifndef WIRESPAN_QUERY_SEARCH_H
#define WIRESPAN_QUERY_SEARCH_H

#include "query/show.h"

/* Evaluates the query on one trace. 1: found, *ret is in the query's arena; 0: not found; -errno.
 * show NULL: a search without a query, which lists no sets. */
int search_trace(struct eval *e, const struct show *show, const struct span *spans, uint32_t cnt,
		 uint32_t spss, struct search_trace *ret);

#endif

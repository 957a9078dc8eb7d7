/* SPDX-License-Identifier: Apache-2.0 */
/* tree.h - who is whose parent in one trace, as TraceQL's structural operators and nestedSet fields
 * see it. */
#ifndef WIRESPAN_QUERY_TREE_H
#define WIRESPAN_QUERY_TREE_H

#include "store/base.h"
#include "store/span.h"

enum { TREE_NONE = UINT32_MAX };

struct tree_node {
	uint32_t parent; /* TREE_NONE: a root, or its parent was not received */
	uint32_t family; /* equal for spans with the same parent, received or not */
	uint32_t child_cnt;
	uint32_t left, right; /* depth-first numbers from 1; 0: in a circle of parents */
	int64_t parent_left;  /* -1: root; 0: the parent was not received */
};

struct tree {
	struct tree_node *nodes; /* one per span, in the trace's order */
	uint32_t *order;	 /* parents before children; spans in circles are not in it */
	uint32_t order_cnt, cnt;
};

/* NULL: the arena is full. */
struct tree *tree_new(struct arena *a, const struct span *spans, uint32_t cnt);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* trace_tree.h - a trace as Tempo's API gives it (JSON), drawn as a tree with times and bars. Pure:
 * text in, text out. */
#ifndef WIRESPAN_TRACE_TREE_H
#define WIRESPAN_TRACE_TREE_H

#include "store/base.h"

/* 0; -ENOENT: the answer holds no span; -EBADMSG: it is not what /api/v2/traces gives. */
int trace_tree_format(struct strbuf *out, struct str json, struct str id);

#endif

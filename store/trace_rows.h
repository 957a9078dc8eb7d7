/* SPDX-License-Identifier: Apache-2.0 */
/* trace_rows.h - rows for a partition's table of traces, gathered while its chunks are written and then
 * put in the order of their keys: neighbours go to the same page of the tree, so each page is looked
 * for and made anew once. One transaction's, no lock. Never included from outside of store/. */
#ifndef WIRESPAN_STORE_TRACE_ROWS_H
#define WIRESPAN_STORE_TRACE_ROWS_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

/* All zeros: none. */
struct trace_rows {
	struct trace_row *at;
	size_t cnt, cap;
};

/* Chunk seq holds spans of this trace. */
void trace_rows_add(struct trace_rows *r, const uint8_t trace_id[16], uint64_t seq);
/* Once, after all were added. 0 or -errno. */
int trace_rows_put(struct trace_rows *r, MDB_txn *txn, MDB_dbi traces);
void trace_rows_fini(struct trace_rows *r);

#endif

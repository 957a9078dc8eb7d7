/* SPDX-License-Identifier: Apache-2.0 */
/* trace_rows.c - see trace_rows.h. Called by commit.c and upgrade.c. */
#include "store/trace_rows.h"
#include "store/env.h"

#include <stdlib.h>

struct trace_row {
	uint64_t key, seq;
};

enum { ROWS_MIN = 256 };

void trace_rows_add(struct trace_rows *r, const uint8_t trace_id[16], uint64_t seq)
{
	if (r->cnt == r->cap) {
		r->cap = r->cap ? r->cap * 2 : ROWS_MIN;
		r->at = realloc(r->at, r->cap * sizeof(*r->at));
		must(r->at);
	}
	r->at[r->cnt++] = (struct trace_row){trace_key(trace_id), seq};
}

static int row_cmp(const void *a, const void *b)
{
	const struct trace_row *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

int trace_rows_put(struct trace_rows *r, MDB_txn *txn, MDB_dbi traces)
{
	MDB_cursor *cur;
	int rc;

	if (r->cnt == 0)
		return 0;
	rc = mdb_cursor_open(txn, traces, &cur);
	if (rc)
		return store_err(rc);
	qsort(r->at, r->cnt, sizeof(*r->at), row_cmp);
	for (size_t i = 0; i < r->cnt && !rc; i++) {
		MDB_val key = {sizeof(r->at->key), &r->at[i].key};
		MDB_val seq = {sizeof(r->at->seq), &r->at[i].seq};

		rc = mdb_cursor_put(cur, &key, &seq, 0);
	}
	mdb_cursor_close(cur);
	return store_err(rc);
}

void trace_rows_fini(struct trace_rows *r)
{
	free(r->at);
}

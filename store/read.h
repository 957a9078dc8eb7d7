/* SPDX-License-Identifier: Apache-2.0 */
/* read.h - a read as read.c and tags.c see it: one LMDB transaction per partition, newest partition
 * first, with a decoder made when the first chunk there is decoded. One thread's property. */
#ifndef WIRESPAN_STORE_READ_H
#define WIRESPAN_STORE_READ_H

#include "store/env.h"

struct read_part {
	struct part *part;
	MDB_txn *txn;
	struct decoder dec;
	bool has_dec;
	bool keeps_dec; /* results of store_trace point into it */
	uint32_t walks; /* in progress here: what a walk calls may walk */
	bool has_warned;
};

struct store_read {
	struct store *store;
	size_t cnt;
	struct read_part at[];
};

/* Counts and, once per partition of a read, says that something was left out. */
void read_unclean(struct store_read *r, struct read_part *rp);
/* The partition's decoder, made when needed. */
struct decoder *read_decoder(struct read_part *rp);
/* Around a walk: the decoder goes when nobody walks and no result points into it. */
void read_walk_begin(struct read_part *rp);
void read_walk_end(struct read_part *rp);
/* The spans of chunks first to last, the last chunk first. What fn returns ends the walk. */
int read_walk_chunks(struct store_read *r, struct read_part *rp, uint64_t first, uint64_t last,
		     store_span_fn *fn, void *arg);

/* The spans of a row of the table spans, as store_trace and store_walk give them. -EUCLEAN, -ENOMEM. */
int read_chunk(struct read_part *rp, struct arena *a, MDB_val key, MDB_val val, struct span **ret,
	       uint32_t *ret_cnt);

#endif

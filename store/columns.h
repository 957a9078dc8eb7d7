/* SPDX-License-Identifier: Apache-2.0 */
/* columns.h - spans by column: what a condition or a metric has to look at, without the spans.
 *
 * The store keeps, beside the chunks, blocks of some 16,000 spans each. In a block, spans (rows) of
 * one kind and with the same attribute keys make a group, so a group's columns have no holes: a key
 * that a group does not name is missing in all of its rows. A column is either numbers (starts,
 * durations) or codes that point into a short list of values; a column whose values are too many or
 * too long to be worth it is opaque: whoever needs it has to read the spans.
 *
 * Blocks say nothing that the chunks do not say, and they come later than the chunks: the newest
 * spans of a partition are in none yet (its tail), and old partitions may have none at all. What a
 * value list holds is what TraceQL can see: maps, bytes, empty and mixed arrays are VAL_EMPTY.
 *
 * Everything is borrowed: a block until the function it was handed to returns, strings until
 * store_read_end. The invariant: whatever the bytes, reading a row of a column that was parsed
 * stays inside the block. */
#ifndef WIRESPAN_STORE_COLUMNS_H
#define WIRESPAN_STORE_COLUMNS_H

#include "store/store.h"

enum column_id {
	COLUMN_CHUNK,	 /* numbers: for store_block_trace_id; ascending */
	COLUMN_START,	 /* numbers: ns since the block's min_start_ns */
	COLUMN_DURATION, /* numbers: ns; 0 when the end is before the start */
	COLUMN_NAME,	 /* values: VAL_STR */
	COLUMN_KIND,	 /* VAL_INT; one value, unless the group is partial */
	COLUMN_STATUS,	 /* VAL_INT */
	COLUMN_MESSAGE,	 /* VAL_STR */
	COLUMN_RESOURCE, /* VAL_INT: index of block.resources */
	COLUMN_SCOPE,	 /* VAL_INT: index of block.scopes */
	COLUMN_ROOT,	 /* VAL_BOOL: has no parent id */
	COLUMN_FIXED,	 /* from here on: the group's keys in order */
};

enum column_form { COLUMN_OPAQUE, COLUMN_NUMBERS, COLUMN_VALUES, COLUMN_FORM_COUNT };

struct column {
	enum column_form form;
	uint32_t rows;
	uint32_t value_cnt;  /* VALUES: at least 1 */
	uint8_t width;	     /* VALUES: bits of a code; 0: all rows have value 0 */
	struct str values;   /* VALUES: encoded */
	const uint8_t *runs; /* NUMBERS: one head per run of rows */
	const uint8_t *packed;
};

enum group_flag {
	GROUP_EVENTS = 1,  /* all rows have events */
	GROUP_LINKS = 2,   /* all rows have links */
	GROUP_PARTIAL = 4, /* which span attributes the rows have is not known */
};

struct column_group {
	uint32_t rows; /* in order of arrival */
	uint32_t flags;
	uint32_t key_cnt;
	struct str *keys; /* of span attributes, each once */
	struct column *columns;
};

struct column_block {
	uint64_t min_start_ns, max_start_ns, max_end_ns;
	uint32_t spans, group_cnt, resource_cnt, scope_cnt;
	struct column_group *groups;
	const struct resource **resources;
	const struct scope **scopes;
	uint64_t bytes;
	/* the store's own */
	uint64_t first_seq, chunks;
	void *part;
};

/* Rows [row, row + cnt) of a column with numbers or values (then codes, which may be past the list
 * when the file is damaged). */
void column_read(const struct column *c, uint32_t row, uint32_t cnt, uint64_t *ret);
/* The numbers of the rows of run `run` (rows / COLUMN_RUN) lie in [*ret_min, *ret_max]. */
enum { COLUMN_RUN = 128 };
void column_run_bounds(const struct column *c, uint32_t run, uint64_t *ret_min, uint64_t *ret_max);
/* The list of values, in the arena; strings are borrowed. *ret_cnt is column.value_cnt. 0,
 * -EUCLEAN, -ENOMEM. */
int column_values(const struct column *c, struct arena *a, const struct val **ret);

/* > 0 and < 0 end the walk and are what it returns. STORE_BLOCK_SPANS asks for the spans instead.
 */
typedef int store_block_fn(void *arg, const struct column_block *b);
enum { STORE_BLOCK_SPANS = 1 << 30 };

/* Walks all spans of the read once, as store_walk does, newest partition first; what is in blocks
 * comes as blocks, after the partition's tail, which comes as spans. */
int store_walk_blocks(struct store_read *r, store_block_fn *block_fn, store_span_fn *span_fn,
		      void *arg);
/* From within a store_block_fn: the trace that a COLUMN_CHUNK number speaks of. 0 or -EUCLEAN. */
int store_block_trace_id(const struct column_block *b, uint64_t chunk, uint8_t ret[16]);

#endif

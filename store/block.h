/* SPDX-License-Identifier: Apache-2.0 */
/* block.h - blocks of columns: spans to bytes (block_build.c) and bytes to struct column_block
 * (block.c), as keys.h says. Neither knows LMDB. Called by blocks.c. The invariant: what is built
 * from spans and parsed again says of every row what its span said, or that it does not know. */
#ifndef WIRESPAN_STORE_BLOCK_H
#define WIRESPAN_STORE_BLOCK_H

#include "store/codec.h"
#include "store/columns.h"

/* BLOCK_SPANS: enough spans for a block. VALUE_BYTES: a column whose list takes more than this for
 * each row is opaque. */
enum {
	BLOCK_SPANS = 16384,
	BLOCK_GROUPS_MAX = 256,
	BLOCK_KEYS_MAX = 128,
	BLOCK_SHARED_MAX = 4096, /* resources, scopes: each */
	BLOCK_VALUE_BYTES = 16,
	BLOCK_VALUE_BYTES_FREE = 1024,
};

/* On disk: form NUMBERS is COLUMN_NUMBERS runs of this head, then the packed numbers. */
struct block_run {
	uint64_t base;
	uint32_t at; /* byte in the packed numbers */
	uint32_t width;
};

struct block_builder;

/* d decodes the spans that will be added: what it has of the dictionary is referred to. */
struct block_builder *block_builder_new(const struct decoder *d);
void block_builder_free(struct block_builder *b);
/* Adds a span of the chunk-th chunk of the block. Strings and keys are borrowed until block_build;
 * all else is copied. */
void block_add(struct block_builder *b, uint32_t chunk, const struct span *sp);
uint32_t block_spans(const struct block_builder *b);
/* Appends the block's bytes. total_spans: of the partition, up to and with this block. */
void block_build(struct block_builder *b, uint32_t chunks, uint64_t total_spans,
		 struct strbuf *out);

/* What stands at the front of a block. */
struct block_head {
	uint32_t chunks, spans;
	uint64_t total_spans;
	uint64_t min_start_ns, max_start_ns, max_end_ns;
};

/* 0 or -EUCLEAN. */
int block_head_parse(struct str bytes, struct block_head *ret);
/* Structs in the arena, strings borrowed from bytes and d. 0, -EUCLEAN, -ENOMEM. */
int block_parse(struct decoder *d, struct arena *a, struct str bytes, struct column_block *ret);

#endif

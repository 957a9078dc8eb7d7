/* SPDX-License-Identifier: Apache-2.0 */
/* batch.h - spans that were accepted and are not committed yet: deep copies in one arena, resources
 * and scopes shared by content. It takes no lock and knows no partition; append.c fills one batch
 * while it commits another. The invariant: a batch either has all spans of a call or none. */
#ifndef WIRESPAN_STORE_BATCH_H
#define WIRESPAN_STORE_BATCH_H

#include "store/base.h"
#include "store/span.h"

enum { BATCH_SHARED = 64, BATCH_STRINGS = 512, BATCH_KEYS = 128 };

struct batch_span {
	struct span span;
	uint64_t part_ns; /* where it goes: set by each try to commit */
	bool is_done;	  /* committed already, when another partition's commit failed */
};

struct batch {
	struct arena mem;
	struct batch_span *at;
	size_t cnt, cap;
	uint64_t first_ns; /* CLOCK_MONOTONIC of the first span */
	const struct resource *resources[BATCH_SHARED];
	const struct scope *scopes[BATCH_SHARED];
	struct str strings[BATCH_STRINGS]; /* by hash; the last one that came there */
	struct key_copy {
		const char *from;
		struct str to;
	} keys[BATCH_KEYS]; /* of one call: where it was, and its copy */
};

void batch_init(struct batch *b);
void batch_fini(struct batch *b);
/* Memory it holds, for the limit. */
size_t batch_bytes(const struct batch *b);
/* 0; -EINVAL for what span.h does not allow, or values nested deeper than the format. */
int batch_check(const struct span *spans, size_t cnt);
/* Copies; the spans must have passed batch_check. */
void batch_add(struct batch *b, const struct span *spans, size_t cnt);
void batch_clear(struct batch *b);

#endif

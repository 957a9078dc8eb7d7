/* SPDX-License-Identifier: Apache-2.0 */
/* val_list.h - the values of a column while it is built, each once, and the code of each. A list
 * that grows past its worth is given up at once, so that memory stays bounded whatever the values
 * are. Most strings come from a dictionary and have the same address each time: a small table by
 * address saves most hashing. Used by block_build.c. */
#ifndef WIRESPAN_STORE_VAL_LIST_H
#define WIRESPAN_STORE_VAL_LIST_H

#include "store/block.h"

enum { BY_POINTER = 64 };

struct val_list {
	struct val *at;
	uint32_t *hashes;
	uint32_t cnt, cap;
	uint32_t *slots; /* index + 1 */
	uint32_t slot_cnt;
	uint64_t seed; /* so that nobody can choose values that collide */
	size_t bytes;  /* encoded, about */
	bool is_given_up;
	struct by_pointer {
		const char *p;
		size_t len;
		uint32_t code;
	} known[BY_POINTER];
};

void val_list_fini(struct val_list *l);
/* The code of v; anything when the list is given up. Strings are borrowed, arrays go to a. */
uint32_t val_list_code(struct val_list *l, struct arena *a, const struct val *v);
/* Are the values worth their bytes in a column of so many rows? */
bool val_list_is_worth(const struct val_list *l, uint32_t rows);
/* What TraceQL sees of v, arrays copied to the arena: maps, bytes, empty and mixed arrays are
 * EMPTY. */
struct val val_seen(struct arena *a, const struct val *v);

#endif

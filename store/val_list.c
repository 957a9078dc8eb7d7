/* SPDX-License-Identifier: Apache-2.0 */
/* val_list.c - values to codes by a hash table of its own per column. */
#include "store/val_list.h"

#include <stdlib.h>

void val_list_fini(struct val_list *l)
{
	free(l->at);
	free(l->hashes);
	free(l->slots);
	l->at = NULL;
	l->hashes = l->slots = NULL;
	l->cnt = l->cap = l->slot_cnt = 0;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (; len >= 8; b += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, b, 8);
		h = (h ^ v) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	for (; len > 0; b++, len--)
		h = (h ^ *b) * 0xff51afd7ed558ccdu;
	return h ^ h >> 32;
}

static uint64_t val_hash(const struct val *v, uint64_t h)
{
	h = (h ^ v->type) * 0xbf58476d1ce4e5b9u;
	switch (v->type) {
	case VAL_STR:
		return hash_bytes(h ^ v->str.len, v->str.p, v->str.len);
	case VAL_BOOL:
		return hash_bytes(h, &v->b, sizeof(v->b));
	case VAL_INT:
	case VAL_DOUBLE:
		return hash_bytes(h, &v->i, sizeof(v->i));
	case VAL_ARRAY:
		for (uint32_t i = 0; i < v->cnt; i++)
			h = val_hash(&v->elems[i], h);
		return h;
	default:
		return h;
	}
}

static bool val_is(const struct val *a, const struct val *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VAL_STR:
		return str_eq(a->str, b->str);
	case VAL_BOOL:
		return a->b == b->b;
	case VAL_INT:
	case VAL_DOUBLE: /* bit by bit */
		return a->i == b->i;
	case VAL_ARRAY:
		if (a->cnt != b->cnt)
			return false;
		for (uint32_t i = 0; i < a->cnt; i++)
			if (!val_is(&a->elems[i], &b->elems[i]))
				return false;
		return true;
	default:
		return true;
	}
}

static size_t val_bytes(const struct val *v)
{
	size_t sum = 2;

	if (v->type == VAL_STR)
		return v->str.len + 2;
	for (uint32_t i = 0; v->type == VAL_ARRAY && i < v->cnt; i++)
		sum += val_bytes(&v->elems[i]);
	return v->type == VAL_DOUBLE ? 9 : v->type == VAL_INT ? 4 : sum;
}

static void list_grow(struct val_list *l)
{
	uint32_t cap = l->cap ? l->cap * 2 : 8;

	l->at = realloc(l->at, cap * sizeof(*l->at));
	l->hashes = realloc(l->hashes, cap * sizeof(*l->hashes));
	free(l->slots);
	l->slot_cnt = cap * 2;
	l->slots = calloc(l->slot_cnt, sizeof(*l->slots));
	must(l->at && l->hashes && l->slots);
	l->cap = cap;
	for (uint32_t i = 0; i < l->cnt; i++) {
		uint32_t h = l->hashes[i];

		while (l->slots[h & (l->slot_cnt - 1)])
			h++;
		l->slots[h & (l->slot_cnt - 1)] = i + 1;
	}
}

/* What TraceQL sees of v, arrays copied to the arena. */
struct val val_seen(struct arena *a, const struct val *v)
{
	struct val seen = *v;

	switch (v->type) {
	case VAL_STR:
	case VAL_BOOL:
	case VAL_INT:
	case VAL_DOUBLE:
		return seen;
	case VAL_ARRAY:
		for (uint32_t i = 0; i < v->cnt; i++)
			if (v->elems[i].type != v->elems[0].type)
				return (struct val){0};
		if (v->cnt == 0 || v->elems[0].type < VAL_STR || v->elems[0].type > VAL_DOUBLE)
			return (struct val){0};
		seen.elems = arena_array(a, struct val, v->cnt);
		memcpy(seen.elems, v->elems, v->cnt * sizeof(*v->elems));
		return seen;
	default:
		return (struct val){0};
	}
}

static uint32_t list_find(struct val_list *l, struct arena *a, const struct val *v)
{
	uint32_t hash = (uint32_t)val_hash(v, l->seed), h = hash;

	if (l->cnt == l->cap)
		list_grow(l);
	for (;; h++) {
		uint32_t i = l->slots[h & (l->slot_cnt - 1)];

		if (i == 0)
			break;
		if (l->hashes[i - 1] == hash && val_is(&l->at[i - 1], v))
			return i - 1;
	}
	l->at[l->cnt] = v->type == VAL_ARRAY ? val_seen(a, v) : *v;
	l->hashes[l->cnt] = hash;
	l->slots[h & (l->slot_cnt - 1)] = ++l->cnt;
	l->bytes += val_bytes(v);
	return l->cnt - 1;
}

bool val_list_is_worth(const struct val_list *l, uint32_t rows)
{
	return l->bytes <= (size_t)rows * BLOCK_VALUE_BYTES + BLOCK_VALUE_BYTES_FREE;
}

/* The code of v; anything when the list is given up. */
uint32_t val_list_code(struct val_list *l, struct arena *a, const struct val *v)
{
	struct by_pointer *known = NULL;
	uint32_t code;
	struct val seen;

	if (l->is_given_up)
		return 0;
	if (v->type == VAL_STR && v->str.p) {
		known = &l->known[((uintptr_t)v->str.p * 0x9e3779b97f4a7c15u) >> 58];
		if (known->p == v->str.p && known->len == v->str.len)
			return known->code;
	}
	seen = v->type > VAL_DOUBLE ? val_seen(a, v) : *v;
	code = list_find(l, a, &seen);
	if (!val_list_is_worth(l, BLOCK_SPANS)) {
		val_list_fini(l);
		l->is_given_up = true;
		return 0;
	}
	if (known)
		*known = (struct by_pointer){v->str.p, v->str.len, code};
	return code;
}

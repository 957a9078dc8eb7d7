/* SPDX-License-Identifier: Apache-2.0 */
/* dict.c - one hash table over all kinds of dictionary entries, and an array of entries per kind.
 *
 * Entries are only ever added; a failed commit throws the whole dictionary away and loads it again,
 * so there is no undo. The hash is seeded per process: its input comes from the network. The
 * invariant: ids of a kind count up from 0 and at[id] is that entry, as in the table. */
#include "store/dict.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

struct slot {
	uint32_t hash;
	uint32_t ref; /* kind << 24 | id, plus 1; 0: free */
};

struct entries {
	struct str *at;
	uint32_t cnt, cap, saved_cnt;
	size_t bytes;
};

struct dict {
	struct arena text;
	struct entries kinds[DICT_KIND_COUNT];
	struct slot *slots;
	uint32_t slot_cnt, used; /* slot_cnt is a power of two */
	uint64_t seed;
	uint16_t owner_cnt[OWNER_COUNT];
};

enum { REF_ID_BITS = 24, SLOTS_MIN = 256 };

struct dict *dict_new(void)
{
	struct dict *d = calloc(1, sizeof(*d));

	must(d);
	d->slot_cnt = SLOTS_MIN;
	d->slots = calloc(d->slot_cnt, sizeof(*d->slots));
	must(d->slots);
	must(getrandom(&d->seed, sizeof(d->seed), 0) == sizeof(d->seed));
	arena_init(&d->text, 0);
	return d;
}

void dict_free(struct dict *d)
{
	if (!d)
		return;
	arena_fini(&d->text);
	for (size_t kind = 0; kind < DICT_KIND_COUNT; kind++)
		free(d->kinds[kind].at);
	free(d->slots);
	free(d);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	__uint128_t m = (__uint128_t)(h ^ v) * 0x9e3779b97f4a7c15u;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint32_t hash_of(const struct dict *d, enum dict_kind kind, struct str s)
{
	uint64_t h = mix(d->seed, s.len << 8 | kind), v = 0;
	const char *p = s.p;
	size_t len = s.len;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&v, p, 8);
		h = mix(h, v ^ d->seed);
	}
	v = 0;
	if (len)
		memcpy(&v, p, len);
	return (uint32_t)(mix(h, v) >> 32);
}

/* The slot that has the entry, or the free one where it belongs. */
static struct slot *slot_find(const struct dict *d, uint32_t hash, enum dict_kind kind,
			      struct str s)
{
	for (uint32_t i = hash;; i++) {
		struct slot *sl = &d->slots[i & (d->slot_cnt - 1)];
		uint32_t ref = sl->ref - 1;

		if (sl->ref == 0)
			return sl;
		if (sl->hash == hash && ref >> REF_ID_BITS == kind &&
		    str_eq(d->kinds[kind].at[ref & ((1u << REF_ID_BITS) - 1)], s))
			return sl;
	}
}

static void slots_grow(struct dict *d)
{
	struct slot *old = d->slots;
	uint32_t old_cnt = d->slot_cnt;

	d->slot_cnt *= 2;
	d->slots = calloc(d->slot_cnt, sizeof(*d->slots));
	must(d->slots);
	for (uint32_t i = 0; i < old_cnt; i++) {
		uint32_t at = old[i].hash;

		if (old[i].ref == 0)
			continue;
		while (d->slots[at & (d->slot_cnt - 1)].ref)
			at++;
		d->slots[at & (d->slot_cnt - 1)] = old[i];
	}
	free(old);
}

static bool has_room(const struct dict *d, enum dict_kind kind, uint32_t owner, struct str s)
{
	const struct entries *en = &d->kinds[kind];
	bool is_str = kind == DICT_STRING;

	must(owner < OWNER_COUNT);
	return s.len <= DICT_ENTRY_MAX &&
	       en->cnt < (uint32_t)(is_str ? DICT_STRINGS_MAX : DICT_OTHERS_MAX) &&
	       en->bytes + s.len <=
		   (size_t)(is_str ? DICT_STRING_BYTES_MAX : DICT_OTHER_BYTES_MAX) &&
	       (!is_str || d->owner_cnt[owner] < FIELD_VALUES_MAX);
}

static uint32_t entry_add(struct dict *d, uint32_t hash, enum dict_kind kind, struct str s)
{
	struct entries *en = &d->kinds[kind];

	if (en->cnt == en->cap) {
		en->cap = en->cap ? en->cap * 2 : 32;
		en->at = realloc(en->at, en->cap * sizeof(*en->at));
		must(en->at);
	}
	if (++d->used > d->slot_cnt / 2)
		slots_grow(d);
	*slot_find(d, hash, kind, s) = (struct slot){
	    .hash = hash,
	    .ref = ((uint32_t)kind << REF_ID_BITS | en->cnt) + 1,
	};
	en->at[en->cnt] = arena_str(&d->text, s.p, s.len);
	en->bytes += s.len;
	return en->cnt++;
}

uint32_t dict_put(void *arg, enum dict_kind kind, uint32_t owner, struct str bytes)
{
	struct dict *d = arg;
	uint32_t hash = hash_of(d, kind, bytes);
	struct slot *sl = slot_find(d, hash, kind, bytes);

	if (sl->ref)
		return (sl->ref - 1) & ((1u << REF_ID_BITS) - 1);
	if (!has_room(d, kind, owner, bytes))
		return DICT_NO_ID;
	if (kind == DICT_STRING)
		d->owner_cnt[owner]++;
	return entry_add(d, hash, kind, bytes);
}

int dict_load(struct dict *d, enum dict_kind kind, uint32_t id, struct str bytes)
{
	uint32_t hash;

	if (kind >= DICT_KIND_COUNT || id != d->kinds[kind].cnt ||
	    !has_room(d, kind, OWNER_TEXT, bytes))
		return -EUCLEAN;
	hash = hash_of(d, kind, bytes);
	if (slot_find(d, hash, kind, bytes)->ref)
		return -EUCLEAN;
	entry_add(d, hash, kind, bytes);
	d->kinds[kind].saved_cnt = d->kinds[kind].cnt;
	return 0;
}

int dict_each_new(const struct dict *d,
		  int (*fn)(void *arg, enum dict_kind kind, uint32_t id, struct str bytes),
		  void *arg)
{
	int err = 0;

	for (unsigned kind = 0; kind < DICT_KIND_COUNT; kind++)
		for (uint32_t id = d->kinds[kind].saved_cnt; id < d->kinds[kind].cnt && !err; id++)
			err = fn(arg, kind, id, d->kinds[kind].at[id]);
	return err;
}

void dict_saved(struct dict *d)
{
	for (unsigned kind = 0; kind < DICT_KIND_COUNT; kind++)
		d->kinds[kind].saved_cnt = d->kinds[kind].cnt;
}

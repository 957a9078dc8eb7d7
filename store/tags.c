/* SPDX-License-Identifier: Apache-2.0 */
/* tags.c - which attribute keys there are: read from the dictionaries, without looking at a span.
 *
 * A partition's FIELD entries are its keys with scope and type, at most DICT_OTHERS_MAX of them;
 * keys past that bound are not listed. Values are query's business. The invariant: a key comes once
 * per scope, whatever the number of partitions and of types it was seen with. */
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>

struct tag {
	enum tag_scope scope;
	struct str key; /* p NULL: free */
};

struct tags {
	struct tag *slots;
	size_t slot_cnt, used; /* slot_cnt is a power of two */
};

static struct tag *tag_slot(const struct tags *t, enum tag_scope scope, struct str key)
{
	uint64_t at = 0xcbf29ce484222325u + (uint64_t)scope;

	for (size_t i = 0; i < key.len; i++)
		at = (at ^ (uint8_t)key.p[i]) * 0x100000001b3u;
	for (;; at++) {
		struct tag *slot = &t->slots[at & (t->slot_cnt - 1)];

		if (!slot->key.p || (slot->scope == scope && str_eq(slot->key, key)))
			return slot;
	}
}

static void tags_grow(struct tags *t)
{
	struct tags old = *t;

	t->slot_cnt = old.slot_cnt ? old.slot_cnt * 2 : 256;
	t->slots = calloc(t->slot_cnt, sizeof(*t->slots));
	must(t->slots);
	for (size_t i = 0; i < old.slot_cnt; i++)
		if (old.slots[i].key.p)
			*tag_slot(t, old.slots[i].scope, old.slots[i].key) = old.slots[i];
	free(old.slots);
}

/* True when it was not there. */
static bool tags_add(struct tags *t, enum tag_scope scope, struct str key)
{
	struct tag *slot;

	if (t->used >= t->slot_cnt / 2)
		tags_grow(t);
	slot = tag_slot(t, scope, key);
	if (slot->key.p)
		return false;
	*slot = (struct tag){scope, key};
	t->used++;
	return true;
}

static bool is_field_key(MDB_val key, uint64_t *ret)
{
	if (key.mv_size != sizeof(*ret))
		return false;
	memcpy(ret, key.mv_data, sizeof(*ret));
	return *ret >> 32 == DICT_FIELD;
}

static int tags_of_part(struct store_read *r, struct read_part *rp, struct tags *t,
			store_tag_fn *fn, void *arg)
{
	uint64_t k = dict_key(DICT_FIELD, 0);
	MDB_val key = {sizeof(k), &k}, val;
	enum tag_scope scope;
	struct str name, bytes;
	MDB_cursor *cur;
	uint8_t type;
	int err = 0, rc = mdb_cursor_open(rp->txn, rp->part->dict, &cur);

	if (rc) {
		read_unclean(r, rp);
		return 0;
	}
	rc = mdb_cursor_get(cur, &key, &val, MDB_SET_RANGE);
	for (; !rc && !err; rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)) {
		if (!is_field_key(key, &k))
			break;
		if (!sum_check(SUM_DICT, k, (struct str){val.mv_data, val.mv_size}, &bytes) ||
		    field_parse(bytes, &scope, &type, &name) < 0)
			read_unclean(r, rp);
		else if (tags_add(t, scope, name))
			err = fn(arg, scope, name);
	}
	mdb_cursor_close(cur);
	return err;
}

int store_tag_keys(struct store_read *r, store_tag_fn *fn, void *arg)
{
	struct tags t = {0};
	int err = 0;

	for (size_t i = 0; i < r->cnt && !err; i++)
		err = tags_of_part(r, &r->at[i], &t, fn, arg);
	free(t.slots);
	return err;
}

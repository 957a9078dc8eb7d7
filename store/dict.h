/* SPDX-License-Identifier: Apache-2.0 */
/* dict.h - the writer's copy of a partition's dictionary, in memory: bytes to id, and what may
 * still go in. Readers do not use it (they look up ids in LMDB). It knows no LMDB: env.c fills it
 * from the table and writes what is new. Used by the committer's thread alone. Bounded by enum
 * dict_limit. */
#ifndef WIRESPAN_STORE_DICT_H
#define WIRESPAN_STORE_DICT_H

#include "store/codec.h"

struct dict;

struct dict *dict_new(void);
void dict_free(struct dict *d);
/* A dict_put_fn: the id of the bytes, made when they are new and there is room. */
uint32_t dict_put(void *d, enum dict_kind kind, uint32_t owner, struct str bytes);
/* An entry that is in the table; in order of id. -EUCLEAN: not the next id, or past the limits. */
int dict_load(struct dict *d, enum dict_kind kind, uint32_t id, struct str bytes);
/* Calls fn for every entry that was made since dict_saved. Non-zero ends it and is returned. */
int dict_each_new(const struct dict *d,
		  int (*fn)(void *arg, enum dict_kind kind, uint32_t id, struct str bytes),
		  void *arg);
void dict_saved(struct dict *d);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - which traces a partition cannot hold: a Bloom filter over the keys of its index, in a
 * file beside data.mdb, so that a trace by id neither opens nor searches the hundred partitions that
 * do not have it. keys.h has the file's format. No lock; a filter that is open may be asked by many. */
#ifndef WIRESPAN_STORE_FILTER_H
#define WIRESPAN_STORE_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base.h"

struct filter {
	const struct filter_block *blocks; /* NULL: none is open */
	uint64_t block_cnt, chunks;	   /* of the partition when it was made */
	size_t map_len;
};

/* --- asking --- */

/* Maps the file. 0, -ENOENT, -EUCLEAN: not one, or not as it was written. */
int filter_open(struct filter *f, int dir_fd, const char *path);
void filter_close(struct filter *f);
/* false: no chunk that was there when the filter was made has this trace_key(). */
bool filter_may_have(const struct filter *f, uint64_t key);

/* --- making --- */

struct filter_maker;

/* For at most key_cnt different keys. */
struct filter_maker *filter_maker_new(uint64_t key_cnt);
void filter_maker_free(struct filter_maker *m);
void filter_add(struct filter_maker *m, uint64_t key);
/* Writes the file, whole or not at all. 0 or -errno. */
int filter_save(struct filter_maker *m, uint64_t chunks, int dir_fd, const char *path);

#endif

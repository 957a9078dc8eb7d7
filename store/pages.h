/* SPDX-License-Identifier: Apache-2.0 */
/* pages.h - the pages of an LMDB file, looked at without LMDB, which trusts them: a damaged page
 * makes it fault, abort or walk in circles. Reads by pread alone, so that a short file is an error
 * and no SIGBUS. Used before an environment is opened (pages_head), after a crash and by
 * `wirespan store check` (pages_check). What passes pages_check LMDB can walk. */
#ifndef WIRESPAN_STORE_PAGES_H
#define WIRESPAN_STORE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base.h"

/* What is wrong, one sentence at a time. */
typedef void pages_say_fn(void *arg, const char *text);

struct pages_say {
	pages_say_fn *fn; /* NULL: nobody listens */
	void *arg;
	uint64_t cnt; /* counted in any case */
};

/* Both meta pages are LMDB's, sane, and of one shape, so that mdb_env_open may have the file.
 * 0; -ENODATA: an empty file; -EUCLEAN; what pread says. */
int pages_head(int fd);

/* Every page that a snapshot reaches: in the file, reached once, not free, of the kind that its
 * place asks for, with all its nodes inside; counts and depths as the tables say. txn_id: of a
 * snapshot that a read transaction holds; 0: the newest, and nobody writes. 0; -EUCLEAN;
 * -EAGAIN: the snapshot's meta page has been written over since: take a newer one. */
int pages_check(int fd, uint64_t txn_id, struct pages_say *say);

#endif

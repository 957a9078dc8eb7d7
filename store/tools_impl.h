/* SPDX-License-Identifier: Apache-2.0 */
/* tools_impl.h - what tools.c, check.c and upgrade.c share: the names of a folder's partitions, and a
 * walk over them.
 * Never included from outside of store/. */
#ifndef WIRESPAN_STORE_TOOLS_IMPL_H
#define WIRESPAN_STORE_TOOLS_IMPL_H

#include "store/env.h"
#include "store/tools.h"

struct part_file {
	uint64_t start_ns;
	uint32_t number;
	enum part_state state;
	char name[PART_NAME_MAX + 16]; /* with what state adds */
};

/* Those in the folder, the oldest first; free(*ret). */
int part_files_list(struct store *s, struct part_file **ret, size_t *ret_cnt);

typedef int part_file_fn(void *arg, struct store *s, const struct part_file *pf);
/* Opens the folder read-only and calls fn for each; non-zero ends it and is returned. */
int part_files_each(const char *dir, part_file_fn *fn, void *arg, struct strbuf *why);

#endif

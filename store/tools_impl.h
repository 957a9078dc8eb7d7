/* SPDX-License-Identifier: Apache-2.0 */
/* tools_impl.h - what tools.c, check.c and upgrade.c share: the names of a folder's partitions.
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

#endif

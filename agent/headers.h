/* SPDX-License-Identifier: Apache-2.0 */
/* headers.h - propagation.headers: may this kernel put headers into requests, and the programs of
 * kern/headers.h that do it. Called by load.c alone. */
#ifndef WIRESPAN_HEADERS_H
#define WIRESPAN_HEADERS_H

#include <stdbool.h>

#include "store/base.h"

struct wirespan_bpf;

/* Tries it with a connection of its own. If not, says why in the log and in `wirespan status`. */
bool headers_possible(void);
/* Before loading. */
void headers_prepare(struct wirespan_bpf *skel, bool on);
/* Loaded and prepared: begins. 0, or -errno with a sentence. */
int headers_open(struct wirespan_bpf *skel, struct strbuf *why);

#endif

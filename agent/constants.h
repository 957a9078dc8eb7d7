/* SPDX-License-Identifier: Apache-2.0 */
/* constants.h - what the kernel half is told of the configuration and of us before it is loaded, and
 * cannot change after. Called by load.c alone. */
#ifndef WIRESPAN_CONSTANTS_H
#define WIRESPAN_CONSTANTS_H

#include "agent/config.h"

struct wirespan_bpf;

/* Of an opened object. 0 or -errno. */
int constants_set(struct wirespan_bpf *skel, const struct config *c);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* skeleton.h - the one copy of the kernel half in the program. Whatever includes wirespan.skel.h and opens it
 * has a copy of its own, of 0.9 MB. */
#ifndef WIRESPAN_SKELETON_H
#define WIRESPAN_SKELETON_H

struct wirespan_bpf;

/* As wirespan_bpf__open(): NULL with errno, or for the caller to wirespan_bpf__destroy(). */
struct wirespan_bpf *skeleton_open(void);

#endif

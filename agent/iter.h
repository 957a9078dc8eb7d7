/* SPDX-License-Identifier: Apache-2.0 */
/* iter.h - runs a BPF iterator to its end. */
#ifndef WIRESPAN_ITER_H
#define WIRESPAN_ITER_H

#include <bpf/libbpf.h>

/* 0 or -errno. */
int iter_run(struct bpf_program *p);

#endif

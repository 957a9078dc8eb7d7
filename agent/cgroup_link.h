/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_link.h - hangs a BPF program on the root of the node's cgroups (version 2), so that it sees the
 * sockets of all processes. */
#ifndef WIRESPAN_CGROUP_LINK_H
#define WIRESPAN_CGROUP_LINK_H

#include <bpf/libbpf.h>

#include "store/base.h"

/* 0, or -errno with a sentence. */
int cgroup_link_open(struct bpf_link **ret, struct bpf_program *p, struct strbuf *why);

#endif

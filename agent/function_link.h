/* SPDX-License-Identifier: Apache-2.0 */
/* function_link.h - hangs a BPF program on a function of a file that programs run. Newer kernels have a link
 * for that which needs no more than BPF and PERFMON; the others take it as a performance event, for
 * which some want CAP_SYS_ADMIN. */
#ifndef WIRESPAN_FUNCTION_LINK_H
#define WIRESPAN_FUNCTION_LINK_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

struct function_link {
	int fd;		       /* of a link, or … */
	struct bpf_link *perf; /* … where the kernel has no such links */
};

/* Before loading. multi: the kernel's type information has bpf_uprobe_multi_link. */
void function_link_prepare(struct bpf_program *p, bool multi);
/* offset: of the function in the file. 0 or -errno. */
int function_link_open(struct function_link *ret, const struct bpf_program *p, bool multi,
		       const char *path, uint64_t offset);
void function_link_close(struct function_link *h);

#endif

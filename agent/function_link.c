/* SPDX-License-Identifier: Apache-2.0 */
/* function_link.c - see function_link.h. */
#include "agent/function_link.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers: names, and a part of union bpf_attr. */
enum { TRACE_UPROBE_MULTI = 48, UPROBE_MULTI_RETURN = 1 };

struct uprobe_multi_attr {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, multi_flags, pid, pad;
};

void function_link_prepare(struct bpf_program *p, bool multi)
{
	if (multi)
		bpf_program__set_expected_attach_type(p, (enum bpf_attach_type)TRACE_UPROBE_MULTI);
}

static int open_multi(const struct bpf_program *p, bool at_return, const char *path, uint64_t offset)
{
	struct uprobe_multi_attr attr = {
		.prog_fd = (uint32_t)bpf_program__fd(p),
		.attach_type = TRACE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)&offset,
		.cnt = 1,
		.multi_flags = at_return ? UPROBE_MULTI_RETURN : 0,
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : fd;
}

int function_link_open(struct function_link *ret, const struct bpf_program *p, bool multi,
		       const char *path, uint64_t offset)
{
	bool at_return = !strcmp(bpf_program__section_name(p), "uretprobe");

	*ret = (struct function_link){.fd = -1};
	if (multi) {
		ret->fd = open_multi(p, at_return, path, offset);
		return ret->fd < 0 ? ret->fd : 0;
	}
	ret->perf = bpf_program__attach_uprobe(p, at_return, -1, path, offset);
	return ret->perf ? 0 : -errno;
}

void function_link_close(struct function_link *h)
{
	if (h->fd >= 0)
		close(h->fd);
	bpf_link__destroy(h->perf);
}

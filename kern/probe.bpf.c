// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* probe.bpf.c - what the kernel tells nobody and must be tried, before the hooks are loaded (agent/probe.c).
 * One question: are programs on tracepoints preempted? For one that may be, the kernel pins the task
 * to its CPU; one that cannot be needs no pin. Tasks are rarely pinned for another reason, and then a few
 * nanoseconds a run are lost. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u32 tracepoints_preempt; /* read by the agent through the mapped .bss */

SEC("tp_btf/sock_send_length")
int BPF_PROG(asked, struct sock *sk, int ret, int flags)
{
	struct task_struct *t = bpf_get_current_task_btf();

	if (bpf_core_field_exists(t->migration_disabled) && t->migration_disabled)
		tracepoints_preempt = 1;
	return 0;
}

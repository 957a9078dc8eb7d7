/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - see probe.h and kern/probe.bpf.c. */
#include "agent/probe.h"

#include <sys/socket.h>
#include <unistd.h>

#include "probe.skel.h"

/* Has the tracepoint been passed? */
static bool send_once(void)
{
	int ends[2];
	bool sent;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	sent = send(ends[0], "", 1, MSG_NOSIGNAL) == 1;
	close(ends[0]);
	close(ends[1]);
	return sent;
}

bool probe_tracepoints_preempt(void)
{
	struct probe_bpf *skel = probe_bpf__open_and_load();
	bool yes = skel && !probe_bpf__attach(skel) && send_once() && skel->bss->tracepoints_preempt;

	probe_bpf__destroy(skel);
	return yes;
}

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* track.h - which processes are looked at. The agent decides; what cannot wait for it is decided
 * here: a listener on a selected port is tracked before it can accept, a child is tracked like its
 * parent, and exec makes the process undecided again. Every change is told to the agent. */
#ifndef WIRESPAN_TRACK_H
#define WIRESPAN_TRACK_H

static __always_inline void proc_tell(struct task_struct *t, __u8 what, __u16 port, __u32 parent,
				      int tracked, __u64 wake)
{
	struct rec_proc r = {};

	head_fill(&r.head, REC_PROC, sizeof(r), t->tgid);
	r.start_ns = task_start_ns(t);
	r.pid = task_agent_pid(t);
	r.parent_key = parent;
	r.port = port;
	r.what = what;
	r.tracked = !!tracked;
	if (bpf_ringbuf_output(&ring, &r, sizeof(r), wake))
		lost(LOST_RING_PROC);
}

static __always_inline int proc_track(struct task_struct *t, __u32 flags)
{
	__u32 key = t->tgid;
	struct proc p = { .start_ns = task_start_ns(t), .pid = task_agent_pid(t), .flags = flags };

	if (key <= 1 || p.pid == agent_pid)
		return 0;
	if (bpf_map_update_elem(&procs, &key, &p, BPF_ANY)) {
		lost(LOST_PROC_FULL);
		return 0;
	}
	return 1;
}

static __always_inline int port_tracked(__u16 port)
{
	return track_listeners || track_ports[port >> 6 & 1023] >> (port & 63) & 1;
}

static __always_inline void proc_listens(struct sock *sk)
{
	struct task_struct *t = bpf_get_current_task_btf();
	__u16 port = sk->__sk_common.skc_num;
	struct proc *known = proc_tracked(t->tgid);
	int tracked = !!known;

	if (!known && port_tracked(port))
		tracked = proc_track(t, PROC_TRACKED);
	proc_tell(t, PROC_LISTEN, port, 0, tracked, BPF_RB_FORCE_WAKEUP);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(proc_forks, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, key = child->tgid;
	struct proc *p;

	if (from == key)
		return 0; /* a thread */
	p = proc_tracked(from);
	if (!p) {
		if (bpf_map_lookup_elem(&procs, &key))
			bpf_map_delete_elem(&procs, &key); /* an old process had this number */
		return 0;
	}
	proc_tell(child, PROC_FORK, 0, from, proc_track(child, p->flags), BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(proc_execs, struct task_struct *t)
{
	__u32 key = t->tgid;

	if (!bpf_map_delete_elem(&procs, &key))
		__sync_fetch_and_add(&procs_gen, 1);
	proc_tell(t, PROC_EXEC, 0, 0, 0, BPF_RB_FORCE_WAKEUP);
	return 0;
}

/* The agent takes the entry out later: sockets are closed after this. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(proc_exits, struct task_struct *t)
{
	if (t->pid != t->tgid || !proc_tracked(t->tgid))
		return 0;
	__sync_fetch_and_add(&procs_gen, 1);
	proc_tell(t, PROC_EXIT, 0, 0, 1, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Processes that are there at start, with what they listen on. Once per open file. */
SEC("iter/task_file")
int proc_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	struct socket *so;
	struct sock *sk;
	__u16 port;
	int tracked;

	if (!t || !f || t->pid != t->tgid)
		return 0;
	so = bpf_sock_from_file(f);
	sk = so ? so->sk : NULL;
	if (!sk || sk->__sk_common.skc_state != BPF_TCP_LISTEN)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP_ && sk->sk_protocol != IPPROTO_MPTCP_)
		return 0;
	port = sk->__sk_common.skc_num;
	tracked = proc_tracked(t->tgid) || (port_tracked(port) && proc_track(t, PROC_TRACKED));
	proc_tell(t, PROC_FOUND, port, 0, tracked, BPF_RB_NO_WAKEUP);
	return 0;
}

/* … and each once as such, so that selectors by path or name see it. */
SEC("iter/task")
int proc_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;

	if (t && t->pid == t->tgid && !(t->flags & PF_KTHREAD_))
		proc_tell(t, PROC_FOUND, 0, 0, !!proc_tracked(t->tgid), BPF_RB_NO_WAKEUP);
	return 0;
}

#endif

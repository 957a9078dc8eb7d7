/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* track.h - which processes are looked at. The agent decides; what cannot wait for it is decided
 * here: a listener on a selected port is tracked before it can accept, a child is what its parent is,
 * and exec makes the process undecided again: until the agent has looked at the new program, its
 * children are undecided too. Every change is told to the agent. */
#ifndef WIRESPAN_TRACK_H
#define WIRESPAN_TRACK_H

/* flags: enum proc_flags, of its entry in `procs`; 0: it has none. */
static __always_inline void proc_tell(struct task_struct *t, __u8 what, __u16 port, __u32 parent,
				      __u32 flags, __u64 wake)
{
	struct rec_proc r = {};

	head_fill(&r.head, REC_PROC, sizeof(r), t->tgid);
	r.start_ns = task_start_ns(t);
	r.pid = task_agent_pid(t);
	r.parent_key = parent;
	r.port = port;
	r.what = what;
	r.tracked = !!(flags & PROC_TRACKED);
	r.undecided = !!(flags & PROC_UNDECIDED);
	if (bpf_ringbuf_output(&ring, &r, sizeof(r), wake))
		lost(LOST_RING_PROC);
}

/* The flags that it has now. */
static __always_inline __u32 proc_set(struct task_struct *t, __u32 flags)
{
	__u32 key = t->tgid;
	struct proc p = { .start_ns = task_start_ns(t), .pid = task_agent_pid(t), .flags = flags };

	if (key <= 1 || p.pid == agent_pid)
		return 0;
	if (bpf_map_update_elem(&procs, &key, &p, BPF_ANY)) {
		lost(LOST_PROC_FULL);
		return 0;
	}
	return flags;
}

static __always_inline __u32 proc_flags_of(__u32 key)
{
	struct proc *p = bpf_map_lookup_elem(&procs, &key);

	return p ? p->flags : 0;
}

/* Does a process with these flags become tracked by listening on this port? */
static __always_inline int port_tracks(__u16 port, __u32 flags)
{
	if (flags & PROC_TRACKED)
		return 0;
	return track_listeners || port_is_in(track_ports, port) ||
	       (flags & PROC_CANDIDATE && port_is_in(candidate_ports, port));
}

/* The flags of a process that listens. One that the agent has not looked at yet is tracked until it has: it
 * may have answered by then. */
static __always_inline __u32 listener_flags(struct task_struct *t, __u16 port)
{
	__u32 flags = proc_flags_of(t->tgid);

	if (port_tracks(port, flags))
		return proc_set(t, PROC_TRACKED);
	if (!(flags & PROC_TRACKED) && flags & PROC_UNDECIDED && port_is_in(candidate_ports, port))
		return proc_set(t, PROC_TRACKED | PROC_UNDECIDED);
	return flags;
}

static __always_inline void proc_listens(struct sock *sk)
{
	struct task_struct *t = bpf_get_current_task_btf();
	__u16 port = sk->__sk_common.skc_num;
	__u32 flags = listener_flags(t, port);

	proc_tell(t, PROC_LISTEN, port, 0, flags, BPF_RB_FORCE_WAKEUP);
}

static __always_inline int on_process_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, key = child->tgid, flags;

	if (from == key) {
		thread_begins(child);
		return 0;
	}
	flags = proc_flags_of(from);
	if (flags)
		proc_tell(child, PROC_FORK, 0, from, proc_set(child, flags), BPF_RB_NO_WAKEUP);
	else if (proc_flags_of(key))
		bpf_map_delete_elem(&procs, &key); /* an old process had this number */
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(proc_forks, struct task_struct *parent, struct task_struct *child)
{
	return AT_TRACEPOINT(on_process_fork(parent, child));
}

static __always_inline int on_process_exec(struct task_struct *t)
{
	__u32 key = t->tgid, flags = 0;

	if (!bpf_map_delete_elem(&procs, &key))
		__sync_fetch_and_add(&procs_gen, 1);
	if (track_programs)
		flags = proc_set(t, PROC_UNDECIDED);
	proc_tell(t, PROC_EXEC, 0, 0, flags, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(proc_execs, struct task_struct *t)
{
	return AT_TRACEPOINT(on_process_exec(t));
}

/* The agent takes the entry out later: sockets are closed after this. */
static __always_inline int on_process_exit(struct task_struct *t)
{
	__u32 flags = t->pid == t->tgid ? proc_flags_of(t->tgid) : 0;

	if (!flags)
		return 0;
	if (flags & PROC_TRACKED)
		__sync_fetch_and_add(&procs_gen, 1);
	proc_tell(t, PROC_EXIT, 0, 0, flags, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(proc_exits, struct task_struct *t)
{
	return AT_TRACEPOINT(on_process_exit(t));
}

/* Processes that are there at start, with what they listen on. Once per open file. */
SEC("iter/task_file")
int proc_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	struct socket *so;
	struct sock *sk;
	__u32 flags;
	__u16 port;

	if (!t || !f || t->pid != t->tgid)
		return 0;
	so = bpf_sock_from_file(f);
	sk = so ? so->sk : NULL;
	if (!sk || sk->__sk_common.skc_state != BPF_TCP_LISTEN)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP_ && sk->sk_protocol != IPPROTO_MPTCP_)
		return 0;
	port = sk->__sk_common.skc_num;
	flags = listener_flags(t, port);
	proc_tell(t, PROC_FOUND, port, 0, flags, BPF_RB_NO_WAKEUP);
	return 0;
}

/* … and each once as such, so that selectors by path or name see it. */
SEC("iter/task")
int proc_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	__u32 flags;

	if (!t || t->pid != t->tgid || t->flags & PF_KTHREAD_)
		return 0;
	flags = proc_flags_of(t->tgid);
	if (!flags && track_programs)
		flags = proc_set(t, PROC_UNDECIDED);
	proc_tell(t, PROC_FOUND, 0, 0, flags, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif

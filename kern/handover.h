/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* handover.h - work that changes hands where no socket shows it. Each hook sits on the entry of a function
 * that its runtime has had for years under that name (agent/runtimes.c finds it) or on a system call:
 * a goroutine starts another one; Go's HTTP client gives a request to the goroutine that writes it; a
 * Python callback runs in a context object, which is a copy of its creator's; a thread starts another
 * one; a loop takes its next turn. */
#ifndef WIRESPAN_HANDOVER_H
#define WIRESPAN_HANDOVER_H

#include "kern/preempt.h"
#include "kern/told.h"

/* A run that looks at no connection: whose it is. 0, or -1: not of a tracked process. */
static __always_inline int task_begin(struct scratch **ret)
{
	__u32 key = current_key();
	struct proc *p = proc_tracked(key);
	struct scratch *s = p ? scratch_claim() : NULL;

	if (!s)
		return -1;
	s->proc = *p;
	s->key = key;
	*ret = s;
	return 0;
}

/* --- Go --- */

/* A goroutine makes another one: runtime.newproc1(fn, the maker, …), on the stack of the scheduler. Which
 * one it makes shows a little later, on the same thread. */
SEC("?uprobe")
int go_starts(struct pt_regs *r)
{
	struct ctx *maker;
	struct scratch *s;
	struct thread *t;

	if (task_begin(&s))
		return 0;
	maker = goroutine_find(s, GO_ARG2(r));
	t = maker && context_is_open(maker) ? thread_get() : thread_find();
	if (t && maker)
		t->x = *maker;
	else if (t)
		t->x.span = 0;
	scratch_release(s);
	return 0;
}

/* … runtime.gostartcallfn(the new one's gobuf, fn): sp, pc, g. */
SEC("?uprobe")
int go_started(struct pt_regs *r)
{
	struct thread *t = thread_find();
	struct scratch *s;
	__u64 g = 0;

	if (!t || !t->x.span || task_begin(&s))
		return 0;
	if (!bpf_probe_read_user(&g, sizeof(g), (void *)(GO_ARG1(r) + 16)))
		goroutine_set(s, g, &t->x);
	t->x.span = 0;
	scratch_release(s);
	return 0;
}

/* net/http.(*persistConn): of its connection (an interface at 80) a *net.TCPConn leads to the netFD and
 * its file descriptor. What it is of another kind gives no socket. */
static __always_inline __u64 go_sock(__u64 persist_conn)
{
	__u64 conn = 0, fd = 0;
	__u32 sysfd = ~0u;

	if (bpf_probe_read_user(&conn, sizeof(conn), (void *)(persist_conn + 88)) ||
	    bpf_probe_read_user(&fd, sizeof(fd), (void *)conn) ||
	    bpf_probe_read_user(&sysfd, sizeof(sysfd), (void *)(fd + 16)))
		return 0;
	return sock_of_fd(sysfd);
}

/* A goroutine asks the connection's own ones to write its request: net/http.(*persistConn).roundTrip. */
SEC("?uprobe")
int go_round_trip(struct pt_regs *r)
{
	__u64 sk = go_sock(GO_ARG1(r));
	struct ctx *x, none = {};
	struct scratch *s;

	if (!sk || task_begin(&s))
		return 0;
	x = goroutine_find(s, GOROUTINE(r));
	handed_set(sk, x ?: &none);
	scratch_release(s);
	return 0;
}

/* --- Python --- */

/* Context.run(self, …), PyContext_Enter(self): what comes next on this thread runs in that context. */
SEC("?uprobe")
int scope_entered(struct pt_regs *r)
{
	__u32 key = current_key();
	struct thread *t = proc_tracked(key) ? thread_get() : NULL;

	if (!t)
		return 0;
	t->family = scope_family(key, PT_REGS_PARM1(r));
	t->flags |= THREAD_SCOPED;
	return 0;
}

/* PyContext_CopyCurrent() has returned a new one. */
SEC("?uretprobe")
int scope_copied(struct pt_regs *r)
{
	__u32 key = current_key();
	struct thread *t = proc_tracked(key) ? thread_find() : NULL;

	if (t && PT_REGS_RC(r))
		scope_set(key, PT_REGS_RC(r), t->family);
	return 0;
}

/* --- all programs: threads and loops --- */

/* A thread that is made for some work does that first. */
static __always_inline void thread_begins(struct task_struct *child)
{
	struct proc *p = proc_tracked(child->tgid);
	struct thread *t = p && !(p->flags & PROC_GO) ? thread_find() : NULL;
	struct scratch *s;
	struct ctx *x;

	if (!t)
		return;
	s = scratch_claim();
	if (!s)
		return;
	x = thread_context(s, t);
	if (x && context_is_open(x)) {
		t = bpf_task_storage_get(&threads, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (t) {
			t->x = *x;
			t->flags = THREAD_BORN;
		}
	}
	scratch_release(s);
}

/* What a system call waits for, as its fourth argument says. */
static __always_inline __u64 epoll_wait_ns(struct pt_regs *r, __u64 nr)
{
	__u64 arg = SYSCALL_ARG4(r), t[2];

	if (nr != NR_EPOLL_PWAIT2)
		return (__s32)arg < 0 ? ~0ull : (__u32)arg * 1000000ull;
	if (!arg)
		return ~0ull;
	return bpf_probe_read_user(t, sizeof(t), (void *)arg) ? 0 : t[0] * 1000000000 + t[1];
}

static __always_inline struct thread *loop_thread(int make)
{
	struct proc *p = proc_tracked(current_key());

	if (!p || p->flags & PROC_GO)
		return NULL;
	return make ? thread_get() : thread_find();
}

/* A look that found nothing and did not wait is no turn: the wait that comes next was reckoned before it. */
static __always_inline void loop_turns(struct pt_regs *r, __u64 nr, long events)
{
	struct thread *t = loop_thread(1);
	__u64 wait = t ? epoll_wait_ns(r, nr) : 0;

	if (t && (wait || events))
		thread_turn(t, wait, bpf_ktime_get_boot_ns());
}

static __always_inline void loop_reads(void)
{
	struct thread *t = loop_thread(0);

	if (t)
		thread_has_read(t);
}

/* What is made for a new connection is a family. */
static __always_inline void loop_accepts(void)
{
	struct thread *t = loop_thread(0);

	if (!t)
		return;
	thread_clear(t);
	if (t->flags & THREAD_SCOPED)
		t->family = family_new();
}

static __always_inline int call_matters(__u64 nr, long ret)
{
	if (nr == NR_READ)
		return ret > 0;
	if (nr == NR_ACCEPT4 || nr == NR_ACCEPT)
		return ret >= 0;
	return nr == NR_EPOLL_PWAIT || nr == NR_EPOLL_WAIT || nr == NR_EPOLL_PWAIT2 || nr == NR_ACCESS ||
	       nr == NR_FACCESSAT;
}

static __always_inline int on_call(struct pt_regs *regs, __u64 nr, long ret)
{
	if (nr == NR_READ)
		loop_reads();
	else if (nr == NR_ACCEPT4 || nr == NR_ACCEPT)
		loop_accepts();
	else if (nr == NR_ACCESS || nr == NR_FACCESSAT)
		told_by(regs, nr);
	else
		loop_turns(regs, nr, ret);
	return 0;
}

/* Every system call of the machine comes by here: a few comparisons for those that do not matter. */
SEC("?tp_btf/sys_exit")
int BPF_PROG(call_done, struct pt_regs *regs, long ret)
{
	__u64 nr = SYSCALL_NR(regs);

	return call_matters(nr, ret) ? AT_TRACEPOINT(on_call(regs, nr, ret)) : 0;
}

#endif

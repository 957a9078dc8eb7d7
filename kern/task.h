/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* task.h - who runs: the process as the agent numbers it, its registers, and the bytes that the
 * system call it is in reads or writes. The buffer comes from the call's own registers, so no
 * entry/exit pair is needed; a call whose bytes the registers do not describe (io_uring, recvmmsg,
 * 32-bit programs) gives none, and the stream goes on by its sequence numbers. */
#ifndef WIRESPAN_TASK_H
#define WIRESPAN_TASK_H

#include "kern/maps.h"

enum { PF_IO_WORKER_ = 0x10, PF_KTHREAD_ = 0x200000, TS_COMPAT_ = 2, ENOSYS_ = 38 };

/* The process id as the agent's own pid namespace numbers it: in a container, or in kind, that is
 * not the kernel's first namespace. 0: not visible from there. */
static __always_inline __u32 task_agent_pid(struct task_struct *t)
{
	struct pid *p = BPF_CORE_READ(t, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(p, level), i;

	for (i = 0; i < 8; i++) {
		struct upid u;

		if (i > level || bpf_core_read(&u, sizeof(u), &p->numbers[i]))
			break;
		if (BPF_CORE_READ(u.ns, ns.inum) == agent_pidns)
			return u.nr;
	}
	return 0;
}

static __always_inline __u64 task_start_ns(struct task_struct *t)
{
	return BPF_CORE_READ(t, group_leader, start_boottime);
}

#if defined(__TARGET_ARCH_x86)
#define SYSCALL_NR(r) ((r)->orig_ax)
#define GOROUTINE(r) ((r)->r14)
#define SYSCALL_ARG4(r) ((r)->r10)
#define GO_ARG1(r) ((r)->ax)
#define GO_ARG2(r) ((r)->bx)
enum { NR_EPOLL_WAIT = 232, NR_EPOLL_PWAIT = 281, NR_EPOLL_PWAIT2 = 441, NR_ACCEPT = 43, NR_ACCEPT4 = 288, NR_ACCESS = 21, NR_FACCESSAT = 269 };
enum { NR_READ = 0, NR_READV = 19, NR_RECVFROM = 45, NR_RECVMSG = 47, NR_PREADV2 = 327 };
enum { NR_WRITE = 1, NR_WRITEV = 20, NR_SENDTO = 44, NR_SENDMSG = 46, NR_PWRITEV2 = 328 };
static __always_inline int task_is_compat(struct task_struct *t)
{
	return t->thread_info.status & TS_COMPAT_;
}

/* Has the system call not returned yet? Its result takes the place of what entry put there. */
static __always_inline int call_is_running(const struct pt_regs *r)
{
	return (long)r->ax == -ENOSYS_;
}
#elif defined(__TARGET_ARCH_arm64)
#define SYSCALL_NR(r) ((r)->syscallno)
#define GOROUTINE(r) ((r)->regs[28])
#define SYSCALL_ARG4(r) ((r)->regs[3])
#define GO_ARG1(r) ((r)->regs[0])
#define GO_ARG2(r) ((r)->regs[1])
enum { NR_EPOLL_WAIT = -1, NR_EPOLL_PWAIT = 22, NR_EPOLL_PWAIT2 = 441, NR_ACCEPT = 202, NR_ACCEPT4 = 242, NR_ACCESS = -2, NR_FACCESSAT = 48 };
enum { NR_READ = 63, NR_READV = 65, NR_RECVFROM = 207, NR_RECVMSG = 212, NR_PREADV2 = 286 };
enum { NR_WRITE = 64, NR_WRITEV = 66, NR_SENDTO = 206, NR_SENDMSG = 211, NR_PWRITEV2 = 287 };
static __always_inline int task_is_compat(struct task_struct *t)
{
	return t->thread_info.flags & (1 << 22); /* TIF_32BIT */
}

static __always_inline int call_is_running(const struct pt_regs *r)
{
	return r->regs[0] == r->orig_x0;
}
#endif

/* The registers of the system call, or NULL when this task has none that mean anything. */
static __always_inline struct pt_regs *task_regs(struct task_struct *t)
{
	if (t->flags & (PF_IO_WORKER_ | PF_KTHREAD_) || task_is_compat(t))
		return NULL;
	return (struct pt_regs *)bpf_task_pt_regs(t);
}

/* Nothing is known of where the chunk's bytes are. */
static __always_inline void chunk_clear(struct scratch *s)
{
	s->seg = s->seg_left = s->seg_skip = 0;
	s->iov = 0;
	s->iov_left = 0;
	s->iov_kernel = 0;
}

static __always_inline int chunk_known(const struct scratch *s)
{
	return s->seg_left || s->iov_left;
}

/* Passes over k bytes of the chunk. */
static __always_inline void chunk_pass(struct scratch *s, __u32 k)
{
	s->off += k;
	s->seg_skip += k;
}

/* Where the bytes lie that this system call has just received, or (on a socket without a hook before
 * the send) sent. On its way out of a call a task may do so for io_uring: its buffers are others than
 * those of the call that it comes from. */
static __always_inline void chunk_done(struct scratch *s, __u32 len)
{
	struct pt_regs *r = task_regs(bpf_get_current_task_btf());
	__u64 nr, arg;

	chunk_clear(s);
	if (!r || !call_is_running(r))
		return;
	nr = SYSCALL_NR(r);
	arg = PT_REGS_PARM2_SYSCALL(r);
	if (nr == NR_READ || nr == NR_RECVFROM || nr == NR_WRITE || nr == NR_SENDTO) {
		s->seg = arg;
		s->seg_left = len;
	} else if (nr == NR_READV || nr == NR_PREADV2 || nr == NR_WRITEV || nr == NR_PWRITEV2) {
		s->iov = arg;
		s->iov_left = (__u32)PT_REGS_PARM3_SYSCALL(r);
	} else if (nr == NR_RECVMSG || nr == NR_SENDMSG) {
		struct user_msghdr h;

		if (bpf_probe_read_user(&h, sizeof(h), (void *)arg))
			return;
		s->iov = (__u64)h.msg_iov;
		s->iov_left = (__u32)h.msg_iovlen;
	}
}

/* Before 6.4 the vector was named iov. */
struct iov_iter___old {
	const struct iovec *iov;
};

/* Where the bytes lie that are about to be sent, at most `most` of them: the message's own iterator
 * says, whoever made it. */
static __always_inline void chunk_sending(struct scratch *s, const struct msghdr *msg, __u32 most)
{
	const struct iov_iter *it = &msg->msg_iter;
	__u8 type = it->iter_type;
	__u64 count = it->count;

	chunk_clear(s);
	s->len = count > most ? most : (__u32)count;
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		s->seg = (__u64)BPF_CORE_READ(it, ubuf) + it->iov_offset; /* 6.1 allows no sums with it */
		s->seg_left = s->len;
	} else if (type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		if (bpf_core_field_exists(it->__iov))
			s->iov = (__u64)it->__iov;
		else
			s->iov = (__u64)BPF_CORE_READ((struct iov_iter___old *)it, iov);
		s->iov_left = (__u32)it->nr_segs;
		s->seg_skip = it->iov_offset;
		s->iov_kernel = 1;
	}
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* told.h - what a program tells us, where its runtime keeps to itself whose work it does (Node.js; the agent
 * brings agent/node_hook.js there when it may). It asks whether a path exists that never does:
 *   /dev/null/wirespan/b/NNNNNNNN           the request that it has just read is number N
 *   /dev/null/wirespan/w/NNNNNNNN/FFFFFFFF  what it writes next to file descriptor F is for N; 0: nobody
 * Only a process in which the agent has done that is listened to, and it can speak of itself alone. */
#ifndef WIRESPAN_TOLD_H
#define WIRESPAN_TOLD_H

/* The socket behind a file descriptor of this process; only its address is good for anything. */
static __always_inline __u64 sock_of_fd(__u32 fd)
{
	struct fdtable *t = BPF_CORE_READ(bpf_get_current_task_btf(), files, fdt);
	struct file **at = BPF_CORE_READ(t, fd), *f = NULL;
	struct socket *so;

	if (fd >= BPF_CORE_READ(t, max_fds) || bpf_probe_read_kernel(&f, sizeof(f), &at[fd]) || !f)
		return 0;
	so = BPF_CORE_READ(f, private_data);
	return so && BPF_CORE_READ(so, file) == f ? (__u64)BPF_CORE_READ(so, sk) : 0;
}

enum { TOLD_KIND = 19, TOLD_NUMBER = 21, TOLD_FD = 30, TOLD_LEN = 40 };

static __always_inline __u32 told_hex(const char *p)
{
	__u32 n = 0, i;

	for (i = 0; i < 8; i++) {
		__u8 c = p[i];

		n = n << 4 | ((c >= 'a' ? c - 'a' + 10 : c - '0') & 15);
	}
	return n;
}

static __always_inline int told_is(const char *b)
{
	static const char prefix[TOLD_KIND + 1] = "/dev/null/wirespan/";
	__u32 i;

	for (i = 0; i < TOLD_KIND; i++)
		if (b[i] != prefix[i])
			return 0;
	return 1;
}

/* A program's numbers are given in turn: its newest have places of their own. */
static __always_inline struct told *told_place(__u32 key, __u32 number)
{
	__u32 at = ((__u32)mix64(key) + number) & (TOLD_PLACES - 1);

	return bpf_map_lookup_elem(&told, &at);
}

static __always_inline __u64 told_name(__u32 key, __u32 number)
{
	return number ? (__u64)key << 32 | number : 0;
}

static __always_inline void told_begins(__u32 key, __u32 number)
{
	struct thread *t = thread_find();
	struct told *at = told_place(key, number);

	if (!t || !at)
		return;
	at->name = told_name(key, number);
	at->x = t->x;
}

static __always_inline void handed_set(__u64 sk, const struct ctx *x)
{
	if (!bpf_map_update_elem(&handed, &sk, x, BPF_NOEXIST))
		__sync_fetch_and_add(&handed_cnt, 1);
	else if (bpf_map_update_elem(&handed, &sk, x, BPF_EXIST))
		lost(LOST_EXECUTOR_FULL);
}

static __always_inline void told_writes(__u32 key, __u32 number, __u32 fd)
{
	struct told *at = told_place(key, number);
	__u64 sk = sock_of_fd(fd), name = told_name(key, number);
	struct ctx none = {};

	if (sk && at)
		handed_set(sk, name && at->name == name ? &at->x : &none);
}

static __always_inline void told_by(struct pt_regs *r, __u64 nr)
{
	__u64 path = nr == NR_ACCESS ? PT_REGS_PARM1_SYSCALL(r) : PT_REGS_PARM2_SYSCALL(r);
	__u32 key = current_key(), number;
	struct proc *p = proc_tracked(key);
	char b[TOLD_LEN] = {};

	if (!p || !(p->flags & PROC_TOLD) || bpf_probe_read_user_str(b, sizeof(b), (void *)path) < TOLD_FD ||
	    !told_is(b))
		return;
	number = told_hex(b + TOLD_NUMBER);
	if (b[TOLD_KIND] == 'b')
		told_begins(key, number);
	else
		told_writes(key, number, told_hex(b + TOLD_FD));
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* vmlinux.h - the few kernel types that kern/ touches, with the members it touches and no others,
 * so that the kernel half compiles on the host. It claims the guard of the generated header:
 * whichever is found first by a later include, this one counts. The layouts are not the kernel's;
 * CO-RE makes that good there and nothing here depends on it. Registers are those of amd64. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#ifndef __TARGET_ARCH_x86
#define __TARGET_ARCH_x86
#endif

struct pt_regs {
	unsigned long orig_ax, ax, bx, r10, r14, si, di, dx;
};

struct ns_common {
	__u32 inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	__u32 level;
	struct upid numbers[8];
};

struct thread_info {
	__u32 status;
};

struct file;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct thread_info thread_info;
	struct files_struct *files;
	__u32 flags;
	int pid, tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	struct pt_regs regs;
};

struct in6_addr {
	__u8 bytes[16];
};

struct sock_common {
	__u32 skc_daddr, skc_rcv_saddr;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
	__u16 skc_num;
	__be16 skc_dport;
	__u16 skc_family;
	unsigned char skc_state;
	unsigned long skc_flags;
};

struct sk_buff_head {
	__u32 qlen;
};

struct list_head {
	struct list_head *next;
};

struct wait_queue_head {
	struct list_head head;
};

struct socket_wq {
	struct wait_queue_head wait;
};

struct sock {
	struct sock_common __sk_common;
	struct socket_wq *sk_wq;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_protocol, sk_type;
	__u8 sk_shutdown;
	void *sk_bpf_storage;
};

struct unix_sock {
	struct sock *peer;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct inet_bind_bucket {
	signed char fastreuse;
};

struct inet_connection_sock {
	union {
		struct sock sk;
		struct inet_sock inet;
	};
	struct inet_bind_bucket *icsk_bind_hash;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_una, rcv_nxt, copied_seq, write_seq;
	__u64 bytes_acked, bytes_received;
};

struct iovec {
	void *iov_base;
	size_t iov_len;
};

enum iter_type { ITER_UBUF, ITER_IOVEC, ITER_BVEC };

struct iov_iter {
	__u8 iter_type;
	size_t iov_offset, count;
	const struct iovec *__iov;
	void *ubuf;
	unsigned long nr_segs;
};

struct msghdr {
	struct iov_iter msg_iter;
};

struct user_msghdr {
	struct iovec *msg_iov;
	size_t msg_iovlen;
};

struct socket {
	struct sock *sk;
	struct file *file;
};

struct file {
	struct socket *socket;
	void *private_data;
};

struct bpf_iter__task {
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#endif

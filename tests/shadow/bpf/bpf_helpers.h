/* SPDX-License-Identifier: Apache-2.0 */
/* bpf_helpers.h - libbpf's words and the kernel's helpers on the host. Maps are declared as libbpf
 * has it (types and numbers encoded in pointers), so key and value sizes are read off the variable;
 * what a map holds is in shadow.c, by its address. "User memory" is the test's own memory, so a read
 * past a chunk's end is found by the address sanitizer. */
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#include "tests/shadow/shadow.h"

#define __uint(name, val) int(*name)[val]
#define __type(name, val) __typeof__(val) *name

#define SEC(name)
#define __ksym
#undef __weak
#define __weak __attribute__((weak)) /* nobody has it: a kernel without it */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#undef __noinline
#define __noinline __attribute__((noinline, unused))
#define barrier_var(var) __asm__ volatile("" : "+r"(var))

#define MAP_SHAPE(m)                                                                               \
	((struct shadow_shape){ sizeof(*(m)->type) / sizeof(int), sizeof(*(m)->key),               \
				sizeof(*(m)->value), sizeof(*(m)->max_entries) / sizeof(int) })

#define bpf_map_lookup_elem(m, k) shadow_lookup((m), MAP_SHAPE(m), (k))
#define bpf_map_update_elem(m, k, v, how) shadow_update((m), MAP_SHAPE(m), (k), (v))
#define bpf_map_delete_elem(m, k) shadow_delete((m), MAP_SHAPE(m), (k))
#define bpf_sk_storage_get(m, sk, init, how)                                                       \
	((sk)->sk_bpf_storage = shadow_storage((m), sizeof(*(m)->value), (sk), (init), (how)))
#define bpf_task_storage_get(m, t, init, how) shadow_storage((m), sizeof(*(m)->value), (t), (init), (how))

#define bpf_loop shadow_loop
#define bpf_probe_read_user shadow_read
#define bpf_probe_read_kernel shadow_read
#define bpf_probe_read_user_str(to, len, from) ((long)strnlen(strncpy((to), (from), (len)), (len)) + 1)
#define bpf_ringbuf_output(m, data, len, how) shadow_output((data), (len))
#define bpf_ringbuf_query(m, what) shadow_ring_waiting
#define bpf_ktime_get_boot_ns shadow_now
#define bpf_get_prandom_u32 shadow_random

#define bpf_get_current_task_btf() (shadow_task)
#define bpf_task_pt_regs(t) ((long)&(t)->regs)
#define bpf_get_current_pid_tgid() ((__u64)shadow_task->tgid << 32 | (__u32)shadow_task->pid)
#define bpf_skc_to_tcp_sock(sk)                                                                    \
	((sk)->__sk_common.skc_family == SHADOW_UNIX ? NULL : (struct tcp_sock *)(sk))
/* Whoever makes a Unix-domain socket provides these two. */
struct unix_sock *bpf_skc_to_unix_sock(const struct sock *sk);
__u64 bpf_get_socket_cookie(const struct sock *sk);
#define bpf_sock_from_file(f) ((f)->socket)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* bpf_tracing.h - programs on the host are functions with typed arguments behind their context, which
 * is where bpf_get_func_ret finds the traced function's result. */
#ifndef __BPF_TRACING_H__
#define __BPF_TRACING_H__

#define BPF_PROG(name, args...) name(unsigned long long *ctx, ##args)
#define bpf_get_func_ret(ctx, to) (*(to) = *(ctx), 0)
#define PT_REGS_PARM1(r) ((r)->di)
#define PT_REGS_RC(r) ((r)->ax)
#define PT_REGS_PARM1_SYSCALL(r) ((r)->di)
#define PT_REGS_PARM2_SYSCALL(r) ((r)->si)
#define PT_REGS_PARM3_SYSCALL(r) ((r)->dx)

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* preempt.h - runs that are not preempted. While a tracing program is preempted, the kernel passes over the
 * same program for every other task on that CPU (recursion_misses), for a time slice or more, and what those
 * send and receive is lost. Programs on functions always could be; on 7.2 those on tracepoints are too, and
 * its scheduler ends a time slice wherever it is (HRTICK): on a busy CPU one run of 25 was lost.
 * What must survive an edit: bpf_preempt_enable() alone would give way to the next task there and then,
 * with the program still running. With interrupts off it does not, and when the kernel looks again the
 * program is over. A few instructions at both ends of a run are not covered: for them hooks have a second
 * program (kern/twin.h). A kernel without these functions (6.10, 6.14) runs programs as ever. */
#ifndef WIRESPAN_PREEMPT_H
#define WIRESPAN_PREEMPT_H

#include "kern/maps.h"

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;
extern void bpf_local_irq_save(unsigned long *flags) __ksym __weak;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym __weak;

/* Known when a program is loaded, so one of the branches is not even there. */
static __always_inline int preempt_can_wait(void)
{
	return bpf_preempt_disable && bpf_local_irq_save;
}

static __always_inline void preempt_off(void)
{
	if (preempt_can_wait())
		bpf_preempt_disable();
}

static __always_inline void preempt_on(void)
{
	unsigned long flags;

	if (!preempt_can_wait())
		return;
	bpf_local_irq_save(&flags);
	bpf_preempt_enable();
	bpf_local_irq_restore(&flags);
}

/* All that a hook does, the value of `run`. Costs 50 ns, so tracepoints only where it is needed. */
#define UNPREEMPTED(when, run)                \
	({                                    \
		int ret_;                     \
					      \
		if (when)                     \
			preempt_off();        \
		ret_ = (run);                 \
		if (when)                     \
			preempt_on();         \
		ret_;                         \
	})
#define AT_FUNCTION(run) UNPREEMPTED(1, run)
#define AT_TRACEPOINT(run) UNPREEMPTED(tracepoints_preempt, run)

#endif

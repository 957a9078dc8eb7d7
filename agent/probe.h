/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - what the kernel tells nobody, and is tried before the hooks are loaded. */
#ifndef WIRESPAN_PROBE_H
#define WIRESPAN_PROBE_H

#include <stdbool.h>

/* Are programs on tracepoints preempted here? False also when it cannot be tried: then there is no such
 * tracepoint, and no hook of ours on it. */
bool probe_tracepoints_preempt(void);

#endif

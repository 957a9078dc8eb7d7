/* SPDX-License-Identifier: Apache-2.0 */
/* inspector.h - has a running Node.js process evaluate a script, by its own debugger: SIGUSR1 opens that on
 * 127.0.0.1:9229 (Node's documented way), the script closes it again. Blocks for as long as that takes,
 * some seconds at most. */
#ifndef WIRESPAN_INSPECTOR_H
#define WIRESPAN_INSPECTOR_H

#include "store/base.h"

/* The process's number in our pid namespace; proc_root: "/proc". 0, or -errno with a sentence; the process
 * goes on as it was then. */
int inspector_evaluate(const char *proc_root, uint32_t pid, const char *script, struct strbuf *why);

#endif

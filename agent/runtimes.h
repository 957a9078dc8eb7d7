/* SPDX-License-Identifier: Apache-2.0 */
/* runtimes.h - finds, in the executables of traced processes, the functions at which work changes hands
 * (hook.h), and has them attached: once per file, for as long as a traced process runs it. Node.js has no
 * such functions; its processes are asked, one at a time, to tell us. Used by the drain thread alone. What cannot be found is no error: calls there have no parent. */
#ifndef WIRESPAN_RUNTIMES_H
#define WIRESPAN_RUNTIMES_H

#include "agent/hook.h"
#include "agent/procs.h"

struct runtimes;

struct runtimes_attacher {
	/* path: of the file, offset: of the function in it. NULL when it cannot be attached. */
	struct hook_link *(*attach)(void *arg, enum hook hook, const char *path, uint64_t offset);
	void (*detach)(void *arg, struct hook_link *l);
	/* The process tells us itself from now on (PROC_TOLD). */
	void (*told)(void *arg, uint32_t key, uint64_t start_ns);
	void *arg;
	bool node; /* ask Node.js processes to; see context.node */
};

struct runtimes *runtimes_new(const char *proc_root, const struct runtimes_attacher *to);
void runtimes_free(struct runtimes *r);
/* A traced process; runs: long enough for its libraries to be there. */
void runtimes_watch(struct runtimes *r, const struct proc_info *pi, bool runs);
/* Often: takes up what was asked of processes meanwhile. */
void runtimes_attend(struct runtimes *r);
/* It is not traced any more, or another program. */
void runtimes_leave(struct runtimes *r, uint32_t key);

#endif

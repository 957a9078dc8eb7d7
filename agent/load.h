/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - gets the kernel half running: chooses a provider for every verb by what this kernel has,
 * loads, attaches, runs the iterators, and undoes it all on close. A kernel that lacks something is
 * refused with one sentence that names it. Knows nothing of records. */
#ifndef WIRESPAN_LOAD_H
#define WIRESPAN_LOAD_H

#include "agent/config.h"
#include "agent/hook.h"

struct loader;

/* -EPERM, -ENOTSUP, -ENOENT (no BTF) or another -errno, with a sentence in why; nothing stays
 * attached then. The kernel's counters are in the registry from here on. */
int loader_open(struct loader **ret, const struct config *c, struct strbuf *why);
/* NULL is fine. */
void loader_close(struct loader *l);

int loader_ring_fd(const struct loader *l);
/* Tells the kernel half of the processes that are there; their records come through the ring. */
int loader_scan(struct loader *l);

/* Writes or (flags 0) removes a process in the kernel's table. 0 or -errno. */
int loader_proc_set(struct loader *l, uint32_t key, uint32_t pid, uint64_t start_ns, uint32_t flags);
/* The same, unless the kernel half has begun to trace it meanwhile. */
void loader_proc_offer(struct loader *l, uint32_t key, uint32_t pid, uint64_t start_ns,
		       uint32_t flags);
/* Removes it if it is still the one that started then. */
void loader_proc_end(struct loader *l, uint32_t key, uint64_t start_ns);
/* At a function of a program: path of the file, offset in it. NULL: the kernel does not let us. To be
 * ended before the loader is closed. */
struct hook_link *loader_hook(struct loader *l, enum hook hook, const char *path, uint64_t offset);
void loader_unhook(struct loader *l, struct hook_link *h);
/* A process is traced from now on: with propagation.tcp_option its connections get it, too. */
void loader_adopt(struct loader *l, uint32_t pid);
/* Often: attaches what has become necessary. */
void loader_attend(struct loader *l);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* discover.h - which processes are tracked: the selectors of the configuration against what procs.h
 * knows of a process. Decides and tells; it touches no BPF map (the caller gives it a function for
 * that). Never tracked: ourselves, pid 1, login sessions. Without a selector every process that
 * listens on TCP is. fork inherits, exec decides anew. */
#ifndef WIRESPAN_DISCOVER_H
#define WIRESPAN_DISCOVER_H

#include "agent/config.h"
#include "agent/procs.h"
#include "kern/record.h"

struct discover;

/* Writes the decision to the kernel half: flags as enum proc_flags; 0: no longer tracked;
 * PROC_UNDECIDED: it was held as that and is not tracked; with PROC_CANDIDATE: not before it listens.
 * For a process that ends it is called with 0 while its sockets may still be open. */
typedef void discover_set_fn(void *arg, const struct proc_info *pi, uint32_t flags);

int discover_new(struct discover **ret, const struct config *c, struct procs *procs,
		 discover_set_fn *set, void *set_arg);
void discover_free(struct discover *d);
/* One process event from the ring; keeps the notes in section "processes" up to date. */
void discover_event(struct discover *d, const struct rec_proc *rp);
/* The process is described anew: may it still be traced? Whether it may from now on is decided when
 * the kernel half says again that it is there (PROC_FOUND). */
void discover_renewed(struct discover *d, struct proc_info *pi);
/* Is every TCP listener tracked (no selector at all)? The kernel half then need not wait for us. */
bool discover_all_listeners(const struct config *c);
/* May a process be selected for something else than a port? Then its program has to be looked at. */
bool discover_by_program(const struct config *c);

#endif

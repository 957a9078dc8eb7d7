/* SPDX-License-Identifier: Apache-2.0 */
/* procs.h - who a process is: executable, service name, language, resource attributes; read once
 * from /proc when the kernel half first speaks of the process, then cached until it ends and its
 * last spans are through. Used by the drain thread alone, so there is no lock. What is found under
 * /proc/<pid> is the traced program's word: bounded, never trusted. */
#ifndef WIRESPAN_PROCS_H
#define WIRESPAN_PROCS_H

#include "agent/config.h"
#include "agent/kube.h"
#include "store/base.h"
#include "store/span.h"

struct procs;

struct proc_info {
	uint32_t key; /* the kernel half's */
	uint32_t pid; /* ours */
	uint32_t ppid; /* ours; 0: not known */
	uint64_t start_ns;
	struct str exe;     /* path as the process sees it; empty when unknown */
	struct str service; /* service.name */
	bool is_go, is_python, is_node;
	bool is_login;  /* pid 1, or a login session: never tracked */
	bool is_self;
	uint32_t flags; /* enum proc_flags, as discover.c last told the kernel half */
	uint16_t port;  /* that discover.c selected it by, or its parent; 0: none */
	bool is_adopted; /* so are the connections that it had before it was traced (agent/old_conns.h) */
	bool is_noted;  /* discover.c has a note on it in /status */
	bool is_refused; /* the kernel half traced it before it was decided on, and was wrong: no spans */
	const struct kube_where *where; /* NULL: in no pod; as long as the entry */
	struct resource res; /* what every span of this process carries */
};

/* proc_root: "/proc", or another tree in tests; c: its k8s.… keys, or NULL. */
int procs_new(struct procs **ret, const char *proc_root, const char *host_name,
	      const struct config *c);
void procs_free(struct procs *p);
/* The process. One that is not known inherits from parent_key when that is known (a fork runs its
 * parent's program), else it is read from /proc; when it is gone already it is a bare "pid N". Never
 * NULL; borrowed until the procs_sweep that comes 10 s after procs_changed or procs_ended. */
struct proc_info *procs_get(struct procs *p, uint32_t key, uint32_t pid, uint64_t start_ns,
			    uint32_t parent_key);
/* Known already, or NULL. */
struct proc_info *procs_find(struct procs *p, uint32_t key, uint64_t start_ns);
/* Known already by its number in our pid namespace and not ended, or NULL. Looks at all of them. */
struct proc_info *procs_find_pid(struct procs *p, uint32_t pid);
/* It runs another program now: read anew at the next procs_get. */
void procs_changed(struct procs *p, uint32_t key);
/* It ended; its entry goes at a sweep 10 s later, since spans may still be in the ring. */
void procs_ended(struct procs *p, uint32_t key);
void procs_sweep(struct procs *p, uint64_t now_mono_ns);
/* Describes anew the processes of pods of which the API has said more, and tells of each; what
 * discover.c decided of it stays, and one that has just ended keeps all that is known of it. Is
 * there any news, if only of containers whose processes are not known any more? */
typedef void procs_renewed_fn(void *arg, struct proc_info *pi);
bool procs_refresh(struct procs *p, procs_renewed_fn *fn, void *arg);
struct kube *procs_kube(struct procs *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.h - what the container runtime wrote down when it started a container: containerd's (also
 * k3s's) and CRI-O's config.json, found by the container's id. It needs no API and no socket, but
 * the right to go through /proc/<pid>/root of a process that sees the node's files. Labels and owners
 * are not in there. */
#ifndef WIRESPAN_RUNTIME_H
#define WIRESPAN_RUNTIME_H

#include "store/base.h"

struct runtime_names {
	struct str pod_namespace, pod, pod_uid;
	struct str container; /* empty: the pod's sandbox */
	struct str image;
};

/* root: the node's root folder. 0 and texts in the arena; -ENOENT: no runtime that we know has this
 * container; -EINVAL: its file says nothing of a pod. */
int runtime_describe(struct runtime_names *ret, struct arena *a, const char *root, const char *id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* pod.h - the Kubernetes pod and the container that a process is in, from the text of its
 * /proc/<pid>/cgroup: as containerd, CRI-O and Docker write it, with the cgroupfs and the systemd
 * driver, seen from the host, from inside kind and from a cgroup namespace of our own. Also the name
 * of what owns a pod, guessed from the pod's name. Pure: text in, names out. */
#ifndef WIRESPAN_POD_H
#define WIRESPAN_POD_H

#include "store/base.h"

enum { POD_UID_LEN = 36, CONTAINER_ID_LEN = 64 };

struct pod_ref {
	char uid[POD_UID_LEN + 1];		/* with dashes; of a static pod 32 digits without */
	char container[CONTAINER_ID_LEN + 1]; /* "": not told */
};

/* False: in no pod, *ret is empty. */
bool pod_of_cgroup(struct pod_ref *ret, struct str cgroup);
/* "web-6d4cf56db6-x7k2p" is one of "web", "db-0" of "db", "agent-x7k2p" of "agent"; borrowed. Any
 * other pod owns itself. */
struct str pod_owner_guess(struct str pod);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* kube_objects.h - what the API server said: the pods of this node and the services of the cluster,
 * as two dictionaries that the followers' threads write and the drain thread reads, under one lock.
 * Of each object only its metadata, of a service its addresses are kept. */
#ifndef WIRESPAN_KUBE_OBJECTS_H
#define WIRESPAN_KUBE_OBJECTS_H

#include "agent/kube.h"
#include "agent/kube_api.h"

struct kube_objects;

int kube_objects_new(struct kube_objects **ret);
void kube_objects_free(struct kube_objects *o);
/* kube_event_fn of either collection; arg: the kube_objects. */
void kube_objects_pod_event(void *arg, enum kube_event what, const json_t *object);
void kube_objects_service_event(void *arg, enum kube_event what, const json_t *object);

/* Overwrites in *to what is known of the pod: names, owner, labels, annotations; texts in the arena.
 * uid: as in a cgroup path, which for a static pod is another one than its own. False: not known. */
bool kube_objects_pod(struct kube_objects *o, struct arena *a, struct str uid, struct kube_where *to);
/* The name of the service with this address, in the arena; empty: none. */
struct str kube_objects_service(struct kube_objects *o, struct arena *a, struct str address);
/* Goes up with every change of a pod's metadata. */
uint64_t kube_objects_generation(struct kube_objects *o);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* kube.h - where in Kubernetes a process runs: its container, its pod, whose pod that is. Put
 * together from the process's cgroup path (pod.h), from what the container runtime wrote
 * (runtime.h) and from the API server, where there is a service account for it (kube_objects.h). Whatever is missing is left
 * out: a process is never held up. */
#ifndef WIRESPAN_KUBE_H
#define WIRESPAN_KUBE_H

#include "agent/config.h"
#include "store/base.h"

struct kube;

struct kube_pair {
	struct str key, value;
};

/* One container of one pod. Never changes; what becomes known later makes a new one. */
struct kube_where {
	struct str pod_namespace, pod, pod_uid;
	struct str container, container_id, image;
	struct str owner_kind; /* Deployment, StatefulSet, …; empty: the owner is a guess */
	struct str owner;
	struct str replicaset; /* empty: none, or not known */
	const struct kube_pair *labels, *annotations;
	uint32_t label_cnt, annotation_cnt;
};

/* proc_root: "/proc", or another tree in tests; the node's files are behind its 1/root. c: the k8s.…
 * keys; NULL: no API. */
int kube_new(struct kube **ret, const char *proc_root, const struct config *c);
void kube_free(struct kube *k);
/* Until the API server has answered for the first time, has refused, or that many ms are over. */
void kube_wait(const struct kube *k, unsigned ms);

/* The container of a process with this /proc/<pid>/cgroup; NULL: it runs in none. Held until
 * kube_put. */
const struct kube_where *kube_get(struct kube *k, struct str cgroup);
/* Has the API said something since the last call, of a container that was asked for? Then descriptions
 * may be old from now on. */
bool kube_refresh(struct kube *k);
/* A newer description of the same container is to be had by kube_get. */
bool kube_is_old(const struct kube_where *w);
/* The name of the service at this address, in the arena; empty: none. */
struct str kube_service_at(struct kube *k, struct arena *a, struct str address);
/* Holds it once more; NULL is fine, here and below. */
const struct kube_where *kube_hold(const struct kube_where *w);
void kube_put(const struct kube_where *w);
/* The value of a label or annotation, or empty. */
struct str kube_value(const struct kube_pair *pairs, uint32_t cnt, struct str key);
/* What the pod says its service's name is: the annotation resource.opentelemetry.io/service.name, then
 * the label app.kubernetes.io/name, then its owner, then the container. */
struct str kube_service(const struct kube_where *w);

#endif

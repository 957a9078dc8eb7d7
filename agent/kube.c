/* SPDX-License-Identifier: Apache-2.0 */
/* kube.c - see kube.h. One description per container, shared by its processes: made when the first
 * of them shows up, and dropped from the table when none is left and room is wanted. Called by the drain
 * thread alone. The invariants: a description never changes, and it lives as long as somebody holds
 * it or the table does. */
#include "agent/kube.h"
#include "agent/kube_objects.h"
#include "agent/pod.h"
#include "agent/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KNOWN_MAX = 1024 };

struct known {
	struct kube_where where; /* first: holders have its address */
	struct arena texts;
	struct pod_ref ref;
	uint32_t holders;
	bool is_old;
	struct known *next;
};

struct kube {
	char *node_root;
	struct known *all;
	uint32_t cnt;
	struct kube_objects *objects; /* NULL: there is no API for us */
	struct kube_follower *pods, *services;
	uint64_t generation; /* of the objects that all descriptions know */
	bool has_forgotten;  /* since then, a container that may be there still */
};

static struct str text_dup(struct known *kn, const char *text)
{
	return arena_str(&kn->texts, text, strlen(text));
}

/* The pod's name and namespace are the runtime's to say; its uid stands in the cgroup path, but for a
 * static pod, whose uid there is another one. */
static void runtime_says(struct kube *k, struct known *kn)
{
	struct kube_where *w = &kn->where;
	struct runtime_names said;

	if (!*kn->ref.container ||
	    runtime_describe(&said, &kn->texts, k->node_root, kn->ref.container))
		return;
	w->pod_namespace = said.pod_namespace;
	w->pod = said.pod;
	w->container = said.container;
	w->image = said.image;
	if (said.pod_uid.len)
		w->pod_uid = said.pod_uid;
	w->owner = pod_owner_guess(w->pod);
}

static void describe(struct kube *k, struct known *kn)
{
	kn->where = (struct kube_where){.pod_uid = text_dup(kn, kn->ref.uid),
					.container_id = text_dup(kn, kn->ref.container)};
	runtime_says(k, kn);
	if (k->objects)
		kube_objects_pod(k->objects, &kn->texts, str_of(kn->ref.uid), &kn->where);
}

static struct known *known_find(struct kube *k, const struct pod_ref *ref)
{
	struct known *kn = k->all;

	while (kn && (kn->is_old || strcmp(kn->ref.container, ref->container) != 0 ||
		      strcmp(kn->ref.uid, ref->uid) != 0))
		kn = kn->next;
	return kn;
}

static void known_free(struct known *kn)
{
	arena_fini(&kn->texts);
	free(kn);
}

/* Those that nobody holds. */
static void known_sweep(struct kube *k)
{
	struct known **at = &k->all;

	while (*at) {
		struct known *kn = *at;

		if (kn->holders) {
			at = &kn->next;
			continue;
		}
		*at = kn->next;
		k->cnt--;
		k->has_forgotten |= !kn->is_old;
		known_free(kn);
	}
}

static struct known *known_add(struct kube *k, const struct pod_ref *ref)
{
	struct known *kn = calloc(1, sizeof(*kn));

	must(kn);
	if (k->cnt >= KNOWN_MAX)
		known_sweep(k);
	arena_init(&kn->texts, 0);
	kn->ref = *ref;
	describe(k, kn);
	kn->next = k->all;
	k->all = kn;
	k->cnt++;
	return kn;
}

const struct kube_where *kube_get(struct kube *k, struct str cgroup)
{
	struct pod_ref ref;
	struct known *kn;

	if (!pod_of_cgroup(&ref, cgroup))
		return NULL;
	kn = known_find(k, &ref);
	/* A process may be earlier than the runtime's file: asked again for each, until it answers. */
	if (!kn || !kn->where.pod.len)
		kn = known_add(k, &ref);
	return kube_hold(&kn->where);
}

const struct kube_where *kube_hold(const struct kube_where *w)
{
	if (w)
		((struct known *)w)->holders++;
	return w;
}

void kube_put(const struct kube_where *w)
{
	if (w)
		((struct known *)w)->holders--;
}

/* --- the API --- */

static bool pairs_eq(const struct kube_pair *a, uint32_t a_cnt, const struct kube_pair *b,
		     uint32_t b_cnt)
{
	for (uint32_t i = 0; a_cnt == b_cnt && i < a_cnt; i++)
		if (!str_eq(a[i].key, b[i].key) || !str_eq(a[i].value, b[i].value))
			return false;
	return a_cnt == b_cnt;
}

static bool where_eq(const struct kube_where *a, const struct kube_where *b)
{
	return str_eq(a->pod, b->pod) && str_eq(a->owner, b->owner) &&
	       str_eq(a->owner_kind, b->owner_kind) && str_eq(a->container, b->container) &&
	       pairs_eq(a->labels, a->label_cnt, b->labels, b->label_cnt) &&
	       pairs_eq(a->annotations, a->annotation_cnt, b->annotations, b->annotation_cnt);
}

/* Would it be described otherwise today? */
static bool has_changed(struct kube *k, const struct known *kn)
{
	struct known now = {.ref = kn->ref};
	bool changed;

	arena_init(&now.texts, 0);
	describe(k, &now);
	changed = !where_eq(&now.where, &kn->where);
	arena_fini(&now.texts);
	return changed;
}

bool kube_refresh(struct kube *k)
{
	uint64_t now = k->objects ? kube_objects_generation(k->objects) : 0;
	bool any = k->has_forgotten;

	if (now == k->generation)
		return false;
	k->generation = now;
	k->has_forgotten = false;
	for (struct known *kn = k->all; kn; kn = kn->next) {
		if (kn->is_old || !has_changed(k, kn))
			continue;
		kn->is_old = any = true;
	}
	return any;
}

bool kube_is_old(const struct kube_where *w)
{
	return w && ((const struct known *)w)->is_old;
}

struct str kube_service_at(struct kube *k, struct arena *a, struct str address)
{
	return k && k->objects ? kube_objects_service(k->objects, a, address) : STR("");
}

void kube_wait(const struct kube *k, unsigned ms)
{
	uint64_t end = clock_mono_ns() + ms * NS_PER_MS;

	while (k->pods && !kube_follower_settled(k->pods) && clock_mono_ns() < end)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* Where the API server is, in buf; false: nowhere, or we have no token. */
static bool server_find(const struct config *c, char *buf, size_t size)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"),
		   *port = getenv("KUBERNETES_SERVICE_PORT");
	int n;

	if (!c->k8s_api)
		return false;
	if (c->k8s_api_server)
		return snprintf(buf, size, "%s", c->k8s_api_server) < (int)size;
	if (!host || !port || access(c->k8s_token_file, R_OK) != 0)
		return false;
	n = snprintf(buf, size, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
	return n < (int)size;
}

static int followers_start(struct kube *k, const struct config *c)
{
	char server[512], selector[320] = "";
	struct kube_api_conf api = {server, c->k8s_token_file, c->k8s_ca_file};
	int err;

	if (!server_find(c, server, sizeof(server)))
		return 0;
	if (c->k8s_node_name)
		snprintf(selector, sizeof(selector), "spec.nodeName=%.253s", c->k8s_node_name);
	err = kube_objects_new(&k->objects);
	err = err ?: kube_follow(&k->pods, &api, "pods", "/api/v1/pods", selector,
				 kube_objects_pod_event, k->objects);
	return err ?: kube_follow(&k->services, &api, "services", "/api/v1/services", "",
				  kube_objects_service_event, k->objects);
}

/* --- names --- */

struct str kube_value(const struct kube_pair *pairs, uint32_t cnt, struct str key)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (str_eq(pairs[i].key, key))
			return pairs[i].value;
	return STR("");
}

struct str kube_service(const struct kube_where *w)
{
	const struct str said[] = {
		kube_value(w->annotations, w->annotation_cnt,
			   STR("resource.opentelemetry.io/service.name")),
		kube_value(w->labels, w->label_cnt, STR("app.kubernetes.io/name")),
		w->owner,
		w->container,
	};

	for (size_t i = 0; i < ARRAY_SIZE(said); i++)
		if (said[i].len)
			return said[i];
	return STR("");
}

int kube_new(struct kube **ret, const char *proc_root, const struct config *c)
{
	struct kube *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	must(asprintf(&k->node_root, "%s/1/root", proc_root) > 0);
	if (access(k->node_root, X_OK) != 0 && strcmp(proc_root, "/proc") == 0)
		*k->node_root = '\0'; /* not ours to enter: then we are not in a pod, and see what it sees */
	err = c ? followers_start(k, c) : 0;
	if (err)
		kube_free(k);
	else
		*ret = k;
	return err;
}

void kube_free(struct kube *k)
{
	if (!k)
		return;
	for (struct known *kn = k->all, *next; kn; kn = next) {
		next = kn->next;
		known_free(kn);
	}
	kube_follower_stop(k->pods);
	kube_follower_stop(k->services);
	kube_objects_free(k->objects);
	free(k->node_root);
	free(k);
}

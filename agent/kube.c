/* SPDX-License-Identifier: Apache-2.0 */
/* kube.c - see kube.h. One description per container, shared by its processes: made when the first
 * of them shows up, and dropped from the table when none is left and room is wanted. Called by the drain
 * thread alone. The invariants: a description never changes, and it lives as long as somebody holds
 * it or the table does. */
#include "agent/kube.h"
#include "agent/names.h"
#include "agent/pod.h"
#include "agent/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN_MAX = 1024 };

struct known {
	struct kube_where where; /* first: holders have its address */
	struct arena texts;
	struct pod_ref ref;
	uint32_t holders;
	struct known *next;
};

struct kube {
	char *node_root;
	struct known *all;
	uint32_t cnt;
};

static struct str text_dup(struct known *kn, const char *text)
{
	return arena_str(&kn->texts, text, strlen(text));
}

/* The pod's name and namespace are the runtime's to say; its uid stands in the cgroup path, but for a
 * static pod, whose uid there is another one. */
static void describe(struct kube *k, struct known *kn)
{
	struct kube_where *w = &kn->where;
	struct runtime_names said;

	*w = (struct kube_where){.pod_uid = text_dup(kn, kn->ref.uid),
				 .container_id = text_dup(kn, kn->ref.container)};
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

static struct known *known_find(struct kube *k, const struct pod_ref *ref)
{
	struct known *kn = k->all;

	while (kn && (strcmp(kn->ref.container, ref->container) != 0 ||
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

int kube_new(struct kube **ret, const char *proc_root)
{
	struct kube *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	must(asprintf(&k->node_root, "%s/1/root", proc_root) > 0);
	*ret = k;
	return 0;
}

void kube_free(struct kube *k)
{
	if (!k)
		return;
	for (struct known *kn = k->all, *next; kn; kn = next) {
		next = kn->next;
		known_free(kn);
	}
	free(k->node_root);
	free(k);
}

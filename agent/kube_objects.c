/* SPDX-License-Identifier: Apache-2.0 */
/* kube_objects.c - see kube_objects.h. A list that comes again replaces what was known, so that what was
 * deleted while nobody watched goes; one that breaks off replaces nothing. */
#include "agent/kube_objects.h"
#include "agent/names.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECTS_MAX = 20000, PAIRS_MAX = 64 };

struct collection {
	json_t *known;	/* key → value */
	json_t *listed; /* keys of the list that is coming; NULL: none is */
};

struct kube_objects {
	pthread_mutex_t lock;
	struct collection pods;	    /* uid → metadata */
	struct collection services; /* cluster IP → name */
	uint64_t generation;
};

int kube_objects_new(struct kube_objects **ret)
{
	struct kube_objects *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	pthread_mutex_init(&o->lock, NULL);
	o->pods.known = json_object();
	o->services.known = json_object();
	must(o->pods.known && o->services.known);
	*ret = o;
	return 0;
}

void kube_objects_free(struct kube_objects *o)
{
	if (!o)
		return;
	json_decref(o->pods.known);
	json_decref(o->pods.listed);
	json_decref(o->services.known);
	json_decref(o->services.listed);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* --- what comes --- */

static void list_begins(struct collection *c)
{
	json_decref(c->listed);
	c->listed = json_object();
	must(c->listed);
}

static void list_ends(struct collection *c)
{
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(c->known, next, key, value)
		if (!json_object_get(c->listed, key))
			json_object_del(c->known, key);
	json_decref(c->listed);
	c->listed = NULL;
}

static void put(struct collection *c, const char *key, json_t *value)
{
	if (json_object_size(c->known) >= OBJECTS_MAX && !json_object_get(c->known, key))
		return;
	json_object_set(c->known, key, value);
	if (c->listed)
		json_object_set_new(c->listed, key, json_true());
}

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

void kube_objects_pod_event(void *arg, enum kube_event what, const json_t *object)
{
	struct kube_objects *o = arg;
	json_t *meta = json_object_get(object, "metadata");
	const char *uid = text_at(meta, "uid");

	pthread_mutex_lock(&o->lock);
	if (what == KUBE_LIST_BEGINS) {
		list_begins(&o->pods);
	} else if (what == KUBE_LIST_ENDS) {
		list_ends(&o->pods);
	} else if (*uid && what == KUBE_GONE) {
		json_object_del(o->pods.known, uid);
	} else if (*uid) {
		json_object_del(meta, "managedFields");
		put(&o->pods, uid, meta);
		o->generation++;
	}
	pthread_mutex_unlock(&o->lock);
}

static void service_take(struct kube_objects *o, enum kube_event what, const char *ip, json_t *name)
{
	if (!*ip || strcmp(ip, "None") == 0)
		return;
	if (what == KUBE_GONE)
		json_object_del(o->services.known, ip);
	else
		put(&o->services, ip, name);
}

void kube_objects_service_event(void *arg, enum kube_event what, const json_t *object)
{
	struct kube_objects *o = arg;
	const json_t *spec = json_object_get(object, "spec"), *ip;
	json_t *name = json_object_get(json_object_get(object, "metadata"), "name");
	size_t i;

	pthread_mutex_lock(&o->lock);
	if (what == KUBE_LIST_BEGINS)
		list_begins(&o->services);
	else if (what == KUBE_LIST_ENDS)
		list_ends(&o->services);
	else if (json_is_string(name))
		service_take(o, what, text_at(spec, "clusterIP"), name);
	json_array_foreach(json_object_get(spec, "clusterIPs"), i, ip)
		if (json_is_string(name) && json_is_string(ip))
			service_take(o, what, json_string_value(ip), name);
	pthread_mutex_unlock(&o->lock);
}

/* --- what is asked --- */

static struct str clean(struct arena *a, const char *text)
{
	return names_clean(a, str_of(text));
}

static const struct kube_pair *pairs_of(struct arena *a, json_t *object, uint32_t *cnt)
{
	size_t n = json_object_size(object);
	struct kube_pair *pairs;
	const char *key;
	json_t *value;

	*cnt = 0;
	n = n < PAIRS_MAX ? n : PAIRS_MAX;
	pairs = n ? arena_array(a, struct kube_pair, n) : NULL;
	json_object_foreach(object, key, value) {
		if (*cnt == n || !pairs)
			break;
		if (json_is_string(value))
			pairs[(*cnt)++] = (struct kube_pair){clean(a, key),
							     clean(a, json_string_value(value))};
	}
	return pairs;
}

static struct str lower(struct arena *a, const char *text)
{
	struct str s = clean(a, text);

	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] >= 'A' && s.p[i] <= 'Z')
			((char *)s.p)[i] += 'a' - 'A';
	return s;
}

/* A ReplicaSet named NAME-<the pod's template hash> is the Deployment NAME's. */
static void replicaset_take(struct arena *a, const json_t *meta, struct kube_where *to)
{
	const char *hash = text_at(json_object_get(meta, "labels"), "pod-template-hash");
	size_t len = strlen(hash);

	to->replicaset = to->owner;
	if (!len || to->owner.len <= len + 1 || to->owner.p[to->owner.len - len - 1] != '-' ||
	    memcmp(to->owner.p + to->owner.len - len, hash, len) != 0)
		return;
	to->owner = arena_str(a, to->owner.p, to->owner.len - len - 1);
	to->owner_kind = STR("deployment");
}

static void owner_take(struct arena *a, const json_t *meta, struct kube_where *to)
{
	const json_t *ref;
	size_t i;

	to->owner = to->pod;
	to->owner_kind = STR("");
	json_array_foreach(json_object_get(meta, "ownerReferences"), i, ref) {
		if (!json_is_true(json_object_get(ref, "controller")))
			continue;
		to->owner_kind = lower(a, text_at(ref, "kind"));
		to->owner = clean(a, text_at(ref, "name"));
		if (str_eq(to->owner_kind, STR("replicaset")))
			replicaset_take(a, meta, to);
		else if (str_eq(to->owner_kind, STR("node"))) /* a static pod */
			to->owner_kind = STR("");
		return;
	}
}

static const json_t *pod_find(const struct kube_objects *o, struct str uid)
{
	const json_t *meta = json_object_getn(o->pods.known, uid.p, uid.len);
	const char *key;
	json_t *each;

	if (meta)
		return meta;
	json_object_foreach(o->pods.known, key, each)
		if (str_eq(uid, str_of(text_at(json_object_get(each, "annotations"),
					       "kubernetes.io/config.hash"))))
			return each;
	return NULL;
}

bool kube_objects_pod(struct kube_objects *o, struct arena *a, struct str uid, struct kube_where *to)
{
	const json_t *meta;

	pthread_mutex_lock(&o->lock);
	meta = pod_find(o, uid);
	if (meta) {
		to->pod = clean(a, text_at(meta, "name"));
		to->pod_namespace = clean(a, text_at(meta, "namespace"));
		to->pod_uid = clean(a, text_at(meta, "uid"));
		to->labels = pairs_of(a, json_object_get(meta, "labels"), &to->label_cnt);
		to->annotations =
			pairs_of(a, json_object_get(meta, "annotations"), &to->annotation_cnt);
		owner_take(a, meta, to);
	}
	pthread_mutex_unlock(&o->lock);
	return meta != NULL;
}

struct str kube_objects_service(struct kube_objects *o, struct arena *a, struct str address)
{
	struct str name = STR("");
	const json_t *found;

	pthread_mutex_lock(&o->lock);
	found = json_object_getn(o->services.known, address.p, address.len);
	if (found)
		name = clean(a, json_string_value(found));
	pthread_mutex_unlock(&o->lock);
	return name;
}

uint64_t kube_objects_generation(struct kube_objects *o)
{
	uint64_t n;

	pthread_mutex_lock(&o->lock);
	n = o->generation;
	pthread_mutex_unlock(&o->lock);
	return n;
}

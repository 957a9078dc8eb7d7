/* SPDX-License-Identifier: Apache-2.0 */
/* kube_api.h - follows a collection of the Kubernetes API: lists it, then watches it, for as long as
 * we run. A server that is away, slow or refuses is asked again later; what was known stays. It
 * knows no kind of object: kube.c does. */
#ifndef WIRESPAN_KUBE_API_H
#define WIRESPAN_KUBE_API_H

#include <jansson.h>

#include "store/base.h"

enum kube_event {
	KUBE_LIST_BEGINS, /* object: NULL */
	KUBE_PUT,	  /* is there, or has changed */
	KUBE_GONE,
	KUBE_LIST_ENDS, /* object: NULL; what was not named since it began is gone */
};

/* Called on the follower's own thread; the object is borrowed. */
typedef void kube_event_fn(void *arg, enum kube_event what, const json_t *object);

struct kube_api_conf {
	const char *server;	/* "https://10.96.0.1:443" */
	const char *token_file; /* read anew for each request; NULL: none */
	const char *ca_file;	/* NULL: the system's */
};

struct kube_follower;

/* path: "/api/v1/pods"; selector: a field selector, or "". Texts are copied; name is for /status and
 * the log. 0 or -errno. */
int kube_follow(struct kube_follower **ret, const struct kube_api_conf *c, const char *name,
		const char *path, const char *selector, kube_event_fn *fn, void *arg);
/* Has the first list come, or failed? */
bool kube_follower_settled(const struct kube_follower *f);
/* Ends it within a second. NULL is fine. */
void kube_follower_stop(struct kube_follower *f);

#endif

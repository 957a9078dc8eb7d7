/* SPDX-License-Identifier: Apache-2.0 */
/* selector.c - see selector.h. */
#include "agent/selector.h"

#include <string.h>

static bool port_matches(const struct selector *s, uint16_t port)
{
	for (uint32_t i = 0; i < s->open_ports.cnt; i++)
		if (port >= s->open_ports.at[i].from && port <= s->open_ports.at[i].to)
			return true;
	return !s->open_ports.cnt;
}

static struct str owner_of(const struct kube_where *w, const char *kind)
{
	return str_eq(w->owner_kind, str_of(kind)) ? w->owner : STR("");
}

static struct str value_of(const struct proc_info *pi, enum selector_glob what)
{
	static const struct kube_where nowhere;
	const struct kube_where *w = pi->where ? pi->where : &nowhere;

	switch (what) {
	case SELECT_exe_path:
		return pi->exe;
	case SELECT_name:
		return pi->service;
	case SELECT_k8s_namespace:
		return w->pod_namespace;
	case SELECT_k8s_pod_name:
		return w->pod;
	case SELECT_k8s_container_name:
		return w->container;
	case SELECT_k8s_owner_name:
		return w->owner;
	case SELECT_k8s_deployment_name:
		return owner_of(w, "deployment");
	case SELECT_k8s_replicaset_name:
		return w->replicaset;
	case SELECT_k8s_statefulset_name:
		return owner_of(w, "statefulset");
	case SELECT_k8s_daemonset_name:
		return owner_of(w, "daemonset");
	case SELECT_CNT:
		break;
	}
	return STR("");
}

static bool globs_match(const struct selector *s, const struct proc_info *pi)
{
	for (size_t i = 0; i < SELECT_CNT; i++) {
		struct str value;

		if (!s->globs[i])
			continue;
		value = value_of(pi, (enum selector_glob)i);
		if (!value.len || !str_glob(s->globs[i], value))
			return false;
	}
	return true;
}

static bool pairs_match(const struct selector_pair *asked, uint32_t cnt,
			const struct kube_pair *has, uint32_t has_cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct str value = kube_value(has, has_cnt, str_of(asked[i].key));

		if (!value.len || !str_glob(asked[i].glob, value))
			return false;
	}
	return true;
}

static bool all_but_port_matches(const struct selector *s, const struct proc_info *pi)
{
	const struct kube_where *w = pi->where;

	if (!globs_match(s, pi))
		return false;
	if (!s->label_cnt && !s->annotation_cnt)
		return true;
	return w && pairs_match(s->labels, s->label_cnt, w->labels, w->label_cnt) &&
	       pairs_match(s->annotations, s->annotation_cnt, w->annotations, w->annotation_cnt);
}

bool selector_matches(const struct selector *s, const struct proc_info *pi, uint16_t port)
{
	return port_matches(s, port) && all_but_port_matches(s, pi);
}

bool selectors_may_match(const struct selectors *all, const struct proc_info *pi)
{
	for (uint32_t i = 0; i < all->cnt; i++)
		if (all_but_port_matches(&all->at[i], pi))
			return true;
	return false;
}

uint32_t selectors_match(const struct selectors *all, const struct proc_info *pi, uint16_t port)
{
	for (uint32_t i = 0; i < all->cnt; i++)
		if (selector_matches(&all->at[i], pi, port))
			return i + 1;
	return 0;
}

bool selectors_name_namespace(const struct selectors *all, const char *name)
{
	for (uint32_t i = 0; i < all->cnt; i++) {
		const char *glob = all->at[i].globs[SELECT_k8s_namespace];

		if (glob && strcmp(glob, name) == 0)
			return true;
	}
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* span.c - the few questions about a span that everybody asks. It makes and changes no span. Called
 * by query and web for each span of an answer: no allocation, no lock. The invariant: a key that
 * stands twice (OTLP forbids it, senders do it) is answered with its first value everywhere. */
#include "store/span.h"

bool span_is_root(const struct span *sp)
{
	for (size_t i = 0; i < sizeof(sp->parent_id); i++)
		if (sp->parent_id[i])
			return false;
	return true;
}

const struct val *attrs_find(const struct attrs *as, struct str key)
{
	for (uint32_t i = 0; i < as->cnt; i++)
		if (str_eq(as->at[i].key, key))
			return &as->at[i].val;
	return NULL;
}

struct str span_service(const struct span *sp)
{
	const struct val *v = attrs_find(&sp->res->attrs, STR("service.name"));

	return v && v->type == VAL_STR ? v->str : STR("");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* span.c - the few questions about a span that everybody asks. It makes and changes no span. Called
 * by query and web for each span of an answer: no allocation, no lock. The invariant: a key that
 * stands twice (OTLP forbids it, senders do it) is answered with its first value everywhere. */
#include "store/span.h"

#include <string.h>

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

static bool attr_rows_are(const struct attr *a, const struct attr *b, uint32_t cnt);

static bool elems_are(const struct val *a, const struct val *b);

static bool val_is(const struct val *a, const struct val *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VAL_EMPTY:
		return true;
	case VAL_STR:
	case VAL_BYTES:
		return str_eq(a->str, b->str);
	case VAL_BOOL:
		return a->b == b->b;
	case VAL_INT:
		return a->i == b->i;
	case VAL_DOUBLE:
		return memcmp(&a->d, &b->d, sizeof(a->d)) == 0;
	case VAL_ARRAY:
		return a->cnt == b->cnt && elems_are(a, b);
	case VAL_KVLIST:
		return a->cnt == b->cnt && attr_rows_are(a->entries, b->entries, a->cnt);
	}
	return false;
}

static bool elems_are(const struct val *a, const struct val *b)
{
	for (uint32_t i = 0; i < a->cnt; i++)
		if (!val_is(&a->elems[i], &b->elems[i]))
			return false;
	return true;
}

static bool attr_rows_are(const struct attr *a, const struct attr *b, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (!str_eq(a[i].key, b[i].key) || !val_is(&a[i].val, &b[i].val))
			return false;
	return true;
}

bool attrs_are(const struct attrs *a, const struct attrs *b)
{
	return a->cnt == b->cnt && a->dropped == b->dropped && attr_rows_are(a->at, b->at, a->cnt);
}

bool resource_is(const struct resource *a, const struct resource *b)
{
	return a == b ||
	       (str_eq(a->schema_url, b->schema_url) && attrs_are(&a->attrs, &b->attrs));
}

bool scope_is(const struct scope *a, const struct scope *b)
{
	return a == b || (str_eq(a->name, b->name) && str_eq(a->version, b->version) &&
			  str_eq(a->schema_url, b->schema_url) && attrs_are(&a->attrs, &b->attrs));
}

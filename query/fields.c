/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c - the table of intrinsics, and how attributes are found by scope. A getter allocates
 * nothing: it returns what the span has, or ids as text in one of the trace's four buffers, so that
 * two different ids can be compared with each other. Not the place for types of operators (ops.c).
 */
#include "query/fields.h"
#include "query/tree.h"

#include <errno.h>
#include <string.h>

enum { HEX_SPAN, HEX_PARENT, HEX_TRACE, HEX_LINK };

void trace_init(struct trace *t, const struct span *spans, uint32_t cnt)
{
	*t = (struct trace){.spans = spans, .cnt = cnt, .start_ns = UINT64_MAX};
	for (uint32_t i = 0; i < cnt; i++) {
		if (spans[i].start_ns < t->start_ns)
			t->start_ns = spans[i].start_ns;
		if (spans[i].end_ns > t->end_ns)
			t->end_ns = spans[i].end_ns;
		if (span_is_root(&spans[i])) /* of several roots the last is taken, as Tempo does */
			t->root = &spans[i];
	}
	if (t->end_ns < t->start_ns)
		t->end_ns = t->start_ns;
	if (t->root) {
		t->root_service = span_service(t->root);
		t->root_name = t->root->name;
	}
}

/* --- getters --- */
#define GETTER(name)                                                                               \
	static struct tval get_##name(struct trace *t, uint32_t i __attribute__((unused)),         \
				      uint32_t nth __attribute__((unused)))

static struct tval duration_val(uint64_t from, uint64_t to)
{
	return (struct tval){.type = TYPE_DURATION, .i = (int64_t)(to - from)};
}

static struct tval hex_val(struct trace *t, int slot, const uint8_t *id, size_t len)
{
	hex_encode(t->hex[slot], id, len);
	return TVAL_STR(((struct str){t->hex[slot], 2 * len}));
}

GETTER(duration)
{
	const struct span *sp = &t->spans[i];

	return duration_val(sp->start_ns, sp->end_ns < sp->start_ns ? sp->start_ns : sp->end_ns);
}

GETTER(name)
{
	return TVAL_STR(t->spans[i].name);
}

GETTER(status)
{
	return (struct tval){.type = TYPE_STATUS, .i = t->spans[i].status};
}

GETTER(status_message)
{
	return TVAL_STR(t->spans[i].status_message);
}

GETTER(kind)
{
	return (struct tval){.type = TYPE_KIND, .i = t->spans[i].kind};
}

GETTER(span_id)
{
	return hex_val(t, HEX_SPAN, t->spans[i].span_id, 8);
}

GETTER(parent_id)
{
	if (span_is_root(&t->spans[i]))
		return TVAL_STR(STR(""));
	return hex_val(t, HEX_PARENT, t->spans[i].parent_id, 8);
}

GETTER(child_cnt)
{
	return TVAL_INT(t->tree->nodes[i].child_cnt);
}

GETTER(left)
{
	return TVAL_INT(t->tree->nodes[i].left);
}

GETTER(right)
{
	return TVAL_INT(t->tree->nodes[i].right);
}

GETTER(parent_left)
{
	return TVAL_INT(t->tree->nodes[i].parent_left);
}

GETTER(root_name)
{
	return TVAL_STR(t->root_name);
}

GETTER(root_service)
{
	return TVAL_STR(t->root_service);
}

GETTER(trace_duration)
{
	return duration_val(t->start_ns, t->end_ns);
}

GETTER(trace_id)
{
	struct tval v = hex_val(t, HEX_TRACE, t->spans[i].trace_id, 16);

	for (; v.str.len > 1 && v.str.p[0] == '0'; v.str.len--)
		v.str.p++;
	return v;
}

GETTER(event_name)
{
	return TVAL_STR(t->spans[i].events[nth].name);
}

GETTER(event_time)
{
	return duration_val(t->spans[i].start_ns, t->spans[i].events[nth].time_ns);
}

GETTER(link_trace)
{
	return hex_val(t, HEX_TRACE, t->spans[i].links[nth].trace_id, 16);
}

GETTER(link_span)
{
	return hex_val(t, HEX_LINK, t->spans[i].links[nth].span_id, 8);
}

GETTER(scope_name)
{
	return TVAL_STR(t->spans[i].scope->name);
}

GETTER(scope_version)
{
	return TVAL_STR(t->spans[i].scope->version);
}

/* --- the table --- */
#define S  FIELD_SCOPED
#define T  FIELD_TAG
#define ST (FIELD_SCOPED | FIELD_TAG)

static const struct field table[] = {
	{"duration", "duration", TYPE_DURATION, T | FIELD_SILENT | FIELD_OPAQUE, get_duration,
	 COLUMN_DURATION},
	{"name", "name", TYPE_STR, T | FIELD_SILENT, get_name, COLUMN_NAME},
	{"status", "status", TYPE_STATUS, T, get_status, COLUMN_STATUS},
	{"statusMessage", "statusMessage", TYPE_STR, T, get_status_message, COLUMN_MESSAGE},
	{"kind", "kind", TYPE_KIND, T, get_kind, COLUMN_KIND},
	{"rootName", "rootName", TYPE_STR, T | FIELD_TRACE | FIELD_SILENT, get_root_name, 0},
	{"rootServiceName", "rootServiceName", TYPE_STR, T | FIELD_TRACE | FIELD_SILENT,
	 get_root_service, 0},
	{"traceDuration", "traceDuration", TYPE_DURATION,
	 T | FIELD_TRACE | FIELD_SILENT | FIELD_OPAQUE, get_trace_duration, 0},
	{"nestedSetLeft", "nestedSetLeft", TYPE_INT, FIELD_TREE, get_left, 0},
	{"nestedSetRight", "nestedSetRight", TYPE_INT, FIELD_TREE, get_right, 0},
	{"nestedSetParent", "nestedSetParent", TYPE_INT, FIELD_TREE, get_parent_left, COLUMN_ROOT},
	{"span:duration", "duration", TYPE_DURATION, ST | FIELD_SILENT | FIELD_OPAQUE, get_duration,
	 COLUMN_DURATION},
	{"span:name", "name", TYPE_STR, ST | FIELD_SILENT, get_name, COLUMN_NAME},
	{"span:kind", "kind", TYPE_KIND, ST, get_kind, COLUMN_KIND},
	{"span:status", "status", TYPE_STATUS, ST, get_status, COLUMN_STATUS},
	{"span:statusMessage", "statusMessage", TYPE_STR, ST, get_status_message, COLUMN_MESSAGE},
	{"span:id", "span:id", TYPE_STR, ST | FIELD_SILENT | FIELD_HEX | FIELD_OPAQUE, get_span_id,
	 0},
	{"span:parentID", "span:parentID", TYPE_STR, ST | FIELD_HEX | FIELD_OPAQUE, get_parent_id,
	 0},
	{"span:childCount", "span:childCount", TYPE_INT, S | FIELD_TREE, get_child_cnt, 0},
	{"trace:duration", "traceDuration", TYPE_DURATION,
	 ST | FIELD_TRACE | FIELD_SILENT | FIELD_OPAQUE, get_trace_duration, 0},
	{"trace:rootName", "rootName", TYPE_STR, ST | FIELD_TRACE | FIELD_SILENT, get_root_name, 0},
	{"trace:rootService", "rootServiceName", TYPE_STR, ST | FIELD_TRACE | FIELD_SILENT,
	 get_root_service, 0},
	{"trace:id", "trace:id", TYPE_STR, ST | FIELD_SILENT | FIELD_HEX | FIELD_ID | FIELD_OPAQUE,
	 get_trace_id, 0},
	{"event:name", "event:name", TYPE_STR, ST | FIELD_EVENT, get_event_name, 0},
	{"event:timeSinceStart", "event:timeSinceStart", TYPE_DURATION, ST | FIELD_EVENT,
	 get_event_time, 0},
	{"link:traceID", "link:traceID", TYPE_STR, ST | FIELD_LINK | FIELD_HEX | FIELD_OPAQUE,
	 get_link_trace, 0},
	{"link:spanID", "link:spanID", TYPE_STR, ST | FIELD_LINK | FIELD_HEX | FIELD_OPAQUE,
	 get_link_span, 0},
	{"instrumentation:name", "instrumentation:name", TYPE_STR, ST, get_scope_name,
	 COLUMN_SCOPE},
	{"instrumentation:version", "instrumentation:version", TYPE_STR, ST, get_scope_version,
	 COLUMN_SCOPE},
};

static const char *const scope_names[ATTR_SCOPE_COUNT] = {
	[ATTR_ANY] = "",	[ATTR_SPAN] = "span", [ATTR_RESOURCE] = "resource",
	[ATTR_EVENT] = "event", [ATTR_LINK] = "link", [ATTR_SCOPE] = "instrumentation",
};

const struct field *fields_at(size_t n)
{
	return n < ARRAY_SIZE(table) ? &table[n] : NULL;
}

const struct field *fields_find(struct str name)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (str_eq(str_of(table[i].name), name))
			return &table[i];
	return NULL;
}

const char *fields_scope_name(enum attr_scope scope)
{
	return scope_names[scope];
}

int fields_scope(struct str name, enum attr_scope *ret)
{
	for (int i = 0; i < ATTR_SCOPE_COUNT; i++) {
		if (str_eq(str_of(scope_names[i]), name)) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* --- one field --- */
uint32_t field_flags(const struct field_ref *f)
{
	if (f->intrinsic)
		return f->intrinsic->flags;
	if (f->scope == ATTR_EVENT)
		return FIELD_EVENT;
	return f->scope == ATTR_LINK ? FIELD_LINK : 0;
}

enum tql_type field_type(const struct field_ref *f)
{
	return f->intrinsic ? f->intrinsic->type : TYPE_ATTR;
}

bool field_eq(const struct field_ref *a, const struct field_ref *b)
{
	if (a->intrinsic || b->intrinsic)
		return a->intrinsic && b->intrinsic && a->intrinsic->get == b->intrinsic->get;
	return a->scope == b->scope && str_eq(a->key, b->key);
}

bool field_is_service(const struct field_ref *f)
{
	return !f->intrinsic && f->scope == ATTR_RESOURCE && str_eq(f->key, STR("service.name"));
}

uint32_t field_cnt(const struct field_ref *f, const struct trace *t, uint32_t i)
{
	uint32_t flags = field_flags(f);

	if (flags & FIELD_EVENT)
		return t->spans[i].event_cnt;
	return flags & FIELD_LINK ? t->spans[i].link_cnt : 1;
}

const struct val *field_val(const struct field_ref *f, const struct span *sp, uint32_t nth)
{
	const struct val *v;

	switch (f->scope) {
	case ATTR_SPAN:
		return attrs_find(&sp->attrs, f->key);
	case ATTR_RESOURCE:
		return attrs_find(&sp->res->attrs, f->key);
	case ATTR_EVENT:
		return nth < sp->event_cnt ? attrs_find(&sp->events[nth].attrs, f->key) : NULL;
	case ATTR_LINK:
		return nth < sp->link_cnt ? attrs_find(&sp->links[nth].attrs, f->key) : NULL;
	case ATTR_SCOPE:
		return attrs_find(&sp->scope->attrs, f->key);
	default:
		v = attrs_find(&sp->attrs, f->key);
		return v ? v : attrs_find(&sp->res->attrs, f->key);
	}
}

struct tval field_get(const struct field_ref *f, struct trace *t, uint32_t i, uint32_t nth)
{
	const struct val *v;

	if (f->intrinsic)
		return nth < field_cnt(f, t, i) ? f->intrinsic->get(t, i, nth) : TVAL_NIL;
	v = field_val(f, &t->spans[i], nth);
	if (v)
		return tval_of(v);
	return field_is_service(f) ? TVAL_STR(STR("")) : TVAL_NIL;
}

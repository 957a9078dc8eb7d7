/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_pb_encode.c - spans into OTLP protobuf: a tree of protobuf-c messages in a scratch arena,
 * packed into a strbuf.
 *
 * Strings are borrowed from the spans until the tree is packed. Called for answers and for export.
 * The invariant: resource, scope and status messages are always there, even when empty; Grafana
 * dereferences them without looking. */
#include "store/otlp_impl.h"

#include "proto/otlp_trace.pb-c.h"

static ProtobufCBinaryData bytes_to(const void *p, size_t len)
{
	return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)p};
}

static ProtobufCBinaryData str_to(struct str s)
{
	return bytes_to(s.p, s.len);
}

static Otlp__KeyValue **attrs_to(struct arena *a, const struct attr *from, uint32_t cnt);

static Otlp__AnyValue *val_to(struct arena *a, const struct val *from);

static Otlp__ArrayValue *array_to(struct arena *a, const struct val *from)
{
	Otlp__ArrayValue *to = arena_new(a, Otlp__ArrayValue);

	otlp__array_value__init(to);
	to->n_values = from->cnt;
	to->values = arena_array(a, Otlp__AnyValue *, from->cnt);
	for (uint32_t i = 0; i < from->cnt; i++)
		to->values[i] = val_to(a, &from->elems[i]);
	return to;
}

static Otlp__KeyValueList *kvlist_to(struct arena *a, const struct val *from)
{
	Otlp__KeyValueList *to = arena_new(a, Otlp__KeyValueList);

	otlp__key_value_list__init(to);
	to->n_values = from->cnt;
	to->values = attrs_to(a, from->entries, from->cnt);
	return to;
}

static Otlp__AnyValue *val_to(struct arena *a, const struct val *from)
{
	static const Otlp__AnyValue__ValueCase cases[] = {
	    [VAL_EMPTY] = OTLP__ANY_VALUE__VALUE__NOT_SET,
	    [VAL_STR] = OTLP__ANY_VALUE__VALUE_STRING_VALUE,
	    [VAL_BOOL] = OTLP__ANY_VALUE__VALUE_BOOL_VALUE,
	    [VAL_INT] = OTLP__ANY_VALUE__VALUE_INT_VALUE,
	    [VAL_DOUBLE] = OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE,
	    [VAL_ARRAY] = OTLP__ANY_VALUE__VALUE_ARRAY_VALUE,
	    [VAL_KVLIST] = OTLP__ANY_VALUE__VALUE_KVLIST_VALUE,
	    [VAL_BYTES] = OTLP__ANY_VALUE__VALUE_BYTES_VALUE,
	};
	Otlp__AnyValue *to = arena_new(a, Otlp__AnyValue);

	otlp__any_value__init(to);
	to->value_case = cases[from->type];
	switch (from->type) {
	case VAL_EMPTY:
		break;
	case VAL_STR:
		to->string_value = str_to(from->str);
		break;
	case VAL_BOOL:
		to->bool_value = from->b;
		break;
	case VAL_INT:
		to->int_value = from->i;
		break;
	case VAL_DOUBLE:
		to->double_value = from->d;
		break;
	case VAL_ARRAY:
		to->array_value = array_to(a, from);
		break;
	case VAL_KVLIST:
		to->kvlist_value = kvlist_to(a, from);
		break;
	case VAL_BYTES:
		to->bytes_value = str_to(from->str);
		break;
	}
	return to;
}

static Otlp__KeyValue *attr_to(struct arena *a, const struct attr *from)
{
	Otlp__KeyValue *to = arena_new(a, Otlp__KeyValue);

	otlp__key_value__init(to);
	to->key = str_to(from->key);
	to->value = val_to(a, &from->val);
	return to;
}

static Otlp__KeyValue **attrs_to(struct arena *a, const struct attr *from, uint32_t cnt)
{
	Otlp__KeyValue **to = arena_array(a, Otlp__KeyValue *, cnt);

	for (uint32_t i = 0; i < cnt; i++)
		to[i] = attr_to(a, &from[i]);
	return to;
}

static Otlp__Event *event_to(struct arena *a, const struct event *from)
{
	Otlp__Event *to = arena_new(a, Otlp__Event);

	otlp__event__init(to);
	to->time_unix_nano = from->time_ns;
	to->name = str_to(from->name);
	to->n_attributes = from->attrs.cnt;
	to->attributes = attrs_to(a, from->attrs.at, from->attrs.cnt);
	to->dropped_attributes_count = from->attrs.dropped;
	return to;
}

static Otlp__Link *link_to(struct arena *a, const struct link *from)
{
	Otlp__Link *to = arena_new(a, Otlp__Link);

	otlp__link__init(to);
	to->trace_id = bytes_to(from->trace_id, sizeof(from->trace_id));
	to->span_id = bytes_to(from->span_id, sizeof(from->span_id));
	to->trace_state = str_to(from->trace_state);
	to->n_attributes = from->attrs.cnt;
	to->attributes = attrs_to(a, from->attrs.at, from->attrs.cnt);
	to->dropped_attributes_count = from->attrs.dropped;
	to->flags = from->flags;
	return to;
}

static Otlp__Status *status_to(struct arena *a, const struct span *from)
{
	Otlp__Status *to = arena_new(a, Otlp__Status);

	otlp__status__init(to);
	to->code = from->status;
	to->message = str_to(from->status_message);
	return to;
}

static Otlp__Span *span_to(struct arena *a, const struct span *from)
{
	Otlp__Span *to = arena_new(a, Otlp__Span);

	otlp__span__init(to);
	to->trace_id = bytes_to(from->trace_id, sizeof(from->trace_id));
	to->span_id = bytes_to(from->span_id, sizeof(from->span_id));
	if (!span_is_root(from))
		to->parent_span_id = bytes_to(from->parent_id, sizeof(from->parent_id));
	to->trace_state = str_to(from->trace_state);
	to->name = str_to(from->name);
	to->kind = from->kind;
	to->start_time_unix_nano = from->start_ns;
	to->end_time_unix_nano = from->end_ns;
	to->n_attributes = from->attrs.cnt;
	to->attributes = attrs_to(a, from->attrs.at, from->attrs.cnt);
	to->dropped_attributes_count = from->attrs.dropped;
	to->n_events = from->event_cnt;
	to->events = arena_array(a, Otlp__Event *, from->event_cnt);
	for (uint32_t i = 0; i < from->event_cnt; i++)
		to->events[i] = event_to(a, &from->events[i]);
	to->dropped_events_count = from->events_dropped;
	to->n_links = from->link_cnt;
	to->links = arena_array(a, Otlp__Link *, from->link_cnt);
	for (uint32_t i = 0; i < from->link_cnt; i++)
		to->links[i] = link_to(a, &from->links[i]);
	to->dropped_links_count = from->links_dropped;
	to->status = status_to(a, from);
	to->flags = from->flags;
	return to;
}

static Otlp__ScopeSpans *scope_spans_to(struct arena *a, const struct otlp_place *at, size_t cnt)
{
	const struct scope *from = at->span->scope;
	Otlp__ScopeSpans *to = arena_new(a, Otlp__ScopeSpans);

	otlp__scope_spans__init(to);
	to->schema_url = str_to(from->schema_url);
	to->scope = arena_new(a, Otlp__Scope);
	otlp__scope__init(to->scope);
	to->scope->name = str_to(from->name);
	to->scope->version = str_to(from->version);
	to->scope->n_attributes = from->attrs.cnt;
	to->scope->attributes = attrs_to(a, from->attrs.at, from->attrs.cnt);
	to->scope->dropped_attributes_count = from->attrs.dropped;
	to->n_spans = cnt;
	to->spans = arena_array(a, Otlp__Span *, cnt);
	for (size_t i = 0; i < cnt; i++)
		to->spans[i] = span_to(a, at[i].span);
	return to;
}

static Otlp__ResourceSpans *resource_spans_to(struct arena *a, const struct otlp_place *at,
					      size_t cnt)
{
	const struct resource *from = at->span->res;
	Otlp__ResourceSpans *to = arena_new(a, Otlp__ResourceSpans);
	size_t i, end;

	otlp__resource_spans__init(to);
	to->schema_url = str_to(from->schema_url);
	to->resource = arena_new(a, Otlp__Resource);
	otlp__resource__init(to->resource);
	to->resource->n_attributes = from->attrs.cnt;
	to->resource->attributes = attrs_to(a, from->attrs.at, from->attrs.cnt);
	to->resource->dropped_attributes_count = from->attrs.dropped;
	to->scope_spans = arena_array(a, Otlp__ScopeSpans *, cnt);
	for (i = 0; i < cnt; i = end) {
		end = otlp_same_scope(at, i, cnt);
		to->scope_spans[to->n_scope_spans++] = scope_spans_to(a, &at[i], end - i);
	}
	return to;
}

struct out {
	ProtobufCBuffer base;
	struct strbuf *to;
};

static void out_append(ProtobufCBuffer *base, size_t len, const uint8_t *p)
{
	strbuf_add(((struct out *)base)->to, p, len);
}

static void pack(struct strbuf *to, const ProtobufCMessage *m)
{
	struct out out = {{out_append}, to};

	protobuf_c_message_pack_to_buffer(m, &out.base);
}

void otlp_encode_pb(struct strbuf *out, const struct span *spans, size_t cnt)
{
	const struct otlp_place *at;
	Otlp__TracesData t;
	struct arena a;
	size_t i, end;

	arena_init(&a, 0);
	at = otlp_group(&a, spans, cnt);
	otlp__traces_data__init(&t);
	t.resource_spans = arena_array(&a, Otlp__ResourceSpans *, cnt);
	for (i = 0; i < cnt; i = end) {
		end = otlp_same_res(at, i, cnt);
		t.resource_spans[t.n_resource_spans++] = resource_spans_to(&a, &at[i], end - i);
	}
	pack(out, &t.base);
	arena_fini(&a);
}

void otlp_pb_attr(struct strbuf *out, const struct attr *at)
{
	struct arena a;

	arena_init(&a, 0);
	pack(out, &attr_to(&a, at)->base);
	arena_fini(&a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_pb.c - spans out of OTLP protobuf, by protobuf-c over proto/otlp_trace.proto.
 *
 * Borrows nothing from the request: protobuf-c copies into the caller's arena, and the spans point
 * there. Does not judge what a span says beyond the form of its ids. Called by ingest. The
 * invariant: protobuf-c recurses without a bound, so nothing is given to it that nest_ok has not
 * walked. */
#include "store/otlp_impl.h"

#include <errno.h>
#include <string.h>

#include "proto/otlp_trace.pb-c.h"

/* TracesData down to an event's KeyValue is 6 messages, each level of a value at most 3. */
enum { MESSAGE_DEPTH_MAX = 6 + 3 * OTLP_DEPTH_MAX };

/* --- the walk before the decode --- */

struct wire {
	const uint8_t *p, *end;
};

static bool wire_varint(struct wire *w, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 64 && w->p < w->end; shift += 7) {
		uint8_t b = *w->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool wire_skip(struct wire *w, uint64_t len)
{
	if (len > (uint64_t)(w->end - w->p))
		return false;
	w->p += len;
	return true;
}

static const ProtobufCMessageDescriptor *submessage(const ProtobufCMessageDescriptor *d,
						    uint64_t id)
{
	const ProtobufCFieldDescriptor *f =
	    id <= UINT32_MAX ? protobuf_c_message_descriptor_get_field(d, (unsigned int)id) : NULL;

	return f && f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
}

static bool nest_ok(const ProtobufCMessageDescriptor *d, struct wire w, int depth)
{
	uint64_t tag, len;

	if (depth > MESSAGE_DEPTH_MAX)
		return false;
	while (w.p < w.end) {
		const ProtobufCMessageDescriptor *sub;
		bool ok = wire_varint(&w, &tag);

		if (!ok)
			return false;
		switch (tag & 7) {
		case 0:
			ok = wire_varint(&w, &len);
			break;
		case 1:
			ok = wire_skip(&w, 8);
			break;
		case 2:
			sub = submessage(d, tag >> 3);
			ok = wire_varint(&w, &len) && len <= (uint64_t)(w.end - w.p) &&
			     (!sub || nest_ok(sub, (struct wire){w.p, w.p + len}, depth + 1)) &&
			     wire_skip(&w, len);
			break;
		case 5:
			ok = wire_skip(&w, 4);
			break;
		default:
			ok = false;
		}
		if (!ok)
			return false;
	}
	return true;
}

/* --- decode --- */

struct decode {
	struct arena *a;
	struct strbuf *why;
	bool full; /* the arena's limit was reached */
};

static void *decode_alloc(void *arg, size_t len)
{
	struct decode *d = arg;
	void *p = arena_alloc(d->a, len);

	d->full |= !p;
	return p;
}

static void decode_free(void *arg, void *p)
{
	(void)arg, (void)p; /* the arena's owner frees all at once */
}

static struct str str_from(ProtobufCBinaryData b)
{
	return (struct str){b.data ? (const char *)b.data : "", b.len};
}

static int attrs_from(struct decode *d, struct attrs *to, Otlp__KeyValue **from, size_t cnt,
		      int depth);

static int array_from(struct decode *d, struct val *to, const Otlp__ArrayValue *from, int depth);

static int val_from(struct decode *d, struct val *to, const Otlp__AnyValue *from, int depth)
{
	struct attrs list = {0};
	int err = 0;

	if (depth > OTLP_DEPTH_MAX)
		return otlp_bad(d->why, "a value is nested deeper than %d levels", OTLP_DEPTH_MAX);
	switch (from ? from->value_case : OTLP__ANY_VALUE__VALUE__NOT_SET) {
	case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
		*to = (struct val){.type = VAL_STR, .str = str_from(from->string_value)};
		break;
	case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
		*to = (struct val){.type = VAL_BOOL, .b = from->bool_value};
		break;
	case OTLP__ANY_VALUE__VALUE_INT_VALUE:
		*to = (struct val){.type = VAL_INT, .i = from->int_value};
		break;
	case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
		*to = (struct val){.type = VAL_DOUBLE, .d = from->double_value};
		break;
	case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
		err = array_from(d, to, from->array_value, depth);
		break;
	case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
		err = attrs_from(d, &list, from->kvlist_value->values, from->kvlist_value->n_values,
				 depth + 1);
		*to = (struct val){.type = VAL_KVLIST, .cnt = list.cnt, .entries = list.at};
		break;
	case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
		*to = (struct val){.type = VAL_BYTES, .str = str_from(from->bytes_value)};
		break;
	default:
		*to = (struct val){.type = VAL_EMPTY};
	}
	return err;
}

static int array_from(struct decode *d, struct val *to, const Otlp__ArrayValue *from, int depth)
{
	struct val *elems = arena_array(d->a, struct val, from->n_values);
	int err = elems ? 0 : -ENOMEM;

	for (size_t i = 0; i < from->n_values && !err; i++)
		err = val_from(d, &elems[i], from->values[i], depth + 1);
	*to = (struct val){.type = VAL_ARRAY, .cnt = (uint32_t)from->n_values, .elems = elems};
	return err;
}

static int attrs_from(struct decode *d, struct attrs *to, Otlp__KeyValue **from, size_t cnt,
		      int depth)
{
	int err = 0;

	to->at = arena_array(d->a, struct attr, cnt);
	if (!to->at)
		return -ENOMEM;
	to->cnt = (uint32_t)cnt;
	for (size_t i = 0; i < cnt && !err; i++) {
		to->at[i].key = str_from(from[i]->key);
		err = val_from(d, &to->at[i].val, from[i]->value, depth);
	}
	return err;
}

/* An absent id stays all zero. */
static int id_from(struct decode *d, uint8_t *to, size_t len, ProtobufCBinaryData from,
		   const char *what)
{
	if (from.len != 0 && from.len != len)
		return otlp_bad(d->why, "a %s has %zu bytes instead of %zu", what, from.len, len);
	if (from.len)
		memcpy(to, from.data, len);
	return 0;
}

static int events_from(struct decode *d, struct span *sp, const Otlp__Span *from)
{
	int err = 0;

	sp->events = arena_array(d->a, struct event, from->n_events);
	if (!sp->events)
		return -ENOMEM;
	sp->event_cnt = (uint32_t)from->n_events;
	for (size_t i = 0; i < from->n_events && !err; i++) {
		const Otlp__Event *e = from->events[i];

		sp->events[i] =
		    (struct event){.time_ns = e->time_unix_nano, .name = str_from(e->name)};
		sp->events[i].attrs.dropped = e->dropped_attributes_count;
		err = attrs_from(d, &sp->events[i].attrs, e->attributes, e->n_attributes, 1);
	}
	return err;
}

static int link_from(struct decode *d, struct link *to, const Otlp__Link *from)
{
	int err;

	to->flags = from->flags;
	to->trace_state = str_from(from->trace_state);
	to->attrs.dropped = from->dropped_attributes_count;
	err = id_from(d, to->trace_id, 16, from->trace_id, "link's trace id");
	err = err ?: id_from(d, to->span_id, 8, from->span_id, "link's span id");
	return err ?: attrs_from(d, &to->attrs, from->attributes, from->n_attributes, 1);
}

static int links_from(struct decode *d, struct span *sp, const Otlp__Span *from)
{
	int err = 0;

	sp->links = arena_array(d->a, struct link, from->n_links);
	if (!sp->links)
		return -ENOMEM;
	sp->link_cnt = (uint32_t)from->n_links;
	for (size_t i = 0; i < from->n_links && !err; i++)
		err = link_from(d, &sp->links[i], from->links[i]);
	return err;
}

static int span_from(struct decode *d, struct span *sp, const Otlp__Span *from)
{
	int err;

	sp->start_ns = from->start_time_unix_nano;
	sp->end_ns = from->end_time_unix_nano;
	sp->kind = otlp_kind(from->kind);
	sp->flags = from->flags;
	sp->events_dropped = from->dropped_events_count;
	sp->links_dropped = from->dropped_links_count;
	sp->name = str_from(from->name);
	sp->trace_state = str_from(from->trace_state);
	sp->attrs.dropped = from->dropped_attributes_count;
	if (from->status) {
		sp->status = otlp_status(from->status->code);
		sp->status_message = str_from(from->status->message);
	}
	err = id_from(d, sp->trace_id, 16, from->trace_id, "trace id");
	err = err ?: id_from(d, sp->span_id, 8, from->span_id, "span id");
	err = err ?: id_from(d, sp->parent_id, 8, from->parent_span_id, "parent span id");
	err = err ?: attrs_from(d, &sp->attrs, from->attributes, from->n_attributes, 1);
	err = err ?: events_from(d, sp, from);
	return err ?: links_from(d, sp, from);
}

static int scope_spans_from(struct decode *d, struct otlp_spans *to, const struct resource *res,
			    const Otlp__ScopeSpans *from)
{
	struct scope *scope = arena_new(d->a, struct scope);
	int err = scope ? 0 : -ENOMEM;

	if (!err)
		scope->schema_url = str_from(from->schema_url);
	if (!err && from->scope) {
		scope->name = str_from(from->scope->name);
		scope->version = str_from(from->scope->version);
		scope->attrs.dropped = from->scope->dropped_attributes_count;
		err = attrs_from(d, &scope->attrs, from->scope->attributes,
				 from->scope->n_attributes, 1);
	}
	for (size_t i = 0; i < from->n_spans && !err; i++) {
		struct span *sp = &to->at[to->cnt];

		*sp = (struct span){.res = res, .scope = scope};
		err = span_from(d, sp, from->spans[i]);
		if (otlp_ids_legal(sp))
			to->cnt++;
		else
			to->rejected++;
	}
	return err;
}

static int resource_spans_from(struct decode *d, struct otlp_spans *to,
			       const Otlp__ResourceSpans *from)
{
	struct resource *res = arena_new(d->a, struct resource);
	int err = res ? 0 : -ENOMEM;

	if (!err)
		res->schema_url = str_from(from->schema_url);
	if (!err && from->resource) {
		res->attrs.dropped = from->resource->dropped_attributes_count;
		err = attrs_from(d, &res->attrs, from->resource->attributes,
				 from->resource->n_attributes, 1);
	}
	for (size_t i = 0; i < from->n_scope_spans && !err; i++)
		err = scope_spans_from(d, to, res, from->scope_spans[i]);
	return err;
}

static size_t span_count(const Otlp__TracesData *t)
{
	size_t cnt = 0;

	for (size_t i = 0; i < t->n_resource_spans; i++)
		for (size_t k = 0; k < t->resource_spans[i]->n_scope_spans; k++)
			cnt += t->resource_spans[i]->scope_spans[k]->n_spans;
	return cnt;
}

int otlp_decode_pb(struct arena *a, const void *buf, size_t len, struct otlp_spans *ret,
		   struct strbuf *why)
{
	struct decode d = {a, why, false};
	ProtobufCAllocator alloc = {decode_alloc, decode_free, &d};
	struct otlp_spans spans = {0};
	struct wire w = {buf, (const uint8_t *)buf + len};
	Otlp__TracesData *t;
	int err = 0;

	if (!nest_ok(&otlp__traces_data__descriptor, w, 1))
		return otlp_bad(why, "the protobuf is cut, damaged or nested too deeply");
	t = otlp__traces_data__unpack(&alloc, len, buf);
	if (!t)
		return d.full ? -ENOMEM
			      : otlp_bad(why, "the protobuf is not an OTLP trace request");
	spans.at = arena_array(a, struct span, span_count(t));
	if (!spans.at)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_resource_spans && !err; i++)
		err = resource_spans_from(&d, &spans, t->resource_spans[i]);
	if (!err)
		*ret = spans;
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - spans of one trace become the bytes of a chunk (keys.h has the picture).
 *
 * Pure: no file, no clock, no lock; what may go into the dictionary is decided behind put(). Called
 * by append.c, one encoder per partition that is written. The invariant: it notes strings by the
 * very rule by which codec.c notes them (by their bytes, long enough, not in resources), else a
 * back reference would name another string. */
#include "store/codec.h"

#include <stdlib.h>

static const uint8_t no_span[8];

void encoder_init(struct encoder *e, dict_put_fn *put, void *arg)
{
	memset(e, 0, sizeof(*e));
	e->put = put;
	e->arg = arg;
	strbuf_init(&e->bodies);
	strbuf_init(&e->entry);
}

void encoder_fini(struct encoder *e)
{
	strbuf_fini(&e->bodies);
	strbuf_fini(&e->entry);
}

void encoder_forget(struct encoder *e)
{
	memset(e->slots, 0, sizeof(e->slots));
	memset(e->fields, 0, sizeof(e->fields));
	memset(e->strings, 0, sizeof(e->strings));
}

/* Where a pointer's id is remembered, of cnt places. */
static struct encoder_slot *slot_of(struct encoder_slot *slots, uint32_t cnt, const void *p,
				    uint32_t what)
{
	return &slots[((uintptr_t)p * 0x9e3779b97f4a7c15u >> 40 ^ what) % cnt];
}

/* --- strings --- */

/* Where s was noted, or the count of what is noted. */
static uint32_t noted_find(const struct encoder *e, struct str s)
{
	uint32_t i = 0;

	while (i < e->noted_cnt && !str_eq(e->noted[i], s))
		i++;
	return i;
}

static void put_inline(struct encoder *e, struct strbuf *out, struct str s)
{
	bool notable = e->is_noting && s.len >= NOTED_LEN_MIN;
	uint32_t i = notable ? noted_find(e, s) : e->noted_cnt;

	if (i < e->noted_cnt) {
		put_varint(out, (uint64_t)i << 2 | 3);
		return;
	}
	if (notable && e->noted_cnt < NOTED_MAX)
		e->noted[e->noted_cnt++] = s;
	put_varint(out, (uint64_t)s.len << 2 | 1);
	strbuf_add(out, s.p, s.len);
}

static uint32_t string_id(struct encoder *e, uint32_t owner, struct str s)
{
	struct encoder_slot *slot;
	uint32_t id;

	if (s.len < 2 || s.len > DICT_ENTRY_MAX)
		return DICT_NO_ID;
	slot = slot_of(e->strings, ENCODER_STRINGS, s.p, (uint32_t)s.len);
	if (slot->p == s.p && slot->what == s.len)
		return slot->id;
	id = e->put(e->arg, DICT_STRING, owner, s);
	if (id != DICT_NO_ID) /* there may be room for another owner */
		*slot = (struct encoder_slot){s.p, id, (uint32_t)s.len};
	return id;
}

static void put_str(struct encoder *e, struct strbuf *out, uint32_t owner, struct str s)
{
	uint32_t id = string_id(e, owner, s);

	if (id == DICT_NO_ID)
		put_inline(e, out, s);
	else
		put_varint(out, (uint64_t)id << 1);
}

/* --- values --- */

static uint8_t disk_type_of(const struct val *v)
{
	static const uint8_t array_of[VAL_BYTES + 1] = {
	    [VAL_STR] = DISK_ARRAY_STR,
	    [VAL_BOOL] = DISK_ARRAY_BOOL,
	    [VAL_INT] = DISK_ARRAY_INT,
	    [VAL_DOUBLE] = DISK_ARRAY_DOUBLE,
	};

	if (v->type != VAL_ARRAY || v->cnt == 0)
		return (uint8_t)v->type;
	for (uint32_t i = 1; i < v->cnt; i++)
		if (v->elems[i].type != v->elems[0].type)
			return VAL_ARRAY;
	return array_of[v->elems[0].type] ? array_of[v->elems[0].type] : VAL_ARRAY;
}

static void put_val(struct encoder *e, struct strbuf *out, uint32_t owner, const struct val *v);

static void put_array(struct encoder *e, struct strbuf *out, uint32_t owner, const struct val *v)
{
	bool is_mixed = disk_type_of(v) == VAL_ARRAY;

	put_varint(out, v->cnt);
	for (uint32_t i = 0; i < v->cnt; i++) {
		if (is_mixed)
			strbuf_addc(out, (char)disk_type_of(&v->elems[i]));
		put_val(e, out, owner, &v->elems[i]);
	}
}

static void put_kvlist(struct encoder *e, struct strbuf *out, uint32_t owner, const struct val *v)
{
	put_varint(out, v->cnt);
	for (uint32_t i = 0; i < v->cnt; i++) {
		put_str(e, out, OWNER_KEY, v->entries[i].key);
		strbuf_addc(out, (char)disk_type_of(&v->entries[i].val));
		put_val(e, out, owner, &v->entries[i].val);
	}
}

static void put_val(struct encoder *e, struct strbuf *out, uint32_t owner, const struct val *v)
{
	switch (v->type) {
	case VAL_EMPTY:
		strbuf_addc(out, 0);
		return;
	case VAL_STR:
		put_str(e, out, owner, v->str);
		return;
	case VAL_BOOL:
		strbuf_addc(out, v->b);
		return;
	case VAL_INT:
		put_varint(out, zigzag(v->i));
		return;
	case VAL_DOUBLE:
		strbuf_add(out, &v->d, sizeof(v->d));
		return;
	case VAL_BYTES:
		put_varint(out, v->str.len);
		strbuf_add(out, v->str.p, v->str.len);
		return;
	case VAL_ARRAY:
		put_array(e, out, owner, v);
		return;
	case VAL_KVLIST:
		put_kvlist(e, out, owner, v);
		return;
	}
	must(!"a value has one of the types of span.h");
}

/* --- attributes --- */

static uint32_t field_find(struct encoder *e, enum tag_scope scope, uint8_t type,
			   const struct attr *at)
{
	char entry[DICT_ENTRY_MAX];

	if (at->key.len > sizeof(entry) - 2)
		return DICT_NO_ID;
	entry[0] = (char)scope;
	entry[1] = (char)type;
	if (at->key.len)
		memcpy(entry + 2, at->key.p, at->key.len);
	return e->put(e->arg, DICT_FIELD, OWNER_TEXT, (struct str){entry, at->key.len + 2});
}

static uint32_t field_id(struct encoder *e, enum tag_scope scope, const struct attr *at)
{
	uint8_t type = disk_type_of(&at->val);
	uint32_t what = 1u << 31 | (uint32_t)at->key.len << 16 | (uint32_t)scope << 8 | type;
	struct encoder_slot *slot = slot_of(e->fields, ENCODER_FIELDS, at->key.p, what);

	if (slot->p != at->key.p || slot->what != what)
		*slot = (struct encoder_slot){at->key.p, field_find(e, scope, type, at), what};
	return slot->id;
}

/* The dictionary's id of the list of fields, or DICT_NO_ID. ids has SHAPE_FIELDS_MAX places. */
static uint32_t shape_id(struct encoder *e, enum tag_scope scope, const struct attrs *as,
			 uint32_t *ids)
{
	char bytes[SHAPE_FIELDS_MAX * 2];
	bool fits = as->cnt <= SHAPE_FIELDS_MAX;
	size_t len = 0;

	for (uint32_t i = 0; i < as->cnt && i < SHAPE_FIELDS_MAX; i++) {
		ids[i] = field_id(e, scope, &as->at[i]);
		fits = fits && ids[i] != DICT_NO_ID;
		/* A field id is below DICT_OTHERS_MAX: a varint of at most two bytes. */
		if (ids[i] >= 0x80)
			bytes[len++] = (char)(ids[i] | 0x80);
		bytes[len++] = (char)(ids[i] >= 0x80 ? ids[i] >> 7 : ids[i]);
	}
	if (!fits)
		return DICT_NO_ID;
	return e->put(e->arg, DICT_SHAPE, OWNER_TEXT, (struct str){bytes, len});
}

static void put_fields(struct encoder *e, struct strbuf *out, enum tag_scope scope,
		       const struct attrs *as)
{
	put_varint(out, 0);
	put_varint(out, as->cnt);
	for (uint32_t i = 0; i < as->cnt; i++) {
		uint32_t id = field_id(e, scope, &as->at[i]);

		if (id != DICT_NO_ID) {
			put_varint(out, (uint64_t)id + 1);
			continue;
		}
		put_varint(out, 0);
		strbuf_addc(out, (char)disk_type_of(&as->at[i].val));
		put_str(e, out, OWNER_KEY, as->at[i].key);
	}
}

static void put_attrs(struct encoder *e, struct strbuf *out, enum tag_scope scope,
		      const struct attrs *as)
{
	uint32_t ids[SHAPE_FIELDS_MAX], shape;

	if (as->cnt == 0) {
		put_varint(out, 1);
		return;
	}
	shape = shape_id(e, scope, as, ids);
	if (shape == DICT_NO_ID)
		put_fields(e, out, scope, as);
	else
		put_varint(out, (uint64_t)shape + 2);
	for (uint32_t i = 0; i < as->cnt; i++) {
		uint32_t owner = i < SHAPE_FIELDS_MAX ? ids[i] : OWNER_TEXT;

		put_val(e, out, owner == DICT_NO_ID ? OWNER_TEXT : owner, &as->at[i].val);
	}
}

/* --- resource and scope --- */

static void put_resource(struct encoder *e, struct strbuf *out, const struct resource *res)
{
	put_str(e, out, OWNER_TEXT, res->schema_url);
	put_attrs(e, out, TAG_RESOURCE, &res->attrs);
	put_varint(out, res->attrs.dropped);
}

static void put_scope(struct encoder *e, struct strbuf *out, const struct scope *scope)
{
	put_str(e, out, OWNER_TEXT, scope->name);
	put_str(e, out, OWNER_TEXT, scope->version);
	put_str(e, out, OWNER_TEXT, scope->schema_url);
	put_attrs(e, out, TAG_SCOPE, &scope->attrs);
	put_varint(out, scope->attrs.dropped);
}

static void put_shared_bytes(struct encoder *e, struct strbuf *out, enum dict_kind kind,
			     const void *p)
{
	bool was_noting = e->is_noting;

	e->is_noting = false;
	if (kind == DICT_RESOURCE)
		put_resource(e, out, p);
	else
		put_scope(e, out, p);
	e->is_noting = was_noting;
}

static uint32_t shared_id(struct encoder *e, enum dict_kind kind, const void *p)
{
	struct encoder_slot *slot = &e->slots[((uintptr_t)p >> 4) % ENCODER_SLOTS];

	if (slot->p == p)
		return slot->id;
	strbuf_clear(&e->entry);
	put_shared_bytes(e, &e->entry, kind, p);
	*slot = (struct encoder_slot){.p = p, .id = DICT_NO_ID};
	if (e->entry.len <= DICT_ENTRY_MAX)
		slot->id = e->put(e->arg, kind, OWNER_TEXT, (struct str){e->entry.p, e->entry.len});
	return slot->id;
}

static void put_shared(struct encoder *e, struct strbuf *out, enum dict_kind kind, const void *p,
		       const void *before)
{
	uint32_t id = shared_id(e, kind, p);

	if (id != DICT_NO_ID) {
		put_varint(out, (uint64_t)id + 2);
	} else if (p == before) {
		put_varint(out, 0);
	} else {
		put_varint(out, 1);
		put_shared_bytes(e, out, kind, p);
	}
}

/* --- span --- */

static bool is_wide(const struct span *sp)
{
	return (unsigned)sp->kind > HEAD_KIND || (unsigned)sp->status > HEAD_STATUS;
}

static uint32_t more_of(const struct span *sp)
{
	return (is_wide(sp) ? MORE_WIDE : 0) | (sp->attrs.dropped ? MORE_DROPPED : 0) |
	       (sp->status_message.len ? MORE_MESSAGE : 0) |
	       (sp->trace_state.len ? MORE_STATE : 0) | (sp->event_cnt ? MORE_EVENTS : 0) |
	       (sp->events_dropped ? MORE_EVENTS_DROPPED : 0) | (sp->link_cnt ? MORE_LINKS : 0) |
	       (sp->links_dropped ? MORE_LINKS_DROPPED : 0);
}

static void put_head(struct strbuf *out, const struct span *sp, uint32_t more)
{
	uint32_t head = (sp->flags ? HEAD_FLAGS : 0) | (more ? HEAD_MORE : 0);

	if (!is_wide(sp))
		head |= (uint32_t)sp->kind | (uint32_t)sp->status << HEAD_STATUS_SHIFT;
	put_varint(out, head);
	if (more)
		put_varint(out, more);
	if (more & MORE_WIDE) {
		put_varint(out, (uint32_t)sp->kind);
		put_varint(out, (uint32_t)sp->status);
	}
	if (sp->flags)
		put_varint(out, sp->flags);
}

static void put_events(struct encoder *e, struct strbuf *out, const struct span *sp)
{
	put_varint(out, sp->event_cnt);
	for (uint32_t i = 0; i < sp->event_cnt; i++) {
		const struct event *ev = &sp->events[i];

		put_varint(out, zigzag((int64_t)(ev->time_ns - sp->start_ns)));
		put_str(e, out, OWNER_NAME, ev->name);
		put_attrs(e, out, TAG_EVENT, &ev->attrs);
		put_varint(out, ev->attrs.dropped);
	}
}

static void put_links(struct encoder *e, struct strbuf *out, const struct span *sp)
{
	put_varint(out, sp->link_cnt);
	for (uint32_t i = 0; i < sp->link_cnt; i++) {
		const struct link *ln = &sp->links[i];

		strbuf_add(out, ln->trace_id, sizeof(ln->trace_id));
		strbuf_add(out, ln->span_id, sizeof(ln->span_id));
		put_varint(out, ln->flags);
		put_str(e, out, OWNER_TEXT, ln->trace_state);
		put_attrs(e, out, TAG_LINK, &ln->attrs);
		put_varint(out, ln->attrs.dropped);
	}
}

static void put_more(struct encoder *e, struct strbuf *out, const struct span *sp, uint32_t more)
{
	if (more & MORE_DROPPED)
		put_varint(out, sp->attrs.dropped);
	if (more & MORE_MESSAGE)
		put_str(e, out, OWNER_TEXT, sp->status_message);
	if (more & MORE_STATE)
		put_str(e, out, OWNER_TEXT, sp->trace_state);
	if (more & MORE_EVENTS)
		put_events(e, out, sp);
	if (more & MORE_EVENTS_DROPPED)
		put_varint(out, sp->events_dropped);
	if (more & MORE_LINKS)
		put_links(e, out, sp);
	if (more & MORE_LINKS_DROPPED)
		put_varint(out, sp->links_dropped);
}

static void put_body(struct encoder *e, struct strbuf *out, const struct span *sp,
		     const struct span *before, uint64_t base_ns)
{
	uint32_t more = more_of(sp);

	put_head(out, sp, more);
	put_varint(out, sp->start_ns - base_ns);
	put_varint(out, zigzag((int64_t)(sp->end_ns - sp->start_ns)));
	put_str(e, out, OWNER_NAME, sp->name);
	put_shared(e, out, DICT_RESOURCE, sp->res, before ? before->res : NULL);
	put_shared(e, out, DICT_SCOPE, sp->scope, before ? before->scope : NULL);
	put_attrs(e, out, TAG_SPAN, &sp->attrs);
	put_more(e, out, sp, more);
}

/* --- chunk --- */

static void put_parent(struct strbuf *out, const struct span *const *spans, uint32_t cnt,
		       const uint8_t parent_id[8])
{
	uint32_t i = 0;

	if (memcmp(parent_id, no_span, 8) == 0) {
		put_varint(out, 0);
		return;
	}
	while (i < cnt && memcmp(spans[i]->span_id, parent_id, 8) != 0)
		i++;
	if (i < cnt) {
		put_varint(out, (uint64_t)i + 2);
	} else {
		put_varint(out, 1);
		strbuf_add(out, parent_id, 8);
	}
}

static void put_chunk_head(struct strbuf *out, const struct span *const *spans, uint32_t cnt,
			   uint64_t base_ns)
{
	strbuf_add(out, spans[0]->trace_id, 16);
	put_varint(out, cnt);
	put_u64(out, base_ns);
	for (uint32_t i = 0; i < cnt; i++)
		strbuf_add(out, spans[i]->span_id, 8);
	for (uint32_t i = 0; i < cnt; i++)
		put_parent(out, spans, cnt, spans[i]->parent_id);
}

uint32_t encode_chunk(struct encoder *e, struct strbuf *out, const struct span *const *spans,
		      uint32_t cnt)
{
	uint64_t base_ns = spans[0]->start_ns;
	uint32_t n = 0;

	for (uint32_t i = 1; i < cnt; i++)
		if (spans[i]->start_ns < base_ns)
			base_ns = spans[i]->start_ns;
	strbuf_clear(&e->bodies);
	e->noted_cnt = 0;
	e->is_noting = true;
	while (n < cnt) {
		size_t len = e->bodies.len;

		put_body(e, &e->bodies, spans[n], n ? spans[n - 1] : NULL, base_ns);
		/* 27: trace id, count, base; 17: an id, and a parent at its longest. */
		if (n > 0 && 27 + 17 * ((size_t)n + 1) + e->bodies.len > CHUNK_TARGET) {
			e->bodies.len = len;
			break;
		}
		n++;
	}
	put_chunk_head(out, spans, n, base_ns);
	strbuf_add(out, e->bodies.p, e->bodies.len);
	return n;
}

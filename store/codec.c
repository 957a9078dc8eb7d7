/* SPDX-License-Identifier: Apache-2.0 */
/* codec.c - the bytes of a chunk become spans (keys.h has the picture, encode.c is the other side).
 *
 * Bytes and dictionary come from a file and are hostile: reading is through struct reader, which
 * never leaves its bytes and stays bad once it was bad; a count is believed only as far as bytes
 * are left (everything counted takes at least one), so memory stays in proportion to the input.
 * Called by read.c and tags.c; one decoder per partition of a read, used by one thread. The
 * invariant: a cached entry never moves, spans point at it. */
#include "store/codec.h"

#include <errno.h>
#include <stdlib.h>

enum { OWN_LIMIT = 64 << 20 };

struct field {
	struct str key;
	uint8_t type;
};

struct shape {
	uint32_t cnt;
	const struct field *at[];
};

/* One piece of bytes being decoded: a chunk, or a dictionary entry. */
struct piece {
	struct reader r;
	struct decoder *d;
	struct arena *a;
	bool is_noting, is_out_of_memory;
	uint32_t noted_cnt;
	struct str noted[NOTED_MAX];
};

static void piece_init(struct piece *pc, struct decoder *d, struct arena *a, struct str bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;

	pc->r = (struct reader){p, p + bytes.len, false};
	pc->d = d;
	pc->a = a;
	pc->is_noting = false;
	pc->is_out_of_memory = false;
	pc->noted_cnt = 0;
}

static int piece_err(const struct piece *pc)
{
	if (pc->is_out_of_memory)
		return -ENOMEM;
	return pc->r.bad || pc->r.p != pc->r.end ? -EUCLEAN : 0;
}

static void *piece_alloc(struct piece *pc, size_t len)
{
	void *p = pc->r.bad ? NULL : arena_alloc(pc->a, len);

	if (!p && !pc->r.bad)
		pc->is_out_of_memory = true;
	if (!p)
		pc->r.bad = true;
	return p;
}

/* A count of things that take at least a byte each. */
static uint32_t get_count(struct piece *pc)
{
	uint32_t cnt = get_varint32(&pc->r);

	if (cnt > reader_left(&pc->r))
		pc->r.bad = true;
	return pc->r.bad ? 0 : cnt;
}

/* --- the cache of the dictionary --- */

void decoder_init(struct decoder *d, dict_get_fn *get, void *arg)
{
	memset(d, 0, sizeof(*d));
	d->get = get;
	d->arg = arg;
	arena_init(&d->own, OWN_LIMIT);
}

void decoder_fini(struct decoder *d)
{
	arena_fini(&d->own);
	free(d->strings);
	for (size_t kind = 0; kind < DICT_KIND_COUNT; kind++)
		free(d->others[kind]);
}

/* Makes room for id in a cache of elements of elem_len; the new ones are zero. */
static void *cache_grown(void *old, uint32_t *cap, uint32_t id, size_t elem_len)
{
	uint32_t want = *cap ? *cap : 64;
	char *p;

	while (want <= id)
		want *= 2;
	p = realloc(old, want * elem_len);
	must(p);
	memset(p + *cap * elem_len, 0, (want - *cap) * elem_len);
	*cap = want;
	return p;
}

static struct str dict_string(struct piece *pc, uint64_t id)
{
	struct decoder *d = pc->d;

	if (id >= DICT_STRINGS_MAX) {
		pc->r.bad = true;
		return STR("");
	}
	if (id >= d->caps[DICT_STRING])
		d->strings = cache_grown(d->strings, &d->caps[DICT_STRING], (uint32_t)id,
					 sizeof(*d->strings));
	if (!d->strings[id].p && d->get(d->arg, DICT_STRING, (uint32_t)id, &d->strings[id]) != 0) {
		pc->r.bad = true;
		return STR("");
	}
	return d->strings[id];
}

typedef const void *entry_fn(struct decoder *d, struct str bytes);

/* What the entry says, parsed once; NULL and bad when it says nothing. */
static const void *dict_entry(struct piece *pc, enum dict_kind kind, uint64_t id, entry_fn *parse)
{
	struct decoder *d = pc->d;
	struct str bytes;
	const void *p;

	if (pc->r.bad || id >= DICT_OTHERS_MAX) {
		pc->r.bad = true;
		return NULL;
	}
	if (id < d->caps[kind] && d->others[kind][id])
		return d->others[kind][id];
	p = d->get(d->arg, kind, (uint32_t)id, &bytes) == 0 ? parse(d, bytes) : NULL;
	if (!p) {
		pc->r.bad = true;
		return NULL;
	}
	if (id >= d->caps[kind])
		d->others[kind] =
			cache_grown(d->others[kind], &d->caps[kind], (uint32_t)id, sizeof(void *));
	d->others[kind][id] = (void *)p;
	return p;
}

/* --- strings --- */

static struct str get_inline(struct piece *pc, uint64_t len)
{
	const uint8_t *p = get_bytes(&pc->r, len);
	struct str s = {p ? (const char *)p : "", p ? (size_t)len : 0};

	if (p && pc->is_noting && len >= NOTED_LEN_MIN && pc->noted_cnt < NOTED_MAX)
		pc->noted[pc->noted_cnt++] = s;
	return s;
}

static struct str get_str(struct piece *pc)
{
	uint64_t v = get_varint(&pc->r);

	if (v % 2 == 0 && !pc->r.bad)
		return dict_string(pc, v / 2);
	if (v % 4 == 1)
		return get_inline(pc, v / 4);
	if (!pc->is_noting || v / 4 >= pc->noted_cnt) {
		pc->r.bad = true;
		return STR("");
	}
	return pc->noted[v / 4];
}

/* --- values --- */

static void get_val(struct piece *pc, struct val *v, uint8_t type, unsigned depth);

static enum val_type elem_type(uint8_t disk_type)
{
	static const enum val_type of[] = {VAL_STR, VAL_BOOL, VAL_INT, VAL_DOUBLE};

	return of[disk_type - DISK_ARRAY_STR];
}

static void get_array(struct piece *pc, struct val *v, uint8_t type, unsigned depth)
{
	uint32_t cnt = get_count(pc);

	v->elems = piece_alloc(pc, cnt * sizeof(*v->elems));
	v->cnt = v->elems ? cnt : 0;
	for (uint32_t i = 0; i < v->cnt && !pc->r.bad; i++)
		get_val(pc, &v->elems[i], type == VAL_ARRAY ? get_u8(&pc->r) : elem_type(type),
			depth + 1);
}

static void get_kvlist(struct piece *pc, struct val *v, unsigned depth)
{
	uint32_t cnt = get_count(pc);

	v->entries = piece_alloc(pc, cnt * sizeof(*v->entries));
	v->cnt = v->entries ? cnt : 0;
	for (uint32_t i = 0; i < v->cnt && !pc->r.bad; i++) {
		v->entries[i].key = get_str(pc);
		get_val(pc, &v->entries[i].val, get_u8(&pc->r), depth + 1);
	}
}

static void get_scalar(struct piece *pc, struct val *v)
{
	uint64_t u;

	switch (v->type) {
	case VAL_STR:
		v->str = get_str(pc);
		return;
	case VAL_INT:
		v->i = unzigzag(get_varint(&pc->r));
		return;
	case VAL_DOUBLE:
		u = get_u64(&pc->r);
		memcpy(&v->d, &u, sizeof(u));
		return;
	case VAL_BYTES:
		v->str.len = get_count(pc);
		v->str.p = (const char *)get_bytes(&pc->r, v->str.len);
		return;
	default: /* VAL_BOOL, VAL_EMPTY */
		u = get_u8(&pc->r);
		if (u > (v->type == VAL_BOOL))
			pc->r.bad = true;
		v->b = u == 1;
		return;
	}
}

static void get_val(struct piece *pc, struct val *v, uint8_t type, unsigned depth)
{
	if (type >= DISK_TYPE_COUNT || depth > VAL_DEPTH_MAX)
		pc->r.bad = true;
	if (pc->r.bad)
		return;
	v->type = type >= DISK_ARRAY_STR ? VAL_ARRAY : (enum val_type)type;
	if (v->type == VAL_ARRAY)
		get_array(pc, v, type, depth);
	else if (v->type == VAL_KVLIST)
		get_kvlist(pc, v, depth);
	else
		get_scalar(pc, v);
}

/* --- attributes --- */

int field_parse(struct str entry, enum tag_scope *ret_scope, uint8_t *ret_type, struct str *ret_key)
{
	if (entry.len < 2 || (uint8_t)entry.p[0] >= TAG_SCOPE_COUNT ||
	    (uint8_t)entry.p[1] >= DISK_TYPE_COUNT)
		return -EUCLEAN;
	*ret_scope = (enum tag_scope)entry.p[0];
	*ret_type = (uint8_t)entry.p[1];
	*ret_key = (struct str){entry.p + 2, entry.len - 2};
	return 0;
}

static const void *field_entry(struct decoder *d, struct str bytes)
{
	struct field *f = arena_new(&d->own, struct field);
	enum tag_scope scope;

	return f && field_parse(bytes, &scope, &f->type, &f->key) == 0 ? f : NULL;
}

static const void *shape_entry(struct decoder *d, struct str bytes)
{
	struct shape *sh = arena_alloc(&d->own, sizeof(*sh) + bytes.len * sizeof(sh->at[0]));
	struct piece pc;

	piece_init(&pc, d, &d->own, bytes);
	while (sh && reader_left(&pc.r) > 0)
		sh->at[sh->cnt++] = dict_entry(&pc, DICT_FIELD, get_varint32(&pc.r), field_entry);
	return sh && piece_err(&pc) == 0 ? sh : NULL;
}

static struct attr *attrs_alloc(struct piece *pc, struct attrs *as, uint32_t cnt)
{
	if (cnt > reader_left(&pc->r))
		pc->r.bad = true;
	as->at = piece_alloc(pc, cnt * sizeof(*as->at));
	as->cnt = as->at ? cnt : 0;
	return as->at;
}

static void get_shaped(struct piece *pc, struct attrs *as, uint64_t shape)
{
	const struct shape *sh = dict_entry(pc, DICT_SHAPE, shape, shape_entry);

	if (!sh || !attrs_alloc(pc, as, sh->cnt))
		return;
	for (uint32_t i = 0; i < as->cnt && !pc->r.bad; i++) {
		as->at[i].key = sh->at[i]->key;
		get_val(pc, &as->at[i].val, sh->at[i]->type, 1);
	}
}

static void get_field(struct piece *pc, struct attr *at, uint8_t *ret_type)
{
	uint64_t v = get_varint(&pc->r);
	const struct field *f;

	if (v == 0) {
		*ret_type = get_u8(&pc->r);
		at->key = get_str(pc);
		return;
	}
	f = dict_entry(pc, DICT_FIELD, v - 1, field_entry);
	if (f) {
		*ret_type = f->type;
		at->key = f->key;
	}
}

static void get_unshaped(struct piece *pc, struct attrs *as)
{
	uint32_t cnt = get_count(pc);
	uint8_t *types = piece_alloc(pc, cnt);

	if (!types || !attrs_alloc(pc, as, cnt))
		return;
	for (uint32_t i = 0; i < cnt && !pc->r.bad; i++)
		get_field(pc, &as->at[i], &types[i]);
	for (uint32_t i = 0; i < cnt && !pc->r.bad; i++)
		get_val(pc, &as->at[i].val, types[i], 1);
}

static void get_attrs(struct piece *pc, struct attrs *as)
{
	uint64_t shape = get_varint(&pc->r);

	if (shape == 0)
		get_unshaped(pc, as);
	else if (shape >= 2)
		get_shaped(pc, as, shape - 2);
}

/* --- resource and scope --- */

static const void *get_resource(struct piece *pc)
{
	struct resource *res = piece_alloc(pc, sizeof(*res));

	if (!res)
		return NULL;
	res->schema_url = get_str(pc);
	get_attrs(pc, &res->attrs);
	res->attrs.dropped = get_varint32(&pc->r);
	return res;
}

static const void *get_scope(struct piece *pc)
{
	struct scope *sc = piece_alloc(pc, sizeof(*sc));

	if (!sc)
		return NULL;
	sc->name = get_str(pc);
	sc->version = get_str(pc);
	sc->schema_url = get_str(pc);
	get_attrs(pc, &sc->attrs);
	sc->attrs.dropped = get_varint32(&pc->r);
	return sc;
}

static const void *resource_entry(struct decoder *d, struct str bytes)
{
	struct piece pc;
	const void *p;

	piece_init(&pc, d, &d->own, bytes);
	p = get_resource(&pc);
	return piece_err(&pc) == 0 ? p : NULL;
}

static const void *scope_entry(struct decoder *d, struct str bytes)
{
	struct piece pc;
	const void *p;

	piece_init(&pc, d, &d->own, bytes);
	p = get_scope(&pc);
	return piece_err(&pc) == 0 ? p : NULL;
}

static const void *get_shared(struct piece *pc, enum dict_kind kind, const void *before)
{
	bool is_res = kind == DICT_RESOURCE, was_noting = pc->is_noting;
	uint64_t v = get_varint(&pc->r);
	const void *p;

	if (v >= 2)
		return dict_entry(pc, kind, v - 2, is_res ? resource_entry : scope_entry);
	if (v == 0) {
		pc->r.bad = pc->r.bad || !before;
		return before;
	}
	pc->is_noting = false;
	p = is_res ? get_resource(pc) : get_scope(pc);
	pc->is_noting = was_noting;
	return p;
}

const void *decoder_shared(struct decoder *d, enum dict_kind kind, uint32_t id)
{
	struct piece pc;

	piece_init(&pc, d, &d->own, STR(""));
	return dict_entry(&pc, kind, id, kind == DICT_RESOURCE ? resource_entry : scope_entry);
}

uint32_t decoder_shared_id(const struct decoder *d, enum dict_kind kind, const void *shared)
{
	for (uint32_t id = 0; id < d->caps[kind]; id++)
		if (d->others[kind][id] == shared)
			return id;
	return DICT_NO_ID;
}

/* --- span --- */

static void get_events(struct piece *pc, struct span *sp)
{
	uint32_t cnt = get_count(pc);

	sp->events = piece_alloc(pc, cnt * sizeof(*sp->events));
	sp->event_cnt = sp->events ? cnt : 0;
	for (uint32_t i = 0; i < sp->event_cnt && !pc->r.bad; i++) {
		struct event *ev = &sp->events[i];

		ev->time_ns = sp->start_ns + (uint64_t)unzigzag(get_varint(&pc->r));
		ev->name = get_str(pc);
		get_attrs(pc, &ev->attrs);
		ev->attrs.dropped = get_varint32(&pc->r);
	}
}

static void get_id(struct piece *pc, uint8_t *id, size_t len)
{
	const uint8_t *p = get_bytes(&pc->r, len);

	if (p)
		memcpy(id, p, len);
}

static void get_links(struct piece *pc, struct span *sp)
{
	uint32_t cnt = get_count(pc);

	sp->links = piece_alloc(pc, cnt * sizeof(*sp->links));
	sp->link_cnt = sp->links ? cnt : 0;
	for (uint32_t i = 0; i < sp->link_cnt && !pc->r.bad; i++) {
		struct link *ln = &sp->links[i];

		get_id(pc, ln->trace_id, sizeof(ln->trace_id));
		get_id(pc, ln->span_id, sizeof(ln->span_id));
		ln->flags = get_varint32(&pc->r);
		ln->trace_state = get_str(pc);
		get_attrs(pc, &ln->attrs);
		ln->attrs.dropped = get_varint32(&pc->r);
	}
}

static uint32_t get_head(struct piece *pc, struct span *sp)
{
	uint32_t head = get_varint32(&pc->r), more = 0;

	sp->kind = head & HEAD_KIND;
	sp->status = head >> HEAD_STATUS_SHIFT & HEAD_STATUS;
	if (head & HEAD_MORE)
		more = get_varint32(&pc->r);
	if (more & MORE_WIDE) {
		sp->kind = get_varint32(&pc->r);
		sp->status = get_varint32(&pc->r);
	}
	if (head & HEAD_FLAGS)
		sp->flags = get_varint32(&pc->r);
	return more;
}

static void get_more(struct piece *pc, struct span *sp, uint32_t more)
{
	if (more & MORE_DROPPED)
		sp->attrs.dropped = get_varint32(&pc->r);
	if (more & MORE_MESSAGE)
		sp->status_message = get_str(pc);
	if (more & MORE_STATE)
		sp->trace_state = get_str(pc);
	if (more & MORE_EVENTS)
		get_events(pc, sp);
	if (more & MORE_EVENTS_DROPPED)
		sp->events_dropped = get_varint32(&pc->r);
	if (more & MORE_LINKS)
		get_links(pc, sp);
	if (more & MORE_LINKS_DROPPED)
		sp->links_dropped = get_varint32(&pc->r);
}

static void get_body(struct piece *pc, struct span *sp, const struct span *before, uint64_t base_ns)
{
	uint32_t more = get_head(pc, sp);

	sp->start_ns = base_ns + get_varint(&pc->r);
	sp->end_ns = sp->start_ns + (uint64_t)unzigzag(get_varint(&pc->r));
	sp->name = get_str(pc);
	sp->res = get_shared(pc, DICT_RESOURCE, before ? before->res : NULL);
	sp->scope = get_shared(pc, DICT_SCOPE, before ? before->scope : NULL);
	get_attrs(pc, &sp->attrs);
	get_more(pc, sp, more);
}

/* --- chunk --- */

static void get_parents(struct piece *pc, struct span *spans, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint64_t v = get_varint(&pc->r);

		if (v == 1)
			get_id(pc, spans[i].parent_id, 8);
		else if (v >= 2 && v - 2 < cnt)
			memcpy(spans[i].parent_id, spans[v - 2].span_id, 8);
		else if (v != 0)
			pc->r.bad = true;
	}
}

int decode_chunk(struct decoder *d, struct arena *a, struct str chunk, struct span **ret,
		 uint32_t *ret_cnt)
{
	const uint8_t *trace_id;
	struct span *spans;
	uint64_t base_ns;
	struct piece pc;
	uint32_t cnt;

	piece_init(&pc, d, a, chunk);
	pc.is_noting = true;
	trace_id = get_bytes(&pc.r, 16);
	cnt = get_varint32(&pc.r);
	base_ns = get_u64(&pc.r);
	if (cnt == 0 || cnt > reader_left(&pc.r) / 8)
		return -EUCLEAN;
	spans = piece_alloc(&pc, cnt * sizeof(*spans));
	for (uint32_t i = 0; i < cnt && spans; i++) {
		memcpy(spans[i].trace_id, trace_id, 16);
		get_id(&pc, spans[i].span_id, 8);
	}
	if (spans)
		get_parents(&pc, spans, cnt);
	for (uint32_t i = 0; i < cnt && !pc.r.bad; i++)
		get_body(&pc, &spans[i], i ? &spans[i - 1] : NULL, base_ns);
	if (piece_err(&pc))
		return piece_err(&pc);
	*ret = spans;
	*ret_cnt = cnt;
	return 0;
}

const uint8_t *chunk_trace_id(struct str chunk)
{
	return chunk.len >= 16 ? (const uint8_t *)chunk.p : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - the bytes of a block become columns that can be read (keys.h has the picture).
 *
 * The bytes come from a file and are hostile. Parsing looks at heads and lengths only and checks
 * that every number of every column lies inside the block; values are decoded when somebody asks
 * for them. Called by blocks.c and, through columns.h, by query. */
#include "store/block.h"

#include <errno.h>

/* Behind the packed numbers of the last column, so that reading whole words stays inside. */
enum { ROOM = 8 };

struct parse {
	struct reader r;
	struct decoder *d;
	struct arena *a;
	bool is_out_of_memory;
};

static void *parse_alloc(struct parse *p, uint64_t cnt, size_t size)
{
	void *at = NULL;

	if (cnt > reader_left(&p->r)) /* each takes a byte or more */
		p->r.bad = true;
	if (!p->r.bad) {
		at = arena_alloc(p->a, (cnt ? cnt : 1) * size);
		p->is_out_of_memory = !at;
		p->r.bad = !at;
	}
	return at;
}

static struct str get_str(struct reader *r)
{
	uint64_t len = get_varint(r);
	const uint8_t *p = get_bytes(r, len);

	return p ? (struct str){(const char *)p, len} : STR("");
}

/* --- columns --- */

static uint64_t packed_bytes(uint64_t cnt, uint32_t width)
{
	return (cnt * width + 7) / 8;
}

static bool width_is_good(uint32_t width)
{
	return width <= 56 || width == 64;
}

static bool runs_are_inside(const struct column *c, uint64_t packed_len)
{
	for (uint32_t at = 0; at < c->rows; at += COLUMN_RUN) {
		uint32_t n = c->rows - at < COLUMN_RUN ? c->rows - at : COLUMN_RUN;
		struct block_run run;

		memcpy(&run, c->runs + at / COLUMN_RUN * sizeof(run), sizeof(run));
		if (!width_is_good(run.width) || run.at > packed_len ||
		    packed_bytes(n, run.width) > packed_len - run.at)
			return false;
	}
	return true;
}

static void numbers_parse(struct reader *r, struct column *c)
{
	uint32_t runs = (c->rows + COLUMN_RUN - 1) / COLUMN_RUN;

	c->runs = get_bytes(r, (uint64_t)runs * sizeof(struct block_run));
	c->packed = r->p;
	if (c->runs && !runs_are_inside(c, reader_left(r)))
		r->bad = true;
}

static uint8_t width_of(uint32_t value_cnt)
{
	return value_cnt > 1 ? (uint8_t)(32 - __builtin_clz(value_cnt - 1)) : 0;
}

static void values_parse(struct reader *r, struct column *c)
{
	c->value_cnt = get_varint32(r);
	c->values = get_str(r);
	c->packed = r->p;
	c->width = width_of(c->value_cnt);
	if (c->value_cnt == 0 || c->value_cnt > c->values.len ||
	    packed_bytes(c->rows, c->width) > reader_left(r))
		r->bad = true;
}

/* Two columns are never opaque: without them a row says nothing. */
static void column_parse(struct parse *p, struct column *c, uint32_t id, uint32_t rows)
{
	struct str bytes = get_str(&p->r);
	const uint8_t *at = (const uint8_t *)bytes.p;
	struct reader r = {at, at + bytes.len, p->r.bad};
	uint8_t form = get_u8(&r);

	c->rows = rows;
	c->form = form;
	if ((id < COLUMN_NAME) != (form == COLUMN_NUMBERS) || form >= COLUMN_FORM_COUNT)
		r.bad = true;
	if (form == COLUMN_NUMBERS)
		numbers_parse(&r, c);
	else if (form == COLUMN_VALUES)
		values_parse(&r, c);
	p->r.bad = r.bad;
}

static uint64_t get_word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t packed_mask(uint32_t width)
{
	return width < 64 ? (1ull << width) - 1 : UINT64_MAX;
}

static void unpack(const uint8_t *p, uint32_t width, uint64_t row, uint32_t cnt, uint64_t add,
		   uint64_t *ret)
{
	uint64_t mask = packed_mask(width), bit = row * width;

	for (uint32_t i = 0; i < cnt; i++, bit += width)
		ret[i] = add + (get_word(p + bit / 8) >> bit % 8 & mask);
}

void column_read(const struct column *c, uint32_t row, uint32_t cnt, uint64_t *ret)
{
	must(row <= c->rows && cnt <= c->rows - row && c->form != COLUMN_OPAQUE);
	if (c->form == COLUMN_VALUES) {
		unpack(c->packed, c->width, row, cnt, 0, ret);
		return;
	}
	while (cnt > 0) {
		uint32_t in_run = row % COLUMN_RUN, n = COLUMN_RUN - in_run;
		struct block_run run;

		n = n < cnt ? n : cnt;
		memcpy(&run, c->runs + row / COLUMN_RUN * sizeof(run), sizeof(run));
		unpack(c->packed + run.at, run.width, in_run, n, run.base, ret);
		row += n;
		ret += n;
		cnt -= n;
	}
}

void column_run_bounds(const struct column *c, uint32_t run, uint64_t *ret_min, uint64_t *ret_max)
{
	struct block_run head;
	uint64_t span;

	must(c->form == COLUMN_NUMBERS && (uint64_t)run * COLUMN_RUN < c->rows);
	memcpy(&head, c->runs + run * sizeof(head), sizeof(head));
	span = packed_mask(head.width);
	*ret_min = head.base;
	*ret_max = head.base > UINT64_MAX - span ? UINT64_MAX : head.base + span;
}

static void scalar_get(struct reader *r, struct val *v)
{
	uint64_t u;

	switch (v->type) {
	case VAL_STR:
		v->str = get_str(r);
		break;
	case VAL_INT:
		v->i = unzigzag(get_varint(r));
		break;
	case VAL_DOUBLE:
		u = get_u64(r);
		memcpy(&v->d, &u, sizeof(u));
		break;
	case VAL_BOOL:
		v->b = get_u8(r) & 1;
		break;
	default:
		r->bad = r->bad || v->type != VAL_EMPTY;
	}
}

static void val_get(struct parse *p, struct val *v)
{
	enum val_type elem;

	v->type = get_u8(&p->r);
	if (v->type != VAL_ARRAY) {
		scalar_get(&p->r, v);
		return;
	}
	elem = get_u8(&p->r);
	v->cnt = get_varint32(&p->r);
	if (v->cnt == 0 || elem == VAL_EMPTY)
		p->r.bad = true;
	v->elems = parse_alloc(p, v->cnt, sizeof(*v->elems));
	for (uint32_t i = 0; i < v->cnt && !p->r.bad; i++) {
		v->elems[i].type = elem;
		scalar_get(&p->r, &v->elems[i]);
	}
}

static int parse_err(const struct parse *p)
{
	if (p->is_out_of_memory)
		return -ENOMEM;
	return p->r.bad ? -EUCLEAN : 0;
}

int column_values(const struct column *c, struct arena *a, const struct val **ret)
{
	const uint8_t *at = (const uint8_t *)c->values.p;
	struct parse p = {.r = {at, at + c->values.len, false}, .a = a};
	struct val *v = parse_alloc(&p, c->value_cnt, sizeof(*v));

	for (uint32_t i = 0; i < c->value_cnt && !p.r.bad; i++)
		val_get(&p, &v[i]);
	*ret = v;
	return parse_err(&p);
}

/* --- groups, and what they share --- */

static void group_parse(struct parse *p, struct column_group *g)
{
	g->rows = get_varint32(&p->r);
	g->flags = get_varint32(&p->r);
	g->key_cnt = get_varint32(&p->r);
	if (g->rows == 0 || g->key_cnt > BLOCK_KEYS_MAX)
		p->r.bad = true;
	g->keys = parse_alloc(p, g->key_cnt, sizeof(*g->keys));
	for (uint32_t i = 0; i < g->key_cnt && !p->r.bad; i++)
		g->keys[i] = get_str(&p->r);
	g->columns = parse_alloc(p, COLUMN_FIXED + g->key_cnt, sizeof(*g->columns));
	for (uint32_t i = 0; i < COLUMN_FIXED + g->key_cnt && !p->r.bad; i++)
		column_parse(p, &g->columns[i], i, g->rows);
}

static void attrs_parse(struct parse *p, struct attrs *as)
{
	uint32_t cnt = get_varint32(&p->r);

	as->at = parse_alloc(p, cnt, sizeof(*as->at));
	as->cnt = as->at ? cnt : 0;
	for (uint32_t i = 0; i < as->cnt && !p->r.bad; i++) {
		as->at[i].key = get_str(&p->r);
		val_get(p, &as->at[i].val);
	}
}

static const void *shared_ref(struct parse *p, enum dict_kind kind, uint64_t id)
{
	const void *shared = id < UINT32_MAX ? decoder_shared(p->d, kind, (uint32_t)id) : NULL;

	p->r.bad = p->r.bad || !shared;
	return shared;
}

static const struct resource *resource_parse(struct parse *p)
{
	uint64_t ref = get_varint(&p->r);
	struct resource *res;

	if (ref)
		return shared_ref(p, DICT_RESOURCE, ref - 1);
	res = parse_alloc(p, 1, sizeof(*res));
	if (res)
		attrs_parse(p, &res->attrs);
	return res;
}

static const struct scope *scope_parse(struct parse *p)
{
	uint64_t ref = get_varint(&p->r);
	struct scope *sc;

	if (ref)
		return shared_ref(p, DICT_SCOPE, ref - 1);
	sc = parse_alloc(p, 1, sizeof(*sc));
	if (!sc)
		return NULL;
	sc->name = get_str(&p->r);
	sc->version = get_str(&p->r);
	attrs_parse(p, &sc->attrs);
	return sc;
}

static void shared_parse(struct parse *p, struct column_block *b)
{
	b->resource_cnt = get_varint32(&p->r);
	b->resources = parse_alloc(p, b->resource_cnt, sizeof(*b->resources));
	for (uint32_t i = 0; i < b->resource_cnt && !p->r.bad; i++)
		b->resources[i] = resource_parse(p);
	b->scope_cnt = get_varint32(&p->r);
	b->scopes = parse_alloc(p, b->scope_cnt, sizeof(*b->scopes));
	for (uint32_t i = 0; i < b->scope_cnt && !p->r.bad; i++)
		b->scopes[i] = scope_parse(p);
}

/* --- the block --- */

static void head_parse(struct reader *r, struct block_head *h)
{
	h->chunks = get_varint32(r);
	h->spans = get_varint32(r);
	h->total_spans = get_varint(r);
	h->min_start_ns = get_u64(r);
	h->max_start_ns = get_u64(r);
	h->max_end_ns = get_u64(r);
	if (h->chunks == 0 || h->spans < h->chunks || h->total_spans < h->spans)
		r->bad = true;
}

int block_head_parse(struct str bytes, struct block_head *ret)
{
	const uint8_t *at = (const uint8_t *)bytes.p;
	struct reader r = {at, at + bytes.len, false};

	head_parse(&r, ret);
	return r.bad ? -EUCLEAN : 0;
}

/* The last ROOM bytes are nobody's. */
int block_parse(struct decoder *d, struct arena *a, struct str bytes, struct column_block *ret)
{
	const uint8_t *at = (const uint8_t *)bytes.p;
	struct parse p = {.r = {at, at + bytes.len - ROOM, bytes.len < ROOM}, .d = d, .a = a};
	uint64_t rows = 0;
	struct block_head h;

	head_parse(&p.r, &h);
	*ret = (struct column_block){.min_start_ns = h.min_start_ns,
				     .max_start_ns = h.max_start_ns,
				     .max_end_ns = h.max_end_ns,
				     .spans = h.spans,
				     .chunks = h.chunks,
				     .bytes = bytes.len};
	shared_parse(&p, ret);
	ret->group_cnt = get_varint32(&p.r);
	ret->groups = parse_alloc(&p, ret->group_cnt, sizeof(*ret->groups));
	for (uint32_t i = 0; i < ret->group_cnt && !p.r.bad; i++) {
		group_parse(&p, &ret->groups[i]);
		rows += ret->groups[i].rows;
	}
	if (!p.r.bad && (rows != ret->spans || reader_left(&p.r) > 0))
		p.r.bad = true;
	return parse_err(&p);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* block_build.c - spans become a block of columns (keys.h has the picture, block.c is the other
 * side).
 *
 * Each span goes to the group of its kind and its attribute keys; there each of its values becomes
 * a code (val_list.c). Called by blocks.c, in the committer's thread. */
#include "store/block.h"
#include "store/val_list.h"

#include <stdlib.h>

enum { NONE = UINT32_MAX, LAYOUTS = 256, PARTIAL_GROUPS = 4, ALIKE_MAX = 64 };

/* --- groups --- */

struct build_column {
	struct val_list list;
	uint32_t *codes;
};

struct build_group {
	uint32_t kind, flags, key_cnt, rows, cap;
	struct str keys[BLOCK_KEYS_MAX];
	uint64_t *numbers[COLUMN_NAME]; /* CHUNK, START, DURATION */
	struct build_column *columns;	/* from COLUMN_NAME on */
};

/* Which group the spans of one shape go to, told by the addresses of their keys. */
struct layout {
	struct build_group *group;
	uint32_t kind, flags, cnt;
	const char *keys[BLOCK_KEYS_MAX];
	uint8_t column_of[BLOCK_KEYS_MAX]; /* of attribute i; repeated keys: UINT8_MAX */
};

struct shared {
	const void *from[BLOCK_SHARED_MAX]; /* in the decoder; NULL: stood in a chunk */
	const void *at[BLOCK_SHARED_MAX];
	uint32_t ids[BLOCK_SHARED_MAX];
	uint32_t cnt;
};

struct block_builder {
	const struct decoder *d;
	struct arena arrays;
	uint64_t seed;
	struct build_group *groups[BLOCK_GROUPS_MAX];
	uint32_t group_cnt, spans;
	uint64_t min_start_ns, max_start_ns, max_end_ns;
	struct shared resources, scopes;
	struct layout *layouts[LAYOUTS];
	struct strbuf piece;
};

struct block_builder *block_builder_new(const struct decoder *d)
{
	struct block_builder *b = calloc(1, sizeof(*b));

	must(b);
	b->d = d;
	arena_init(&b->arrays, 0);
	strbuf_init(&b->piece);
	b->seed = clock_mono_ns() | 1;
	b->min_start_ns = UINT64_MAX;
	return b;
}

static uint32_t list_columns(const struct build_group *g)
{
	return COLUMN_FIXED - COLUMN_NAME + g->key_cnt;
}

static void group_free(struct build_group *g)
{
	for (uint32_t i = 0; i < COLUMN_NAME; i++)
		free(g->numbers[i]);
	for (uint32_t i = 0; i < list_columns(g); i++) {
		val_list_fini(&g->columns[i].list);
		free(g->columns[i].codes);
	}
	free(g->columns);
	free(g);
}

void block_builder_free(struct block_builder *b)
{
	for (uint32_t i = 0; i < b->group_cnt; i++)
		group_free(b->groups[i]);
	for (uint32_t i = 0; i < LAYOUTS; i++)
		free(b->layouts[i]);
	arena_fini(&b->arrays);
	strbuf_fini(&b->piece);
	free(b);
}

uint32_t block_spans(const struct block_builder *b)
{
	return b->spans;
}

static bool group_is(const struct build_group *g, const struct build_group *like)
{
	if (g->kind != like->kind || g->flags != like->flags || g->key_cnt != like->key_cnt)
		return false;
	for (uint32_t i = 0; i < g->key_cnt; i++)
		if (!str_eq(g->keys[i], like->keys[i]))
			return false;
	return true;
}

static struct build_group *group_find(struct block_builder *b, const struct build_group *like)
{
	struct build_group *g;

	for (uint32_t i = 0; i < b->group_cnt; i++)
		if (group_is(b->groups[i], like))
			return b->groups[i];
	if (b->group_cnt >= BLOCK_GROUPS_MAX - PARTIAL_GROUPS && !(like->flags & GROUP_PARTIAL))
		return NULL;
	must(b->group_cnt < BLOCK_GROUPS_MAX);
	g = malloc(sizeof(*g));
	must(g);
	*g = *like;
	g->columns = calloc(list_columns(g), sizeof(*g->columns));
	must(g->columns);
	for (uint32_t i = 0; i < list_columns(g); i++)
		g->columns[i].list.seed = b->seed;
	b->groups[b->group_cnt++] = g;
	return g;
}

/* The columns of the attributes, and the keys each once. False: more than a group can name. */
static bool layout_keys(struct layout *l, struct build_group *like, const struct attrs *as)
{
	if (as->cnt > BLOCK_KEYS_MAX - 1)
		return false;
	for (uint32_t i = 0; i < as->cnt; i++) {
		uint32_t k = 0;

		while (k < like->key_cnt && !str_eq(like->keys[k], as->at[i].key))
			k++;
		l->keys[i] = as->at[i].key.p;
		l->column_of[i] = k < like->key_cnt ? UINT8_MAX : (uint8_t)k;
		if (k == like->key_cnt)
			like->keys[like->key_cnt++] = as->at[i].key;
	}
	l->cnt = as->cnt;
	return true;
}

static void layout_make(struct block_builder *b, struct layout *l, const struct span *sp,
			uint32_t flags)
{
	struct build_group like = {.kind = sp->kind, .flags = flags};

	*l = (struct layout){.kind = sp->kind, .flags = flags};
	if (layout_keys(l, &like, &sp->attrs))
		l->group = group_find(b, &like);
	if (l->group)
		return;
	like.kind = NONE; /* those without a group of their own share one, of all kinds */
	like.key_cnt = 0;
	like.flags |= GROUP_PARTIAL;
	l->cnt = 0;
	l->group = group_find(b, &like);
}

/* That of a partial group fits no span with attributes: it is made anew for each. */
static bool layout_fits(const struct layout *l, const struct span *sp, uint32_t flags)
{
	if (l->kind != sp->kind || l->flags != flags || l->cnt != sp->attrs.cnt)
		return false;
	for (uint32_t i = 0; i < l->cnt; i++)
		if (l->keys[i] != sp->attrs.at[i].key.p)
			return false;
	return true;
}

static const struct layout *layout_of(struct block_builder *b, const struct span *sp)
{
	uint32_t flags = (sp->event_cnt ? GROUP_EVENTS : 0) | (sp->link_cnt ? GROUP_LINKS : 0);
	uint64_t h = sp->kind * 8 + flags;
	struct layout **slot;

	for (uint32_t i = 0; i < sp->attrs.cnt; i++)
		h = (h ^ (uintptr_t)sp->attrs.at[i].key.p) * 0x9e3779b97f4a7c15u;
	slot = &b->layouts[h >> 56];
	if (!*slot) {
		*slot = malloc(sizeof(**slot));
		must(*slot);
		layout_make(b, *slot, sp, flags);
	} else if (!layout_fits(*slot, sp, flags)) {
		layout_make(b, *slot, sp, flags);
	}
	return *slot;
}

/* --- rows --- */

static void group_grow(struct build_group *g)
{
	g->cap = g->cap ? g->cap * 2 : 64;
	for (uint32_t i = 0; i < COLUMN_NAME; i++) {
		g->numbers[i] = realloc(g->numbers[i], g->cap * sizeof(uint64_t));
		must(g->numbers[i]);
	}
	for (uint32_t i = 0; i < list_columns(g); i++) {
		struct build_column *c = &g->columns[i];

		c->codes = realloc(c->codes, g->cap * sizeof(*c->codes));
		must(c->codes);
	}
}

static struct attrs attrs_keep(struct block_builder *b, const struct attrs *as)
{
	struct attrs kept = {.at = arena_array(&b->arrays, struct attr, as->cnt), .cnt = as->cnt};

	for (uint32_t i = 0; i < as->cnt; i++)
		kept.at[i] = (struct attr){as->at[i].key, val_seen(&b->arrays, &as->at[i].val)};
	return kept;
}

typedef bool same_fn(const void *a, const void *b);

static bool same_resource(const void *a, const void *b)
{
	return resource_is(a, b);
}

static bool same_scope(const void *a, const void *b)
{
	return scope_is(a, b);
}

static uint32_t shared_add(struct shared *s, const void *from, const void *at, uint32_t id)
{
	if (s->cnt == BLOCK_SHARED_MAX)
		return NONE;
	s->from[s->cnt] = from;
	s->at[s->cnt] = at;
	s->ids[s->cnt] = id;
	return s->cnt++;
}

/* Those of the dictionary are known by their address, which stays; others are copied. */
static uint32_t shared_find(const struct shared *s, const void *p)
{
	for (uint32_t i = s->cnt; i-- > 0;)
		if (s->from[i] == p)
			return i;
	return NONE;
}

/* Of one that stood in a chunk: the last few are looked through for its like. */
static uint32_t copy_index(struct shared *s, const void *copy, same_fn *same)
{
	uint32_t least = s->cnt > ALIKE_MAX ? s->cnt - ALIKE_MAX : 0;

	for (uint32_t i = s->cnt; i-- > least;)
		if (s->ids[i] == DICT_NO_ID && same(s->at[i], copy))
			return i;
	return shared_add(s, NULL, copy, DICT_NO_ID);
}

static uint32_t resource_index(struct block_builder *b, const struct resource *res)
{
	struct shared *s = &b->resources;
	uint32_t i = shared_find(s, res), id;
	struct resource *copy;

	if (i != NONE)
		return i;
	id = decoder_shared_id(b->d, DICT_RESOURCE, res);
	if (id != DICT_NO_ID)
		return shared_add(s, res, res, id);
	copy = arena_new(&b->arrays, struct resource);
	copy->attrs = attrs_keep(b, &res->attrs);
	return copy_index(s, copy, same_resource);
}

static uint32_t scope_index(struct block_builder *b, const struct scope *sc)
{
	struct shared *s = &b->scopes;
	uint32_t i = shared_find(s, sc), id;
	struct scope *copy;

	if (i != NONE)
		return i;
	id = decoder_shared_id(b->d, DICT_SCOPE, sc);
	if (id != DICT_NO_ID)
		return shared_add(s, sc, sc, id);
	copy = arena_new(&b->arrays, struct scope);
	*copy = (struct scope){.name = sc->name, .version = sc->version};
	copy->attrs = attrs_keep(b, &sc->attrs);
	return copy_index(s, copy, same_scope);
}

static void code_put(struct block_builder *b, struct build_group *g, enum column_id id,
		     const struct val *v)
{
	struct build_column *c = &g->columns[id - COLUMN_NAME];

	c->codes[g->rows] = val_list_code(&c->list, &b->arrays, v);
}

static void str_put(struct block_builder *b, struct build_group *g, enum column_id id, struct str s)
{
	code_put(b, g, id, &(struct val){.type = VAL_STR, .str = s});
}

static void int_put(struct block_builder *b, struct build_group *g, enum column_id id, uint32_t i)
{
	if (i == NONE)
		g->columns[id - COLUMN_NAME].list.is_given_up = true;
	code_put(b, g, id, &(struct val){.type = VAL_INT, .i = i});
}

static void fixed_put(struct block_builder *b, struct build_group *g, const struct span *sp)
{
	str_put(b, g, COLUMN_NAME, sp->name);
	int_put(b, g, COLUMN_KIND, sp->kind);
	int_put(b, g, COLUMN_STATUS, sp->status);
	str_put(b, g, COLUMN_MESSAGE, sp->status_message);
	int_put(b, g, COLUMN_RESOURCE, resource_index(b, sp->res));
	int_put(b, g, COLUMN_SCOPE, scope_index(b, sp->scope));
	code_put(b, g, COLUMN_ROOT, &(struct val){.type = VAL_BOOL, .b = span_is_root(sp)});
}

static void bounds_note(struct block_builder *b, const struct span *sp, uint64_t duration)
{
	if (sp->start_ns < b->min_start_ns)
		b->min_start_ns = sp->start_ns;
	if (sp->start_ns > b->max_start_ns)
		b->max_start_ns = sp->start_ns;
	if (sp->start_ns + duration > b->max_end_ns)
		b->max_end_ns = sp->start_ns + duration;
}

void block_add(struct block_builder *b, uint32_t chunk, const struct span *sp)
{
	uint64_t duration = sp->end_ns > sp->start_ns ? sp->end_ns - sp->start_ns : 0;
	const struct layout *l = layout_of(b, sp);
	struct build_group *g = l->group;

	if (g->rows == g->cap)
		group_grow(g);
	g->numbers[COLUMN_CHUNK][g->rows] = chunk;
	g->numbers[COLUMN_START][g->rows] = sp->start_ns;
	g->numbers[COLUMN_DURATION][g->rows] = duration;
	fixed_put(b, g, sp);
	for (uint32_t i = 0; i < l->cnt; i++)
		if (l->column_of[i] != UINT8_MAX)
			code_put(b, g, COLUMN_FIXED + l->column_of[i], &sp->attrs.at[i].val);
	bounds_note(b, sp, duration);
	g->rows++;
	b->spans++;
}

/* --- bytes --- */

static uint32_t bits_of(uint64_t v)
{
	return v ? 64 - (uint32_t)__builtin_clzll(v) : 0;
}

/* Numbers of width bits each, the lowest bits first; wider than 56 takes 64. */
static uint32_t packed_width(uint64_t max)
{
	uint32_t width = bits_of(max);

	return width > 56 ? 64 : width;
}

struct packer {
	struct strbuf *out;
	uint64_t word;
	uint32_t bits;
};

static void pack(struct packer *p, uint64_t v, uint32_t width)
{
	if (width == 0)
		return;
	p->word |= v << p->bits;
	if (p->bits + width >= 64) {
		put_u64(p->out, p->word);
		p->word = p->bits ? v >> (64 - p->bits) : 0;
		p->bits = p->bits + width - 64;
	} else {
		p->bits += width;
	}
}

static void pack_end(struct packer *p)
{
	strbuf_add(p->out, &p->word, (p->bits + 7) / 8);
	p->word = p->bits = 0;
}

static void numbers_put(struct strbuf *out, const uint64_t *at, uint32_t cnt, uint64_t off)
{
	struct packer p = {.out = out};
	uint32_t runs = (cnt + COLUMN_RUN - 1) / COLUMN_RUN, packed_at = 0;
	size_t heads = out->len;

	for (uint32_t r = 0; r < runs; r++)
		strbuf_add(out, &(struct block_run){0}, sizeof(struct block_run));
	for (uint32_t r = 0; r < runs; r++) {
		const uint64_t *v = at + (size_t)r * COLUMN_RUN;
		uint32_t n = cnt - r * COLUMN_RUN < COLUMN_RUN ? cnt - r * COLUMN_RUN : COLUMN_RUN;
		uint64_t min = v[0], max = v[0];
		struct block_run run;

		for (uint32_t i = 1; i < n; i++) {
			min = v[i] < min ? v[i] : min;
			max = v[i] > max ? v[i] : max;
		}
		run = (struct block_run){min - off, packed_at, packed_width(max - min)};
		memcpy(out->p + heads + r * sizeof(run), &run, sizeof(run));
		for (uint32_t i = 0; i < n; i++)
			pack(&p, v[i] - min, run.width);
		pack_end(&p);
		packed_at = (uint32_t)(out->len - heads - runs * sizeof(run));
	}
}

static void scalar_put(struct strbuf *out, const struct val *v)
{
	switch (v->type) {
	case VAL_STR:
		put_varint(out, v->str.len);
		strbuf_add(out, v->str.p, v->str.len);
		break;
	case VAL_INT:
		put_varint(out, zigzag(v->i));
		break;
	case VAL_DOUBLE:
		put_u64(out, (uint64_t)v->i);
		break;
	case VAL_BOOL:
		strbuf_addc(out, v->b);
		break;
	default:
		break;
	}
}

static void val_put(struct strbuf *out, const struct val *v)
{
	strbuf_addc(out, (char)v->type);
	if (v->type != VAL_ARRAY) {
		scalar_put(out, v);
		return;
	}
	strbuf_addc(out, (char)v->elems[0].type);
	put_varint(out, v->cnt);
	for (uint32_t i = 0; i < v->cnt; i++)
		scalar_put(out, &v->elems[i]);
}

static void values_put(struct strbuf *out, const struct build_column *c, uint32_t rows)
{
	uint32_t width = packed_width(c->list.cnt - 1);
	struct packer p = {.out = out};
	struct strbuf values;

	strbuf_init(&values);
	for (uint32_t i = 0; i < c->list.cnt; i++)
		val_put(&values, &c->list.at[i]);
	put_varint(out, c->list.cnt);
	put_varint(out, values.len);
	strbuf_add(out, values.p, values.len);
	strbuf_fini(&values);
	for (uint32_t i = 0; i < rows; i++)
		pack(&p, c->codes[i], width);
	pack_end(&p);
}

static void column_put(struct strbuf *out, enum column_form form, const struct strbuf *bytes)
{
	put_varint(out, bytes->len + 1);
	strbuf_addc(out, (char)form);
	strbuf_add(out, bytes->p, bytes->len);
}

static void group_put(struct block_builder *b, const struct build_group *g, struct strbuf *out)
{
	put_varint(out, g->rows);
	put_varint(out, g->flags);
	put_varint(out, g->key_cnt);
	for (uint32_t i = 0; i < g->key_cnt; i++) {
		put_varint(out, g->keys[i].len);
		strbuf_add(out, g->keys[i].p, g->keys[i].len);
	}
	for (uint32_t i = 0; i < COLUMN_NAME; i++) {
		strbuf_clear(&b->piece);
		numbers_put(&b->piece, g->numbers[i], g->rows,
			    i == COLUMN_START ? b->min_start_ns : 0);
		column_put(out, COLUMN_NUMBERS, &b->piece);
	}
	for (uint32_t i = 0; i < list_columns(g); i++) {
		const struct val_list *l = &g->columns[i].list;
		bool is_opaque = l->is_given_up || !val_list_is_worth(l, g->rows);

		strbuf_clear(&b->piece);
		if (!is_opaque)
			values_put(&b->piece, &g->columns[i], g->rows);
		column_put(out, is_opaque ? COLUMN_OPAQUE : COLUMN_VALUES, &b->piece);
	}
}

static void str_bytes_put(struct strbuf *out, struct str s)
{
	put_varint(out, s.len);
	strbuf_add(out, s.p, s.len);
}

static void attrs_put(const struct attrs *as, struct strbuf *out)
{
	put_varint(out, as->cnt);
	for (uint32_t i = 0; i < as->cnt; i++) {
		str_bytes_put(out, as->at[i].key);
		val_put(out, &as->at[i].val);
	}
}

static void shared_put(struct block_builder *b, struct strbuf *out)
{
	put_varint(out, b->resources.cnt);
	for (uint32_t i = 0; i < b->resources.cnt; i++) {
		const struct resource *res = b->resources.at[i];
		uint32_t id = b->resources.ids[i];

		put_varint(out, id == DICT_NO_ID ? 0 : id + 1ull);
		if (id == DICT_NO_ID)
			attrs_put(&res->attrs, out);
	}
	put_varint(out, b->scopes.cnt);
	for (uint32_t i = 0; i < b->scopes.cnt; i++) {
		const struct scope *sc = b->scopes.at[i];
		uint32_t id = b->scopes.ids[i];

		put_varint(out, id == DICT_NO_ID ? 0 : id + 1ull);
		if (id != DICT_NO_ID)
			continue;
		str_bytes_put(out, sc->name);
		str_bytes_put(out, sc->version);
		attrs_put(&sc->attrs, out);
	}
}

void block_build(struct block_builder *b, uint32_t chunks, uint64_t total_spans, struct strbuf *out)
{
	static const uint8_t room[8]; /* so that whoever reads a word stays inside */

	must(b->spans > 0);
	put_varint(out, chunks);
	put_varint(out, b->spans);
	put_varint(out, total_spans);
	put_u64(out, b->min_start_ns);
	put_u64(out, b->max_start_ns);
	put_u64(out, b->max_end_ns);
	shared_put(b, out);
	put_varint(out, b->group_cnt);
	for (uint32_t i = 0; i < b->group_cnt; i++)
		group_put(b, b->groups[i], out);
	strbuf_add(out, room, sizeof(room));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* block_test.c - columns say what the spans said: every row of every block of a real store against
 * the span it was made from, over many shapes of spans; and no bytes can make reading leave the
 * block. */
#include "tests/lib/store_fix.h"

#include "store/block.h"

enum { SPANS = 40000 };

static uint64_t base_ns;

/* Spans with few layouts and values of few and of many kinds; each start only once. */
static struct span plain_span(uint32_t i)
{
	static const char *const keys[] = {"http.route", "http.response.status_code", "url.path",
					   "tags", "odd"};
	static struct resource res[3];
	static struct attr names[3];
	static struct scope scope;
	struct span sp = simple(i / 8, base_ns + i * 1000ull, i % 3 ? "GET /a" : "SELECT");
	struct attr *at = arena_array(&mem, struct attr, 6);
	struct val *elems = arena_array(&mem, struct val, 2);

	for (uint32_t r = 0; r < 3; r++) {
		names[r] = (struct attr){STR("service.name"),
					 {.type = VAL_STR, .str = str_of(keys[r])}};
		res[r].attrs = (struct attrs){.at = &names[r], .cnt = 1};
	}
	scope.name = STR("test");
	sp.kind = i % 3 + 1;
	sp.status = i % 11 == 0 ? STATUS_ERROR : STATUS_UNSET;
	sp.status_message = i % 11 ? STR("") : STR("broken");
	sp.end_ns = sp.start_ns + gen_u64(&gen) % (i % 2 ? 1000000 : UINT32_MAX);
	if (i % 8)
		memset(sp.parent_id, (int)(i % 8), 8);
	sp.res = &res[i % 3];
	sp.scope = &scope;
	at[0] = (struct attr){str_of(keys[0]), {.type = VAL_STR, .str = STR("/a/:id")}};
	at[1] = (struct attr){str_of(keys[1]), {.type = VAL_INT, .i = 200 + i % 7 * 50}};
	at[2].key = str_of(keys[2]);
	at[2].val.type = VAL_STR;
	at[2].val.str = str_of(arena_printf(
		&mem, "/a/%u%s", i,
		i % 3 ? "" : /* opaque */
			"/a-path-that-is-long-enough-to-be-not-worth-a-list-of-its-values"));
	elems[0] = (struct val){.type = VAL_INT, .i = (int64_t)i % 5};
	elems[1] = (struct val){.type = VAL_INT, .i = 7};
	at[3].key = str_of(keys[3]);
	at[3].val = (struct val){.type = VAL_ARRAY, .cnt = 2, .elems = elems};
	at[4] = (struct attr){str_of(keys[4]), {.type = VAL_DOUBLE, .d = 0.5 * (i % 4)}};
	at[5] = (struct attr){str_of(keys[0]), {.type = VAL_BOOL, .b = true}}; /* a key twice */
	sp.attrs = (struct attrs){.at = at, .cnt = i % 5 == 0 ? 6 : i % 4 == 1 ? 2 : 5};
	return sp;
}

static struct span any_span(uint32_t i)
{
	struct span like = plain_span(i), sp;

	if (i % 50 != 7)
		return like;
	sp = gen_span(&gen, like.trace_id, base_ns);
	sp.start_ns = like.start_ns;
	return sp;
}

/* --- a row against its span --- */

struct look {
	const struct span *spans;
	uint8_t *seen;
	uint32_t rows, blocks, tail, opaque;
};

static bool is_seen_as(const struct val *col, const struct val *v)
{
	if (v->type <= VAL_DOUBLE)
		return col->type == v->type && (v->type == VAL_STR     ? str_eq(col->str, v->str)
						: v->type == VAL_BOOL  ? col->b == v->b
						: v->type == VAL_EMPTY ? true
								       : col->i == v->i);
	if (v->type != VAL_ARRAY || v->cnt == 0 || v->elems[0].type == VAL_EMPTY ||
	    v->elems[0].type > VAL_DOUBLE)
		return col->type == VAL_EMPTY;
	for (uint32_t i = 1; i < v->cnt; i++)
		if (v->elems[i].type != v->elems[0].type)
			return col->type == VAL_EMPTY;
	if (col->type != VAL_ARRAY || col->cnt != v->cnt)
		return false;
	for (uint32_t i = 0; i < v->cnt; i++)
		if (!is_seen_as(&col->elems[i], &v->elems[i]))
			return false;
	return true;
}

static const struct val *value_at(struct look *l, const struct column *c, uint32_t row)
{
	const struct val *values;
	uint64_t code;

	if (c->form == COLUMN_OPAQUE) {
		l->opaque++;
		return NULL;
	}
	assert_int_equal(column_values(c, &mem, &values), 0);
	column_read(c, row, 1, &code);
	assert_true(code < c->value_cnt);
	return &values[code];
}

static void row_check_fixed(struct look *l, const struct column_block *b,
			    const struct column_group *g, uint32_t row, const struct span *sp)
{
	const struct val *v;

	v = value_at(l, &g->columns[COLUMN_NAME], row);
	assert_true(!v || str_eq(v->str, sp->name));
	v = value_at(l, &g->columns[COLUMN_KIND], row);
	assert_true(!v || v->i == sp->kind);
	v = value_at(l, &g->columns[COLUMN_STATUS], row);
	assert_true(!v || v->i == sp->status);
	v = value_at(l, &g->columns[COLUMN_MESSAGE], row);
	assert_true(!v || str_eq(v->str, sp->status_message));
	v = value_at(l, &g->columns[COLUMN_ROOT], row);
	assert_true(!v || v->b == span_is_root(sp));
	v = value_at(l, &g->columns[COLUMN_RESOURCE], row);
	assert_true(!v || (uint64_t)v->i < b->resource_cnt);
	if (v) {
		const struct resource *res = b->resources[v->i];

		assert_int_equal(res->attrs.cnt, sp->res->attrs.cnt);
		for (uint32_t i = 0; i < res->attrs.cnt; i++)
			assert_true(str_eq(res->attrs.at[i].key, sp->res->attrs.at[i].key));
	}
	v = value_at(l, &g->columns[COLUMN_SCOPE], row);
	assert_true(!v || str_eq(b->scopes[v->i]->name, sp->scope->name));
}

static void row_check(struct look *l, const struct column_block *b, const struct column_group *g,
		      uint32_t row)
{
	uint64_t start, duration, chunk;
	const struct span *sp;
	uint8_t id[16];

	column_read(&g->columns[COLUMN_START], row, 1, &start);
	column_read(&g->columns[COLUMN_DURATION], row, 1, &duration);
	column_read(&g->columns[COLUMN_CHUNK], row, 1, &chunk);
	start += b->min_start_ns - base_ns;
	assert_true(start % 1000 == 0 && start / 1000 < SPANS);
	sp = &l->spans[start / 1000];
	assert_int_equal(l->seen[start / 1000]++, 0);
	assert_int_equal(duration, sp->end_ns > sp->start_ns ? sp->end_ns - sp->start_ns : 0);
	assert_int_equal(store_block_trace_id(b, chunk, id), 0);
	assert_memory_equal(id, sp->trace_id, 16);
	assert_int_equal(!!(g->flags & GROUP_EVENTS), sp->event_cnt > 0);
	assert_int_equal(!!(g->flags & GROUP_LINKS), sp->link_cnt > 0);
	row_check_fixed(l, b, g, row, sp);
	for (uint32_t i = 0; !(g->flags & GROUP_PARTIAL) && i < sp->attrs.cnt; i++)
		assert_non_null(attrs_find(&sp->attrs, sp->attrs.at[i].key));
	for (uint32_t k = 0; k < g->key_cnt; k++) {
		const struct val *want = attrs_find(&sp->attrs, g->keys[k]);
		const struct val *v = value_at(l, &g->columns[COLUMN_FIXED + k], row);

		assert_non_null(want);
		assert_true(!v || is_seen_as(v, want));
	}
	l->rows++;
}

/* Every 7th row: a list of values is decoded for each. */
static int block_check(void *arg, const struct column_block *b)
{
	struct look *l = arg;
	uint64_t min, max, at;

	l->blocks++;
	for (uint32_t i = 0; i < b->group_cnt; i++) {
		const struct column_group *g = &b->groups[i];

		for (uint32_t row = 0; row < g->rows; row++) {
			column_read(&g->columns[COLUMN_DURATION], row, 1, &at);
			column_run_bounds(&g->columns[COLUMN_DURATION], row / COLUMN_RUN, &min,
					  &max);
			assert_true(min <= at && at <= max);
			if (row % 7 == 0 || g->rows < 100)
				row_check(l, b, g, row);
		}
	}
	return 0;
}

static int span_note(void *arg, const struct span *sp)
{
	struct look *l = arg;

	l->tail++;
	l->seen[(sp->start_ns - base_ns) / 1000]++;
	return 0;
}

static void look_at(struct store *s, struct look *l, store_block_fn *fn)
{
	struct store_read *r;

	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_walk_blocks(r, fn, span_note, l), 0);
	store_read_end(r);
}

static void fill(struct store *s, struct span *spans)
{
	base_ns = clock_real_ns() / HOUR_NS * HOUR_NS + 1000; /* one partition */
	for (uint32_t i = 0; i < SPANS; i++)
		spans[i] = any_span(i);
	for (uint32_t i = 0; i < SPANS; i += 400) {
		assert_int_equal(store_append(s, spans + i, 400), 0);
		if (i % 4000 == 0)
			assert_int_equal(store_flush(s), 0);
	}
	assert_int_equal(store_flush(s), 0);
}

static void test_rows(void **state)
{
	struct look l = {.spans = arena_array(&mem, struct span, SPANS),
			 .seen = arena_array(&mem, uint8_t, SPANS)};
	struct store *s = open_plain();

	(void)state;
	fill(s, (struct span *)l.spans);
	look_at(s, &l, block_check);
	assert_int_equal(l.blocks, 2);
	assert_true(l.tail < BLOCK_SPANS && l.tail > 0);
	assert_true(l.rows > 4000 && l.opaque > 100 && l.opaque < l.rows * 2);
	for (uint32_t i = 0; i < SPANS; i++)
		assert_true(l.seen[i] <= 1);
	store_close(s);
	assert_int_equal(stat_of("store_unclean_total"), 0);
}

static int give_spans(void *arg, const struct column_block *b)
{
	struct look *l = arg;

	(void)b;
	l->blocks++;
	return STORE_BLOCK_SPANS;
}

/* A block that is not wanted comes as spans, each once. */
static void test_spans_instead(void **state)
{
	struct look l = {.spans = arena_array(&mem, struct span, SPANS),
			 .seen = arena_array(&mem, uint8_t, SPANS)};
	struct store *s = open_plain();

	(void)state;
	fill(s, (struct span *)l.spans);
	look_at(s, &l, give_spans);
	assert_int_equal(l.blocks, 2);
	for (uint32_t i = 0; i < SPANS; i++)
		assert_int_equal(l.seen[i], 1);
	store_close(s);
}

/* --- hostile bytes --- */

static int no_dict(void *arg, enum dict_kind kind, uint32_t id, struct str *ret)
{
	(void)arg;
	(void)kind;
	(void)id;
	(void)ret;
	return -EUCLEAN;
}

static void read_all(const struct column_block *b, struct arena *a)
{
	const struct val *values;
	uint64_t out[COLUMN_RUN];

	for (uint32_t i = 0; i < b->group_cnt; i++) {
		const struct column_group *g = &b->groups[i];

		for (uint32_t c = 0; c < COLUMN_FIXED + g->key_cnt; c++) {
			if (g->columns[c].form == COLUMN_OPAQUE)
				continue;
			for (uint32_t row = 0; row < g->rows; row += COLUMN_RUN)
				column_read(&g->columns[c], row,
					    g->rows - row < COLUMN_RUN ? g->rows - row : COLUMN_RUN,
					    out);
			if (g->columns[c].form == COLUMN_VALUES)
				column_values(&g->columns[c], a, &values);
		}
	}
}

static void test_hostile(void **state)
{
	struct block_builder *bb;
	struct strbuf bytes;
	struct decoder d;
	uint32_t good = 0;

	(void)state;
	base_ns = 1000;
	decoder_init(&d, no_dict, NULL);
	bb = block_builder_new(&d);
	for (uint32_t i = 0; i < 300; i++) {
		struct span sp = any_span(i);

		block_add(bb, i, &sp);
	}
	strbuf_init(&bytes);
	block_build(bb, 300, 300, &bytes);
	block_builder_free(bb);
	for (uint32_t i = 0; i < 20000; i++) {
		size_t len = i % 4 ? bytes.len : gen_below(&gen, (uint32_t)bytes.len + 1);
		char *copy = malloc(len ? len : 1); /* so that ASan sees every byte past it */
		struct column_block b;
		struct arena a;

		memcpy(copy, bytes.p, len);
		for (uint32_t n = i % 5; n > 0 && len > 0; n--)
			copy[gen_below(&gen, (uint32_t)len)] = (char)gen_u64(&gen);
		arena_init(&a, 64 << 20);
		if (block_parse(&d, &a, (struct str){copy, len}, &b) == 0) {
			good++;
			read_all(&b, &a);
		}
		arena_fini(&a);
		free(copy);
	}
	assert_true(good > 1000 && good < 20000);
	strbuf_fini(&bytes);
	decoder_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_rows), TEST(test_spans_instead),
					   TEST(test_hostile)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

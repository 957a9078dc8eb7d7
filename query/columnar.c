/* SPDX-License-Identifier: Apache-2.0 */
/* columnar.c - && || and ! become operations on sets of rows, what stands between them is decided
 * by value: of a comparison of one field with a literal per entry of the field's table, of duration
 * by the bounds between which it is true, of anything else row by row with the fields' values given
 * to the evaluator. Divisions are left to the spans: a zero divisor is an error only where the
 * condition before it was true. */
#include "query/columnar.h"

#include <errno.h>
#include <string.h>

enum { FIELDS_MAX = 8, BATCH = 1024 };

static int no_memory(struct columnar *c)
{
	c->e->err = c->e->err ?: query_fail_memory(c->e->q);
	return c->e->err;
}

/* --- sets of rows --- */

static uint32_t words(uint32_t cnt)
{
	return (cnt + 63) / 64;
}

static struct rows rows_are(const struct columnar *c, bool all, bool exact)
{
	return (struct rows){.cnt = c->group->rows, .all = all, .exact = exact};
}

static int rows_alloc(struct columnar *c, struct rows *r)
{
	r->bits = arena_array(c->mem, uint64_t, words(r->cnt));
	return r->bits ? 0 : no_memory(c);
}

static void rows_put(struct rows *r, uint32_t row, bool yes)
{
	r->bits[row / 64] |= (uint64_t)yes << row % 64;
}

static bool rows_none(const struct rows *r)
{
	return !r->bits && !r->all;
}

static void rows_invert(struct rows *r)
{
	r->all = !r->all;
	for (uint32_t i = 0; r->bits && i < words(r->cnt); i++)
		r->bits[i] = ~r->bits[i];
	if (r->bits && r->cnt % 64)
		r->bits[words(r->cnt) - 1] &= (1ull << r->cnt % 64) - 1;
}

static struct rows rows_and(struct rows *l, struct rows *r)
{
	bool exact = l->exact && r->exact;

	/* an exact "none" is one whatever the other side cannot tell */
	if (rows_none(l) || rows_none(r))
		return (struct rows){.cnt = l->cnt,
				     .exact = exact || (rows_none(l) && l->exact) ||
					      (rows_none(r) && r->exact)};
	if (!l->bits || !r->bits) {
		struct rows some = l->bits ? *l : *r;

		some.exact = exact;
		return some;
	}
	for (uint32_t i = 0; i < words(l->cnt); i++)
		l->bits[i] &= r->bits[i];
	l->exact = exact;
	return *l;
}

static struct rows rows_or(struct rows *l, struct rows *r)
{
	bool exact = l->exact && r->exact;

	if (rows_none(l) || rows_none(r)) {
		struct rows some = rows_none(l) ? *r : *l;

		some.exact = exact;
		return some;
	}
	if (!l->bits || !r->bits)
		return (struct rows){.cnt = l->cnt, .all = true, .exact = exact};
	for (uint32_t i = 0; i < words(l->cnt); i++)
		l->bits[i] |= r->bits[i];
	l->exact = exact;
	return *l;
}

uint32_t rows_next(const struct rows *r, uint32_t row)
{
	uint64_t word;

	if (row >= r->cnt || rows_none(r))
		return r->cnt;
	if (!r->bits)
		return row;
	word = r->bits[row / 64] >> row % 64;
	if (word)
		return row + (uint32_t)__builtin_ctzll(word);
	for (uint32_t i = row / 64 + 1; i < words(r->cnt); i++)
		if (r->bits[i])
			return i * 64 + (uint32_t)__builtin_ctzll(r->bits[i]);
	return r->cnt;
}

uint32_t rows_count(const struct rows *r)
{
	uint32_t cnt = 0;

	if (!r->bits)
		return r->all ? r->cnt : 0;
	for (uint32_t i = 0; i < words(r->cnt); i++)
		cnt += (uint32_t)__builtin_popcountll(r->bits[i]);
	return cnt;
}

/* --- fields --- */

static int one_value(struct columnar *c, struct tval v, struct columnar_field *ret)
{
	struct tval *table = arena_new(c->mem, struct tval);

	if (!table)
		return no_memory(c);
	*table = v;
	*ret = (struct columnar_field){.form = COLUMNAR_TABLE, .table = table, .cnt = 1};
	return 0;
}

static struct tval attr_val(const struct field_ref *f, const struct attrs *as)
{
	const struct val *v = attrs_find(as, f->key);

	if (v)
		return tval_of(v);
	return field_is_service(f) ? TVAL_STR(STR("")) : TVAL_NIL;
}

static struct tval scope_val(const struct field_ref *f, const struct scope *sc)
{
	if (!f->intrinsic)
		return attr_val(f, &sc->attrs);
	return TVAL_STR(strcmp(f->intrinsic->name, "instrumentation:name") ? sc->version
									   : sc->name);
}

/* What entry v of the column says of the field. */
static struct tval entry_val(const struct columnar *c, enum column_id id, const struct field_ref *f,
			     const struct val *v)
{
	const struct column_block *b = c->block;

	switch (id) {
	case COLUMN_RESOURCE:
		return (uint64_t)v->i < b->resource_cnt ? attr_val(f, &b->resources[v->i]->attrs)
							: TVAL_NIL;
	case COLUMN_SCOPE:
		return (uint64_t)v->i < b->scope_cnt ? scope_val(f, b->scopes[v->i]) : TVAL_NIL;
	case COLUMN_KIND:
		return (struct tval){.type = TYPE_KIND, .i = v->i};
	case COLUMN_STATUS:
		return (struct tval){.type = TYPE_STATUS, .i = v->i};
	default:
		return tval_of(v);
	}
}

static int table_make(struct columnar *c, uint32_t column, const struct field_ref *f,
		      struct columnar_field *ret)
{
	const struct column *col = &c->group->columns[column];
	uint32_t room = 1u << (col->width < 31 ? col->width : 31);
	enum column_id id = column < COLUMN_FIXED ? column : COLUMN_FIXED;
	const struct val *vals;
	struct tval *table;
	int err;

	if (col->form == COLUMN_OPAQUE) {
		ret->form = COLUMNAR_UNKNOWN;
		return 0;
	}
	err = column_values(col, c->mem, &vals);
	if (err) {
		ret->form = COLUMNAR_UNKNOWN; /* damaged: the chunks say it */
		return err == -ENOMEM ? no_memory(c) : 0;
	}
	table = arena_array(c->mem, struct tval, room > col->value_cnt ? room : col->value_cnt);
	if (!table)
		return no_memory(c);
	for (uint32_t i = 0; i < col->value_cnt; i++)
		table[i] = entry_val(c, id, f, &vals[i]);
	*ret = (struct columnar_field){COLUMNAR_TABLE, col->width ? col : NULL, table,
				       col->value_cnt};
	return 0;
}

static uint32_t key_column(const struct column_group *g, struct str key)
{
	for (uint32_t i = 0; i < g->key_cnt; i++)
		if (str_eq(g->keys[i], key))
			return COLUMN_FIXED + i;
	return 0;
}

static int attr_field(struct columnar *c, const struct field_ref *f, struct columnar_field *ret)
{
	const struct column_group *g = c->group;
	uint32_t column = 0;

	if (f->scope == ATTR_RESOURCE)
		return table_make(c, COLUMN_RESOURCE, f, ret);
	if (f->scope == ATTR_SCOPE)
		return table_make(c, COLUMN_SCOPE, f, ret);
	if (f->scope == ATTR_EVENT || f->scope == ATTR_LINK) {
		if (g->flags & (f->scope == ATTR_EVENT ? GROUP_EVENTS : GROUP_LINKS))
			return 0;
		return one_value(c, TVAL_NIL, ret);
	}
	if (g->flags & GROUP_PARTIAL)
		return 0;
	column = key_column(g, f->key);
	if (column)
		return table_make(c, column, f, ret);
	if (f->scope == ATTR_ANY)
		return table_make(c, COLUMN_RESOURCE, f, ret);
	return one_value(c, TVAL_NIL, ret);
}

int columnar_field(struct columnar *c, const struct field_ref *f, struct columnar_field *ret)
{
	uint32_t flags = field_flags(f), none = 0;

	*ret = (struct columnar_field){.form = COLUMNAR_UNKNOWN};
	if (!f->intrinsic)
		return f->parent ? 0 : attr_field(c, f, ret);
	none = (flags & FIELD_EVENT) ? GROUP_EVENTS : (flags & FIELD_LINK) ? GROUP_LINKS : 0;
	if (none)
		return c->group->flags & none ? 0 : one_value(c, TVAL_NIL, ret);
	if (f->intrinsic->column == COLUMN_DURATION) {
		ret->form = COLUMNAR_NUMBERS;
		ret->column = &c->group->columns[COLUMN_DURATION];
		return 0;
	}
	if (f->intrinsic->column < COLUMN_NAME || f->intrinsic->column == COLUMN_ROOT)
		return 0;
	return table_make(c, f->intrinsic->column, f, ret);
}

/* --- conditions on one field --- */

static int rows_of_table(struct columnar *c, const struct columnar_field *f, const bool *yes,
			 struct rows *ret)
{
	uint64_t codes[BATCH];
	uint32_t trues = 0;

	for (uint32_t i = 0; i < f->cnt; i++)
		trues += yes[i];
	if (!f->column || trues == 0 || trues == f->cnt) {
		*ret = rows_are(c, f->column ? trues > 0 : yes[0], true);
		return 0;
	}
	*ret = rows_are(c, false, true);
	if (rows_alloc(c, ret))
		return c->e->err;
	for (uint32_t row = 0, n; row < ret->cnt; row += n) {
		n = ret->cnt - row < BATCH ? ret->cnt - row : BATCH;
		column_read(f->column, row, n, codes);
		for (uint32_t i = 0; i < n; i++)
			rows_put(ret, row + i, yes[codes[i]]);
	}
	return 0;
}

static int table_rows(struct columnar *c, const struct columnar_field *f, const struct expr *x,
		      struct rows *ret)
{
	uint32_t room = f->column ? 1u << f->column->width : 1;
	bool *yes = arena_array(c->mem, bool, room > f->cnt ? room : f->cnt);

	if (!yes)
		return no_memory(c);
	for (uint32_t i = 0; i < f->cnt && !c->e->err; i++)
		yes[i] = eval_true_for(c->e, x, &f->table[i]);
	return c->e->err ?: rows_of_table(c, f, yes, ret);
}

static bool true_for_duration(struct columnar *c, const struct expr *x, uint64_t ns)
{
	return eval_true_for(c->e, x, &(struct tval){.type = TYPE_DURATION, .i = (int64_t)ns});
}

/* The smallest duration for which x is as it is for the longest one; x changes at most once. */
static uint64_t turning_point(struct columnar *c, const struct expr *x)
{
	bool end = true_for_duration(c, x, INT64_MAX);
	uint64_t lo = 0, hi = INT64_MAX;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (true_for_duration(c, x, mid) == end)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static bool is_ordering(enum op op)
{
	return op == OP_LT || op == OP_LE || op == OP_GT || op == OP_GE;
}

static int duration_rows(struct columnar *c, const struct expr *x, struct rows *ret)
{
	const struct column *col = &c->group->columns[COLUMN_DURATION];
	bool ordering = is_ordering(x->op), end = true_for_duration(c, x, INT64_MAX);
	uint64_t turn = ordering ? turning_point(c, x) : 0, at[COLUMN_RUN], min, max;

	*ret = rows_are(c, false, true);
	if (rows_alloc(c, ret))
		return c->e->err;
	for (uint32_t row = 0, n; row < ret->cnt; row += n) {
		n = ret->cnt - row < COLUMN_RUN ? ret->cnt - row : COLUMN_RUN;
		column_run_bounds(col, row / COLUMN_RUN, &min, &max);
		if (ordering && ((max < turn && end) || (min >= turn && !end)))
			continue;
		column_read(col, row, n, at);
		for (uint32_t i = 0; i < n; i++)
			rows_put(ret, row + i,
				 ordering ? (at[i] >= turn) == end
					  : true_for_duration(c, x, at[i]));
	}
	return c->e->err;
}

/* nestedSetParent is -1 for a root and 0 or more for others. */
bool columnar_is_root_test(const struct expr *x, const struct expr *literal)
{
	bool flipped = x->l == literal;
	int64_t at = literal->lit.i;

	if (literal->lit.type != TYPE_INT)
		return false;
	if (x->op == OP_EQ || x->op == OP_NE)
		return at < 0;
	if (x->op == (flipped ? OP_GT : OP_LT) || x->op == (flipped ? OP_LE : OP_GE))
		return at <= 0;
	return is_ordering(x->op) && at < 0;
}

static int root_rows(struct columnar *c, const struct expr *x, const struct expr *literal,
		     struct rows *ret)
{
	bool root = eval_true_for(c->e, x, &TVAL_INT(-1));
	bool other = eval_true_for(c->e, x, &TVAL_INT(0)), yes[2];
	struct field_ref none = {0};
	struct columnar_field f;
	int err = c->e->err;

	*ret = rows_are(c, true, false);
	if (err || !columnar_is_root_test(x, literal))
		return err;
	err = table_make(c, COLUMN_ROOT, &none, &f);
	if (err || f.form != COLUMNAR_TABLE || f.cnt > 2)
		return err;
	for (uint32_t i = 0; i < f.cnt; i++)
		yes[i] = f.table[i].b ? root : other;
	return rows_of_table(c, &f, yes, ret);
}

/* --- conditions on several --- */

struct wanted {
	const struct field_ref *refs[FIELDS_MAX];
	struct columnar_field fields[FIELDS_MAX];
	struct field_given given[FIELDS_MAX];
	uint32_t cnt;
	bool is_unknown; /* cannot be had from the columns */
};

/* Every field of x, each place where it stands. */
static void fields_find_all(struct columnar *c, const struct expr *x, struct wanted *w)
{
	if (!x || c->e->err || w->is_unknown)
		return;
	if (x->kind == EXPR_UNARY || x->kind == EXPR_BINARY) {
		if (x->op == OP_DIV || x->op == OP_MOD)
			w->is_unknown = true;
		fields_find_all(c, x->l, w);
		fields_find_all(c, x->r, w);
		return;
	}
	if (x->kind != EXPR_FIELD)
		return;
	if (w->cnt == FIELDS_MAX) {
		w->is_unknown = true;
		return;
	}
	w->refs[w->cnt] = w->given[w->cnt].field = &x->field;
	columnar_field(c, &x->field, &w->fields[w->cnt]);
	w->is_unknown = w->fields[w->cnt].form == COLUMNAR_UNKNOWN;
	w->cnt++;
}

static void give(struct wanted *w, uint32_t row)
{
	for (uint32_t i = 0; i < w->cnt; i++) {
		const struct columnar_field *f = &w->fields[i];
		uint64_t at = 0;

		if (f->column)
			column_read(f->column, row, 1, &at);
		w->given[i].val = f->form == COLUMNAR_TABLE
					  ? f->table[at]
					  : (struct tval){.type = TYPE_DURATION, .i = (int64_t)at};
	}
}

static int general_rows(struct columnar *c, const struct expr *x, struct rows *ret)
{
	struct wanted w = {0};
	bool constant = true;

	fields_find_all(c, x, &w);
	*ret = rows_are(c, true, false);
	if (c->e->err || w.is_unknown)
		return c->e->err;
	for (uint32_t i = 0; i < w.cnt; i++)
		constant = constant && !w.fields[i].column;
	*ret = rows_are(c, false, true);
	if (!constant && rows_alloc(c, ret))
		return c->e->err;
	c->e->given = w.given;
	c->e->given_cnt = w.cnt;
	for (uint32_t row = 0; row < ret->cnt && !c->e->err; row++) {
		bool yes;

		give(&w, row);
		yes = eval_true(c->e, x, 0);
		if (constant) {
			ret->all = yes;
			break;
		}
		rows_put(ret, row, yes);
	}
	c->e->given = NULL;
	c->e->given_cnt = 0;
	return c->e->err;
}

/* A comparison of one field with a literal; NULL: it is none. */
static const struct expr *lone_field(const struct expr *x, const struct expr **ret_literal)
{
	if (x->kind != EXPR_BINARY || !ops_table[x->op].boolean)
		return NULL;
	*ret_literal = x->l->kind == EXPR_LITERAL ? x->l : x->r;
	if (x->l->kind == EXPR_FIELD && x->r->kind == EXPR_LITERAL)
		return x->l;
	return x->r->kind == EXPR_FIELD && x->l->kind == EXPR_LITERAL ? x->r : NULL;
}

static int leaf_rows(struct columnar *c, const struct expr *x, struct rows *ret)
{
	const struct expr *literal, *lone = lone_field(x, &literal);
	struct columnar_field f;
	int err;

	if (!lone)
		return general_rows(c, x, ret);
	if (lone->field.intrinsic && lone->field.intrinsic->column == COLUMN_ROOT)
		return root_rows(c, x, literal, ret);
	err = columnar_field(c, &lone->field, &f);
	if (err)
		return err;
	if (f.form == COLUMNAR_TABLE)
		return table_rows(c, &f, x, ret);
	if (f.form == COLUMNAR_NUMBERS)
		return duration_rows(c, x, ret);
	*ret = rows_are(c, true, false);
	return 0;
}

/* --- all conditions --- */

int columnar_rows(struct columnar *c, const struct expr *x, struct rows *ret)
{
	struct rows l, r;
	int err;

	if (!x) {
		*ret = rows_are(c, true, true);
		return 0;
	}
	if (x->kind == EXPR_BINARY && (x->op == OP_AND || x->op == OP_OR)) {
		err = columnar_rows(c, x->l, &l);
		if (!err && x->op == OP_AND && rows_none(&l) && l.exact) {
			*ret = l;
			return 0;
		}
		err = err ?: columnar_rows(c, x->r, &r);
		if (!err)
			*ret = x->op == OP_AND ? rows_and(&l, &r) : rows_or(&l, &r);
		return err;
	}
	if (x->kind == EXPR_UNARY && x->op == OP_NOT && ops_table[x->r->op].boolean &&
	    x->r->kind == EXPR_BINARY) {
		err = columnar_rows(c, x->r, ret);
		if (!err && ret->exact)
			rows_invert(ret);
		else if (!err)
			*ret = rows_are(c, true, false);
		return err;
	}
	return leaf_rows(c, x, ret);
}

int columnar_overlap(struct columnar *c, uint64_t from_ns, uint64_t to_ns, struct rows *rows)
{
	const struct column_block *b = c->block;
	uint64_t start[COLUMN_RUN], duration[COLUMN_RUN];
	struct rows in = rows_are(c, false, true);

	if (b->min_start_ns >= from_ns && b->max_start_ns <= to_ns)
		return 0;
	if (rows_alloc(c, &in))
		return c->e->err;
	for (uint32_t row = 0, n; row < in.cnt; row += n) {
		n = in.cnt - row < COLUMN_RUN ? in.cnt - row : COLUMN_RUN;
		column_read(&c->group->columns[COLUMN_START], row, n, start);
		column_read(&c->group->columns[COLUMN_DURATION], row, n, duration);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t at = b->min_start_ns + start[i];

			rows_put(&in, row + i, at <= to_ns && at + duration[i] >= from_ns);
		}
	}
	*rows = rows_and(rows, &in);
	return 0;
}

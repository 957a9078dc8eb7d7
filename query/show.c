/* SPDX-License-Identifier: Apache-2.0 */
/* show.c - the attributes of a span in a search result. A field that the query compares with a
 * literal is listed where the comparison is true (`= nil` then lists "nil"); a field that it
 * selects, groups by, aggregates, computes with or compares with another field is listed wherever
 * it has a value, and then so are the other attributes of its scope that the filters name. Of an
 * array the elements are listed for which a comparison is true. So comparisons are asked again
 * here, for the few spans that are returned. Called by search.c. */
#include "query/show.h"
#include "query/text.h"

#include <errno.h>
#include <string.h>

struct condition {
	struct condition *next;
	const struct expr *expr;
};

struct shown {
	struct shown *next;
	struct field_ref field;
	bool always;
	struct condition *conditions;
};

struct show {
	struct shown *list, **end;
	uint32_t cnt;
	struct arena *arena;
	bool whole_scope[ATTR_SCOPE_COUNT]; /* a filter names one without a literal */
	bool full;			    /* no memory */
};

/* --- what the query names --- */
static struct shown *shown_of(struct show *s, const struct field_ref *f)
{
	for (struct shown *x = s->list; x; x = x->next)
		if (field_eq(&x->field, f))
			return x;
	*s->end = arena_new(s->arena, struct shown);
	if (!*s->end) {
		s->full = true;
		return NULL;
	}
	(*s->end)->field = *f;
	s->end = &(*s->end)->next;
	s->cnt++;
	return shown_of(s, f);
}

static void add_always(struct show *s, const struct expr *e)
{
	struct shown *x;

	if (!e || s->full)
		return;
	if (e->kind != EXPR_FIELD) {
		add_always(s, e->l);
		add_always(s, e->r);
		return;
	}
	x = shown_of(s, &e->field);
	if (x)
		x->always = true;
}

/* A field in a filter that is not compared with a literal. */
static void add_open(struct show *s, const struct expr *e)
{
	if (!e)
		return;
	if (e->kind == EXPR_FIELD && !e->field.intrinsic)
		s->whole_scope[e->field.scope] = true;
	add_open(s, e->l);
	add_open(s, e->r);
}

/* e compares field with a literal. */
static void add_condition(struct show *s, const struct expr *field, const struct expr *e)
{
	struct shown *x = shown_of(s, &field->field);
	struct condition *c = arena_new(s->arena, struct condition);

	if (!x || !c) {
		s->full = true;
		return;
	}
	c->expr = e;
	c->next = x->conditions;
	x->conditions = c;
}

static void add_filter(struct show *s, const struct expr *e)
{
	bool compares = e && e->kind == EXPR_BINARY && ops_table[e->op].prec == PREC_COMPARE;

	if (!e || s->full)
		return;
	if (compares && e->l->kind == EXPR_FIELD && e->r->kind == EXPR_LITERAL) {
		add_condition(s, e->l, e);
	} else if (compares && e->r->kind == EXPR_FIELD && e->l->kind == EXPR_LITERAL) {
		add_condition(s, e->r, e);
	} else if (e->kind == EXPR_BINARY && ops_table[e->op].prec == PREC_LOGIC) {
		add_filter(s, e->l);
		add_filter(s, e->r);
	} else if (e->kind == EXPR_UNARY && e->op == OP_NOT) {
		add_filter(s, e->r);
	} else {
		add_always(s, e);
		add_open(s, e);
	}
}

static void add_stages(struct show *s, const struct stage *st)
{
	for (; st && !s->full; st = st->next) {
		if (st->kind == STAGE_FILTER)
			add_filter(s, st->expr);
		else
			add_always(s, st->expr);
		for (uint32_t i = 0; i < st->field_cnt; i++)
			add_always(s, st->fields[i]);
		add_stages(s, st->l);
		add_stages(s, st->r);
	}
}

struct show *show_new(struct arena *a, const struct tql *t)
{
	struct show *s = arena_new(a, struct show);

	if (!s)
		return NULL;
	s->arena = a;
	s->end = &s->list;
	add_stages(s, t->pipe);
	return s->full ? NULL : s;
}

/* --- copies --- */
static int copy_list(struct arena *a, const struct val *v, struct val *ret)
{
	int err = 0;

	ret->elems = arena_array(a, struct val, v->cnt + 1);
	if (!ret->elems)
		return -ERANGE;
	for (uint32_t i = 0; i < v->cnt && !err; i++)
		err = show_val(a, &v->elems[i], &ret->elems[i]);
	return err;
}

/* Arrays that reach an answer hold plain values only (tval_of), so this does not recurse deeper. */
int show_val(struct arena *a, const struct val *v, struct val *ret)
{
	*ret = *v;
	if (v->type == VAL_ARRAY)
		return copy_list(a, v, ret);
	if (v->type != VAL_STR && v->type != VAL_BYTES)
		return 0;
	ret->str = arena_str(a, v->str.p, v->str.len);
	return ret->str.p ? 0 : -ERANGE;
}

/* --- one span --- */
static bool is_name(const struct field_ref *f)
{
	return f->intrinsic && strcmp(f->intrinsic->shown, "name") == 0;
}

static bool is_nil_test(const struct expr *e)
{
	return e->op == OP_EQ && (e->l->kind == EXPR_LITERAL ? e->l : e->r)->type == TYPE_NIL;
}

/* Is v listed because of a comparison? */
static bool asked_for(const struct shown *x, struct eval *e, const struct tval *v)
{
	for (const struct condition *c = x->conditions; c; c = c->next)
		if (!is_nil_test(c->expr) && eval_true_for(e, c->expr, v))
			return true;
	return false;
}

/* The elements that are asked for; one alone is no array any more. */
static struct tval narrowed(const struct shown *x, struct eval *e, const struct val *arr)
{
	struct val *list = arena_new(&e->q->arena, struct val);
	struct tval v = TVAL_NIL;

	if (list)
		list->elems = arena_array(&e->q->arena, struct val, arr->cnt);
	if (!list || !list->elems)
		return TVAL_NIL;
	list->type = VAL_ARRAY;
	for (uint32_t i = 0; i < arr->cnt; i++) {
		v = tval_of(&arr->elems[i]);
		if (asked_for(x, e, &v))
			list->elems[list->cnt++] = arr->elems[i];
	}
	return tval_of(list->cnt == 1 ? list->elems : list);
}

static struct tval nth_at(const struct shown *x, struct eval *e, uint32_t i, uint32_t n,
			  bool always)
{
	struct tval v = field_get(&x->field, &e->trace, i, n);

	if (always || v.type == TYPE_NIL)
		return v;
	if (v.type == TYPE_ARRAY)
		return asked_for(x, e, &v) ? narrowed(x, e, v.arr) : TVAL_NIL;
	return asked_for(x, e, &v) ? v : TVAL_NIL;
}

/* The value to list; nil: none. Of several events or links the last one that counts. */
static struct tval value_at(const struct show *s, const struct shown *x, struct eval *e, uint32_t i)
{
	bool always = x->always || (!x->field.intrinsic && s->whole_scope[x->field.scope]);
	struct tval v = TVAL_NIL;

	for (uint32_t n = field_cnt(&x->field, &e->trace, i); n-- > 0 && v.type == TYPE_NIL;)
		v = nth_at(x, e, i, n, always);
	for (const struct condition *c = x->conditions; c && v.type == TYPE_NIL; c = c->next)
		if (is_nil_test(c->expr) && eval_true(e, c->expr, i))
			v = TVAL_STR(STR("nil"));
	return v;
}

static struct str key_of(const struct field_ref *f)
{
	return f->intrinsic ? str_of(f->intrinsic->shown) : f->key;
}

int show_span(const struct show *s, struct eval *e, uint32_t i, struct search_span *ret)
{
	struct arena *a = &e->q->arena;
	int err = 0;

	ret->attrs.at = arena_array(a, struct attr, s->cnt + 1);
	if (!ret->attrs.at)
		return query_fail_memory(e->q);
	for (const struct shown *x = s->list; x && !err; x = x->next) {
		struct attr *at = &ret->attrs.at[ret->attrs.cnt];
		struct tval v = value_at(s, x, e, i);
		struct val val;

		if (is_name(&x->field))
			ret->show_name = v.type != TYPE_NIL;
		if (v.type == TYPE_NIL || (field_flags(&x->field) & FIELD_SILENT))
			continue;
		val = text_val(a, &v);
		at->key = key_of(&x->field);
		err = show_val(a, &val, &at->val) ? query_fail_memory(e->q) : 0;
		ret->attrs.cnt++;
	}
	return err ?: e->err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* eval.c - expressions on one span. The hot path of a search: nothing here allocates per span, and
 * values are borrowed from the span. Recursion is bounded by AST_MAX_DEPTH. A missing value is nil
 * and makes every comparison false, so there are no errors but division by zero, a regular
 * expression that gave up, and the limits. */
#include "query/eval_impl.h"

#include <errno.h>
#include <string.h>

static bool compare(struct eval *e, const struct expr *x, uint32_t i);

static void set_err(struct eval *e, int err)
{
	e->err = e->err ?: err;
}

void *eval_alloc(struct eval *e, size_t len)
{
	void *p = arena_alloc(&e->q->scratch, len ?: 1);

	if (!p)
		set_err(e, query_fail_memory(e->q));
	return p;
}

struct tval eval_keep(struct eval *e, const struct tval *v)
{
	const char *hex = (const char *)e->trace.hex;

	if (v->type != TYPE_STR || v->str.p < hex || v->str.p >= hex + sizeof(e->trace.hex))
		return *v;
	return TVAL_STR(arena_str(&e->q->scratch, v->str.p, v->str.len));
}

/* --- values --- */
/* The first value that is there: of a field with many, outside of comparisons, one must do. */
static void field_value(struct eval *e, const struct field_ref *f, uint32_t i, struct tval *ret)
{
	uint32_t cnt = e->given ? 0 : field_cnt(f, &e->trace, i);

	*ret = TVAL_NIL;
	for (uint32_t n = 0; n < e->given_cnt; n++)
		if (e->given[n].field == f)
			*ret = e->given[n].val;
	for (uint32_t n = 0; n < cnt && ret->type == TYPE_NIL; n++)
		*ret = field_get(f, &e->trace, i, n);
}

static void unary_value(struct eval *e, const struct expr *x, uint32_t i, struct tval *ret)
{
	struct tval v;

	eval_value(e, x->r, i, &v);
	if (x->op == OP_NEG)
		*ret = ops_negate(&v);
	else
		*ret = v.type == TYPE_BOOL ? TVAL_BOOL(!v.b) : TVAL_NIL;
}

static void arith_value(struct eval *e, const struct expr *x, uint32_t i, struct tval *ret)
{
	struct tval l, r;

	eval_value(e, x->l, i, &l);
	eval_value(e, x->r, i, &r);
	*ret = TVAL_NIL;
	if (ops_binary(x->op, &l, &r, ret) && !e->err)
		set_err(e, query_fail(e->q, -EDOM, "integer division by zero"));
}

static void binary_value(struct eval *e, const struct expr *x, uint32_t i, struct tval *ret)
{
	switch (x->op) {
	case OP_AND:
		*ret = TVAL_BOOL(eval_true(e, x->l, i) && eval_true(e, x->r, i));
		break;
	case OP_OR:
		*ret = TVAL_BOOL(eval_true(e, x->l, i) || eval_true(e, x->r, i));
		break;
	default:
		if (ops_table[x->op].boolean)
			*ret = TVAL_BOOL(compare(e, x, i));
		else
			arith_value(e, x, i, ret);
	}
}

void eval_value(struct eval *e, const struct expr *x, uint32_t i, struct tval *ret)
{
	switch (x->kind) {
	case EXPR_LITERAL:
		*ret = x->lit;
		break;
	case EXPR_FIELD:
		field_value(e, &x->field, i, ret);
		break;
	case EXPR_UNARY:
		unary_value(e, x, i, ret);
		break;
	default:
		binary_value(e, x, i, ret);
	}
}

bool eval_true(struct eval *e, const struct expr *x, uint32_t i)
{
	struct tval v;

	if (!x)
		return true;
	eval_value(e, x, i, &v);
	return v.type == TYPE_BOOL && v.b && !e->err;
}

/* --- comparisons --- */
static bool matches(struct eval *e, struct re *re, struct str s)
{
	int rc = re_match(re, s);

	if (rc < 0)
		set_err(e, query_fail(e->q, -ERANGE, "a regular expression took too many steps"));
	return rc > 0;
}

/* Only strings match; of an array =~ wants one element, !~ none. */
static bool regex_holds(struct eval *e, const struct expr *x, const struct tval *l)
{
	bool found = false;

	if (l->type == TYPE_STR)
		return matches(e, x->re, l->str) == (x->op == OP_RE);
	if (l->type != TYPE_ARRAY || l->arr->elems[0].type != VAL_STR)
		return false;
	for (uint32_t n = 0; n < l->arr->cnt && !found; n++)
		found = matches(e, x->re, l->arr->elems[n].str);
	return found == (x->op == OP_RE);
}

static bool holds(struct eval *e, const struct expr *x, const struct tval *l, const struct tval *r)
{
	struct tval v = TVAL_BOOL(false);

	if (x->re)
		return regex_holds(e, x, l);
	ops_binary(x->op, l, r, &v);
	return v.b;
}

static bool is_nil_literal(const struct expr *x)
{
	return x->kind == EXPR_LITERAL && x->type == TYPE_NIL;
}

static bool compare_nil(struct eval *e, const struct expr *x, uint32_t i)
{
	struct tval v;

	eval_value(e, is_nil_literal(x->l) ? x->r : x->l, i, &v);
	return (v.type == TYPE_NIL) == (x->op == OP_EQ);
}

/* How many values x has: one, unless it is a field of events or links. */
static uint32_t value_cnt(struct eval *e, const struct expr *x, uint32_t i)
{
	return x->kind == EXPR_FIELD && !e->given ? field_cnt(&x->field, &e->trace, i) : 1;
}

static void nth_value(struct eval *e, const struct expr *x, uint32_t i, uint32_t n,
		      struct tval *ret)
{
	bool many = x->kind == EXPR_FIELD && !e->given &&
		    (field_flags(&x->field) & (FIELD_EVENT | FIELD_LINK));

	if (many)
		*ret = field_get(&x->field, &e->trace, i, n);
	else
		eval_value(e, x, i, ret);
}

bool eval_true_for(struct eval *e, const struct expr *x, const struct tval *v)
{
	if (is_nil_literal(x->l) || is_nil_literal(x->r))
		return (v->type == TYPE_NIL) == (x->op == OP_EQ);
	if (x->l->kind == EXPR_LITERAL)
		return holds(e, x, &x->l->lit, v);
	return holds(e, x, v, &x->r->lit);
}

/* True when it is for one of the events or links; both sides speak of the same one. */
static bool compare(struct eval *e, const struct expr *x, uint32_t i)
{
	uint32_t l_cnt = value_cnt(e, x->l, i), r_cnt = value_cnt(e, x->r, i);
	uint32_t cnt = l_cnt > r_cnt ? l_cnt : r_cnt;
	struct tval l, r;

	if (is_nil_literal(x->l) || is_nil_literal(x->r))
		return compare_nil(e, x, i);
	for (uint32_t n = 0; n < cnt && !e->err; n++) {
		nth_value(e, x->l, i, n, &l);
		nth_value(e, x->r, i, n, &r);
		if (holds(e, x, &l, &r))
			return true;
	}
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ops.c - the table of operators and functions, and what operators do to values. Knows no spans and
 * no text. All integer arithmetic wraps; nothing here may depend on undefined behaviour, as both
 * operands come from strangers. */
#include "query/ops.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define LOGIC(t)                                                                                   \
	{                                                                                          \
		.text = t, .prec = PREC_LOGIC, .boolean = true, .types = TYPES(TYPE_BOOL),         \
		.set_prec = SET_LOGIC, .rel = REL_UNION                                            \
	}
#define COMPARE(t, ty, ...)                                                                        \
	{                                                                                          \
		.text = t, .prec = PREC_COMPARE, .boolean = true, .types = (ty), __VA_ARGS__       \
	}
#define ARITH(t, p, ...)                                                                           \
	{                                                                                          \
		.text = t, .prec = (p), .types = TYPES_NUMBER, __VA_ARGS__                         \
	}
#define SETOP(t, r, ...)                                                                           \
	{                                                                                          \
		.text = t, .set_prec = SET_RELATION, .rel = (r), __VA_ARGS__                       \
	}

const struct op_row ops_table[OP_COUNT] = {
    [OP_NONE] = {.text = ""},
    [OP_OR] = LOGIC("||"),
    [OP_AND] = LOGIC("&&"),
    [OP_EQ] = COMPARE("=", TYPES_ANY),
    [OP_NE] = COMPARE("!=", TYPES_ANY),
    [OP_LT] = COMPARE("<", TYPES_ORDERED, .set_prec = SET_RELATION, .rel = REL_PARENT),
    [OP_LE] = COMPARE("<=", TYPES_ORDERED),
    [OP_GT] = COMPARE(">", TYPES_ORDERED, .set_prec = SET_RELATION, .rel = REL_CHILD),
    [OP_GE] = COMPARE(">=", TYPES_ORDERED),
    [OP_RE] = COMPARE("=~", TYPES(TYPE_STR)),
    [OP_NRE] = COMPARE("!~", TYPES(TYPE_STR), .set_prec = SET_RELATION, .rel = REL_SIBLING,
		       .negated = true),
    [OP_ADD] = ARITH("+", PREC_ADD),
    [OP_SUB] = ARITH("-", PREC_ADD),
    [OP_NOT] = {.text = "!", .types = TYPES(TYPE_BOOL)},
    [OP_MUL] = ARITH("*", PREC_MUL),
    [OP_DIV] = ARITH("/", PREC_MUL),
    [OP_MOD] = ARITH("%", PREC_MUL),
    [OP_POW] = ARITH("^", PREC_POW, .right = true),
    [OP_NEG] = {.text = "-", .types = TYPES_NUMBER},
    [OP_DESCENDANT] = SETOP(">>", REL_DESCENDANT),
    [OP_ANCESTOR] = SETOP("<<", REL_ANCESTOR),
    [OP_SIBLING] = SETOP("~", REL_SIBLING),
    [OP_NOT_CHILD] = SETOP("!>", REL_CHILD, .negated = true),
    [OP_NOT_DESCENDANT] = SETOP("!>>", REL_DESCENDANT, .negated = true),
    [OP_NOT_PARENT] = SETOP("!<", REL_PARENT, .negated = true),
    [OP_NOT_ANCESTOR] = SETOP("!<<", REL_ANCESTOR, .negated = true),
    [OP_BOTH_CHILD] = SETOP("&>", REL_CHILD, .both = true),
    [OP_BOTH_DESCENDANT] = SETOP("&>>", REL_DESCENDANT, .both = true),
    [OP_BOTH_PARENT] = SETOP("&<", REL_PARENT, .both = true),
    [OP_BOTH_ANCESTOR] = SETOP("&<<", REL_ANCESTOR, .both = true),
    [OP_BOTH_SIBLING] = SETOP("&~", REL_SIBLING, .both = true),
};

#define METRIC(n, i, a)                                                                            \
	{                                                                                          \
		n, FUNC_METRIC, i, a, .groups = true                                               \
	}

static const struct func funcs[] = {
    {"count", FUNC_AGGREGATE, FN_COUNT, ARGS_NONE, .leads = true},
    {"sum", FUNC_AGGREGATE, FN_SUM, ARGS_EXPR, .leads = true},
    {"avg", FUNC_AGGREGATE, FN_AVG, ARGS_EXPR, .leads = true},
    {"min", FUNC_AGGREGATE, FN_MIN, ARGS_EXPR, .leads = true},
    {"max", FUNC_AGGREGATE, FN_MAX, ARGS_EXPR, .leads = true},
    {"by", FUNC_BY, FN_BY, ARGS_EXPR, .leads = true},
    {"coalesce", FUNC_COALESCE, FN_COALESCE, ARGS_NONE, .leads = false},
    {"select", FUNC_SELECT, FN_SELECT, ARGS_FIELDS, .leads = true},
    METRIC("rate", FN_RATE, ARGS_NONE),
    METRIC("count_over_time", FN_COUNT_OT, ARGS_NONE),
    METRIC("min_over_time", FN_MIN_OT, ARGS_FIELD),
    METRIC("max_over_time", FN_MAX_OT, ARGS_FIELD),
    METRIC("avg_over_time", FN_AVG_OT, ARGS_FIELD),
    METRIC("sum_over_time", FN_SUM_OT, ARGS_FIELD),
    METRIC("quantile_over_time", FN_QUANTILE_OT, ARGS_FIELD_NUMBERS),
    METRIC("histogram_over_time", FN_HISTOGRAM_OT, ARGS_FIELD),
    {"compare", FUNC_METRIC, FN_COMPARE, ARGS_FILTER_INTS, .leads = false},
    {"topk", FUNC_RANK, FN_TOPK, ARGS_INT, .leads = false},
    {"bottomk", FUNC_RANK, FN_BOTTOMK, ARGS_INT, .leads = false},
};

const struct func *ops_func(struct str name)
{
	for (size_t i = 0; i < ARRAY_SIZE(funcs); i++)
		if (str_eq(str_of(funcs[i].name), name))
			return &funcs[i];
	return NULL;
}

enum op ops_match(struct str text)
{
	enum op best = OP_NONE;
	size_t best_len = 0;

	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		size_t len = strlen(ops_table[op].text);

		if (op != OP_NEG && len > best_len &&
		    str_starts(text, str_of(ops_table[op].text))) {
			best = op;
			best_len = len;
		}
	}
	return best;
}

/* --- values --- */
static bool arr_is_uniform(const struct val *v)
{
	enum val_type t = v->cnt ? v->elems[0].type : VAL_EMPTY;

	if (t != VAL_STR && t != VAL_BOOL && t != VAL_INT && t != VAL_DOUBLE)
		return false;
	for (uint32_t i = 1; i < v->cnt; i++)
		if (v->elems[i].type != t)
			return false;
	return true;
}

struct tval tval_of(const struct val *v)
{
	switch (v->type) {
	case VAL_STR:
		return TVAL_STR(v->str);
	case VAL_BOOL:
		return TVAL_BOOL(v->b);
	case VAL_INT:
		return TVAL_INT(v->i);
	case VAL_DOUBLE:
		return (struct tval){.type = TYPE_FLOAT, .d = v->d};
	case VAL_ARRAY:
		if (arr_is_uniform(v))
			return (struct tval){.type = TYPE_ARRAY, .arr = v};
		return TVAL_NIL;
	default:
		return TVAL_NIL;
	}
}

static int int_cmp(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

/* NaN sorts first, so that sorting stays a total order. */
static int double_cmp(double a, double b)
{
	if (isnan(a) || isnan(b))
		return !isnan(a) - !isnan(b);
	return a < b ? -1 : a > b;
}

static int arr_cmp(const struct val *a, const struct val *b)
{
	for (uint32_t i = 0; i < a->cnt && i < b->cnt; i++) {
		struct tval x = tval_of(&a->elems[i]), y = tval_of(&b->elems[i]);
		int c = tval_cmp(&x, &y);

		if (c)
			return c;
	}
	return int_cmp(a->cnt, b->cnt);
}

int tval_cmp(const struct tval *a, const struct tval *b)
{
	if (a->type != b->type)
		return int_cmp(a->type, b->type);
	switch (a->type) {
	case TYPE_NIL:
		return 0;
	case TYPE_STR:
		return str_cmp(a->str, b->str);
	case TYPE_FLOAT:
		return double_cmp(a->d, b->d);
	case TYPE_BOOL:
		return a->b - b->b;
	case TYPE_ARRAY:
		return arr_cmp(a->arr, b->arr);
	default:
		return int_cmp(a->i, b->i);
	}
}

/* --- comparisons --- */
static bool by_sign(enum op op, int c)
{
	switch (op) {
	case OP_EQ:
		return c == 0;
	case OP_NE:
		return c != 0;
	case OP_LT:
		return c < 0;
	case OP_LE:
		return c <= 0;
	case OP_GT:
		return c > 0;
	default:
		return c >= 0;
	}
}

static bool compare_numbers(enum op op, const struct tval *l, const struct tval *r)
{
	double a, b;

	if (l->type != TYPE_FLOAT && r->type != TYPE_FLOAT)
		return by_sign(op, int_cmp(l->i, r->i));
	a = tval_number(l);
	b = tval_number(r);
	if (isnan(a) || isnan(b))
		return op == OP_NE;
	return by_sign(op, a < b ? -1 : a > b);
}

/* Values of different types are neither equal nor unequal. */
static bool comparable(const struct tval *l, const struct tval *r)
{
	return (tval_is_number(l) && tval_is_number(r)) ||
	       (l->type == r->type && l->type != TYPE_NIL);
}

static bool compare_scalars(enum op op, const struct tval *l, const struct tval *r)
{
	if (!comparable(l, r))
		return false;
	if (tval_is_number(l))
		return compare_numbers(op, l, r);
	return by_sign(op, tval_cmp(l, r));
}

static bool compare(enum op op, const struct tval *l, const struct tval *r);

/* An array compares when any element does; != when it can be compared and no element is equal. */
static bool compare_array(enum op op, const struct val *arr, const struct tval *v, bool flipped)
{
	for (uint32_t i = 0; i < arr->cnt; i++) {
		struct tval e = tval_of(&arr->elems[i]);
		bool hit;

		if (op == OP_NE) {
			if (v->type != TYPE_ARRAY && !comparable(&e, v))
				return false;
			hit = compare(OP_EQ, &e, v);
		} else {
			hit = flipped ? compare(op, v, &e) : compare(op, &e, v);
		}
		if (hit)
			return op != OP_NE;
	}
	return op == OP_NE;
}

static bool compare(enum op op, const struct tval *l, const struct tval *r)
{
	if (l->type == TYPE_NIL || r->type == TYPE_NIL)
		return false;
	if (l->type == TYPE_ARRAY)
		return compare_array(op, l->arr, r, false);
	if (r->type == TYPE_ARRAY)
		return compare_array(op, r->arr, l, true);
	return compare_scalars(op, l, r);
}

/* --- arithmetic --- */
static double float_arith(enum op op, double a, double b)
{
	switch (op) {
	case OP_ADD:
		return a + b;
	case OP_SUB:
		return a - b;
	case OP_MUL:
		return a * b;
	case OP_DIV:
		return a / b;
	case OP_MOD:
		return fmod(a, b);
	default:
		return pow(a, b);
	}
}

static int64_t saturate(double d)
{
	if (isnan(d))
		return 0;
	if (d >= 9223372036854775807.0)
		return INT64_MAX;
	return d <= -9223372036854775808.0 ? INT64_MIN : (int64_t)d;
}

static int int_arith(enum op op, int64_t a, int64_t b, int64_t *ret)
{
	uint64_t ua = (uint64_t)a, ub = (uint64_t)b;

	if ((op == OP_DIV || op == OP_MOD) && b == 0)
		return -EDOM;
	if ((op == OP_DIV || op == OP_MOD) && b == -1) {
		*ret = op == OP_DIV ? (int64_t)(0 - ua) : 0;
		return 0;
	}
	switch (op) {
	case OP_ADD:
		*ret = (int64_t)(ua + ub);
		break;
	case OP_SUB:
		*ret = (int64_t)(ua - ub);
		break;
	case OP_MUL:
		*ret = (int64_t)(ua * ub);
		break;
	case OP_DIV:
		*ret = a / b;
		break;
	case OP_MOD:
		*ret = a % b;
		break;
	default:
		*ret = saturate(pow((double)a, (double)b));
	}
	return 0;
}

static int arith(enum op op, const struct tval *l, const struct tval *r, struct tval *ret)
{
	bool duration = l->type == TYPE_DURATION || r->type == TYPE_DURATION;
	int64_t i;
	int err;

	if (!tval_is_number(l) || !tval_is_number(r)) {
		*ret = TVAL_NIL;
		return 0;
	}
	if (l->type == TYPE_FLOAT || r->type == TYPE_FLOAT) {
		double d = float_arith(op, tval_number(l), tval_number(r));

		*ret = (struct tval){.type = TYPE_FLOAT, .d = d};
		return 0;
	}
	err = int_arith(op, l->i, r->i, &i);
	if (!err)
		*ret = (struct tval){.type = duration ? TYPE_DURATION : TYPE_INT, .i = i};
	return err;
}

int ops_binary(enum op op, const struct tval *l, const struct tval *r, struct tval *ret)
{
	if (!ops_table[op].boolean)
		return arith(op, l, r, ret);
	*ret = TVAL_BOOL(compare(op, l, r));
	return 0;
}

struct tval ops_negate(const struct tval *v)
{
	struct tval r = *v;

	if (v->type == TYPE_FLOAT)
		r.d = -v->d;
	else if (tval_is_number(v))
		r.i = (int64_t)(0 - (uint64_t)v->i);
	else
		r = TVAL_NIL;
	return r;
}

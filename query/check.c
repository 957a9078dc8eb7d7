/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - the static rules. Walks the tree once, bottom up, gives each expression its type and
 * refuses what cannot mean anything, with the place. Attributes have any type and fit everywhere;
 * a mismatch of theirs is no error but a comparison that is false. */
#include "query/check.h"
#include "query/parse.h"
#include "query/text.h"

#include <errno.h>

struct check {
	struct tql *t;
	struct strbuf *why;
};

static int refuse(struct check *c, uint32_t at, const char *what)
{
	parse_where(c->why, c->t->text, at);
	strbuf_adds(c->why, what);
	return -EINVAL;
}

/* --- types --- */
static bool type_in(enum tql_type t, uint32_t types)
{
	return t == TYPE_ATTR || (types & TYPES(t));
}

static bool types_match(enum tql_type a, enum tql_type b)
{
	if (a == TYPE_ATTR || b == TYPE_ATTR || a == b)
		return true;
	return (TYPES(a) & TYPES_NUMBER) && (TYPES(b) & TYPES_NUMBER);
}

static bool is_nil(const struct expr *e)
{
	return e->kind == EXPR_LITERAL && e->type == TYPE_NIL;
}

/* Intrinsics and resource.service.name always have a value. */
static bool can_be_nil(const struct expr *e)
{
	return e->kind != EXPR_FIELD || (!e->field.intrinsic && !field_is_service(&e->field));
}

static int check_nil(struct check *c, struct expr *e)
{
	struct expr *x = is_nil(e->l) ? e->r : e->l;

	if ((e->op != OP_EQ && e->op != OP_NE) || is_nil(x))
		return refuse(c, e->at, "nil can only be compared with = and != to something else");
	if (e->op == OP_EQ && !can_be_nil(x))
		return refuse(c, x->at, "this field always has a value, it cannot be nil");
	e->type = TYPE_BOOL;
	return 0;
}

static int check_regex(struct check *c, struct expr *e)
{
	if (e->r->kind != EXPR_LITERAL)
		return refuse(c, e->r->at, "the right side of =~ and !~ must be a string");
	if (re_compile(&e->re, e->r->lit.str, &c->t->regexes))
		return refuse(c, e->r->at, "invalid regular expression");
	return 0;
}

/* trace:id = "00ab" means "ab". */
static void strip_zeros(const struct expr *field, struct expr *literal)
{
	struct str *s = &literal->lit.str;

	if (field->kind != EXPR_FIELD || !(field_flags(&field->field) & FIELD_ID))
		return;
	if (literal->kind != EXPR_LITERAL || literal->type != TYPE_STR)
		return;
	for (; s->len > 1 && s->p[0] == '0'; s->len--)
		s->p++;
}

static int check_binary(struct check *c, struct expr *e)
{
	const struct op_row *row = &ops_table[e->op];

	if (is_nil(e->l) || is_nil(e->r))
		return check_nil(c, e);
	if (!types_match(e->l->type, e->r->type))
		return refuse(c, e->at, "binary operations must operate on the same type");
	if (!type_in(e->l->type, row->types) || !type_in(e->r->type, row->types))
		return refuse(c, e->at, "illegal operation for the given types");
	if (row->boolean)
		e->type = TYPE_BOOL;
	else
		e->type = e->r->type != TYPE_ATTR ? e->r->type : e->l->type;
	if (e->op == OP_RE || e->op == OP_NRE)
		return check_regex(c, e);
	if (row->prec == PREC_COMPARE) {
		strip_zeros(e->l, e->r);
		strip_zeros(e->r, e->l);
	}
	return 0;
}

static int check_field(struct check *c, struct expr *e)
{
	uint32_t flags = field_flags(&e->field);

	if (e->field.parent)
		return refuse(c, e->at, "parent is not supported");
	e->whole = flags & (FIELD_TREE | FIELD_TRACE);
	c->t->tree |= (flags & FIELD_TREE) != 0;
	c->t->trace |= e->whole;
	return 0;
}

static int check_unary(struct check *c, struct expr *e)
{
	if (is_nil(e->r) || !type_in(e->r->type, ops_table[e->op].types))
		return refuse(c, e->at, "illegal operation for the given type");
	e->type = e->r->type;
	return 0;
}

static int check_expr(struct check *c, struct expr *e)
{
	int err = 0;

	if (e->kind == EXPR_LITERAL)
		return 0;
	if (e->kind == EXPR_FIELD)
		return check_field(c, e);
	if (e->l)
		err = check_expr(c, e->l);
	err = err ?: check_expr(c, e->r);
	if (err)
		return err;
	e->whole = e->r->whole || (e->l && e->l->whole);
	return e->kind == EXPR_UNARY ? check_unary(c, e) : check_binary(c, e);
}

static bool names_span(const struct expr *e)
{
	return e->kind == EXPR_FIELD || (e->l && names_span(e->l)) || (e->r && names_span(e->r));
}

/* --- stages --- */
static int check_filter(struct check *c, struct stage *s)
{
	int err = s->expr ? check_expr(c, s->expr) : 0;

	if (!err && s->expr && (is_nil(s->expr) || !type_in(s->expr->type, TYPES(TYPE_BOOL))))
		return refuse(c, s->at, "the filter of a span set must be true or false");
	return err;
}

/* The argument of an aggregate or of by(). */
static int check_argument(struct check *c, struct stage *s, uint32_t types)
{
	int err;

	if (!s->expr)
		return 0;
	err = check_expr(c, s->expr);
	if (!err && !names_span(s->expr))
		return refuse(c, s->at, "the expression must refer to the span");
	if (!err && !type_in(s->expr->type, types))
		return refuse(c, s->at, "the expression must be a number");
	return err;
}

static int check_fields(struct check *c, struct stage *s)
{
	for (uint32_t i = 0; i < s->field_cnt; i++) {
		int err = check_field(c, s->fields[i]);

		if (err)
			return err;
	}
	return 0;
}

static int check_compare(struct check *c, struct stage *s)
{
	for (uint32_t i = 0; i < s->num_cnt; i++)
		if (s->nums[i].type != TYPE_INT)
			return refuse(c, s->at, "compare() takes integers");
	if (s->num_cnt && s->nums[0].i <= 0)
		return refuse(c, s->at, "the limit of compare() must be greater than 0");
	if (s->num_cnt == 2)
		return refuse(c, s->at, "compare() takes a start and an end, or neither");
	if (s->num_cnt == 3 && s->nums[2].i <= s->nums[1].i)
		return refuse(c, s->at, "the end of compare() must be greater than its start");
	return check_filter(c, s->l);
}

static int check_metric(struct check *c, struct stage *s)
{
	c->t->metrics = true;
	if (s->field_cnt > AST_MAX_GROUPS)
		return refuse(c, s->at, "metrics can be grouped by at most 5 fields");
	if (s->func->id == FN_QUANTILE_OT && !s->num_cnt)
		return refuse(c, s->at, "quantile_over_time() needs a quantile");
	if (s->expr && check_expr(c, s->expr))
		return -EINVAL;
	return check_fields(c, s) ?: s->func->id == FN_COMPARE ? check_compare(c, s) : 0;
}

static int check_pipeline(struct check *c, struct stage *s);

static int check_setop(struct check *c, struct stage *s)
{
	enum relation rel = ops_table[s->op].rel;

	c->t->trace = true;
	c->t->tree |= rel != REL_UNION;
	return check_pipeline(c, s->l) ?: check_pipeline(c, s->r);
}

static int check_math(struct check *c, struct stage *s)
{
	if (s->l->kind == STAGE_NUMBER && s->r->kind == STAGE_NUMBER)
		return refuse(c, s->at, "arithmetic between metrics needs a metric");
	return check_pipeline(c, s->l) ?: check_pipeline(c, s->r);
}

static int check_stage(struct check *c, struct stage *s)
{
	switch (s->kind) {
	case STAGE_FILTER:
		return check_filter(c, s);
	case STAGE_SETOP:
		return check_setop(c, s);
	case STAGE_SCALAR:
		c->t->trace = true;
		return check_argument(c, s, TYPES_NUMBER);
	case STAGE_BY:
		return check_argument(c, s, TYPES_ANY);
	case STAGE_SELECT:
		return check_fields(c, s);
	case STAGE_METRIC:
		return check_metric(c, s);
	case STAGE_RANK:
		return s->num.i > 0 ? 0 : refuse(c, s->at, "the limit must be greater than 0");
	case STAGE_MATH:
		return check_math(c, s);
	default:
		return 0;
	}
}

static int check_pipeline(struct check *c, struct stage *s)
{
	for (; s; s = s->next) {
		int err = check_stage(c, s);

		if (err)
			return err;
	}
	return 0;
}

int check_query(struct tql *t, struct strbuf *why)
{
	struct check c = {.t = t, .why = why};

	return check_pipeline(&c, t->pipe);
}

int check_constant(const struct expr *e, struct tval *ret)
{
	struct tval l = TVAL_NIL, r;
	int err;

	if (e->kind == EXPR_FIELD)
		return -EINVAL;
	if (e->kind == EXPR_LITERAL) {
		*ret = e->lit;
		return 0;
	}
	err = e->l ? check_constant(e->l, &l) : 0;
	err = err ?: check_constant(e->r, &r);
	if (err)
		return err;
	if (e->kind == EXPR_BINARY)
		return ops_binary(e->op, &l, &r, ret) ? -EINVAL : 0;
	*ret = ops_negate(&r);
	return e->op == OP_NEG ? 0 : -EINVAL;
}

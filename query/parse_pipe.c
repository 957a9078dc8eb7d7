/* SPDX-License-Identifier: Apache-2.0 */
/* parse_pipe.c - the rules for span sets, stages and pipelines, metrics included. Which functions
 * there are and what they take stands in ops.c: a new one needs nothing here unless its arguments
 * have a new shape. */
#include "query/parse_impl.h"
#include "query/check.h"
#include "query/text.h"

#include <string.h>

/* --- stages --- */
static struct stage *stage_new(struct parser *p, enum stage_kind kind)
{
	struct stage *s = p->err ? NULL : arena_new(p->arena, struct stage);

	if (!s)
		return p->err ? NULL : parser_fail_memory(p);
	s->kind = kind;
	s->at = p->tok.at;
	s->depth = 1;
	return s;
}

/* filter -> '{' [ expr ] '}' */
static struct stage *filter(struct parser *p)
{
	struct stage *s = stage_new(p, STAGE_FILTER);

	if (!s || !parser_need(p, '{'))
		return NULL;
	if (!parser_at(p, '}'))
		s->expr = parser_expr(p, PREC_LOGIC);
	return parser_need(p, '}') ? s : NULL;
}

static bool is_metrics(const struct stage *s)
{
	while (s->next)
		s = s->next;
	return s->kind >= STAGE_METRIC;
}

/* set_operand -> filter | '(' pipeline ')' */
static struct stage *set_operand(struct parser *p)
{
	struct stage *s = NULL;

	if (!parser_at(p, '('))
		return parser_at(p, '{') ? filter(p) : parser_unexpected(p);
	parser_next(p);
	if (parser_enter(p))
		s = parser_pipeline(p);
	p->depth--;
	if (!s || !parser_need(p, ')'))
		return NULL;
	s->parens = true;
	s->piped = s->piped || s->next || (s->kind != STAGE_FILTER && s->kind != STAGE_SETOP);
	return s;
}

/* Two operands are either both without pipes or both in parentheses. */
static bool operands_fit(const struct stage *l, const struct stage *r)
{
	return (!l->piped && !r->piped) || (l->parens && r->parens);
}

static struct stage *join(struct parser *p, enum stage_kind kind, enum op op, struct stage *l,
			  struct stage *r)
{
	struct stage *s = r ? stage_new(p, kind) : NULL;

	if (!s)
		return NULL;
	s->at = l->at;
	s->op = op;
	s->l = l;
	s->r = r;
	s->parens = l->parens && r->parens;
	s->piped = l->piped || r->piped;
	s->depth = 1 + (l->depth > r->depth ? l->depth : r->depth);
	if (s->depth > AST_MAX_DEPTH)
		return parser_fail(p, l->at, "too many operators between span sets", STR(""));
	return s;
}

/* set_expr -> set_operand { set_op set_operand }, by precedence */
static struct stage *set_expr(struct parser *p, int min_prec)
{
	struct stage *l = set_operand(p);

	while (l && p->tok.kind == TOKEN_OP && !is_metrics(l)) {
		enum op op = p->tok.op;
		uint32_t at = p->tok.at;
		struct stage *r;

		if (!ops_table[op].set_prec || ops_table[op].set_prec < min_prec)
			break;
		parser_next(p);
		r = set_expr(p, ops_table[op].set_prec + 1);
		if (r && (is_metrics(r) || !operands_fit(l, r)))
			return parser_fail(
			    p, at, "operands are not both span sets:", str_of(ops_table[op].text));
		l = join(p, STAGE_SETOP, op, l, r);
	}
	return p->err ? NULL : l;
}

/* constant -> expr without fields, a number */
static bool constant(struct parser *p, struct tval *ret)
{
	uint32_t at = p->tok.at;
	struct expr *e = parser_expr(p, PREC_ADD);

	if (!e)
		return false;
	if (check_constant(e, ret) || !tval_is_number(ret))
		parser_fail(p, at, "expected a number here", STR(""));
	return !p->err;
}

static bool at_comparison(const struct parser *p)
{
	return p->tok.kind == TOKEN_OP && ops_table[p->tok.op].prec == PREC_COMPARE &&
	       p->tok.op != OP_RE && p->tok.op != OP_NRE;
}

/* op constant */
static bool threshold(struct parser *p, struct stage *s)
{
	if (!at_comparison(p)) {
		parser_unexpected(p);
		return false;
	}
	s->op = p->tok.op;
	parser_next(p);
	return constant(p, &s->num);
}

/* --- functions --- */
/* field { ',' field } */
static bool field_list(struct parser *p, struct stage *s)
{
	uint32_t room = 0;

	do {
		if (s->field_cnt == room) {
			struct expr **more = arena_array(p->arena, struct expr *, room * 2 + 8);

			if (!more)
				return parser_fail_memory(p);
			if (room)
				memcpy(more, s->fields, room * sizeof(*more));
			s->fields = more;
			room = room * 2 + 8;
		}
		s->fields[s->field_cnt] = p->tok.kind == TOKEN_VALUE ? NULL : parser_operand(p);
		if (!s->fields[s->field_cnt] || s->fields[s->field_cnt]->kind != EXPR_FIELD)
			return parser_unexpected(p);
		s->field_cnt++;
	} while (parser_take(p, ','));
	return true;
}

static bool add_number(struct parser *p, struct stage *s, uint32_t room)
{
	if (p->tok.kind != TOKEN_VALUE || !tval_is_number(&p->tok.value) || s->num_cnt == room)
		return parser_unexpected(p);
	s->nums[s->num_cnt++] = p->tok.value;
	parser_next(p);
	return true;
}

/* { ',' number } */
static bool number_list(struct parser *p, struct stage *s, uint32_t room)
{
	s->nums = arena_array(p->arena, struct tval, room);
	if (!s->nums)
		return parser_fail_memory(p);
	while (parser_take(p, ','))
		if (!add_number(p, s, room))
			return false;
	return true;
}

static bool int_arg(struct parser *p, struct stage *s)
{
	if (p->tok.kind != TOKEN_VALUE || p->tok.value.type != TYPE_INT)
		return parser_unexpected(p);
	s->num = p->tok.value;
	parser_next(p);
	return true;
}

static bool filter_arg(struct parser *p, struct stage *s)
{
	s->l = filter(p);
	return s->l && number_list(p, s, 3);
}

/* The one field of min_over_time and its like. */
static bool field_arg(struct parser *p, struct stage *s)
{
	s->expr = parser_operand(p);
	if (s->expr && s->expr->kind != EXPR_FIELD)
		return parser_unexpected(p);
	return s->expr;
}

static bool arguments(struct parser *p, struct stage *s)
{
	switch (s->func->args) {
	case ARGS_NONE:
		return true;
	case ARGS_EXPR:
		s->expr = parser_expr(p, PREC_LOGIC);
		return s->expr;
	case ARGS_FIELDS:
		return field_list(p, s);
	case ARGS_FIELD:
		return field_arg(p, s);
	case ARGS_FIELD_NUMBERS:
		return field_arg(p, s) && number_list(p, s, 64);
	case ARGS_FILTER_INTS:
		return filter_arg(p, s);
	default:
		return int_arg(p, s);
	}
}

/* [ by '(' fields ')' ] */
static bool groups(struct parser *p, struct stage *s)
{
	if (!s->func->groups || !parser_at_word(p, "by"))
		return true;
	parser_next(p);
	return parser_need(p, '(') && field_list(p, s) && parser_need(p, ')');
}

static enum stage_kind kind_of(const struct func *f)
{
	static const enum stage_kind kinds[] = {
	    [FUNC_AGGREGATE] = STAGE_SCALAR,  [FUNC_BY] = STAGE_BY,
	    [FUNC_COALESCE] = STAGE_COALESCE, [FUNC_SELECT] = STAGE_SELECT,
	    [FUNC_METRIC] = STAGE_METRIC,     [FUNC_RANK] = STAGE_RANK,
	};

	return kinds[f->kind];
}

/* call -> name '(' arguments ')' [ by '(' fields ')' ] [ op constant ] */
static struct stage *call(struct parser *p, bool leads)
{
	const struct func *f = p->tok.kind == TOKEN_WORD ? ops_func(p->tok.text) : NULL;
	struct stage *s;

	if (!f || (leads && !f->leads))
		return parser_unexpected(p);
	s = stage_new(p, kind_of(f));
	if (!s)
		return NULL;
	s->func = f;
	parser_next(p);
	if (!parser_need(p, '(') || !arguments(p, s) || !parser_need(p, ')') || !groups(p, s))
		return NULL;
	if (s->kind == STAGE_SCALAR && !threshold(p, s))
		return NULL;
	if (s->kind == STAGE_SCALAR || s->kind == STAGE_BY)
		s->label = text_call(p->arena, f->name, s->expr);
	return s;
}

/* --- pipelines --- */
/* What may follow which: metrics end the part that works on span sets. */
static bool follows(const struct stage *before, const struct stage *s)
{
	bool metrics = before->kind >= STAGE_METRIC;

	if (s->kind == STAGE_RANK)
		return metrics && (!before->func || before->func->id != FN_COMPARE);
	return !metrics;
}

/* After a metric: comparisons without a pipe. */
static struct stage *series_filters(struct parser *p, struct stage *last)
{
	while (last && last->kind >= STAGE_METRIC && at_comparison(p)) {
		struct stage *s = stage_new(p, STAGE_SERIES);

		if (!s || !threshold(p, s))
			return NULL;
		last->next = s;
		last = s;
	}
	return p->err ? NULL : last;
}

/* { '|' ( set_expr | call ) } */
static bool stages(struct parser *p, struct stage *last)
{
	uint32_t cnt = 0;

	for (last = series_filters(p, last); last && parser_at(p, '|');
	     last = series_filters(p, last)) {
		struct token bar = p->tok;
		struct stage *s;

		parser_next(p);
		s = parser_at(p, '{') || parser_at(p, '(') ? set_expr(p, SET_LOGIC)
							   : call(p, false);
		if (s &&
		    (!follows(last, s) || s->piped || is_metrics(s) != (s->kind >= STAGE_METRIC)))
			return parser_fail(p, bar.at, "this stage cannot stand here", STR(""));
		if (++cnt > AST_MAX_DEPTH)
			return parser_fail(p, bar.at, "too many stages", STR(""));
		last->next = s;
		while (s && s->next)
			s = s->next;
		last = s;
	}
	return !p->err;
}

/* math_operand -> number | '(' metrics ')' */
static struct stage *math_operand(struct parser *p)
{
	struct stage *s;

	if (parser_at(p, '('))
		return set_operand(p);
	s = stage_new(p, STAGE_NUMBER);
	if (!s)
		return NULL;
	if (p->tok.kind != TOKEN_VALUE || !tval_is_number(&p->tok.value))
		return parser_unexpected(p);
	s->num = p->tok.value;
	parser_next(p);
	return s;
}

/* math -> math_operand { ('+'|'-'|'*'|'/') math_operand }, by precedence; l is the first operand */
static struct stage *math(struct parser *p, struct stage *l, int min_prec)
{
	while (l && p->tok.kind == TOKEN_OP) {
		const struct op_row *row = &ops_table[p->tok.op];
		enum op op = p->tok.op;
		struct stage *r;

		if (row->prec < min_prec || (row->prec != PREC_ADD && row->prec != PREC_MUL) ||
		    op == OP_MOD)
			break;
		parser_next(p);
		r = math_operand(p);
		r = r ? math(p, r, row->prec + 1) : NULL;
		if (r && !is_metrics(r))
			return parser_fail(p, r->at, "expected a metric or a number", STR(""));
		l = join(p, STAGE_MATH, op, l, r);
	}
	return p->err ? NULL : l;
}

/* pipeline -> ( set_expr | call | math ) stages */
struct stage *parser_pipeline(struct parser *p)
{
	struct stage *s;

	if (p->tok.kind == TOKEN_VALUE)
		s = math_operand(p);
	else if (p->tok.kind == TOKEN_WORD)
		s = call(p, true);
	else
		s = set_expr(p, SET_LOGIC);
	if (s && is_metrics(s))
		s = math(p, s, PREC_ADD);
	if (s && s->kind == STAGE_NUMBER)
		return parser_unexpected(p);
	if (!s)
		return NULL;
	for (struct stage *last = s;; last = last->next)
		if (!last->next)
			return stages(p, last) ? s : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - recursive descent from tokens to the tree of ast.h: the text as a whole and field
 * expressions; parse_pipe.c has the rest. Above each function stands its rule. Syntax only: types
 * are check.c's. Depth is counted on the way down (parentheses) and in the nodes (long chains of
 * operators), so that neither this recursion nor a later one over the tree can exhaust the stack.
 */
#include "query/parse_impl.h"
#include "query/check.h"
#include "query/text.h"

#include <errno.h>

/* --- errors --- */
void parse_where(struct strbuf *out, struct str text, uint32_t at)
{
	uint32_t line = 1, col = 1;

	for (uint32_t i = 0; i < at && i < text.len; i++) {
		if (text.p[i] == '\n') {
			line++;
			col = 1;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			col++;
		}
	}
	strbuf_printf(out, "line %u, col %u: ", line, col);
}

void *parser_fail(struct parser *p, uint32_t at, const char *what, struct str text)
{
	if (p->err)
		return NULL;
	p->err = -EINVAL;
	parse_where(p->why, p->lex.text, at);
	strbuf_adds(p->why, what);
	if (text.len)
		strbuf_printf(p->why, " " STR_FMT, (int)(text.len < 80 ? text.len : 80), text.p);
	return NULL;
}

void *parser_fail_memory(struct parser *p)
{
	if (!p->err)
		strbuf_adds(p->why, "the query needs more memory than it may have");
	p->err = p->err ?: -ERANGE;
	return NULL;
}

void *parser_unexpected(struct parser *p)
{
	if (p->tok.kind == TOKEN_BAD)
		return parser_fail(p, p->tok.at, p->lex.why, STR(""));
	if (p->tok.kind == TOKEN_END)
		return parser_fail(p, p->tok.at, "unexpected end of the query", STR(""));
	return parser_fail(p, p->tok.at, "unexpected", p->tok.text);
}

/* --- tokens --- */
void parser_next(struct parser *p)
{
	p->tok = lex_next(&p->lex);
}

bool parser_at(const struct parser *p, char c)
{
	return p->tok.kind == TOKEN_PUNCT && p->tok.punct == c;
}

bool parser_take(struct parser *p, char c)
{
	if (!parser_at(p, c))
		return false;
	parser_next(p);
	return true;
}

bool parser_need(struct parser *p, char c)
{
	if (p->err || parser_take(p, c))
		return !p->err;
	parser_unexpected(p);
	return false;
}

bool parser_at_op(const struct parser *p, enum op op)
{
	return p->tok.kind == TOKEN_OP && p->tok.op == op;
}

bool parser_at_word(const struct parser *p, const char *w)
{
	return p->tok.kind == TOKEN_WORD && str_eq(p->tok.text, str_of(w));
}

bool parser_enter(struct parser *p)
{
	if (++p->depth > AST_MAX_DEPTH)
		parser_fail(p, p->tok.at, "nested too deeply", STR(""));
	return !p->err;
}

/* --- field expressions --- */
static struct expr *expr_new(struct parser *p, enum expr_kind kind, uint32_t at)
{
	struct expr *e = arena_new(p->arena, struct expr);

	if (!e)
		return parser_fail_memory(p);
	e->kind = kind;
	e->at = at;
	e->depth = 1;
	return e;
}

static struct expr *node_new(struct parser *p, enum expr_kind kind, enum op op, uint32_t at,
			     struct expr *l, struct expr *r)
{
	struct expr *e = r ? expr_new(p, kind, at) : NULL;

	if (!e)
		return NULL;
	e->op = op;
	e->l = l;
	e->r = r;
	e->depth = 1 + (l && l->depth > r->depth ? l->depth : r->depth);
	if (e->depth > AST_MAX_DEPTH)
		return parser_fail(p, at, "too many operators in one expression", STR(""));
	return e;
}

/* literal -> string | number | duration | true | false | nil | status | kind | minInt | maxInt */
static struct expr *literal(struct parser *p, const struct tval *v)
{
	struct expr *e = expr_new(p, EXPR_LITERAL, p->tok.at);

	if (!e)
		return NULL;
	e->lit = *v;
	e->type = v->type;
	parser_next(p);
	return e;
}

static struct expr *field(struct parser *p, const struct field_ref *f)
{
	struct expr *e = expr_new(p, EXPR_FIELD, p->tok.at);

	if (!e)
		return NULL;
	e->field = *f;
	e->type = field_type(f);
	parser_next(p);
	return e;
}

static struct expr *word_expr(struct parser *p)
{
	struct field_ref f = {.intrinsic = fields_find(p->tok.text)};
	struct tval v;

	if (f.intrinsic)
		return field(p, &f);
	if (!text_word(p->tok.text, &v))
		return literal(p, &v);
	if (parser_at_word(p, "parent"))
		return parser_fail(p, p->tok.at, "parent is not supported", STR(""));
	return parser_fail(p, p->tok.at, "unknown identifier", p->tok.text);
}

/* parens -> '(' expr ')' */
static struct expr *parens(struct parser *p)
{
	struct expr *e = NULL;

	parser_next(p);
	if (parser_enter(p))
		e = parser_expr(p, PREC_LOGIC);
	p->depth--;
	return e && parser_need(p, ')') ? e : NULL;
}

/* unary -> '-' expr | '!' expr: how far expr reaches is precedence's to say */
static struct expr *unary(struct parser *p)
{
	uint32_t at = p->tok.at;
	bool not = p->tok.op == OP_NOT;
	struct expr *r = NULL;

	parser_next(p);
	if (parser_enter(p))
		r = parser_expr(p, not ? PREC_NOT + 1 : PREC_UNARY);
	p->depth--;
	return node_new(p, EXPR_UNARY, not ? OP_NOT : OP_NEG, at, NULL, r);
}

/* operand -> parens | unary | field | literal */
struct expr *parser_operand(struct parser *p)
{
	if (parser_at(p, '('))
		return parens(p);
	if (parser_at_op(p, OP_SUB) || parser_at_op(p, OP_NOT))
		return unary(p);
	if (p->tok.kind == TOKEN_FIELD)
		return field(p, &p->tok.field);
	if (p->tok.kind == TOKEN_VALUE)
		return literal(p, &p->tok.value);
	if (p->tok.kind == TOKEN_WORD)
		return word_expr(p);
	return parser_unexpected(p);
}

/* expr -> operand { op expr }, by precedence */
struct expr *parser_expr(struct parser *p, int min_prec)
{
	struct expr *l = parser_operand(p);

	while (l && p->tok.kind == TOKEN_OP) {
		const struct op_row *row = &ops_table[p->tok.op];
		enum op op = p->tok.op;
		uint32_t at = p->tok.at;
		struct expr *r = NULL;

		if (!row->prec || row->prec < min_prec)
			break;
		parser_next(p);
		if (parser_enter(p))
			r = parser_expr(p, row->prec + !row->right);
		p->depth--;
		l = node_new(p, EXPR_BINARY, op, at, l, r);
	}
	return p->err ? NULL : l;
}

/* --- the whole text --- */
/* hint -> name '=' value */
static bool hint(struct parser *p, struct tql *t)
{
	struct hint *h = &t->hints[t->hint_cnt];
	struct expr *e;

	if (p->tok.kind != TOKEN_WORD)
		return parser_unexpected(p);
	h->name = p->tok.text;
	parser_next(p);
	if (!parser_at_op(p, OP_EQ))
		return parser_unexpected(p);
	parser_next(p);
	e = parser_operand(p);
	if (!e || check_constant(e, &h->value))
		return e ? parser_unexpected(p) : NULL;
	if (str_eq(h->name, STR("most_recent")))
		t->most_recent = h->value.type == TYPE_BOOL && h->value.b;
	t->hint_cnt++;
	return true;
}

/* hints -> [ with '(' hint { ',' hint } ')' ] */
static void hints(struct parser *p, struct tql *t)
{
	enum { MAX = 32 };

	if (!parser_at_word(p, "with"))
		return;
	t->hints = arena_array(p->arena, struct hint, MAX);
	if (!t->hints) {
		parser_fail_memory(p);
		return;
	}
	parser_next(p);
	if (!parser_need(p, '('))
		return;
	do {
		if (t->hint_cnt == MAX)
			parser_fail(p, p->tok.at, "too many hints", STR(""));
		else
			hint(p, t);
	} while (!p->err && parser_take(p, ','));
	parser_need(p, ')');
}

static void parser_init(struct parser *p, struct arena *a, struct str text, struct strbuf *why)
{
	*p = (struct parser){.arena = a, .why = why};
	lex_init(&p->lex, text, a);
	if (text.len > UINT32_MAX / 2)
		parser_fail(p, 0, "the query is too long", STR(""));
	else
		parser_next(p);
}

int parse_query(struct arena *a, struct str text, struct tql *ret, struct strbuf *why)
{
	struct parser p;

	*ret = (struct tql){.text = text};
	parser_init(&p, a, text, why);
	if (!p.err)
		ret->pipe = parser_pipeline(&p);
	if (!p.err)
		hints(&p, ret);
	if (!p.err && p.tok.kind != TOKEN_END)
		parser_unexpected(&p);
	ret->parsed = !p.err;
	return p.err ? p.err : check_query(ret, why);
}

int parse_field(struct arena *a, struct str text, struct field_ref *ret, struct strbuf *why)
{
	struct parser p;
	struct expr *e = NULL;

	parser_init(&p, a, text, why);
	if (!p.err)
		e = parser_operand(&p);
	if (!p.err && (p.tok.kind != TOKEN_END || e->kind != EXPR_FIELD))
		parser_fail(&p, 0, "not the name of a field:", text);
	if (!p.err && e->field.parent)
		parser_fail(&p, 0, "parent is not supported", STR(""));
	if (p.err)
		return p.err;
	*ret = e->field;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ast.h - what TraceQL text means, as plain structs in the query's arena. parse.c makes them,
 * check.c proves the types and fills in what is derived (types, regular expressions, literals in
 * normal form), eval.c walks them. Nothing here is changed after the check, and every tree's depth
 * is at most AST_MAX_DEPTH, so that recursion over it is safe. */
#ifndef WIRESPAN_QUERY_AST_H
#define WIRESPAN_QUERY_AST_H

#include "query/fields.h"
#include "query/ops.h"
#include "query/re.h"

enum { AST_MAX_DEPTH = 500, AST_MAX_GROUPS = 5 };

enum expr_kind { EXPR_LITERAL, EXPR_FIELD, EXPR_UNARY, EXPR_BINARY };

struct expr {
	enum expr_kind kind;
	enum op op;	    /* UNARY, BINARY */
	enum tql_type type; /* static; TYPE_ATTR: known only when evaluated */
	uint32_t at;	    /* offset in the text, for error sentences */
	uint32_t depth;
	bool whole; /* needs the whole trace, not only the span */
	struct tval lit;
	struct field_ref field;
	struct expr *l, *r; /* UNARY: only r */
	struct re *re;	    /* =~ and !~ */
};

enum stage_kind {
	STAGE_FILTER,	/* { expr } */
	STAGE_SETOP,	/* l op r */
	STAGE_SCALAR,	/* func(expr) op num */
	STAGE_BY,	/* by(expr) */
	STAGE_COALESCE, /* coalesce() */
	STAGE_SELECT,	/* select(fields) */
	STAGE_METRIC,	/* rate(), compare({expr}, nums), ... [by(fields)] */
	STAGE_RANK,	/* topk(num), bottomk(num) */
	STAGE_SERIES,	/* op num after a metric */
	STAGE_MATH,	/* l op r between metrics */
	STAGE_NUMBER,	/* num as an operand of STAGE_MATH */
};

/* A pipeline is a list of stages; l and r are pipelines. */
struct stage {
	enum stage_kind kind;
	uint32_t at;
	uint32_t depth;
	struct stage *next;
	const struct func *func;
	enum op op;
	bool parens; /* written in parentheses */
	bool piped;  /* ... and has more than set operators in them */
	struct stage *l, *r;
	struct expr *expr;
	struct tval num;
	struct str label;     /* BY, SCALAR: the key of the attribute the set gets */
	struct expr **fields; /* SELECT; METRIC: by */
	uint32_t field_cnt;
	struct tval *nums; /* METRIC: further arguments */
	uint32_t num_cnt;
};

struct hint {
	struct str name;
	struct tval value;
};

struct tql {
	struct str text;
	struct stage *pipe;
	struct hint *hints;
	uint32_t hint_cnt;
	bool parsed; /* the syntax is right */
	bool most_recent;
	bool metrics;	    /* a metrics query */
	bool trace;	    /* needs the whole trace, not one span */
	bool tree;	    /* needs parents, children and nested sets */
	struct re *regexes; /* to free with re_free */
};

#endif

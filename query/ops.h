/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h - every operator and every function of TraceQL, one row each. The lexer finds operators
 * here, the parser their precedence and the functions' arguments, the check their operand types,
 * the evaluator what they do. To add a function: one row in ops.c and one case in the stage that
 * runs it. */
#ifndef WIRESPAN_QUERY_OPS_H
#define WIRESPAN_QUERY_OPS_H

#include "store/base.h"
#include "store/span.h"

/* --- values --- */
enum tql_type {
	TYPE_NIL,
	TYPE_STR,
	TYPE_INT,
	TYPE_FLOAT,
	TYPE_BOOL,
	TYPE_DURATION,
	TYPE_STATUS,
	TYPE_KIND,
	TYPE_ARRAY, /* only at run time */
	TYPE_ATTR,  /* only static: an attribute, of any type */
};

#define TYPES(t)      (1u << (t))
#define TYPES_NUMBER  (TYPES(TYPE_INT) | TYPES(TYPE_FLOAT) | TYPES(TYPE_DURATION))
#define TYPES_ORDERED (TYPES_NUMBER | TYPES(TYPE_STR))
#define TYPES_ANY     (TYPES_ORDERED | TYPES(TYPE_BOOL) | TYPES(TYPE_STATUS) | TYPES(TYPE_KIND))

struct tval {
	enum tql_type type;
	union {
		struct str str; /* STR; borrowed */
		int64_t i;	/* INT, DURATION (ns), STATUS, KIND */
		double d;
		bool b;
		const struct val *arr; /* ARRAY: of one of string, bool, int, double; not empty */
	};
};

#define TVAL_NIL     ((struct tval){.type = TYPE_NIL})
#define TVAL_BOOL(x) ((struct tval){.type = TYPE_BOOL, .b = (x)})
#define TVAL_INT(x)  ((struct tval){.type = TYPE_INT, .i = (x)})
#define TVAL_STR(x)  ((struct tval){.type = TYPE_STR, .str = (x)})

static inline bool tval_is_number(const struct tval *v)
{
	return TYPES(v->type) & TYPES_NUMBER;
}

static inline double tval_number(const struct tval *v)
{
	return v->type == TYPE_FLOAT ? v->d : (double)v->i;
}

/* What TraceQL sees of a stored value: maps, bytes, empty and mixed arrays are nil. */
struct tval tval_of(const struct val *v);
/* A total order over all values, nil first: for grouping and sorting. */
int tval_cmp(const struct tval *a, const struct tval *b);

/* --- operators --- */
/* PREC_UNARY: what a unary minus takes as operand, -a * b is -(a * b); NOT is ! itself. && and ||
 * bind alike and from the left: a || b && c is (a || b) && c. */
enum {
	PREC_LOGIC = 1,
	PREC_COMPARE,
	PREC_ADD,
	PREC_UNARY,
	PREC_NOT = PREC_UNARY,
	PREC_MUL,
	PREC_POW,
};
enum { SET_LOGIC = 1, SET_RELATION };

enum op {
	OP_NONE,
	OP_OR,
	OP_AND,
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_RE,
	OP_NRE,
	OP_ADD,
	OP_SUB,
	OP_NOT,
	OP_MUL,
	OP_DIV,
	OP_MOD,
	OP_POW,
	OP_NEG,
	/* between span sets only; >, <, !~, && and || are above */
	OP_DESCENDANT,
	OP_ANCESTOR,
	OP_SIBLING,
	OP_NOT_CHILD,
	OP_NOT_DESCENDANT,
	OP_NOT_PARENT,
	OP_NOT_ANCESTOR,
	OP_BOTH_CHILD,
	OP_BOTH_DESCENDANT,
	OP_BOTH_PARENT,
	OP_BOTH_ANCESTOR,
	OP_BOTH_SIBLING,
	OP_COUNT,
};

/* How a span of the right side stands to one of the left side. */
enum relation {
	REL_NONE,
	REL_UNION,
	REL_CHILD,
	REL_DESCENDANT,
	REL_PARENT,
	REL_ANCESTOR,
	REL_SIBLING
};

struct op_row {
	const char *text;
	uint8_t prec;	/* in a field expression; 0: cannot stand between two operands */
	bool right;	/* right-associative */
	bool boolean;	/* gives a boolean */
	uint32_t types; /* of the operands */
	/* between span sets; REL_NONE: cannot */
	uint8_t set_prec;
	enum relation rel;
	bool negated; /* right spans without such a left span */
	bool both;    /* the left spans too */
};

extern const struct op_row ops_table[OP_COUNT];

/* The longest operator at the start of text; OP_NONE: none. */
enum op ops_match(struct str text);

/* l op r for everything but && || =~ !~ (eval.c). 0, or -EDOM: integer division by zero. */
int ops_binary(enum op op, const struct tval *l, const struct tval *r, struct tval *ret);
struct tval ops_negate(const struct tval *v);

/* --- functions --- */
enum func_kind { FUNC_AGGREGATE, FUNC_BY, FUNC_COALESCE, FUNC_SELECT, FUNC_METRIC, FUNC_RANK };
enum func_id {
	FN_COUNT,
	FN_SUM,
	FN_AVG,
	FN_MIN,
	FN_MAX,
	FN_BY,
	FN_COALESCE,
	FN_SELECT,
	FN_RATE,
	FN_COUNT_OT,
	FN_MIN_OT,
	FN_MAX_OT,
	FN_AVG_OT,
	FN_SUM_OT,
	FN_QUANTILE_OT,
	FN_HISTOGRAM_OT,
	FN_COMPARE,
	FN_TOPK,
	FN_BOTTOMK,
};
enum func_args {
	ARGS_NONE,
	ARGS_EXPR,   /* one field expression */
	ARGS_FIELDS, /* one or more fields */
	ARGS_FIELD,  /* one field */
	ARGS_FIELD_NUMBERS,
	ARGS_FILTER_INTS, /* { filter } [, int]... up to three */
	ARGS_INT,
};

struct func {
	const char *name;
	enum func_kind kind;
	enum func_id id;
	enum func_args args;
	bool leads;  /* may begin a pipeline, then works on { } */
	bool groups; /* may be followed by by(...) */
};

const struct func *ops_func(struct str name);

#endif

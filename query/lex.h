/* SPDX-License-Identifier: Apache-2.0 */
/* lex.h - TraceQL text as tokens, one at a time. Words are not told apart here: whether `count` is
 * a function, `server` a kind or `foo` an error is the parser's to say. Field names are one token
 * (`span."a b".c`, `event:name`), as what ends them depends on nothing else. */
#ifndef WIRESPAN_QUERY_LEX_H
#define WIRESPAN_QUERY_LEX_H

#include "query/fields.h"
#include "query/ops.h"

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,  /* text */
	TOKEN_FIELD, /* field: an attribute, or an intrinsic with scope */
	TOKEN_VALUE, /* value: string, number, duration */
	TOKEN_OP,    /* op */
	TOKEN_PUNCT, /* punct: { } ( ) | , */
	TOKEN_BAD,   /* lex.why says why */
};

struct token {
	enum token_kind kind;
	uint32_t at;	 /* offset in the text */
	struct str text; /* as written */
	enum op op;
	char punct;
	struct tval value;
	struct field_ref field;
};

struct lex {
	struct str text;
	struct arena *arena; /* for strings with escapes */
	uint32_t pos;
	const char *why;
};

void lex_init(struct lex *l, struct str text, struct arena *a);
/* After TOKEN_END or TOKEN_BAD: the same again. */
struct token lex_next(struct lex *l);

#endif

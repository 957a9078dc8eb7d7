/* SPDX-License-Identifier: Apache-2.0 */
/* parse_impl.h - what parse.c (the text as a whole, field expressions) and parse_pipe.c (stages and
 * pipelines) share: the parser's state and the handling of tokens and errors. After the first error
 * every function returns NULL or false and the sentence is kept. */
#ifndef WIRESPAN_QUERY_PARSE_IMPL_H
#define WIRESPAN_QUERY_PARSE_IMPL_H

#include "query/lex.h"
#include "query/parse.h"

struct parser {
	struct lex lex;
	struct token tok; /* the next one */
	struct arena *arena;
	struct strbuf *why;
	uint32_t depth;
	int err;
};

/* --- errors: all return NULL --- */
void *parser_fail(struct parser *p, uint32_t at, const char *what, struct str text);
void *parser_fail_memory(struct parser *p);
/* The next token cannot stand here. */
void *parser_unexpected(struct parser *p);

/* --- tokens --- */
void parser_next(struct parser *p);
bool parser_at(const struct parser *p, char punct);
bool parser_at_op(const struct parser *p, enum op op);
bool parser_at_word(const struct parser *p, const char *w);
bool parser_take(struct parser *p, char punct);
/* ... or it is an error. */
bool parser_need(struct parser *p, char punct);
/* One level deeper; false and an error when that is too deep. Leave with p->depth--. */
bool parser_enter(struct parser *p);

/* --- rules --- */
struct expr *parser_expr(struct parser *p, int min_prec);
struct expr *parser_operand(struct parser *p);
struct stage *parser_pipeline(struct parser *p);

#endif

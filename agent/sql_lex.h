/* SPDX-License-Identifier: Apache-2.0 */
/* sql_lex.h - PostgreSQL's tokens, as far as hiding literals and naming tables needs them. Private
 * to sql.c and sql_describe.c. The lexer is total and borrows from the text; it never reports a
 * byte of a literal under another name than NUMBER, STRING or DOUBT, whichever way the server's
 * standard_conforming_strings is set: where the two readings part, the rest of the text is DOUBT.
 */
#ifndef WIRESPAN_SQL_LEX_H
#define WIRESPAN_SQL_LEX_H

#include "store/base.h"

enum sql_tok {
	SQL_END,
	SQL_SPACE,  /* white space or one comment */
	SQL_WORD,   /* keyword or plain identifier */
	SQL_QUOTED, /* "identifier", quotes included */
	SQL_PARAM,  /* $1 */
	SQL_NUMBER,
	SQL_STRING, /* any quoted literal, prefix included; may be cut by the end of the text */
	SQL_PUNCT,  /* one byte of an operator or separator */
	SQL_DOUBT,  /* the rest of the text, which may hold literals */
};

struct sql_lex {
	const char *p, *end;
	bool after_escape; /* the last word was ESCAPE */
};

void sql_lex_init(struct sql_lex *lx, struct str text);
enum sql_tok sql_lex_next(struct sql_lex *lx, struct str *ret);
/* Skips white space and comments. */
enum sql_tok sql_lex_solid(struct sql_lex *lx, struct str *ret);
/* Is the word this keyword (given in upper case)? */
bool sql_word_is(struct str word, const char *upper);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* sql.c - takes the secrets out of a statement: sql_sanitize of sql.h. One pass over the tokens of
 * sql_lex.h; each literal becomes ?, and what a driver repeats (IN lists, ARRAY elements, VALUES
 * rows) is folded so that texts of one shape become one text. It understands no grammar beyond that
 * (sql_describe.c names tables). Called by stmt.c. The invariants: no byte of a literal reaches the
 * output, the output is never longer than the input, and it is valid UTF-8. */
#include "agent/sql.h"
#include "agent/sql_lex.h"
#include "agent/utf8.h"

#include <string.h>

enum rows {
	ROWS_NONE,
	ROWS_EXPECT, /* behind VALUES, or behind the comma after a row */
	ROWS_IN,     /* inside a row */
	ROWS_AFTER,  /* behind a row */
};

struct sanitizer {
	struct strbuf *out;
	size_t base; /* of our text in out */
	bool space;  /* white space is due before the next token */

	enum sql_tok prev; /* the token before this one, white space aside */
	char punct;	   /* its byte when it is SQL_PUNCT */
	struct str word;   /* it when it is SQL_WORD */
	bool sign;	   /* it is a + or - that belongs to a number */
	size_t sign_at;	   /* where that stands in out */

	char list_close; /* in a list that may be folded: its closing byte; else 0 */
	size_t list_at;	 /* behind its opening byte */

	enum rows rows;
	uint32_t row_depth;
	size_t row_at, last_at, last_end; /* this row and the one before it */

	uint32_t word_cnt; /* of this statement */
	bool creates, is_role, password;
};

static void cut_to(struct strbuf *out, size_t len)
{
	out->len = len;
	out->p[len] = '\0';
}

static void put(struct sanitizer *s, const char *p, size_t len)
{
	if (s->space && s->out->len > s->base)
		strbuf_addc(s->out, ' ');
	s->space = false;
	strbuf_add(s->out, p, len);
}

/* --- signs --- */

/* After these a + or - is a sign, after other words it is an operator. */
static bool word_precedes_value(struct str word)
{
	static const char *const words[] = {
	    "SELECT", "WHERE", "AND",	 "OR",	 "NOT",	    "IN",	 "LIMIT", "OFFSET",
	    "THEN",   "ELSE",  "WHEN",	 "CASE", "BETWEEN", "RETURNING", "BY",	  "SET",
	    "TO",     "ON",    "VALUES", "LIKE", "FETCH",   "DISTINCT",	 "FROM",  "DEFAULT",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (sql_word_is(word, words[i]))
			return true;
	}
	return false;
}

static bool is_sign(const struct sanitizer *s, char c)
{
	if (c != '-' && c != '+')
		return false;
	if (s->prev == SQL_END)
		return true;
	if (s->prev == SQL_WORD)
		return word_precedes_value(s->word);
	return s->prev == SQL_PUNCT && !strchr(")]?", s->punct);
}

/* --- lists of literals --- */

static void list_open(struct sanitizer *s, char c)
{
	bool in = c == '(' && s->prev == SQL_WORD && sql_word_is(s->word, "IN");
	bool array = c == '[' && s->prev == SQL_WORD && sql_word_is(s->word, "ARRAY");

	s->list_close = in ? ')' : array ? ']' : 0;
	s->list_at = s->out->len;
}

/* The list that this closing byte ends was nothing but literals: one ? stands for all of them. */
static void list_fold(struct sanitizer *s)
{
	if (s->prev == SQL_NUMBER || s->prev == SQL_STRING) {
		cut_to(s->out, s->list_at);
		strbuf_addc(s->out, '?');
		s->space = false;
	}
	s->list_close = 0;
}

/* --- rows of VALUES --- */

static void row_close(struct sanitizer *s)
{
	size_t len = s->out->len - s->row_at, last_len = s->last_end - s->last_at;

	s->rows = ROWS_AFTER;
	if (len == last_len && !memcmp(s->out->p + s->row_at, s->out->p + s->last_at, len)) {
		cut_to(s->out, s->last_end);
		return;
	}
	s->last_at = s->row_at;
	s->last_end = s->out->len;
}

/* A byte of punctuation has been put. */
static void row_punct(struct sanitizer *s, char c)
{
	if (s->rows == ROWS_IN) {
		s->row_depth += c == '(';
		s->row_depth -= c == ')';
		if (s->row_depth == 0)
			row_close(s);
	} else if (s->rows == ROWS_EXPECT && c == '(') {
		s->rows = ROWS_IN;
		s->row_depth = 1;
		s->row_at = s->out->len - 1;
	} else {
		s->rows = s->rows == ROWS_AFTER && c == ',' ? ROWS_EXPECT : ROWS_NONE;
	}
}

static void row_word(struct sanitizer *s, struct str word)
{
	if (s->rows == ROWS_IN)
		return;
	s->rows = sql_word_is(word, "VALUES") ? ROWS_EXPECT : ROWS_NONE;
	s->last_at = s->last_end = 0;
}

/* --- statements that carry a password --- */

static void role_word(struct sanitizer *s, struct str word)
{
	s->word_cnt++;
	if (s->word_cnt == 1)
		s->creates = sql_word_is(word, "CREATE") || sql_word_is(word, "ALTER");
	if (s->word_cnt == 2)
		s->is_role =
		    s->creates && (sql_word_is(word, "ROLE") || sql_word_is(word, "USER") ||
				   sql_word_is(word, "GROUP"));
	s->password = s->is_role && sql_word_is(word, "PASSWORD");
}

static bool is_bare_password(const struct sanitizer *s, enum sql_tok tok, struct str text)
{
	return s->password && tok != SQL_STRING && tok != SQL_END &&
	       !(tok == SQL_WORD && sql_word_is(text, "NULL"));
}

/* --- one function for each kind of token --- */

static void literal(struct sanitizer *s)
{
	if (s->sign)
		cut_to(s->out, s->sign_at);
	s->space = s->space && !s->sign;
	put(s, "?", 1);
}

static void word(struct sanitizer *s, struct str text)
{
	s->list_close = 0;
	put(s, text.p, text.len);
	row_word(s, text);
	role_word(s, text);
	s->word = text;
}

static void punct(struct sanitizer *s, char c)
{
	bool sign = is_sign(s, c);

	if (s->list_close == c)
		list_fold(s);
	else if (c != ',' && !sign)
		s->list_close = 0;
	put(s, &c, 1);
	if (sign)
		s->sign_at = s->out->len - 1;
	if (c == '(' || c == '[')
		list_open(s, c);
	row_punct(s, c);
	if (c == ';')
		s->word_cnt = 0;
	s->punct = c;
}

static void token(struct sanitizer *s, enum sql_tok tok, struct str text)
{
	bool sign = tok == SQL_PUNCT && is_sign(s, *text.p);

	if (tok == SQL_NUMBER || tok == SQL_STRING) {
		literal(s);
	} else if (tok == SQL_WORD) {
		word(s, text);
	} else if (tok == SQL_PUNCT) {
		punct(s, *text.p);
	} else {
		s->list_close = 0;
		put(s, text.p, text.len);
	}
	if (tok != SQL_WORD)
		s->password = false;
	s->sign = sign;
	s->prev = tok;
}

/* In place, so that the text grows by nothing. */
static void bytes_clean(char *p, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		if (!n)
			p[i] = '?';
		i += n ? n : 1;
	}
}

void sql_sanitize(struct strbuf *out, struct str text)
{
	struct sanitizer s = {.out = out, .base = out->len, .prev = SQL_END};
	struct sql_lex lx;
	enum sql_tok tok;
	struct str piece;

	sql_lex_init(&lx, text);
	while ((tok = sql_lex_next(&lx, &piece)) != SQL_END) {
		if (tok == SQL_SPACE) {
			s.space = true;
			continue;
		}
		if (tok == SQL_DOUBT || is_bare_password(&s, tok, piece)) {
			put(&s, "?", 1);
			break;
		}
		token(&s, tok, piece);
	}
	bytes_clean(out->p + s.base, out->len - s.base);
}

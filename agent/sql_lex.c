/* SPDX-License-Identifier: Apache-2.0 */
/* sql_lex.c - see sql_lex.h. It follows the flex rules of PostgreSQL's scanner for quotes, comments
 * and identifiers, since a wrong end of a literal is a leak; operators and numbers are cruder. It
 * does not know whether the server reads a backslash in '…' as an escape, nor the client's
 * encoding (in Shift-JIS, Big5 and GBK the second byte of a character may be a backslash), so it
 * gives up (DOUBT) where that would move the end of a literal. */
#include "agent/sql_lex.h"

#include <string.h>
#include <strings.h>

enum { PARAM_DIGITS_MAX = 5 }; /* the protocol counts parameters in 16 bits */

static bool is_space(char c)
{
	return (unsigned char)c <= ' ' || c == 0x7f;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word_start(char c)
{
	return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_word(char c)
{
	return is_word_start(c) || is_digit(c);
}

static bool next_is(const struct sql_lex *lx, size_t off, char c)
{
	return (size_t)(lx->end - lx->p) > off && lx->p[off] == c;
}

/* --- white space --- */

static const char *line_end(const char *p, const char *end)
{
	while (p < end && *p != '\n' && *p != '\r')
		p++;
	return p;
}

/* Past a comment that nests; p after its opening. */
static const char *block_end(const char *p, const char *end)
{
	int depth = 1;

	while (p < end && depth) {
		if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
			depth++;
			p += 2;
		} else if (end - p >= 2 && p[0] == '*' && p[1] == '/') {
			depth--;
			p += 2;
		} else {
			p++;
		}
	}
	return p;
}

/* Past the white space or the comment at p; p itself when there is neither. */
static const char *space_end(const struct sql_lex *lx)
{
	const char *p = lx->p;

	if (next_is(lx, 0, '-') && next_is(lx, 1, '-'))
		return line_end(p + 2, lx->end);
	if (next_is(lx, 0, '/') && next_is(lx, 1, '*'))
		return block_end(p + 2, lx->end);
	while (p < lx->end && is_space(*p))
		p++;
	return p;
}

/* --- quotes: past the closing one; p is after the opening one; end when it is cut; NULL: unsure
 * --- */

static const char *plain_end(const char *p, const char *end)
{
	bool odd = false; /* an odd number of backslashes stands before p */

	for (; p < end; p++) {
		if (*p == '\'') {
			if (odd)
				return NULL;
			if (p + 1 == end || p[1] != '\'')
				return p + 1;
			p++;
		}
		odd = *p == '\\' && !odd;
	}
	return end;
}

static const char *escaped_end(const char *p, const char *end)
{
	for (; p < end; p++) {
		if (*p == '\\') {
			if ((unsigned char)p[-1] >= 0x80)
				return NULL;
			p++;
		} else if (*p == '\'') {
			if (p + 1 == end || p[1] != '\'')
				return p + 1;
			p++;
		}
	}
	return end;
}

static const char *doubled_end(const char *p, const char *end, char quote)
{
	for (; p < end; p++) {
		if (*p != quote)
			continue;
		if (p + 1 == end || p[1] != quote)
			return p + 1;
		p++;
	}
	return NULL;
}

/* $tag$ … $tag$ with p at its first byte; NULL: none begins here. */
static const char *dollar_end(const char *p, const char *end)
{
	const char *tag_end = p + 1, *close;
	size_t len;

	if (tag_end < end && is_word_start(*tag_end)) {
		while (tag_end < end && is_word(*tag_end))
			tag_end++;
	}
	if (tag_end == end || *tag_end != '$')
		return NULL;
	len = tag_end + 1 - p;
	close = memmem(p + len, end - p - len, p, len);
	return close ? close + len : end;
}

/* --- tokens --- */

static enum sql_tok take(struct sql_lex *lx, const char *to, enum sql_tok tok, struct str *ret)
{
	*ret = (struct str){lx->p, to - lx->p};
	lx->p = to;
	return tok;
}

/* A word right behind a closing quote is what an unescaped quote in a value looks like: 'O'Brien'.
 */
static enum sql_tok take_string(struct sql_lex *lx, const char *to, struct str *ret)
{
	if (!to || (to < lx->end && is_word(*to)))
		return take(lx, lx->end, SQL_DOUBT, ret);
	return take(lx, to, SQL_STRING, ret);
}

/* LIKE … ESCAPE '\' is common and means one backslash in either reading that makes sense. */
static bool is_escape_char(const struct sql_lex *lx)
{
	return lx->after_escape && next_is(lx, 1, '\\') && next_is(lx, 2, '\'') &&
	       !next_is(lx, 3, '\'');
}

static enum sql_tok quote(struct sql_lex *lx, struct str *ret)
{
	if (is_escape_char(lx))
		return take_string(lx, lx->p + 3, ret);
	return take_string(lx, plain_end(lx->p + 1, lx->end), ret);
}

/* E'…', U&'…', B'…', X'…', N'…': len is the prefix's. */
static enum sql_tok prefixed(struct sql_lex *lx, size_t len, struct str *ret)
{
	const char *open = lx->p + len + 1;

	if ((*lx->p | 0x20) == 'e')
		return take_string(lx, escaped_end(open, lx->end), ret);
	return take_string(lx, plain_end(open, lx->end), ret);
}

static enum sql_tok word(struct sql_lex *lx, struct str *ret)
{
	bool after_escape = lx->after_escape;
	const char *p = lx->p + 1;

	if (strchr("eEbBxXnN", *lx->p) && next_is(lx, 1, '\''))
		return prefixed(lx, 1, ret);
	if ((*lx->p | 0x20) == 'u' && next_is(lx, 1, '&') && next_is(lx, 2, '\''))
		return prefixed(lx, 2, ret);
	while (p < lx->end && (is_word(*p) || *p == '$'))
		p++;
	take(lx, p, SQL_WORD, ret);
	lx->after_escape = !after_escape && sql_word_is(*ret, "ESCAPE");
	return SQL_WORD;
}

/* All that sticks to a number is hidden with it: 1e-5, 0x1F, 1_000, 1..2 and nonsense alike. */
static enum sql_tok number(struct sql_lex *lx, struct str *ret)
{
	const char *p = lx->p + 1;

	while (p < lx->end) {
		bool exponent = (p[-1] | 0x20) == 'e' && (*p == '+' || *p == '-') &&
				p + 1 < lx->end && is_digit(p[1]);

		if (!exponent && !is_word(*p) && *p != '.')
			break;
		p++;
	}
	return take(lx, p, SQL_NUMBER, ret);
}

static enum sql_tok dollar(struct sql_lex *lx, struct str *ret)
{
	const char *p = dollar_end(lx->p, lx->end);

	if (p)
		return take(lx, p, SQL_STRING, ret);
	for (p = lx->p + 1; p < lx->end && is_digit(*p);)
		p++;
	if (p == lx->p + 1)
		return take(lx, p, SQL_PUNCT, ret);
	return take(lx, p, p - lx->p > PARAM_DIGITS_MAX + 1 ? SQL_NUMBER : SQL_PARAM, ret);
}

static enum sql_tok quoted(struct sql_lex *lx, struct str *ret)
{
	const char *p = doubled_end(lx->p + 1, lx->end, '"');

	return take(lx, p ? p : lx->end, p ? SQL_QUOTED : SQL_DOUBT, ret);
}

/* No quote of PostgreSQL, but of other databases: somebody may mean a value. */
static enum sql_tok backtick(struct sql_lex *lx, struct str *ret)
{
	const char *p = doubled_end(lx->p + 1, lx->end, '`');

	return take(lx, p ? p : lx->end, p ? SQL_STRING : SQL_DOUBT, ret);
}

void sql_lex_init(struct sql_lex *lx, struct str text)
{
	*lx = (struct sql_lex){text.p, text.p + text.len, false};
}

enum sql_tok sql_lex_next(struct sql_lex *lx, struct str *ret)
{
	const char *p = lx->p;
	enum sql_tok tok;

	if (p == lx->end)
		return take(lx, p, SQL_END, ret);
	p = space_end(lx);
	if (p != lx->p)
		return take(lx, p, SQL_SPACE, ret);
	if (is_word_start(*p))
		return word(lx, ret);
	if (is_digit(*p) || (*p == '.' && lx->end - p > 1 && is_digit(p[1])))
		tok = number(lx, ret);
	else if (*p == '\'')
		tok = quote(lx, ret);
	else if (*p == '"')
		tok = quoted(lx, ret);
	else if (*p == '`')
		tok = backtick(lx, ret);
	else if (*p == '$')
		tok = dollar(lx, ret);
	else
		tok = take(lx, p + 1, SQL_PUNCT, ret);
	lx->after_escape = false;
	return tok;
}

enum sql_tok sql_lex_solid(struct sql_lex *lx, struct str *ret)
{
	enum sql_tok tok;

	do
		tok = sql_lex_next(lx, ret);
	while (tok == SQL_SPACE);
	return tok;
}

bool sql_word_is(struct str word_, const char *upper)
{
	return word_.len == strlen(upper) && !strncasecmp(word_.p, upper, word_.len);
}

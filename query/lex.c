/* SPDX-License-Identifier: Apache-2.0 */
/* lex.c - the tokens of TraceQL. A token is found by its first byte; each kind has one function
 * that moves pos behind it or sets why. Never reads outside the text, which is not NUL-terminated
 * and may hold any bytes. */
#include "query/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lex_init(struct lex *l, struct str text, struct arena *a)
{
	*l = (struct lex){.text = text, .arena = a};
}

static bool at_end(const struct lex *l)
{
	return l->pos >= l->text.len;
}

/* The byte ahead; 0 behind the end (and for a NUL, which is in no token). */
static unsigned char peek(const struct lex *l, uint32_t ahead)
{
	return l->pos + ahead < l->text.len ? (unsigned char)l->text.p[l->pos + ahead] : 0;
}

static struct str rest(const struct lex *l)
{
	return (struct str){l->text.p + l->pos, l->text.len - l->pos};
}

static struct str since(const struct lex *l, uint32_t from)
{
	return (struct str){l->text.p + from, l->pos - from};
}

static bool is_word_byte(unsigned char c)
{
	return isalnum(c) || c == '_' || c >= 0x80;
}

/* --- space and comments --- */
static bool skip_comment(struct lex *l)
{
	if (peek(l, 0) != '/' || (peek(l, 1) != '/' && peek(l, 1) != '*'))
		return false;
	if (peek(l, 1) == '/') {
		while (!at_end(l) && peek(l, 0) != '\n')
			l->pos++;
		return true;
	}
	for (l->pos += 2; !at_end(l); l->pos++) {
		if (peek(l, 0) == '*' && peek(l, 1) == '/') {
			l->pos += 2;
			return true;
		}
	}
	l->why = "comment not terminated";
	return false;
}

static void skip_space(struct lex *l)
{
	do {
		while (!at_end(l) && isspace(peek(l, 0)))
			l->pos++;
	} while (skip_comment(l));
}

/* --- strings --- */
static void utf8_add(char *out, size_t *len, uint32_t c)
{
	int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};

	out[(*len)++] = (char)(lead[more] | (c >> (6 * more)));
	while (more--)
		out[(*len)++] = (char)(0x80 | ((c >> (6 * more)) & 0x3f));
}

static int digits(struct lex *l, int cnt, int base, uint32_t *ret)
{
	uint32_t v = 0;

	for (int i = 0; i < cnt; i++, l->pos++) {
		char digit[2] = {(char)peek(l, 0)};
		char *end;
		unsigned long d = strtoul(digit, &end, base);

		if (end == digit || !isalnum(peek(l, 0)))
			return -EINVAL;
		v = v * (uint32_t)base + (uint32_t)d;
	}
	*ret = v;
	return 0;
}

/* \n, \x41, \u00e9, \101: Go's escapes; pos is behind the backslash. */
static int escape(struct lex *l, char *out, size_t *len)
{
	static const char from[] = "abfnrtv\\\"", to[] = "\a\b\f\n\r\t\v\\\"";
	char c = (char)peek(l, 0);
	const char *plain = c ? strchr(from, c) : NULL;
	uint32_t v = 0;
	int err;

	if (plain) {
		out[(*len)++] = to[plain - from];
		l->pos++;
		return 0;
	}
	if (c >= '0' && c <= '7') {
		err = digits(l, 3, 8, &v);
	} else {
		l->pos++;
		err = c == 'x'	 ? digits(l, 2, 16, &v)
		      : c == 'u' ? digits(l, 4, 16, &v)
		      : c == 'U' ? digits(l, 8, 16, &v)
				 : -EINVAL;
	}
	if (err || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ||
	    ((c == 'x' || c <= '7') && v > 255))
		return -EINVAL;
	if (c == 'u' || c == 'U')
		utf8_add(out, len, v);
	else
		out[(*len)++] = (char)v;
	return 0;
}

static int copy_string(struct lex *l, char *out, size_t *len)
{
	while (!at_end(l) && peek(l, 0) != '"') {
		if (peek(l, 0) == '\n')
			return -ENODATA;
		if (peek(l, 0) != '\\') {
			out[(*len)++] = l->text.p[l->pos++];
			continue;
		}
		l->pos++;
		if (escape(l, out, len))
			return -EINVAL;
	}
	return at_end(l) ? -ENODATA : 0;
}

/* Bytes up to the closing quote. No escape is longer than what it is written with. */
static size_t string_room(const struct lex *l)
{
	uint32_t n = 0;

	while (l->pos + n < l->text.len && peek(l, n) != '"')
		n += peek(l, n) == '\\' ? 2 : 1;
	return n + 1;
}

static struct str quoted(struct lex *l)
{
	size_t len = 0;
	char *out;
	int err;

	l->pos++;
	out = arena_alloc(l->arena, string_room(l));
	err = out ? copy_string(l, out, &len) : -ENOMEM;
	l->pos++;
	if (err)
		l->why = err == -EINVAL	   ? "invalid escape in a string"
			 : err == -ENODATA ? "string not terminated"
					   : "out of memory";
	return (struct str){out, len};
}

static struct str raw(struct lex *l)
{
	uint32_t from = ++l->pos;

	while (!at_end(l) && peek(l, 0) != '`')
		l->pos++;
	if (at_end(l))
		l->why = "string not terminated";
	l->pos++;
	return (struct str){l->text.p + from, l->pos - 1 - from};
}

/* --- numbers --- */
static const struct unit {
	const char *name;
	double ns;
} units[] = {
    {"ns", 1},	    {"us", 1e3},	{"µs", 1e3},	      {"μs", 1e3},
    {"ms", 1e6},    {"s", 1e9},		{"m", 60e9},	      {"h", 3600e9},
    {"d", 86400e9}, {"w", 7 * 86400e9}, {"y", 365 * 86400e9},
};

static const struct unit *unit_of(struct str s)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (str_eq(str_of(units[i].name), s))
			return &units[i];
	return NULL;
}

/* 1h30m, 1.5s: numbers, each with a unit. */
static bool duration_of(const char *p, struct tval *ret)
{
	double sum = 0;

	while (*p) {
		const struct unit *u;
		char *end;
		size_t len;
		double n = strtod(p, &end);

		if (end == p || !(isdigit((unsigned char)*p) || *p == '.'))
			return false;
		len = strcspn(end, "0123456789.");
		u = unit_of((struct str){end, len});
		if (!u)
			return false;
		sum += n * u->ns;
		p = end + len;
	}
	if (sum >= 9223372036854775807.0)
		return false;
	*ret = (struct tval){.type = TYPE_DURATION, .i = (int64_t)(sum + 0.5)};
	return true;
}

/* Digits, letters and points; a sign only in an exponent. */
static struct str number_text(struct lex *l)
{
	uint32_t from = l->pos;
	bool plain = true;

	while (is_word_byte(peek(l, 0)) || peek(l, 0) == '.') {
		char c = (char)peek(l, 0);

		l->pos++;
		if (plain && (c == 'e' || c == 'E') && (peek(l, 0) == '-' || peek(l, 0) == '+'))
			l->pos++;
		plain = plain && (isdigit((unsigned char)c) || c == '.');
	}
	return since(l, from);
}

static struct tval number(struct lex *l)
{
	struct str s = number_text(l);
	struct tval v = TVAL_NIL;
	char text[64], *end;

	l->why = "not a number or a duration";
	if (s.len >= sizeof(text) || memchr(s.p, '_', s.len))
		return v;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (strspn(text, "0123456789") == s.len) {
		errno = 0;
		v = TVAL_INT(strtoll(text, NULL, 10));
		l->why = errno ? "number too large" : NULL;
		return v;
	}
	if (strspn(text, "0123456789.eE+-") == s.len) {
		v = (struct tval){.type = TYPE_FLOAT, .d = strtod(text, &end)};
		l->why = *end ? l->why : NULL;
		return v;
	}
	if (duration_of(text, &v))
		l->why = NULL;
	return v;
}

/* --- field names --- */
static bool ends_name(unsigned char c)
{
	return !c || isspace(c) || strchr("{}()=~!<>&|^,", c);
}

/* A quoted part of a name: only \" and \\ are escapes. */
static int quoted_name(struct lex *l, char *out, size_t *len)
{
	for (l->pos++; peek(l, 0) != '"'; l->pos++) {
		if (at_end(l)) {
			l->why = "quoted name not terminated";
			return -EINVAL;
		}
		if (peek(l, 0) == '\\') {
			l->pos++;
			if (peek(l, 0) != '"' && peek(l, 0) != '\\') {
				l->why = "invalid escape in a quoted name";
				return -EINVAL;
			}
		}
		out[(*len)++] = (char)peek(l, 0);
	}
	l->pos++;
	return 0;
}

/* Bytes of the name as written; *ret_plain: it has no quoted parts. */
static uint32_t name_room(const struct lex *l, bool *ret_plain)
{
	bool in_quotes = false;
	uint32_t n = 0;

	*ret_plain = true;
	while (l->pos + n < l->text.len && (in_quotes || !ends_name(peek(l, n)))) {
		if (peek(l, n) == '"') {
			in_quotes = !in_quotes;
			*ret_plain = false;
		} else if (in_quotes && peek(l, n) == '\\') {
			n++;
		}
		n++;
	}
	return n;
}

/* The name behind the scope's dot. */
static struct str attr_name(struct lex *l)
{
	uint32_t from = l->pos;
	size_t len = 0;
	bool plain;
	uint32_t room = name_room(l, &plain);
	char *out;

	if (plain) {
		l->pos += room;
		if (!room)
			l->why = "attribute without a name";
		return since(l, from);
	}
	out = arena_alloc(l->arena, room + 1);
	if (!out) {
		l->why = "out of memory";
		return STR("");
	}
	while (!ends_name(peek(l, 0))) {
		if (peek(l, 0) != '"')
			out[len++] = l->text.p[l->pos++];
		else if (quoted_name(l, out, &len))
			break;
	}
	return (struct str){out, len};
}

static struct str word(struct lex *l)
{
	uint32_t from = l->pos;

	while (is_word_byte(peek(l, 0)))
		l->pos++;
	return since(l, from);
}

/* span.x parent.span.x: true when what follows is a scope and its dot; pos is then behind them. */
static bool scope_prefix(struct lex *l, enum attr_scope *ret)
{
	uint32_t from = l->pos;
	struct str w = word(l);

	if (peek(l, 0) == '.' && !fields_scope(w, ret)) {
		l->pos++;
		return true;
	}
	l->pos = from;
	return false;
}

static bool parent_prefix(struct lex *l)
{
	if (!str_starts(rest(l), STR("parent.")))
		return false;
	l->pos += 7;
	return true;
}

static void attr_token(struct lex *l, struct token *t)
{
	t->kind = TOKEN_FIELD;
	t->field.key = attr_name(l);
}

/* A word; or a field that begins with one: span.x, parent.x, span:x. */
static void word_token(struct lex *l, struct token *t)
{
	t->field.parent = parent_prefix(l);
	if (scope_prefix(l, &t->field.scope) || t->field.parent) {
		attr_token(l, t);
		return;
	}
	t->kind = TOKEN_WORD;
	word(l);
	if (peek(l, 0) != ':')
		return;
	l->pos++;
	word(l);
	t->kind = TOKEN_FIELD;
	t->field.intrinsic = fields_find(since(l, t->at));
	if (!t->field.intrinsic)
		l->why = "unknown intrinsic";
}

static void op_token(struct lex *l, struct token *t)
{
	char c = (char)peek(l, 0);

	t->op = ops_match(rest(l));
	if (t->op) {
		t->kind = TOKEN_OP;
		l->pos += strlen(ops_table[t->op].text);
	} else if (c && strchr("{}()|,", c)) {
		t->kind = TOKEN_PUNCT;
		t->punct = c;
		l->pos++;
	} else {
		l->why = "unexpected character";
	}
}

static void any_token(struct lex *l, struct token *t)
{
	unsigned char c = peek(l, 0);

	if (isdigit(c) || (c == '.' && isdigit(peek(l, 1)))) {
		t->kind = TOKEN_VALUE;
		t->value = number(l);
	} else if (c == '"' || c == '`') {
		t->kind = TOKEN_VALUE;
		t->value = TVAL_STR(c == '"' ? quoted(l) : raw(l));
	} else if (c == '.') {
		l->pos++;
		attr_token(l, t);
	} else if (is_word_byte(c)) {
		word_token(l, t);
	} else {
		op_token(l, t);
	}
}

struct token lex_next(struct lex *l)
{
	struct token t = {.kind = TOKEN_END};

	if (!l->why)
		skip_space(l);
	t.at = l->pos;
	if (!l->why && !at_end(l))
		any_token(l, &t);
	if (l->pos > l->text.len)
		l->pos = (uint32_t)l->text.len;
	t.text = since(l, t.at < l->pos ? t.at : l->pos);
	if (l->why)
		t.kind = TOKEN_BAD;
	return t;
}

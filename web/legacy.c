/* SPDX-License-Identifier: Apache-2.0 */
/* legacy.c - the tags parameter of a search, logfmt, into TraceQL: a value is searched for as a
 * part of a string, or as an equal integer; every tag may be met by another span of the trace.
 * Knows nothing of spans and asks nothing of the store. The invariant: whatever a tag holds, it
 * ends up inside a quoted string of the query, with the regular expression's characters escaped
 * first. */
#include "web/legacy.h"

#include <errno.h>
#include <string.h>

struct tag {
	struct str key, value;
};

/* --- logfmt --- */

struct scan {
	struct arena *a;
	struct str text;
	size_t at;
	struct strbuf *why;
};

static int unexpected(struct scan *s)
{
	strbuf_printf(s->why, "invalid tags: unexpected '%c' at pos %zu", s->text.p[s->at],
		      s->at + 1);
	return -EINVAL;
}

static bool more(const struct scan *s)
{
	return s->at < s->text.len;
}

/* Up to a blank, an equals sign or a quote. */
static struct str scan_word(struct scan *s)
{
	struct str word = {s->text.p + s->at, 0};

	while (more(s) && (unsigned char)s->text.p[s->at] > ' ' &&
	       !strchr("=\"", s->text.p[s->at])) {
		s->at++;
		word.len++;
	}
	return word;
}

static char unescaped(char c)
{
	return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
}

/* Stands on the opening quote. */
static int scan_quoted(struct scan *s, struct str *ret)
{
	char *out = arena_alloc(s->a, s->text.len - s->at);
	size_t len = 0;

	for (s->at++; more(s) && s->text.p[s->at] != '"'; s->at++) {
		bool escape = s->text.p[s->at] == '\\' && s->at + 1 < s->text.len;

		s->at += escape;
		out[len++] = escape ? unescaped(s->text.p[s->at]) : s->text.p[s->at];
	}
	if (!more(s)) {
		strbuf_printf(s->why, "invalid tags: unterminated quoted value at pos %zu",
			      s->at + 1);
		return -EINVAL;
	}
	s->at++;
	*ret = (struct str){out, len};
	return 0;
}

/* One pair; there is something at s->at that is not blank. */
static int scan_tag(struct scan *s, struct tag *ret)
{
	ret->key = scan_word(s);
	ret->value = STR("");
	if (!ret->key.len)
		return unexpected(s);
	if (more(s) && s->text.p[s->at] == '=') {
		s->at++;
		if (more(s) && s->text.p[s->at] == '"')
			return scan_quoted(s, &ret->value);
		ret->value = scan_word(s);
	}
	return more(s) && (unsigned char)s->text.p[s->at] > ' ' ? unexpected(s) : 0;
}

static int tag_once(const struct tag *tags, size_t cnt, struct strbuf *why)
{
	for (size_t i = 0; i + 1 < cnt; i++) {
		if (str_eq(tags[i].key, tags[cnt - 1].key)) {
			strbuf_printf(why, "invalid tags: tag " STR_FMT " has been set twice",
				      STR_ARG(tags[i].key));
			return -EINVAL;
		}
	}
	return 0;
}

/* --- TraceQL --- */

/* In double quotes; the characters that the lexer escapes. */
static void quote(struct strbuf *out, struct str s)
{
	strbuf_addc(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20)
			strbuf_printf(out, "\\x%02x", c);
		else if (c == '"' || c == '\\')
			strbuf_printf(out, "\\%c", c);
		else
			strbuf_addc(out, (char)c);
	}
	strbuf_addc(out, '"');
}

/* Anything that contains the value. */
static void quote_pattern(struct strbuf *out, struct str value)
{
	struct strbuf re;

	strbuf_init(&re);
	strbuf_adds(&re, ".*");
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] && strchr("\\.+*?()|[]{}^$", value.p[i]))
			strbuf_addc(&re, '\\');
		strbuf_addc(&re, value.p[i]);
	}
	strbuf_adds(&re, ".*");
	quote(out, (struct str){re.p, re.len});
	strbuf_fini(&re);
}

static bool is_integer(struct str s)
{
	size_t sign = s.len && s.p[0] == '-', i = sign;

	while (i < s.len && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return i == s.len && s.len > sign && s.len - sign <= 18;
}

static const char *intrinsic(struct str key)
{
	static const struct {
		const char *tag, *name;
	} names[] = {
	    {"name", "name"},
	    {"service.name", "resource.service.name"},
	    {"root.name", "rootName"},
	    {"root.service.name", "rootServiceName"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq(key, str_of(names[i].tag)))
			return names[i].name;
	return NULL;
}

static void write_status(struct strbuf *out, struct str value)
{
	static const char *const names[] = {"error", "ok", "unset"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (str_eq(value, str_of(names[i]))) {
			strbuf_printf(out, "{ status = %s }", names[i]);
			return;
		}
	}
	strbuf_adds(out, "{ false }");
}

static void write_contains(struct strbuf *out, const char *name, struct str key, struct str value)
{
	strbuf_adds(out, name);
	if (key.len)
		quote(out, key);
	strbuf_adds(out, " =~ ");
	quote_pattern(out, value);
}

/* One scope's attribute; that the span has one of this name does not hide the resource's. */
static void write_attr(struct strbuf *out, const char *scope, const struct tag *t)
{
	write_contains(out, scope, t->key, t->value);
	if (!is_integer(t->value))
		return;
	strbuf_printf(out, " || %s", scope);
	quote(out, t->key);
	strbuf_printf(out, " = " STR_FMT, STR_ARG(t->value));
}

static void write_tag(struct strbuf *out, const struct tag *t)
{
	const char *name = intrinsic(t->key);

	if (str_eq(t->key, STR("status.code"))) {
		write_status(out, t->value);
		return;
	}
	strbuf_adds(out, "{ ");
	if (name) {
		write_contains(out, name, STR(""), t->value);
	} else {
		write_attr(out, "span.", t);
		strbuf_adds(out, " || ");
		write_attr(out, "resource.", t);
	}
	strbuf_adds(out, " }");
}

int legacy_query(struct arena *a, struct str text, struct str *ret, struct strbuf *why)
{
	struct scan s = {a, text, 0, why};
	struct tag *tags = arena_array(a, struct tag, text.len / 2 + 1);
	struct strbuf out;
	size_t cnt = 0;
	int err = 0;

	strbuf_init(&out);
	while (!err && more(&s)) {
		if ((unsigned char)text.p[s.at] <= ' ') {
			s.at++;
			continue;
		}
		err = scan_tag(&s, &tags[cnt++]);
		err = err ?: tag_once(tags, cnt, why);
		strbuf_adds(&out, cnt > 1 ? " && " : "");
		write_tag(&out, &tags[cnt - 1]);
	}
	if (!err)
		*ret = arena_str(a, out.p, out.len);
	strbuf_fini(&out);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - values and expressions as text. Formats only: nothing here decides. Answers show these
 * texts, so their form is that of Go's formatting, which Tempo's clients know. */
#include "query/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
    [KIND_UNSPECIFIED] = "unspecified", [KIND_INTERNAL] = "internal", [KIND_SERVER] = "server",
    [KIND_CLIENT] = "client",		[KIND_PRODUCER] = "producer", [KIND_CONSUMER] = "consumer",
};

static const char *const statuses[] = {
    [STATUS_UNSET] = "unset",
    [STATUS_OK] = "ok",
    [STATUS_ERROR] = "error",
};

const char *text_kind(int64_t kind)
{
	return kind >= 0 && (size_t)kind < ARRAY_SIZE(kinds) ? kinds[kind] : "";
}

const char *text_status(int64_t status)
{
	return status >= 0 && (size_t)status < ARRAY_SIZE(statuses) ? statuses[status] : "";
}

static int find(const char *const *names, size_t cnt, struct str word)
{
	for (size_t i = 0; i < cnt; i++)
		if (str_eq(str_of(names[i]), word))
			return (int)i;
	return -1;
}

int text_word(struct str word, struct tval *ret)
{
	static const char *const names[] = {"nil", "true", "false", "minInt", "maxInt"};
	const struct tval values[] = {TVAL_NIL, TVAL_BOOL(true), TVAL_BOOL(false),
				      TVAL_INT(INT64_MIN), TVAL_INT(INT64_MAX)};
	int i = find(names, ARRAY_SIZE(names), word);

	if (i >= 0) {
		*ret = values[i];
		return 0;
	}
	i = find(statuses, ARRAY_SIZE(statuses), word);
	if (i >= 0) {
		*ret = (struct tval){.type = TYPE_STATUS, .i = i};
		return 0;
	}
	i = find(kinds, ARRAY_SIZE(kinds), word);
	if (i < 0)
		return -EINVAL;
	*ret = (struct tval){.type = TYPE_KIND, .i = i};
	return 0;
}

/* --- numbers --- */
/* n / unit with the fraction's trailing zeros cut, then the unit's name. */
static int put_fraction(char *out, uint64_t n, uint64_t unit, const char *name)
{
	char frac[24] = "";
	int width = 0;

	for (uint64_t u = unit; u > 1; u /= 10)
		width++;
	if (n % unit) {
		int len = snprintf(frac, sizeof(frac), ".%0*" PRIu64, width, n % unit);

		while (frac[len - 1] == '0')
			frac[--len] = '\0';
	}
	return sprintf(out, "%" PRIu64 "%s%s", n / unit, frac, name);
}

void text_duration(char out[TEXT_NUMBER], int64_t ns)
{
	uint64_t n = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns, s = n / NS_PER_S;

	if (ns < 0)
		*out++ = '-';
	if (n == 0)
		strcpy(out, "0s");
	else if (n < 1000)
		sprintf(out, "%" PRIu64 "ns", n);
	else if (n < NS_PER_MS)
		put_fraction(out, n, 1000, "µs");
	else if (n < NS_PER_S)
		put_fraction(out, n, NS_PER_MS, "ms");
	else {
		if (s >= 3600)
			out += sprintf(out, "%" PRIu64 "h", s / 3600);
		if (s >= 60)
			out += sprintf(out, "%" PRIu64 "m", s / 60 % 60);
		put_fraction(out, n % (60ull * NS_PER_S), NS_PER_S, "s");
	}
}

/* The fewest digits that read back the same. */
static int shortest(double d)
{
	char text[TEXT_NUMBER];

	for (int digits = 1; digits < 17; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits - 1, d);
		if (strtod(text, NULL) == d)
			return digits;
	}
	return 17;
}

static int exponent(double d, int digits)
{
	char text[TEXT_NUMBER];

	snprintf(text, sizeof(text), "%.*e", digits - 1, d);
	return atoi(strchr(text, 'e') + 1);
}

void text_float(char out[TEXT_NUMBER], double d)
{
	int digits, exp;

	if (!isfinite(d)) {
		strcpy(out, isnan(d) ? "NaN" : d > 0 ? "+Inf" : "-Inf");
		return;
	}
	digits = shortest(d);
	exp = exponent(d, digits);
	if (exp < -4 || exp >= 21)
		snprintf(out, TEXT_NUMBER, "%.*e", digits - 1, d);
	else
		snprintf(out, TEXT_NUMBER, "%.*f", digits - 1 > exp ? digits - 1 - exp : 0, d);
	if (!strpbrk(out, ".e"))
		strcat(out, ".0");
}

/* --- values --- */
struct str text_short(char out[TEXT_NUMBER], const struct tval *v)
{
	switch (v->type) {
	case TYPE_STR:
		return v->str;
	case TYPE_INT:
		snprintf(out, TEXT_NUMBER, "%" PRId64, v->i);
		return str_of(out);
	case TYPE_FLOAT:
		text_float(out, v->d);
		return str_of(out);
	case TYPE_DURATION:
		text_duration(out, v->i);
		return str_of(out);
	case TYPE_BOOL:
		return v->b ? STR("true") : STR("false");
	case TYPE_STATUS:
		return str_of(text_status(v->i));
	case TYPE_KIND:
		return str_of(text_kind(v->i));
	default:
		return STR("nil");
	}
}

struct str text_value(struct arena *a, const struct tval *v)
{
	char text[TEXT_NUMBER];
	struct str s = text_short(text, v);

	return s.p == text ? arena_str(a, s.p, s.len) : s;
}

struct val text_val(struct arena *a, const struct tval *v)
{
	switch (v->type) {
	case TYPE_INT:
		return (struct val){.type = VAL_INT, .i = v->i};
	case TYPE_FLOAT:
		return (struct val){.type = VAL_DOUBLE, .d = v->d};
	case TYPE_BOOL:
		return (struct val){.type = VAL_BOOL, .b = v->b};
	case TYPE_ARRAY:
		return *v->arr;
	default:
		return (struct val){.type = VAL_STR, .str = text_value(a, v)};
	}
}

/* --- expressions --- */
static void put_field(struct strbuf *b, const struct field_ref *f)
{
	if (f->intrinsic) {
		strbuf_adds(b, f->intrinsic->shown);
		return;
	}
	strbuf_printf(b, "%s." STR_FMT, fields_scope_name(f->scope), STR_ARG(f->key));
}

struct str text_field(struct arena *a, const struct field_ref *f)
{
	struct strbuf b;
	struct str s;

	strbuf_init(&b);
	put_field(&b, f);
	s = arena_str(a, b.p, b.len);
	strbuf_fini(&b);
	return s;
}

static void put_expr(struct strbuf *b, struct arena *a, const struct expr *e);

static void put_operand(struct strbuf *b, struct arena *a, const struct expr *e)
{
	bool wrap = e->kind == EXPR_BINARY;

	strbuf_adds(b, wrap ? "(" : "");
	put_expr(b, a, e);
	strbuf_adds(b, wrap ? ")" : "");
}

static void put_expr(struct strbuf *b, struct arena *a, const struct expr *e)
{
	struct str s;

	switch (e->kind) {
	case EXPR_LITERAL:
		s = text_value(a, &e->lit);
		strbuf_printf(b, e->type == TYPE_STR ? "`" STR_FMT "`" : STR_FMT, STR_ARG(s));
		break;
	case EXPR_FIELD:
		put_field(b, &e->field);
		break;
	case EXPR_UNARY:
		strbuf_adds(b, ops_table[e->op].text);
		put_operand(b, a, e->r);
		break;
	default:
		put_operand(b, a, e->l);
		strbuf_printf(b, " %s ", ops_table[e->op].text);
		put_operand(b, a, e->r);
	}
}

struct str text_call(struct arena *a, const char *name, const struct expr *arg)
{
	struct strbuf b;
	struct str s;

	strbuf_init(&b);
	strbuf_printf(&b, "%s(", name);
	if (arg)
		put_expr(&b, a, arg);
	strbuf_addc(&b, ')');
	s = arena_str(a, b.p, b.len);
	strbuf_fini(&b);
	return s;
}

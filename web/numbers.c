/* SPDX-License-Identifier: Apache-2.0 */
/* numbers.c - what numbers.h promises. Pure functions on borrowed text; nothing here knows which
 * parameter it reads. The invariant: arithmetic on what a stranger typed is checked for overflow.
 */
#include "web/numbers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIME_TEXT_MAX = 40 };

void number_quote(struct strbuf *out, struct str text)
{
	strbuf_addc(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '"' || c == '\\')
			strbuf_printf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			strbuf_printf(out, "\\x%02x", c);
		else
			strbuf_addc(out, (char)c);
	}
	strbuf_addc(out, '"');
}

/* `strconv.ParseUint: parsing "x": invalid syntax` */
static int strconv_error(struct strbuf *why, const char *fn, struct str text, const char *what)
{
	strbuf_printf(why, "strconv.%s: parsing ", fn);
	number_quote(why, text);
	strbuf_printf(why, ": %s", what);
	return -EINVAL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 0, -EINVAL when it is not all digits, -ERANGE above max. */
static int digits_to(struct str text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	bool over = false;

	for (size_t i = 0; i < text.len; i++) {
		if (!is_digit(text.p[i]))
			return -EINVAL;
		over |= __builtin_mul_overflow(v, 10, &v);
		over |= __builtin_add_overflow(v, (uint64_t)(text.p[i] - '0'), &v);
	}
	if (!text.len)
		return -EINVAL;
	if (over || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int number_uint32(struct str text, uint32_t *ret, struct strbuf *why)
{
	uint64_t v = 0;
	int err = digits_to(text, UINT32_MAX, &v);

	if (err)
		return strconv_error(why, "ParseUint", text,
				     err == -ERANGE ? "value out of range" : "invalid syntax");
	*ret = (uint32_t)v;
	return 0;
}

int number_int64(struct str text, int64_t *ret, struct strbuf *why)
{
	bool sign = text.len && (text.p[0] == '-' || text.p[0] == '+');
	struct str digits = {text.p + sign, text.len - sign};
	uint64_t v = 0;
	int err = digits_to(digits, INT64_MAX, &v);

	if (err)
		return strconv_error(why, "ParseInt", text,
				     err == -ERANGE ? "value out of range" : "invalid syntax");
	*ret = sign && text.p[0] == '-' ? -(int64_t)v : (int64_t)v;
	return 0;
}

/* --- durations --- */

struct unit {
	const char *name;
	uint64_t ns;
};

static const struct unit go_units[] = {
    {"ns", 1},	       {"us", 1000},	{"\xc2\xb5s", 1000},	 {"\xce\xbcs", 1000},
    {"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60ull * NS_PER_S}, {"h", 3600ull * NS_PER_S},
    {NULL, 0},
};

static const struct unit prom_units[] = {
    {"y", 365 * 86400ull * NS_PER_S},
    {"w", 7 * 86400ull * NS_PER_S},
    {"d", 86400ull * NS_PER_S},
    {"h", 3600ull * NS_PER_S},
    {"m", 60ull * NS_PER_S},
    {"s", NS_PER_S},
    {"ms", NS_PER_MS},
    {NULL, 0},
};

static const struct unit *unit_find(const struct unit *units, struct str name)
{
	for (; units->name; units++)
		if (str_eq(name, str_of(units->name)))
			return units;
	return NULL;
}

/* The prefix of *text whose characters are (digits ? : not) digits or dots. */
static struct str take(struct str *text, bool digits)
{
	struct str got = {text->p, 0};

	while (got.len < text->len &&
	       (is_digit(text->p[got.len]) || text->p[got.len] == '.') == digits)
		got.len++;
	text->p += got.len;
	text->len -= got.len;
	return got;
}

/* One number, maybe with a fraction, in units of unit_ns. */
static int scaled(struct str number, uint64_t unit_ns, uint64_t *ret)
{
	const char *dot = memchr(number.p, '.', number.len);
	struct str whole = {number.p, dot ? (size_t)(dot - number.p) : number.len};
	uint64_t v = 0;
	double fraction = 0, scale = 1;

	if (whole.len && digits_to(whole, UINT64_MAX, &v))
		return -EINVAL;
	for (size_t i = whole.len + 1; i < number.len; i++) {
		if (!is_digit(number.p[i]))
			return -EINVAL;
		scale /= 10;
		fraction += (number.p[i] - '0') * scale;
	}
	if (number.len - (dot != NULL) == 0 || __builtin_mul_overflow(v, unit_ns, &v) ||
	    __builtin_add_overflow(v, (uint64_t)llround(fraction * (double)unit_ns), &v) ||
	    v > INT64_MAX)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int duration_error(struct strbuf *why, const char *what, struct str text)
{
	strbuf_printf(why, "time: %s duration ", what);
	number_quote(why, text);
	return -EINVAL;
}

static int unknown_unit(struct strbuf *why, struct str unit, struct str text)
{
	if (!unit.len)
		return duration_error(why, "missing unit in", text);
	strbuf_adds(why, "time: unknown unit ");
	number_quote(why, unit);
	strbuf_adds(why, " in duration ");
	number_quote(why, text);
	return -EINVAL;
}

int number_duration(struct str text, uint64_t *ret_ns, struct strbuf *why)
{
	struct str left = text;
	uint64_t sum = 0, part;

	if (left.len && left.p[0] == '+')
		left = (struct str){left.p + 1, left.len - 1};
	if (str_eq(left, STR("0"))) {
		*ret_ns = 0;
		return 0;
	}
	if (!left.len)
		return duration_error(why, "invalid", text);
	while (left.len) {
		struct str number = take(&left, true), name = take(&left, false);
		const struct unit *unit = unit_find(go_units, name);

		if (!number.len)
			return duration_error(why, "invalid", text);
		if (!unit)
			return unknown_unit(why, name, text);
		if (scaled(number, unit->ns, &part) || __builtin_add_overflow(sum, part, &sum) ||
		    sum > INT64_MAX)
			return duration_error(why, "invalid", text);
	}
	*ret_ns = sum;
	return 0;
}

/* Each unit at most once, from large to small. */
int number_prom_duration(struct str text, uint64_t *ret_ns, struct strbuf *why)
{
	const struct unit *units = prom_units;
	struct str left = text;
	uint64_t sum = 0, v;
	bool ok = text.len > 0;

	while (ok && left.len) {
		struct str number = take(&left, true), name = take(&left, false);
		const struct unit *unit = unit_find(units, name);

		ok = unit && digits_to(number, UINT32_MAX, &v) == 0 &&
		     !__builtin_mul_overflow(v, unit->ns, &v) &&
		     !__builtin_add_overflow(sum, v, &sum) && sum <= INT64_MAX;
		units = ok ? unit + 1 : units;
	}
	if (!ok && !str_eq(text, STR("0"))) {
		strbuf_adds(why, "not a valid duration string: ");
		number_quote(why, text);
		return -EINVAL;
	}
	*ret_ns = sum;
	return 0;
}

static int seconds(struct str text, uint64_t *ret_ns)
{
	char copy[TIME_TEXT_MAX + 1] = "", *end;
	double v;

	if (text.len > TIME_TEXT_MAX)
		return -EINVAL;
	memcpy(copy, text.p, text.len);
	if (strspn(copy, "0123456789.eE+-") != text.len)
		return -EINVAL;
	v = strtod(copy, &end) * NS_PER_S;
	if (end == copy || *end || !(v >= 0 && v < (double)INT64_MAX))
		return -EINVAL;
	*ret_ns = (uint64_t)llround(v);
	return 0;
}

int number_step(struct str text, uint64_t *ret_ns)
{
	struct strbuf why;
	int err = seconds(text, ret_ns);

	strbuf_init(&why);
	if (err)
		err = number_prom_duration(text, ret_ns, &why);
	if (err)
		err = number_duration(text, ret_ns, &why);
	strbuf_fini(&why);
	return err;
}

/* --- times --- */

/* Exactly cnt digits at p, or -1. */
static int fixed_digits(const char *p, int cnt)
{
	int v = 0;

	for (int i = 0; i < cnt; i++) {
		if (!is_digit(p[i]))
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v;
}

/* ".123456789", "" : nanoseconds; *len is what was read. */
static uint32_t rfc_fraction(const char *p, size_t *len)
{
	uint32_t ns = 0, scale = NS_PER_S / 10;

	*len = 0;
	if (p[0] != '.' || !is_digit(p[1]))
		return 0;
	for (*len = 1; is_digit(p[*len]); ++*len, scale /= 10)
		ns += (uint32_t)(p[*len] - '0') * scale;
	return ns;
}

/* "Z" or "+hh:mm" up to the end: seconds east; -1 when it is none. */
static int rfc_zone(const char *p, long *ret)
{
	int hours, minutes;

	if (strcmp(p, "Z") == 0) {
		*ret = 0;
		return 0;
	}
	if (strlen(p) != 6 || (p[0] != '+' && p[0] != '-') || p[3] != ':')
		return -1;
	hours = fixed_digits(p + 1, 2);
	minutes = fixed_digits(p + 4, 2);
	if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
		return -1;
	*ret = (p[0] == '-' ? -60L : 60L) * (hours * 60 + minutes);
	return 0;
}

static int rfc3339(const char *p, uint64_t *ret_ns)
{
	struct tm tm = {0};
	uint32_t ns;
	size_t len;
	long zone;
	time_t t;

	if (strlen(p) < 20 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' ||
	    p[16] != ':')
		return -1;
	tm.tm_year = fixed_digits(p, 4) - 1900;
	tm.tm_mon = fixed_digits(p + 5, 2) - 1;
	tm.tm_mday = fixed_digits(p + 8, 2);
	tm.tm_hour = fixed_digits(p + 11, 2);
	tm.tm_min = fixed_digits(p + 14, 2);
	tm.tm_sec = fixed_digits(p + 17, 2);
	if (tm.tm_year < 70 || tm.tm_year > 500 || tm.tm_mon < 0 || tm.tm_mon > 11 ||
	    tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 ||
	    tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 59)
		return -1;
	ns = rfc_fraction(p + 19, &len);
	if (rfc_zone(p + 19 + len, &zone))
		return -1;
	t = timegm(&tm) - zone;
	*ret_ns = t > 0 ? (uint64_t)t * NS_PER_S + ns : 0;
	return 0;
}

/* "12.5": seconds with milliseconds, as far as Tempo reads them. */
static int fractional(const char *p, uint64_t *ret_ns)
{
	char *end;
	double v, ms;

	if (!strchr(p, '.') || strspn(p, "0123456789.") != strlen(p))
		return -1;
	v = strtod(p, &end);
	if (*end || end == p || !(v >= 0 && v < 1e10))
		return -1;
	ms = round((v - floor(v)) * 1000);
	*ret_ns = (uint64_t)v * NS_PER_S + (uint64_t)ms * NS_PER_MS;
	return 0;
}

int number_time(struct str text, uint64_t *ret_ns, struct strbuf *why)
{
	char copy[TIME_TEXT_MAX + 1] = "";
	int64_t v;

	if (text.len <= TIME_TEXT_MAX)
		memcpy(copy, text.p, text.len);
	if (fractional(copy, ret_ns) == 0 || rfc3339(copy, ret_ns) == 0)
		return 0;
	if (number_int64(text, &v, why))
		return -EINVAL;
	*ret_ns = v < 0 ? 0 : text.len <= 10 ? (uint64_t)v * NS_PER_S : (uint64_t)v;
	return 0;
}

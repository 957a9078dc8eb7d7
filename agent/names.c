/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - reads the two variables by which OpenTelemetry lets a process name itself. It opens no
 * file and knows no process; procs.c calls it. The environment is the traced program's word: any
 * bytes of any length. The invariants: what leaves this file is short, valid UTF-8 and printable,
 * and a process cannot say what is ours to say (its pid, its host, which distribution we are). */
#include "agent/names.h"
#include "agent/utf8.h"

#include <string.h>

enum { VALUE_MAX = 255 };

struct str names_clean(struct arena *a, struct str s)
{
	char out[VALUE_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s.len;) {
		size_t len = utf8_len(s.p + i, s.len - i), step = len ? len : 1;
		unsigned char c = (unsigned char)s.p[i];

		if (n + step > sizeof(out))
			break;
		if (!len || c < ' ' || c == 0x7f)
			out[n] = '?';
		else
			memcpy(out + n, s.p + i, step);
		n += step;
		i += step;
	}
	return arena_str(a, out, n);
}

static struct str trim(struct str s)
{
	while (s.len && s.p[0] == ' ')
		s = (struct str){s.p + 1, s.len - 1};
	while (s.len && s.p[s.len - 1] == ' ')
		s.len--;
	return s;
}

/* Cuts up to and without the first c off *rest. */
static struct str take_until(struct str *rest, char c)
{
	const char *end = rest->len ? memchr(rest->p, c, rest->len) : NULL;
	struct str got = {rest->p, end ? (size_t)(end - rest->p) : rest->len};
	size_t skip = got.len + (end ? 1 : 0);

	*rest = (struct str){rest->p + skip, rest->len - skip};
	return got;
}

/* %41 → A */
static struct str percent_decode(struct arena *a, struct str s)
{
	char *to = arena_alloc(a, s.len + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		uint8_t byte;

		if (s.p[i] == '%' && s.len - i > 2 && hex_decode(&byte, s.p + i + 1, 2) == 0) {
			to[n++] = (char)byte;
			i += 2;
		} else {
			to[n++] = s.p[i];
		}
	}
	return (struct str){to, n};
}

static bool is_ours(struct str key)
{
	return str_starts(key, STR("process.")) || str_starts(key, STR("telemetry.")) ||
	       str_eq(key, STR("host.name")) || str_eq(key, STR("service.name"));
}

static void attribute_take(struct names *to, struct arena *a, struct str pair)
{
	struct str key = names_clean(a, trim(take_until(&pair, '=')));
	struct str value = names_clean(a, percent_decode(a, trim(pair)));

	if (!key.len || !value.len)
		return;
	if (str_eq(key, STR("service.name")) && !to->service.len)
		to->service = value;
	if (is_ours(key) || to->cnt == NAMES_ATTRS_MAX)
		return;
	to->has_instance_id |= str_eq(key, STR("service.instance.id"));
	to->at[to->cnt].key = key;
	to->at[to->cnt++].value = value;
}

/* The value of a variable ("NAME="), or empty. */
static struct str variable(struct str environ_text, struct str name)
{
	while (environ_text.len) {
		struct str one = take_until(&environ_text, '\0');

		if (str_starts(one, name))
			return (struct str){one.p + name.len, one.len - name.len};
	}
	return STR("");
}

void names_of_environ(struct names *ret, struct arena *a, struct str environ_text)
{
	struct str list = variable(environ_text, STR("OTEL_RESOURCE_ATTRIBUTES="));

	*ret = (struct names){.cnt = 0};
	ret->service = names_clean(a, trim(variable(environ_text, STR("OTEL_SERVICE_NAME="))));
	while (list.len)
		attribute_take(ret, a, take_until(&list, ','));
}

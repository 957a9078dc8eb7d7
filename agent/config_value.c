/* SPDX-License-Identifier: Apache-2.0 */
/* config_value.c - the kinds of value that a setting may have: text ↔ field of struct config. It
 * does not know the keys, nor where a text came from; config.c calls it through struct config_kind.
 * The invariants: a field is written only when the text is good, a number that does not fit is
 * refused and never wrapped, and a text quoted in a sentence is cut short. */
#include "agent/config_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUOTE "\"%.80s\""

struct unit {
	const char *name;
	uint64_t factor;
};

static char *text_dup(const char *text)
{
	char *p = strdup(text);

	must(p);
	return p;
}

static int refuse(struct strbuf *why, const char *text, const char *wanted)
{
	strbuf_printf(why, QUOTE " is not %s", text, wanted);
	return -EINVAL;
}

static int out_of_range(const struct config_key *key, struct strbuf *why, const char *text)
{
	strbuf_printf(why, QUOTE " is not between %llu and %llu", text,
		      (unsigned long long)key->min, (unsigned long long)key->max);
	return -EINVAL;
}

/* Digits at *at; moves *at behind them. */
static int number_take(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t n = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return -EINVAL;
	*at = p;
	*ret = n;
	return 0;
}

/* --- texts --- */

static void text_clear(void *field)
{
	char **to = field;

	free(*to);
	*to = NULL;
}

static void text_set(char **to, const char *text)
{
	text_clear(to);
	*to = text_dup(text);
}

static int text_parse(const struct config_key *key, void *field, const char *text,
		      struct strbuf *why)
{
	(void)key;
	if (!*text) {
		strbuf_adds(why, "an empty value is not allowed here");
		return -EINVAL;
	}
	text_set(field, text);
	return 0;
}

const struct config_kind config_text = {"PATH", .parse = text_parse, .clear = text_clear};

/* A file that need not be: empty means none. */
static int path_parse(const struct config_key *key, void *field, const char *text,
		      struct strbuf *why)
{
	if (*text)
		return text_parse(key, field, text, why);
	text_clear(field);
	return 0;
}

const struct config_kind config_path = {"FILE", .parse = path_parse, .clear = text_clear};
const struct config_kind config_name = {"NAME", .parse = path_parse, .clear = text_clear};

/* HOST:PORT or [IPV6]:PORT. Whether the host is one of ours is the web server's to say. */
static int address_parse(const struct config_key *key, void *field, const char *text,
			 struct strbuf *why)
{
	static const char wanted[] = "an address with a port, like 127.0.0.1:3200 or [::1]:3200";
	const char *colon = strrchr(text, ':'), *port;
	uint64_t n;

	(void)key;
	if (!colon || colon == text)
		return refuse(why, text, wanted);
	if ((text[0] == '[') != (colon[-1] == ']') ||
	    (text[0] != '[' && strchr(text, ':') != colon))
		return refuse(why, text, wanted);
	port = colon + 1;
	if (number_take(&port, &n) || *port || n > UINT16_MAX)
		return refuse(why, text, wanted);
	text_set(field, text);
	return 0;
}

const struct config_kind config_address = {"ADDR:PORT", .parse = address_parse,
					   .clear = text_clear};

/* Empty means none. */
static int address_or_none_parse(const struct config_key *key, void *field, const char *text,
				 struct strbuf *why)
{
	return *text ? address_parse(key, field, text, why) : path_parse(key, field, text, why);
}

const struct config_kind config_address_or_none = {
	"ADDR:PORT", .parse = address_or_none_parse, .clear = text_clear};

/* --- words --- */

static int switch_parse(const struct config_key *key, void *field, const char *text,
			struct strbuf *why)
{
	static const char *const words[][2] = {
		{"off", "on"}, {"false", "true"}, {"no", "yes"}, {"0", "1"}};

	(void)key;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (int on = 0; on < 2; on++)
			if (strcmp(text, words[i][on]) == 0) {
				*(bool *)field = on;
				return 0;
			}
	return refuse(why, text, "on or off");
}

const struct config_kind config_switch = {"on|off", .is_switch = true, .parse = switch_parse};

static int when_parse(const struct config_key *key, void *field, const char *text,
		      struct strbuf *why)
{
	bool commits = strcmp(text, "committed") == 0;

	(void)key;
	if (!commits && strcmp(text, "accepted") != 0)
		return refuse(why, text, "accepted or committed");
	*(bool *)field = commits;
	return 0;
}

const struct config_kind config_when = {"WHEN", .parse = when_parse};

static int level_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	(void)key;
	if (log_level_parse(text, field))
		return refuse(why, text, "one of error, warn, info, debug");
	return 0;
}

const struct config_kind config_level = {"LEVEL", .parse = level_parse};

/* --- lists: an array in struct config with its count behind it --- */

struct glob_list {
	char *at[GLOBS_MAX];
	uint32_t cnt;
};

_Static_assert(offsetof(struct config, open_port_cnt) - offsetof(struct config, open_ports) ==
		       offsetof(struct port_list, cnt),
	       "the count follows its list");
_Static_assert(offsetof(struct config, exe_path_cnt) - offsetof(struct config, exe_path) ==
		       offsetof(struct glob_list, cnt),
	       "the count follows its list");
_Static_assert(offsetof(struct config, name_cnt) - offsetof(struct config, name) ==
		       offsetof(struct glob_list, cnt),
	       "the count follows its list");

static int too_many(struct strbuf *why, unsigned max)
{
	strbuf_printf(why, "more than %u entries are not possible; use ranges or wildcards", max);
	return -E2BIG;
}

static int ports_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	struct port_list *to = field;
	const char *p = text;
	uint64_t from, last;

	(void)key;
	if (number_take(&p, &from))
		return refuse(why, text, "a port or a range like 8000-8100");
	last = from;
	if (*p == '-' && (p++, number_take(&p, &last)))
		return refuse(why, text, "a port or a range like 8000-8100");
	if (*p || from == 0 || last > UINT16_MAX || from > last)
		return refuse(why, text, "a port (1 to 65535) or a rising range like 8000-8100");
	if (to->cnt == PORTS_MAX)
		return too_many(why, PORTS_MAX);
	to->at[to->cnt++] = (struct port_range){(uint16_t)from, (uint16_t)last};
	return 0;
}

static void ports_clear(void *field)
{
	((struct port_list *)field)->cnt = 0;
}

const struct config_kind config_ports = {"PORTS", .is_list = true, .parse = ports_parse,
					 .clear = ports_clear};

static int globs_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	struct glob_list *to = field;

	(void)key;
	if (!*text)
		return refuse(why, text, "a pattern; * stands for any text");
	if (to->cnt == GLOBS_MAX)
		return too_many(why, GLOBS_MAX);
	to->at[to->cnt++] = text_dup(text);
	return 0;
}

static void globs_clear(void *field)
{
	struct glob_list *to = field;

	while (to->cnt)
		text_clear(&to->at[--to->cnt]);
}

const struct config_kind config_globs = {"GLOBS", .is_list = true, .parse = globs_parse,
					 .clear = globs_clear};

/* Whole paths, compared byte by byte in the kernel half, which has so much room for each. */
static int paths_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	if (*text != '/' || strlen(text) >= PATH_LEN_MAX || strpbrk(text, "?*"))
		return refuse(why, text, "a whole path of at most 63 bytes, such as /health");
	return globs_parse(key, field, text, why);
}

const struct config_kind config_paths = {"PATHS", .is_list = true, .parse = paths_parse,
					 .clear = globs_clear};

/* The web server wants these NULL-terminated, so there is no count. */
static size_t hosts_cnt(char *const *hosts)
{
	size_t n = 0;

	while (hosts[n])
		n++;
	return n;
}

static int hosts_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	char **to = field;
	size_t n = hosts_cnt(to);

	(void)key;
	if (!*text)
		return refuse(why, text, "a host name");
	if (n == HOSTS_MAX)
		return too_many(why, HOSTS_MAX);
	to[n] = text_dup(text);
	return 0;
}

static void hosts_clear(void *field)
{
	char **to = field;

	for (size_t n = hosts_cnt(to); n;)
		text_clear(&to[--n]);
}

const struct config_kind config_hosts = {"HOSTS", .is_list = true, .parse = hosts_parse,
					 .clear = hosts_clear};

/* --- numbers --- */

static int count_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	const char *p = text;
	uint64_t n;

	if (number_take(&p, &n) || *p)
		return refuse(why, text, "a number");
	if (n < key->min || n > key->max)
		return out_of_range(key, why, text);
	*(uint32_t *)field = (uint32_t)n;
	return 0;
}

const struct config_kind config_count = {"N", .parse = count_parse};

static int power_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	uint32_t n;
	int err = count_parse(key, &n, text, why);

	if (err)
		return err;
	if (n & (n - 1))
		return refuse(why, text, "a power of two");
	*(uint32_t *)field = n;
	return 0;
}

const struct config_kind config_power_of_two = {"N", .parse = power_parse};

static uint64_t unit_factor(const struct unit *units, size_t cnt, const char *name, size_t len)
{
	for (size_t i = 0; i < cnt; i++)
		if (strlen(units[i].name) == len && strncmp(units[i].name, name, len) == 0)
			return units[i].factor;
	return 0;
}

/* "512MiB", "1d12h": numbers with their units, summed. Only 0 needs no unit, unless "" is one. */
static int sum_parse(const char *text, const struct unit *units, size_t cnt, uint64_t *ret)
{
	const char *p = text;
	uint64_t sum = 0, n, factor;

	do {
		size_t len;

		if (number_take(&p, &n))
			return -EINVAL;
		len = strcspn(p, "0123456789");
		factor = unit_factor(units, cnt, p, len);
		if (!factor && !(len == 0 && n == 0))
			return -EINVAL;
		if (__builtin_mul_overflow(n, factor, &n) || __builtin_add_overflow(sum, n, &sum))
			return -EINVAL;
		p += len;
	} while (*p);
	*ret = sum;
	return 0;
}

static int size_parse(const struct config_key *key, void *field, const char *text,
		      struct strbuf *why)
{
	static const struct unit units[] = {
		{"", 1},
		{"B", 1},
		{"kB", 1000},
		{"KB", 1000},
		{"MB", 1000000},
		{"GB", 1000000000},
		{"KiB", 1ull << 10},
		{"MiB", 1ull << 20},
		{"GiB", 1ull << 30},
		{"TiB", 1ull << 40},
	};

	(void)key;
	if (sum_parse(text, units, ARRAY_SIZE(units), field))
		return refuse(why, text, "a size like 2GiB or 512MiB");
	return 0;
}

const struct config_kind config_size = {"SIZE", .parse = size_parse};

static int duration_parse(const struct config_key *key, void *field, const char *text,
			  struct strbuf *why)
{
	static const struct unit units[] = {
		{"ms", NS_PER_MS},	    {"s", NS_PER_S},
		{"m", 60ull * NS_PER_S},    {"h", 3600ull * NS_PER_S},
		{"d", 86400ull * NS_PER_S},
	};

	(void)key;
	if (sum_parse(text, units, ARRAY_SIZE(units), field))
		return refuse(why, text, "a duration like 7d, 12h or 30m");
	return 0;
}

const struct config_kind config_duration = {"DURATION", .parse = duration_parse};

/* 0.25 becomes the quarter of UINT64_MAX below which a random number is kept. */
static int ratio_parse(const struct config_key *key, void *field, const char *text,
		       struct strbuf *why)
{
	char *end;
	double d = strtod(text, &end);

	(void)key;
	if (end == text || *end || !(d >= 0 && d <= 1))
		return refuse(why, text, "a share between 0 and 1, such as 0.1");
	*(uint64_t *)field = d >= 1 ? UINT64_MAX : (uint64_t)(d * 18446744073709551616.0);
	return 0;
}

const struct config_kind config_ratio = {"RATIO", .parse = ratio_parse};

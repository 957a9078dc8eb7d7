/* SPDX-License-Identifier: Apache-2.0 */
/* params.c - what params.h promises. Reads text into the structs of query.h, with the limits and
 * error texts of Tempo's API; numbers.c reads the single numbers. Called by the handlers. The
 * invariant: a parameter that is present but empty counts as absent. */
#include "web/params.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "web/numbers.h"

enum {
	LIMIT_DEFAULT = 20,
	LIMIT_MAX = 262144,
	SPSS_DEFAULT = 3,
	SPSS_MAX = 100,
	RANGE_DEFAULT_S = 15 * 60,
	RANGE_MAX_S = 168 * 3600,
	METRICS_DEFAULT_S = 3600,
	METRICS_MAX_S = 24 * 3600,
};

/* --- percent-decoding --- */

static int hex_at(struct str in, size_t i, char *ret)
{
	uint8_t byte;

	if (in.len - i < 3 || hex_decode(&byte, in.p + i + 1, 2))
		return -EINVAL;
	*ret = (char)byte;
	return 0;
}

int params_unescape(struct arena *a, struct str in, bool plus, struct str *ret)
{
	char *out = arena_alloc(a, in.len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < in.len; i++) {
		if (in.p[i] == '%') {
			if (hex_at(in, i, &out[n++]))
				return -EINVAL;
			i += 2;
		} else {
			out[n++] = plus && in.p[i] == '+' ? ' ' : in.p[i];
		}
	}
	*ret = (struct str){out, n};
	return 0;
}

/* Cuts off what stands before sep; the rest stays in *left. */
static struct str cut(struct str *left, char sep)
{
	const char *p = left->len ? memchr(left->p, sep, left->len) : NULL;
	struct str got = {left->p, p ? (size_t)(p - left->p) : left->len};
	size_t used = got.len + (p != NULL);

	*left = (struct str){left->p + used, left->len - used};
	return got;
}

struct params params_parse(struct arena *a, struct str query)
{
	struct params p = {0};
	size_t max = query.len ? 1 : 0;

	for (size_t i = 0; i < query.len; i++)
		max += query.p[i] == '&';
	p.at = arena_array(a, struct param, max);
	while (p.at && query.len) {
		struct str pair = cut(&query, '&'), key = cut(&pair, '=');

		if (params_unescape(a, key, true, &p.at[p.cnt].key) == 0 &&
		    params_unescape(a, pair, true, &p.at[p.cnt].value) == 0)
			p.cnt++;
	}
	return p;
}

struct str params_get(const struct params *p, const char *key)
{
	for (size_t i = 0; i < p->cnt; i++)
		if (str_eq(p->at[i].key, str_of(key)))
			return p->at[i].value;
	return STR("");
}

/* --- ids --- */

static int bad(struct strbuf *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int bad(struct strbuf *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(why, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int params_trace_id(struct str text, uint8_t ret[16], struct strbuf *why)
{
	char padded[32];

	for (size_t i = 0; i < text.len; i++)
		if (!strchr("0123456789abcdefABCDEF", text.p[i]) || !text.p[i])
			return bad(why,
				   "trace IDs can only contain hex characters: "
				   "invalid character '%c' at position %zu",
				   text.p[i], i + 1);
	if (text.len > sizeof(padded))
		return bad(why, "trace IDs can't be larger than 128 bits");
	memset(padded, '0', sizeof(padded));
	memcpy(padded + sizeof(padded) - text.len, text.p, text.len);
	return hex_decode(ret, padded, sizeof(padded));
}

/* --- single parameters; an absent one leaves *ret alone --- */

static int get_uint32(const struct params *p, const char *key, uint32_t *ret, struct strbuf *why)
{
	struct str text = params_get(p, key);

	if (!text.len)
		return 0;
	strbuf_printf(why, "invalid %s: ", key);
	if (number_uint32(text, ret, why))
		return -EINVAL;
	strbuf_clear(why);
	return 0;
}

static int get_int64(const struct params *p, const char *key, int64_t *ret, struct strbuf *why)
{
	struct str text = params_get(p, key);

	if (!text.len)
		return 0;
	strbuf_printf(why, "invalid %s: ", key);
	if (number_int64(text, ret, why))
		return -EINVAL;
	strbuf_clear(why);
	return 0;
}

/* Whole milliseconds count. */
static int get_duration(const struct params *p, const char *key, uint64_t *ret_ns,
			struct strbuf *why)
{
	struct str text = params_get(p, key);

	if (!text.len)
		return 0;
	strbuf_printf(why, "invalid %s: ", key);
	if (number_duration(text, ret_ns, why))
		return -EINVAL;
	strbuf_clear(why);
	*ret_ns -= *ret_ns % NS_PER_MS;
	return 0;
}

int params_trace_range(const struct params *p, struct strbuf *why)
{
	int64_t start = 0, end = 0;
	int err = get_int64(p, "start", &start, why);

	err = err ?: get_int64(p, "end", &end, why);
	if (!err && start && end && start >= end)
		return bad(why,
			   "http parameter start must be before end. received start=%" PRId64
			   " end=%" PRId64,
			   start, end);
	return err;
}

/* What Go's ParseBool takes. */
static int get_bool(const struct params *p, const char *key, bool *ret, struct strbuf *why)
{
	static const char *const words[][6] = {{"0", "f", "F", "FALSE", "false", "False"},
					       {"1", "t", "T", "TRUE", "true", "True"}};
	struct str text = params_get(p, key);

	for (size_t i = 0; i < 12; i++) {
		if (str_eq(text, str_of(words[i / 6][i % 6]))) {
			*ret = i / 6;
			return 0;
		}
	}
	if (!text.len)
		return 0;
	return bad(why, "invalid %s: must be true or false", key);
}

int params_trace_filter(const struct params *p, struct trace_filter *ret, struct strbuf *why)
{
	struct trace_filter f = {.q = params_get(p, "q")};
	bool all = false;
	int err = get_bool(p, "keep_hierarchy", &all, why);

	f.up = all ? UINT32_MAX : 0;
	err = err ?: get_uint32(p, "ancestor_depth", &f.up, why);
	err = err ?: get_uint32(p, "match_depth", &f.down, why);
	if (!err)
		*ret = f;
	return err;
}

/* --- search --- */

static int search_range(const struct params *p, uint64_t now_ns, struct search_params *ret,
			struct strbuf *why)
{
	uint32_t start = 0, end = 0;
	int err = get_uint32(p, "start", &start, why);

	err = err ?: get_uint32(p, "end", &end, why);
	if (err)
		return err;
	if (!start && !end) {
		ret->from_ns = now_ns - (uint64_t)RANGE_DEFAULT_S * NS_PER_S;
		ret->to_ns = now_ns;
		return 0;
	}
	if (end <= start)
		return bad(why,
			   "http parameter start must be before end. received start=%" PRIu32
			   " end=%" PRIu32,
			   start, end);
	if (end - start > RANGE_MAX_S)
		return bad(
		    why,
		    "range specified by start and end exceeds 168h0m0s. received start=%" PRIu32
		    " end=%" PRIu32,
		    start, end);
	ret->from_ns = (uint64_t)start * NS_PER_S;
	ret->to_ns = (uint64_t)end * NS_PER_S;
	return 0;
}

static int search_durations(const struct params *p, struct search_params *ret, struct strbuf *why)
{
	int err = get_duration(p, "minDuration", &ret->min_ns, why);

	err = err ?: get_duration(p, "maxDuration", &ret->max_ns, why);
	if (!err && params_get(p, "maxDuration").len && ret->min_ns > ret->max_ns)
		return bad(why, "invalid maxDuration: must be greater than minDuration");
	return err;
}

static int search_limits(const struct params *p, struct search_params *ret, struct strbuf *why)
{
	int err = get_uint32(p, "limit", &ret->limit, why);

	if (!err && ret->limit == 0)
		return bad(why, "invalid limit: must be a positive number");
	err = err ?: get_uint32(p, "spss", &ret->spss, why);
	if (err)
		return err;
	if (ret->limit > LIMIT_MAX)
		return bad(why, "limit %" PRIu32 " exceeds max limit %d", ret->limit, LIMIT_MAX);
	if (ret->spss > SPSS_MAX)
		return bad(why, "spans per span set exceeds %d. received %" PRIu32, SPSS_MAX,
			   ret->spss);
	if (ret->spss == 0)
		ret->spss = SPSS_DEFAULT;
	return 0;
}

int params_search(const struct params *p, uint64_t now_ns, struct search_params *ret,
		  struct strbuf *why)
{
	struct search_params s = {.q = params_get(p, "q"), .limit = LIMIT_DEFAULT};
	int err;

	if (s.q.len && params_get(p, "tags").len)
		return bad(why, "invalid request: can't specify tags and q in the same query");
	err = search_durations(p, &s, why);
	err = err ?: search_limits(p, &s, why);
	err = err ?: search_range(p, now_ns, &s, why);
	if (!err)
		*ret = s;
	return err;
}

/* --- tags --- */

static int tag_time(struct str text, const char *key, uint64_t *ret_ns, struct strbuf *why)
{
	strbuf_printf(why, "error parsing date range: could not parse '%s' parameter: ", key);
	if (number_time(text, ret_ns, why))
		return -EINVAL;
	strbuf_clear(why);
	return 0;
}

static int tag_since(const struct params *p, uint64_t now_ns, struct tag_params *ret,
		     struct strbuf *why)
{
	struct str since = params_get(p, "since");
	uint64_t ns = (uint64_t)RANGE_DEFAULT_S * NS_PER_S;

	if (since.len) {
		strbuf_adds(why, "error parsing date range: could not parse 'since' parameter: ");
		if (number_prom_duration(since, &ns, why))
			return -EINVAL;
		strbuf_clear(why);
	}
	ret->from_ns = now_ns > ns ? now_ns - ns : 0;
	ret->to_ns = now_ns;
	return 0;
}

static int tag_range(const struct params *p, uint64_t now_ns, struct tag_params *ret,
		     struct strbuf *why)
{
	struct str start = params_get(p, "start"), end = params_get(p, "end");
	int err;

	if (!start.len && !end.len)
		return tag_since(p, now_ns, ret, why);
	if (!start.len || !end.len)
		return bad(why, "error parsing date range: only one of start and end provided: "
				"must provide both or neither");
	err = tag_time(start, "start", &ret->from_ns, why);
	err = err ?: tag_time(end, "end", &ret->to_ns, why);
	if (!err && ret->to_ns < ret->from_ns)
		return bad(why,
			   "http parameter start must be before end. received start=%" PRIu64
			   " end=%" PRIu64,
			   ret->from_ns / NS_PER_S, ret->to_ns / NS_PER_S);
	return err;
}

int params_tags(const struct params *p, uint64_t now_ns, struct tag_params *ret, struct strbuf *why)
{
	struct tag_params t = {.q = params_get(p, "q")};
	int err = tag_range(p, now_ns, &t, why);

	err = err ?: get_uint32(p, "limit", &t.limit, why);
	if (!err)
		*ret = t;
	return err;
}

/* --- metrics --- */

/* What the readers of numbers say stands behind this. */
static const char RPC[] = "rpc error: code = Code(400) desc = ";

static int metrics_time(const struct params *p, const char *key, uint64_t *ret_ns,
			struct strbuf *why)
{
	struct str text = params_get(p, key);

	if (!text.len)
		return 0;
	strbuf_printf(why, "%scould not parse '%s' parameter: ", RPC, key);
	if (number_time(text, ret_ns, why))
		return -EINVAL;
	strbuf_clear(why);
	return 0;
}

static int metrics_since(const struct params *p, uint64_t *ret_ns, struct strbuf *why)
{
	struct str text = params_get(p, "since");

	if (!text.len)
		return 0;
	strbuf_printf(why, "%scould not parse 'since' parameter: ", RPC);
	if (number_prom_duration(text, ret_ns, why))
		return -EINVAL;
	strbuf_clear(why);
	return 0;
}

static int metrics_range(const struct params *p, uint64_t now_ns, struct metrics_params *ret,
			 struct strbuf *why)
{
	uint64_t since = (uint64_t)METRICS_DEFAULT_S * NS_PER_S, last;
	int err = metrics_since(p, &since, why);

	ret->to_ns = now_ns;
	err = err ?: metrics_time(p, "end", &ret->to_ns, why);
	last = ret->to_ns < now_ns ? ret->to_ns : now_ns;
	ret->from_ns = last > since ? last - since : 0;
	err = err ?: metrics_time(p, "start", &ret->from_ns, why);
	if (err)
		return err;
	if (ret->to_ns <= ret->from_ns)
		return bad(why, "end must be greater than start");
	if (ret->to_ns - ret->from_ns > (uint64_t)METRICS_MAX_S * NS_PER_S)
		return bad(why, "metrics query time range exceeds the maximum allowed duration of "
				"24h0m0s");
	return 0;
}

static int metrics_step(const struct params *p, struct metrics_params *ret, struct strbuf *why)
{
	struct str text = params_get(p, "step");

	ret->step_ns = query_metrics_step(ret->from_ns, ret->to_ns);
	if (!text.len || number_step(text, &ret->step_ns) == 0)
		return 0;
	strbuf_printf(why, "%scannot parse ", RPC);
	number_quote(why, text);
	return bad(why, " to a valid duration");
}

int params_metrics(const struct params *p, uint64_t now_ns, bool range, struct metrics_params *ret,
		   struct strbuf *why)
{
	struct str q = params_get(p, "q");
	struct metrics_params m = {.q = q.len ? q : params_get(p, "query")};
	int err = metrics_range(p, now_ns, &m, why);

	err = err ?: get_uint32(p, "exemplars", &m.exemplars, why);
	if (!err && range)
		err = metrics_step(p, &m, why);
	if (!err)
		*ret = m;
	return err;
}

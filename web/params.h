/* SPDX-License-Identifier: Apache-2.0 */
/* params.h - the parameters of a request: percent-decoding, times, durations, ids, numbers, with
 * the error texts that Tempo's clients know. Knows nothing of HTTP's framing and asks nothing of
 * the store. Functions return 0, or -EINVAL with the body of the 400 answer in why. */
#ifndef WIRESPAN_PARAMS_H
#define WIRESPAN_PARAMS_H

#include "query/query.h"
#include "store/base.h"

struct param {
	struct str key, value;
};

struct params {
	struct param *at;
	size_t cnt;
};

/* The pairs of a query string; pairs with a broken percent sequence are left out. */
struct params params_parse(struct arena *a, struct str query);
/* The first value of key; present but empty counts as absent: then "". */
struct str params_get(const struct params *p, const char *key);

/* %XX, and + for a space when plus; -EINVAL when broken. */
int params_unescape(struct arena *a, struct str in, bool plus, struct str *ret);

int params_trace_id(struct str text, uint8_t ret[16], struct strbuf *why);
/* Only checks: a trace is looked for at all times. */
int params_trace_range(const struct params *p, struct strbuf *why);
/* q, keep_hierarchy (the way up to the root), ancestor_depth (so far up only), match_depth (so far
 * down). */
int params_trace_filter(const struct params *p, struct trace_filter *ret, struct strbuf *why);
/* All of a search but its tags, which are legacy.h's. */
int params_search(const struct params *p, uint64_t now_ns, struct search_params *ret,
		  struct strbuf *why);
/* q, limit and the time range of tag names and values; name is the caller's. */
int params_tags(const struct params *p, uint64_t now_ns, struct tag_params *ret,
		struct strbuf *why);

/* Everything of a metrics query; step when it is a range. */
int params_metrics(const struct params *p, uint64_t now_ns, bool range, struct metrics_params *ret,
		   struct strbuf *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c - the one table of paths. A new endpoint is a row here and a handler in an api_*.c. The
 * invariant: patterns do not overlap, so their order means nothing. */
#include "web/routes.h"

#include <string.h>

static const struct route routes[] = {
    {.pattern = "/ready", .handler = api_ready, .open = true},
    {.pattern = "/metrics", .handler = api_metrics},
    {.pattern = "/status", .handler = api_status},
    {.pattern = "/api/echo", .handler = api_echo},
    {.pattern = "/api/status/buildinfo", .handler = api_buildinfo},
    {.pattern = "/api/traces/{}", .handler = api_trace_v1},
    {.pattern = "/api/v2/traces/{}", .handler = api_trace_v2},
    {.pattern = "/api/search", .handler = api_search},
    {.pattern = "/api/search/tags", .handler = api_tags_v1},
    {.pattern = "/api/v2/search/tags", .handler = api_tags_v2},
    {.pattern = "/api/search/tag/{}/values", .handler = api_values_v1},
    {.pattern = "/api/v2/search/tag/{}/values", .handler = api_values_v2},
    {.pattern = "/api/metrics/query_range", .handler = api_metrics_range},
    {.pattern = "/api/metrics/query", .handler = api_metrics_instant},
    {.pattern = "/v1/traces", .handler = ingest_traces, .body = true, .ingest = true},
};

/* The segment is whatever stands between the two halves of the pattern, without a slash. */
static bool matches(const char *pattern, struct str path, struct str *segment)
{
	const char *hole = strstr(pattern, "{}");
	struct str head = {pattern, hole ? (size_t)(hole - pattern) : strlen(pattern)};
	struct str tail = str_of(hole ? hole + 2 : "");

	*segment = STR("");
	if (!hole)
		return str_eq(path, head);
	if (path.len <= head.len + tail.len || !str_starts(path, head) ||
	    !str_eq((struct str){path.p + path.len - tail.len, tail.len}, tail))
		return false;
	*segment = (struct str){path.p + head.len, path.len - head.len - tail.len};
	return !memchr(segment->p, '/', segment->len);
}

const struct route *route_find(struct str path, struct arena *a, struct str *ret_segment)
{
	struct str raw;

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (matches(routes[i].pattern, path, &raw))
			return params_unescape(a, raw, false, ret_segment) ? NULL : &routes[i];
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* peers_merge.c - the answers of other nodes into ours. What they say is checked like any input: what is not
 * as we would say it ourselves is left out. A node sees its own part of a trace, so what a search says
 * of a trace here is the sum of the parts that match on their nodes. */
#include "web/peers.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "store/otlp.h"

/* --- a trace --- */

static int id_cmp(const void *a, const void *b)
{
	return memcmp(a, b, 8);
}

static uint8_t (*ids_sorted(const struct query_trace *t))[8]
{
	uint8_t(*ids)[8] = malloc((t->cnt + 1) * 8);

	must(ids);
	for (size_t i = 0; i < t->cnt; i++)
		memcpy(ids[i], t->spans[i].span_id, 8);
	qsort(ids, t->cnt, 8, id_cmp);
	return ids;
}

int peers_merge_trace(struct arena *a, struct str body, struct query_trace *t)
{
	struct otlp_spans theirs = {0};
	struct strbuf why;
	struct span *all;
	uint8_t(*ids)[8];
	size_t cnt = t->cnt;
	int err;

	strbuf_init(&why);
	err = otlp_decode_pb(a, body.p, body.len, &theirs, &why);
	strbuf_fini(&why);
	if (err)
		return err;
	all = arena_array(a, struct span, t->cnt + theirs.cnt);
	if (!all)
		return -ENOMEM;
	if (t->cnt)
		memcpy(all, t->spans, t->cnt * sizeof(*all));
	ids = ids_sorted(t);
	for (size_t i = 0; i < theirs.cnt; i++)
		if (!bsearch(theirs.at[i].span_id, ids, t->cnt, 8, id_cmp))
			all[cnt++] = theirs.at[i];
	free(ids);
	*t = (struct query_trace){all, cnt};
	return 0;
}

/* --- a search: JSON to structs --- */

static struct str text_of(struct arena *a, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	struct str s = {"", 0};

	if (json_is_string(v))
		s = arena_str(a, json_string_value(v), json_string_length(v));
	return s.p ? s : STR("");
}

/* A number, as such or as text. */
static uint64_t number_of(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_string(v))
		return strtoull(json_string_value(v), NULL, 10);
	return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

/* Hex without leading zeros, as search says trace ids. */
static bool id_of(const json_t *o, const char *key, uint8_t *ret, size_t len)
{
	const char *text = json_string_value(json_object_get(o, key));
	size_t digits = text ? strlen(text) : 0;

	if (!digits || digits > 2 * len || strspn(text, "0123456789abcdef") != digits)
		return false;
	memset(ret, 0, len);
	for (size_t i = 0; i < digits; i++) {
		size_t at = 2 * len - digits + i;
		uint8_t n = (uint8_t)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);

		ret[at / 2] |= (uint8_t)(at % 2 ? n : n << 4);
	}
	return true;
}

static bool value_of(struct arena *a, const json_t *o, struct val *ret)
{
	const json_t *v;

	if ((v = json_object_get(o, "stringValue")))
		*ret = (struct val){.type = VAL_STR, .str = text_of(a, o, "stringValue")};
	else if ((v = json_object_get(o, "intValue")))
		*ret = (struct val){.type = VAL_INT, .i = json_is_string(v) ? strtoll(json_string_value(v), NULL, 10)
									  : json_integer_value(v)};
	else if ((v = json_object_get(o, "doubleValue")))
		*ret = (struct val){.type = VAL_DOUBLE, .d = json_number_value(v)};
	else if ((v = json_object_get(o, "boolValue")))
		*ret = (struct val){.type = VAL_BOOL, .b = json_is_true(v)};
	return v != NULL;
}

static struct attrs attrs_of(struct arena *a, const json_t *list)
{
	struct attrs as = {.at = arena_array(a, struct attr, json_array_size(list) + 1)};
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (as.at && value_of(a, json_object_get(o, "value"), &as.at[as.cnt].val))
			as.at[as.cnt++].key = text_of(a, o, "key");
	return as;
}

static bool span_of(struct arena *a, const json_t *o, struct search_span *ret)
{
	struct span *s = arena_new(a, struct span);

	if (!s)
		return false;
	*s = (struct span){.name = text_of(a, o, "name"), .start_ns = number_of(o, "startTimeUnixNano")};
	s->end_ns = s->start_ns + number_of(o, "durationNanos");
	*ret = (struct search_span){.span = s, .show_name = s->name.len > 0,
				    .attrs = attrs_of(a, json_object_get(o, "attributes"))};
	return id_of(o, "spanID", s->span_id, sizeof(s->span_id));
}

static struct search_set set_of(struct arena *a, const json_t *o, uint32_t spss)
{
	const json_t *list = json_object_get(o, "spans"), *span;
	struct search_set set = {.spans = arena_array(a, struct search_span, json_array_size(list) + 1),
				 .matched = (uint32_t)number_of(o, "matched"),
				 .attrs = attrs_of(a, json_object_get(o, "attributes"))};
	size_t i;

	json_array_foreach(list, i, span)
		if (set.spans && set.cnt < spss && span_of(a, span, &set.spans[set.cnt]))
			set.cnt++;
	return set;
}

static void services_of(struct arena *a, json_t *list, struct search_trace *t)
{
	const char *name;
	json_t *o;

	t->services = arena_array(a, struct search_service, json_object_size(list) + 1);
	json_object_foreach(list, name, o)
		if (t->services)
			t->services[t->service_cnt++] = (struct search_service){
				arena_str(a, name, strlen(name)), (uint32_t)number_of(o, "spanCount"),
				(uint32_t)number_of(o, "errorCount")};
}

static bool trace_of(struct arena *a, const json_t *o, uint32_t spss, struct search_trace *t)
{
	const json_t *sets = json_object_get(o, "spanSets"), *set;
	size_t i;

	*t = (struct search_trace){.root_service = text_of(a, o, "rootServiceName"),
				   .root_name = text_of(a, o, "rootTraceName"),
				   .start_ns = number_of(o, "startTimeUnixNano")};
	t->has_root = t->root_service.len && t->root_service.p[0] != '<';
	t->end_ns = t->start_ns + number_of(o, "durationMs") * NS_PER_MS;
	t->sets = arena_array(a, struct search_set, json_array_size(sets) + 1);
	json_array_foreach(sets, i, set)
		if (t->sets)
			t->sets[t->set_cnt++] = set_of(a, set, spss);
	services_of(a, json_object_get(o, "serviceStats"), t);
	return t->sets && t->services && id_of(o, "traceID", t->trace_id, sizeof(t->trace_id));
}

/* --- a search: theirs and ours --- */

static void set_add(struct arena *a, struct search_set *to, const struct search_set *from, uint32_t spss)
{
	struct search_span *all = arena_array(a, struct search_span, to->cnt + from->cnt + 1);

	if (!all)
		return;
	if (to->cnt)
		memcpy(all, to->spans, to->cnt * sizeof(*all));
	to->spans = all;
	to->matched += from->matched;
	for (uint32_t i = 0; i < from->cnt && to->cnt < spss; i++)
		to->spans[to->cnt++] = from->spans[i];
}

static void services_add(struct arena *a, struct search_trace *to, const struct search_trace *from)
{
	struct search_service *all =
		arena_array(a, struct search_service, to->service_cnt + from->service_cnt + 1);

	if (!all)
		return;
	if (to->service_cnt)
		memcpy(all, to->services, to->service_cnt * sizeof(*all));
	to->services = all;
	for (uint32_t i = 0; i < from->service_cnt; i++) {
		uint32_t k = 0;

		while (k < to->service_cnt && !str_eq(all[k].name, from->services[i].name))
			k++;
		if (k == to->service_cnt) {
			all[to->service_cnt++] = from->services[i];
			continue;
		}
		all[k].spans += from->services[i].spans;
		all[k].errors += from->services[i].errors;
	}
}

static uint64_t length(const struct search_trace *t)
{
	return t->end_ns > t->start_ns ? t->end_ns - t->start_ns : 0;
}

static bool is_apart(const struct search_trace *x, const struct search_trace *y)
{
	return x->start_ns > y->start_ns && x->start_ns - y->start_ns > length(y) + NS_PER_MS; /* rounded down */
}

/* A call lasts as long as what it calls: parts that lie apart were timed by different clocks. Then the
 * longest says how long it took, and the root's node when that began. */
static void times_add(struct search_trace *to, const struct search_trace *from)
{
	uint64_t len = length(to) > length(from) ? length(to) : length(from);

	if (is_apart(to, from) || is_apart(from, to)) {
		if (to->has_root == from->has_root ? from->start_ns < to->start_ns : from->has_root)
			to->start_ns = from->start_ns;
		to->end_ns = to->start_ns + len;
		return;
	}
	if (from->start_ns < to->start_ns)
		to->start_ns = from->start_ns;
	if (from->end_ns > to->end_ns)
		to->end_ns = from->end_ns;
}

static void trace_add(struct arena *a, struct search_trace *to, const struct search_trace *from,
		      uint32_t spss)
{
	services_add(a, to, from);
	times_add(to, from);
	if (!to->has_root && from->has_root) {
		to->has_root = true;
		to->root_service = from->root_service;
		to->root_name = from->root_name;
	}
	if (to->set_cnt && from->set_cnt)
		set_add(a, &to->sets[0], &from->sets[0], spss);
}

static int newest_first(const void *a, const void *b)
{
	const struct search_trace *x = a, *y = b;

	return (x->start_ns < y->start_ns) - (x->start_ns > y->start_ns);
}

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct search_trace *)a)->trace_id, ((const struct search_trace *)b)->trace_id, 16);
}

static int traces_add(struct arena *a, const json_t *list, uint32_t limit, uint32_t spss,
		      struct search_result *res)
{
	struct search_trace *all =
		arena_array(a, struct search_trace, res->cnt + json_array_size(list) + 1), *ours, t;
	uint32_t known = res->cnt;
	const json_t *o;
	size_t i;

	if (!all)
		return -ENOMEM;
	if (known)
		memcpy(all, res->traces, known * sizeof(*all));
	if (known)
		qsort(all, known, sizeof(*all), by_id);
	res->traces = all;
	json_array_foreach(list, i, o) {
		if (!trace_of(a, o, spss, &t))
			continue;
		ours = bsearch(&t, all, known, sizeof(*all), by_id);
		if (ours)
			trace_add(a, ours, &t, spss);
		else
			all[res->cnt++] = t;
	}
	qsort(all, res->cnt, sizeof(*all), newest_first);
	if (limit && res->cnt > limit)
		res->cnt = limit;
	return 0;
}

int peers_merge_search(struct arena *a, struct str body, uint32_t limit, uint32_t spss,
		       struct search_result *res)
{
	json_t *o = json_loadb(body.p, body.len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *list = json_object_get(o, "traces");
	int err = json_is_array(list) ? traces_add(a, list, limit, spss, res) : -EBADMSG;

	json_decref(o);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* recorded.h - the recorded data set (tests/tql/recorded: OTLP/JSON, times relative to T0) as
 * spans, search results in the recorded form, and comparison with what was recorded. For
 * eval_test.c, which has no store, and query_test.c, which has one. */
#ifndef WIRESPAN_TESTS_RECORDED_H
#define WIRESPAN_TESTS_RECORDED_H

#include "query/query.h"
#include "store/otlp.h"

#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t T0_S = 1795342500;

/* --- the data set --- */
struct data_trace {
	struct span *spans;
	uint32_t cnt;
};

static struct arena data_arena;
static struct data_trace *data;
static uint32_t data_cnt;

static inline char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t len = 0;

	assert_non_null(f);
	assert_true(getdelim(&text, &len, '\0', f) > 0);
	fclose(f);
	return text;
}

/* "@5" becomes "1795342500000000005". */
static inline void rebase(struct strbuf *out, const char *text)
{
	for (const char *at; (at = strstr(text, "\"@"));) {
		char *end;
		long long ns = (long long)(T0_S * NS_PER_S) + strtoll(at + 2, &end, 10);

		strbuf_add(out, text, (size_t)(at - text) + 1);
		strbuf_printf(out, "%lld", ns);
		text = end;
	}
	strbuf_adds(out, text);
}

static inline int span_order(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	int c = memcmp(x->trace_id, y->trace_id, 16);

	if (c)
		return c;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

static inline void split(struct otlp_spans *all)
{
	qsort(all->at, all->cnt, sizeof(*all->at), span_order);
	data = calloc(all->cnt, sizeof(*data));
	for (size_t i = 0; i < all->cnt; i++) {
		if (!i || memcmp(all->at[i].trace_id, all->at[i - 1].trace_id, 16) != 0)
			data[data_cnt++].spans = &all->at[i];
		data[data_cnt - 1].cnt++;
	}
}

static inline int data_load(void **state)
{
	char *text = slurp("tests/tql/recorded/dataset.json");
	struct otlp_spans all;
	struct strbuf json, why;

	(void)state;
	arena_init(&data_arena, 0);
	strbuf_init(&json);
	strbuf_init(&why);
	rebase(&json, text);
	free(text);
	if (otlp_decode_json(&data_arena, json.p, json.len, &all, &why))
		fail_msg("%s", why.p);
	split(&all);
	assert_int_equal(data_cnt, 300);
	assert_int_equal(all.cnt, 1941);
	strbuf_fini(&json);
	strbuf_fini(&why);
	return 0;
}

static inline int data_free(void **state)
{
	(void)state;
	arena_fini(&data_arena);
	free(data);
	return 0;
}

/* --- a result in the recorded form --- */
static inline json_t *ns_json(uint64_t ns)
{
	return json_sprintf("@%" PRId64, (int64_t)(ns - T0_S * NS_PER_S));
}

static inline json_t *val_json(const struct val *v)
{
	json_t *list;

	switch (v->type) {
	case VAL_STR:
		return json_pack("{s:s%}", "stringValue", v->str.p ? v->str.p : "", v->str.len);
	case VAL_BOOL:
		return json_pack("{s:b}", "boolValue", v->b);
	case VAL_INT:
		return json_pack("{s:o}", "intValue", json_sprintf("%" PRId64, v->i));
	case VAL_DOUBLE:
		return json_pack("{s:f}", "doubleValue", v->d);
	default:
		assert_int_equal(v->type, VAL_ARRAY);
		list = json_array();
		for (uint32_t i = 0; i < v->cnt; i++)
			json_array_append_new(list, val_json(&v->elems[i]));
		return json_pack("{s:o}", "arrayValue", list);
	}
}

static inline json_t *attrs_json(const struct attrs *as)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < as->cnt; i++)
		json_array_append_new(list, json_pack("[s%,o]", as->at[i].key.p, as->at[i].key.len,
						      val_json(&as->at[i].val)));
	return list;
}

/* Empty strings, zeros and empty lists are left out of the recorded form. */
static inline void put(json_t *o, const char *key, json_t *v)
{
	bool empty = (json_is_string(v) && !json_string_length(v)) ||
		     (json_is_integer(v) && !json_integer_value(v)) ||
		     (json_is_array(v) && !json_array_size(v));

	if (empty)
		json_decref(v);
	else
		json_object_set_new(o, key, v);
}

static inline json_t *span_json(const struct search_span *s)
{
	json_t *o = json_object();
	uint64_t ns = s->span->end_ns - s->span->start_ns;
	char id[17];

	hex_encode(id, s->span->span_id, 8);
	put(o, "spanID", json_string(id));
	if (s->show_name)
		put(o, "name", json_stringn(s->span->name.p, s->span->name.len));
	put(o, "startTimeUnixNano", ns_json(s->span->start_ns));
	put(o, "durationNanos", ns ? json_sprintf("%" PRIu64, ns) : json_string(""));
	put(o, "attributes", attrs_json(&s->attrs));
	return o;
}

static inline json_t *set_json(const struct search_set *s)
{
	json_t *o =
	    json_pack("{s:i,s:o}", "matched", s->matched, "attributes", attrs_json(&s->attrs));
	json_t *spans = json_array();

	for (uint32_t i = 0; i < s->cnt; i++)
		json_array_append_new(spans, span_json(&s->spans[i]));
	if (s->cnt < s->matched) {
		json_object_set_new(o, "spans_any", json_integer(s->cnt));
		json_decref(spans);
	} else {
		json_object_set_new(o, "spans", spans);
	}
	return o;
}

static inline json_t *services_json(const struct search_trace *t)
{
	json_t *o = json_object();

	for (uint32_t i = 0; i < t->service_cnt; i++) {
		const struct search_service *s = &t->services[i];
		json_t *v = json_object();
		char name[128];

		put(v, "spanCount", json_integer(s->spans));
		put(v, "errorCount", json_integer(s->errors));
		snprintf(name, sizeof(name), STR_FMT, STR_ARG(s->name));
		json_object_set_new(o, name, v);
	}
	return o;
}

static inline json_t *trace_json(const struct search_trace *t)
{
	json_t *o = json_object(), *sets = json_array();
	char id[33], *p = id;

	hex_encode(id, t->trace_id, 16);
	while (*p == '0')
		p++;
	put(o, "traceID", json_string(p));
	put(o, "rootServiceName",
	    t->root_service.len ? json_stringn(t->root_service.p, t->root_service.len)
				: json_string("<root span not yet received>"));
	put(o, "rootTraceName",
	    json_stringn(t->root_name.p ? t->root_name.p : "", t->root_name.len));
	put(o, "durationMs", json_integer((json_int_t)((t->end_ns - t->start_ns) / NS_PER_MS)));
	put(o, "start", ns_json(t->start_ns));
	for (uint32_t i = 0; i < t->set_cnt; i++)
		json_array_append_new(sets, set_json(&t->sets[i]));
	json_object_set_new(o, "spanSets", sets);
	json_object_set_new(o, "serviceStats", services_json(t));
	json_object_set_new(o, "spanSet", json_true());
	return o;
}

/* --- comparison --- */
static inline char *dump(json_t *j)
{
	return json_dumps(j, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY |
				 JSON_REAL_PRECISION(12));
}

static inline int by_dump(const void *a, const void *b)
{
	char *x = dump(*(json_t *const *)a), *y = dump(*(json_t *const *)b);
	int c = strcmp(x, y);

	free(x);
	free(y);
	return c;
}

/* Lists have no order here: sort them all, innermost first. */
static inline void canon(json_t *j)
{
	size_t cnt = json_array_size(j), i;
	json_t *v, **list;
	const char *key;

	json_object_foreach (j, key, v)
		canon(v);
	json_array_foreach (j, i, v)
		canon(v);
	if (!cnt)
		return;
	list = calloc(cnt, sizeof(*list));
	json_array_foreach (j, i, v)
		list[i] = json_incref(v);
	qsort(list, cnt, sizeof(*list), by_dump);
	json_array_clear(j);
	for (i = 0; i < cnt; i++)
		json_array_append_new(j, list[i]);
	free(list);
}

static inline json_t *by_id(json_t *list, json_t *like)
{
	const char *id = json_string_value(json_object_get(like, "traceID"));
	json_t *v;
	size_t i;

	json_array_foreach (list, i, v)
		if (strcmp(json_string_value(json_object_get(v, "traceID")), id) == 0)
			return v;
	return NULL;
}

static inline bool same_traces(const char *what, json_t *want, json_t *got)
{
	bool ok = json_array_size(want) == json_array_size(got);
	json_t *v, *g;
	size_t i;

	if (!ok)
		print_error("%s: want %zu traces, got %zu\n", what, json_array_size(want),
			    json_array_size(got));
	json_array_foreach (want, i, v) {
		char *x, *y;

		g = by_id(got, v);
		canon(v);
		canon(g);
		x = dump(v);
		y = g ? dump(g) : NULL;
		if (!y || strcmp(x, y) != 0) {
			print_error("%s:\n  want %s\n  got  %s\n", what, x, y ? y : "nothing");
			ok = false;
		}
		free(x);
		free(y);
		if (!ok)
			break;
	}
	return ok;
}

/* --- recorded cases --- */
static inline uint64_t time_param(json_t *query, const char *key)
{
	const char *v = json_string_value(json_object_get(query, key));

	return (T0_S + (uint64_t)atoll(strchr(v, ':') + 1)) * NS_PER_S;
}

static inline uint32_t int_param(json_t *query, const char *key)
{
	const char *v = json_string_value(json_object_get(query, key));

	return v ? (uint32_t)atoi(v) : 0;
}

/* Where the answer is meant to differ: Tempo knows no relations in a trace without a root. */
static inline bool differs_on_purpose(json_t *c)
{
	return strcmp(json_string_value(json_object_get(c, "id")), "438-search-structural") == 0;
}

#endif

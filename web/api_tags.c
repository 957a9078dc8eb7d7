/* SPDX-License-Identifier: Apache-2.0 */
/* api_tags.c - names and values of attributes, in the form of v1 (flat strings) and v2 (with scopes
 * and types), JSON and protobuf. What counts as a tag is query/'s business. The invariant: a list
 * is always present, even when empty. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/tempopb.pb-c.h"
#include "web/handler.h"
#include "web/json.h"

/* --- writing --- */

static void json_strings(struct json *j, const char *key, const struct str *at, uint32_t cnt)
{
	json_open(j, key, '[');
	for (uint32_t i = 0; i < cnt; i++)
		json_str(j, NULL, at[i]);
	json_close(j, ']');
}

static struct json begin_json(struct reply *out)
{
	struct json j = {&out->body, false};

	out->status = 200;
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	return j;
}

static void end_json(struct json *j)
{
	json_open(j, "metrics", '{');
	json_close(j, '}');
	json_close(j, '}');
}

static ProtobufCBinaryData *pb_strings(struct arena *a, const struct str *at, uint32_t cnt)
{
	ProtobufCBinaryData *to = arena_array(a, ProtobufCBinaryData, cnt);

	for (uint32_t i = 0; i < cnt; i++)
		to[i] = pb_bytes(at[i]);
	return to;
}

/* A flat list: tagNames and tagValues of v1 have one message form and two JSON keys. */
static void write_strings(const struct request *rq, const char *key, const struct str *at,
			  uint32_t cnt, struct reply *out)
{
	Tempopb__SearchStringsResponse m;
	Tempopb__MetadataMetrics metrics;
	struct arena a;
	struct json j;

	if (!wants_protobuf(rq)) {
		j = begin_json(out);
		json_strings(&j, key, at, cnt);
		end_json(&j);
		return;
	}
	arena_init(&a, 0);
	tempopb__metadata_metrics__init(&metrics);
	tempopb__search_strings_response__init(&m);
	m.metrics = &metrics;
	m.n_values = cnt;
	m.values = pb_strings(&a, at, cnt);
	reply_protobuf(out, &m.base);
	arena_fini(&a);
}

static void write_scopes_protobuf(const struct tag_names *names, struct reply *out)
{
	Tempopb__SearchTagsV2Response m;
	Tempopb__MetadataMetrics metrics;
	Tempopb__TagScope scopes[ARRAY_SIZE(names->scopes)], *refs[ARRAY_SIZE(names->scopes)];
	struct arena a;

	arena_init(&a, 0);
	tempopb__metadata_metrics__init(&metrics);
	tempopb__search_tags_v2_response__init(&m);
	m.metrics = &metrics;
	m.n_scopes = names->cnt;
	m.scopes = refs;
	for (uint32_t i = 0; i < names->cnt; i++) {
		const struct tag_scope_names *s = &names->scopes[i];

		tempopb__tag_scope__init(&scopes[i]);
		scopes[i].name = pb_bytes(str_of(s->scope));
		scopes[i].n_tags = s->cnt;
		scopes[i].tags = pb_strings(&a, s->names, s->cnt);
		refs[i] = &scopes[i];
	}
	reply_protobuf(out, &m.base);
	arena_fini(&a);
}

static void write_scopes_json(const struct tag_names *names, struct reply *out)
{
	struct json j = begin_json(out);

	json_open(&j, "scopes", '[');
	for (uint32_t i = 0; i < names->cnt; i++) {
		json_open(&j, NULL, '{');
		json_str(&j, "name", str_of(names->scopes[i].scope));
		json_strings(&j, "tags", names->scopes[i].names, names->scopes[i].cnt);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	end_json(&j);
}

static void write_values_protobuf(const struct tag_values *values, struct reply *out)
{
	Tempopb__SearchTagValuesV2Response m;
	Tempopb__MetadataMetrics metrics;
	struct arena a;

	arena_init(&a, 0);
	tempopb__metadata_metrics__init(&metrics);
	tempopb__search_tag_values_v2_response__init(&m);
	m.metrics = &metrics;
	m.n_tag_values = values->cnt;
	m.tag_values = arena_array(&a, Tempopb__TagValue *, values->cnt);
	for (uint32_t i = 0; i < values->cnt; i++) {
		m.tag_values[i] = arena_new(&a, Tempopb__TagValue);
		tempopb__tag_value__init(m.tag_values[i]);
		m.tag_values[i]->type = pb_bytes(str_of(values->at[i].type));
		m.tag_values[i]->value = pb_bytes(values->at[i].text);
	}
	reply_protobuf(out, &m.base);
	arena_fini(&a);
}

static void write_values_json(const struct tag_values *values, struct reply *out)
{
	struct json j = begin_json(out);

	json_open(&j, "tagValues", '[');
	for (uint32_t i = 0; i < values->cnt; i++) {
		json_open(&j, NULL, '{');
		json_opt_str(&j, "type", str_of(values->at[i].type));
		json_opt_str(&j, "value", values->at[i].text);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	end_json(&j);
}

static int str_order(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Sorts and drops repeats; the new count. */
static uint32_t sort_unique(struct str *at, uint32_t cnt)
{
	uint32_t n = 0;

	qsort(at, cnt, sizeof(*at), str_order);
	for (uint32_t i = 0; i < cnt; i++)
		if (n == 0 || !str_eq(at[n - 1], at[i]))
			at[n++] = at[i];
	return n;
}

/* --- names --- */

static bool scope_known(struct str scope)
{
	static const char *const scopes[] = {
	    "none", "span", "resource", "event", "link", "instrumentation", "intrinsic"};

	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++)
		if (str_eq(scope, str_of(scopes[i])))
			return true;
	return scope.len == 0;
}

/* Asks for the names; false: the reply is an error. *q is to be ended either way. */
static bool find_names(const struct request *rq, struct query **q, struct tag_names *names,
		       struct reply *out)
{
	struct str scope = params_get(&rq->params, "scope");
	struct tag_params p;
	struct strbuf why;
	int err;

	strbuf_init(&why);
	if (!scope_known(scope)) {
		strbuf_printf(&why, "invalid scope: " STR_FMT, STR_ARG(scope));
		err = -EINVAL;
	} else {
		err = params_tags(&rq->params, clock_real_ns(), &p, &why);
	}
	if (err)
		reply_bad(out, &why);
	strbuf_fini(&why);
	if (err || reply_query_begin(rq, q, out))
		return false;
	p.name = scope;
	err = query_tag_names(*q, &p, names);
	if (err)
		reply_query_error(out, *q, err);
	return !err;
}

void api_tags_v2(const struct request *rq, struct reply *out)
{
	struct tag_names names;
	struct query *q = NULL;

	if (find_names(rq, &q, &names, out)) {
		if (wants_protobuf(rq))
			write_scopes_protobuf(&names, out);
		else
			write_scopes_json(&names, out);
	}
	query_end(q);
}

/* All scopes in one list, the intrinsics only when asked for. */
static void write_names(const struct request *rq, const struct tag_names *names, struct reply *out)
{
	bool all = !str_eq(params_get(&rq->params, "scope"), STR("intrinsic"));
	uint32_t cnt = 0;
	struct arena a;
	struct str *at;

	for (uint32_t i = 0; i < names->cnt; i++)
		cnt += names->scopes[i].cnt;
	arena_init(&a, 0);
	at = arena_array(&a, struct str, cnt);
	cnt = 0;
	for (uint32_t i = 0; i < names->cnt; i++) {
		const struct tag_scope_names *s = &names->scopes[i];

		if (all && strcmp(s->scope, "intrinsic") == 0)
			continue;
		memcpy(at + cnt, s->names, s->cnt * sizeof(*at));
		cnt += s->cnt;
	}
	write_strings(rq, "tagNames", at, sort_unique(at, cnt), out);
	arena_fini(&a);
}

void api_tags_v1(const struct request *rq, struct reply *out)
{
	struct tag_names names;
	struct query *q = NULL;

	if (find_names(rq, &q, &names, out))
		write_names(rq, &names, out);
	query_end(q);
}

/* --- values --- */

static bool tag_params(const struct request *rq, struct tag_params *p, struct reply *out)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = params_tags(&rq->params, clock_real_ns(), p, &why);
	if (err)
		reply_bad(out, &why);
	strbuf_fini(&why);
	return !err;
}

void api_values_v2(const struct request *rq, struct reply *out)
{
	struct tag_values values;
	struct tag_params p;
	struct query *q = NULL;
	int err;

	if (!tag_params(rq, &p, out) || reply_query_begin(rq, &q, out))
		return;
	p.name = rq->segment;
	err = query_tag_values(q, &p, &values);
	if (err)
		reply_query_error(out, q, err);
	else if (wants_protobuf(rq))
		write_values_protobuf(&values, out);
	else
		write_values_json(&values, out);
	query_end(q);
}

/* scope."name" with the two characters escaped that TraceQL escapes. */
static const char *quoted_name(struct arena *a, const char *scope, struct str name)
{
	char *text = arena_alloc(a, strlen(scope) + 2 * name.len + 4), *p = text;

	p = stpcpy(p, scope);
	*p++ = '.';
	*p++ = '"';
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] == '"' || name.p[i] == '\\')
			*p++ = '\\';
		*p++ = name.p[i];
	}
	*p = '"';
	return text;
}

/* The TraceQL identifiers whose values a plain name of v1 stands for. */
static uint32_t v1_names(const struct request *rq, const char *ret[TAG_SCOPE_COUNT])
{
	static const struct {
		const char *plain, *name;
	} special[] = {
	    {"name", "name"},	       {"service.name", "resource.service.name"},
	    {"root.name", "rootName"}, {"root.service.name", "rootServiceName"},
	    {"status.code", "status"},
	};
	static const char *const scopes[TAG_SCOPE_COUNT] = {"span", "resource", "event", "link",
							    "instrumentation"};

	for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
		if (str_eq(rq->segment, str_of(special[i].plain))) {
			ret[0] = special[i].name;
			return 1;
		}
	}
	for (uint32_t i = 0; i < TAG_SCOPE_COUNT; i++)
		ret[i] = quoted_name(rq->arena, scopes[i], rq->segment);
	return TAG_SCOPE_COUNT;
}

/* The distinct texts of several questions, in the request's arena. */
struct texts {
	struct str *at;
	uint32_t cnt;
};

static void texts_add(struct arena *a, struct texts *t, const struct tag_values *v)
{
	struct str *at = arena_array(a, struct str, t->cnt + v->cnt);

	if (t->cnt)
		memcpy(at, t->at, t->cnt * sizeof(*at));
	for (uint32_t i = 0; i < v->cnt; i++)
		at[t->cnt + i] = arena_str(a, v->at[i].text.p, v->at[i].text.len);
	t->at = at;
	t->cnt = sort_unique(at, t->cnt + v->cnt);
}

/* A query answers one question, so each name is one; false: the reply is an error. */
static bool ask_v1(const struct request *rq, const struct tag_params *p, struct texts *t,
		   struct reply *out)
{
	struct tag_values values;
	struct query *q = NULL;
	int err;

	if (reply_query_begin(rq, &q, out))
		return false;
	err = query_tag_values(q, p, &values);
	if (err)
		reply_query_error(out, q, err);
	else
		texts_add(rq->arena, t, &values);
	query_end(q);
	return !err;
}

void api_values_v1(const struct request *rq, struct reply *out)
{
	const char *names[TAG_SCOPE_COUNT];
	uint32_t cnt = v1_names(rq, names);
	struct tag_params p;
	struct texts t = {0};

	if (!tag_params(rq, &p, out))
		return;
	for (uint32_t i = 0; i < cnt; i++) {
		p.name = str_of(names[i]);
		if (!ask_v1(rq, &p, &t, out))
			return;
	}
	write_strings(rq, "tagValues", t.at, p.limit && p.limit < t.cnt ? p.limit : t.cnt, out);
}

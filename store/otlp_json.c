/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_json.c - spans out of OTLP JSON: jansson parses the text, this file reads the tree by the
 * rules of OTLP (ids hex, 64-bit integers as numbers or strings, enums as numbers or names, bytes
 * base64, null is absent, unknown keys are ignored).
 *
 * Copies everything into the caller's arena; nothing points into the tree. Called by otlp.h's
 * users. The invariant: a key of the wrong type is an error with its name, never a guess. jansson
 * bounds the nesting of the text, OTLP_DEPTH_MAX that of values. */
#include "store/otlp_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct decode {
	struct arena *a;
	struct strbuf *why;
};

/* --- members of an object; an absent one is the default --- */

static json_t *get(json_t *obj, const char *key)
{
	json_t *j = json_object_get(obj, key);

	return json_is_null(j) ? NULL : j;
}

static int get_typed(struct decode *d, json_t *obj, const char *key, json_type type, json_t **ret)
{
	json_t *j = get(obj, key);

	if (j && json_typeof(j) != type)
		return otlp_bad(d->why, "\"%s\" has the wrong type", key);
	*ret = j;
	return 0;
}

static int copy_str(struct decode *d, struct str *to, json_t *j)
{
	*to = arena_str(d->a, json_string_value(j), json_string_length(j));
	return to->p ? 0 : -ENOMEM;
}

static int get_str(struct decode *d, json_t *obj, const char *key, struct str *to)
{
	json_t *j = NULL;
	int err = get_typed(d, obj, key, JSON_STRING, &j);

	if (err)
		return err;
	if (!j) {
		*to = STR("");
		return 0;
	}
	return copy_str(d, to, j);
}

/* A JSON number, or its digits in a string. Negative numbers only with `negative`. */
static int to_i128(json_t *j, bool negative, __int128 *ret)
{
	const char *text = json_string_value(j);
	char *end = NULL;

	if (json_is_integer(j)) {
		*ret = json_integer_value(j);
	} else if (json_is_real(j)) {
		double v = json_real_value(j);

		if (v != floor(v) || fabs(v) >= 0x1p63)
			return -EINVAL;
		*ret = (__int128)v;
	} else if (text && strlen(text) == json_string_length(j) && *text &&
		   strchr("-0123456789", *text)) {
		errno = 0;
		*ret = *text == '-' ? (__int128)strtoll(text, &end, 10)
				    : (__int128)strtoull(text, &end, 10);
		if (errno || *end || end == text)
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	return *ret < 0 && !negative ? -EINVAL : 0;
}

static int get_u64(struct decode *d, json_t *obj, const char *key, uint64_t *to)
{
	json_t *j = get(obj, key);
	__int128 v = 0;

	if (j && to_i128(j, false, &v))
		return otlp_bad(d->why, "\"%s\" is not an unsigned integer", key);
	*to = (uint64_t)v;
	return 0;
}

static int get_u32(struct decode *d, json_t *obj, const char *key, uint32_t *to)
{
	uint64_t v = 0;
	int err = get_u64(d, obj, key, &v);

	if (!err && v > UINT32_MAX)
		err = otlp_bad(d->why, "\"%s\" does not fit in 32 bits", key);
	if (!err)
		*to = (uint32_t)v;
	return err;
}

/* An enum by number, or by its name behind the prefix. */
static int get_enum(struct decode *d, json_t *obj, const char *key, const char *prefix,
		    const char *const *names, int cnt, int64_t *to)
{
	json_t *j = get(obj, key);
	const char *text = json_string_value(j);
	__int128 v = 0;

	if (text && strncmp(text, prefix, strlen(prefix)) == 0) {
		for (int i = 0; i < cnt; i++) {
			if (strcmp(text + strlen(prefix), names[i]) == 0) {
				*to = i;
				return 0;
			}
		}
	}
	if (j && (text || to_i128(j, true, &v)))
		return otlp_bad(d->why, "\"%s\" is not one of its values", key);
	*to = v >= 0 && v < cnt ? (int64_t)v : 0;
	return 0;
}

/* An absent or empty id stays all zero. */
static int get_id(struct decode *d, json_t *obj, const char *key, uint8_t *to, size_t len)
{
	json_t *j = NULL;
	int err = get_typed(d, obj, key, JSON_STRING, &j);

	if (err || !j || json_string_length(j) == 0)
		return err;
	if (json_string_length(j) != 2 * len || hex_decode(to, json_string_value(j), 2 * len))
		return otlp_bad(d->why, "\"%s\" is not %zu hex digits", key, 2 * len);
	return 0;
}

/* Allocates as many of size as the list has elements; *ret is never NULL on success. */
static int get_list(struct decode *d, json_t *obj, const char *key, size_t size, json_t **list,
		    void **ret, uint32_t *ret_cnt)
{
	int err = get_typed(d, obj, key, JSON_ARRAY, list);

	if (err)
		return err;
	*ret = arena_alloc(d->a, json_array_size(*list) * size);
	if (!*ret)
		return -ENOMEM;
	*ret_cnt = (uint32_t)json_array_size(*list);
	return 0;
}

static int want_object(struct decode *d, json_t *j, const char *what)
{
	return json_is_object(j) ? 0
				 : otlp_bad(d->why, "an element of \"%s\" is not an object", what);
}

/* --- values --- */

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* Both alphabets, with or without padding. */
static int val_bytes(struct decode *d, struct val *to, json_t *j)
{
	const char *text = json_string_value(j);
	size_t len = json_string_length(j), n = 0;
	unsigned int bits = 0;
	char *out;

	if (!text)
		return otlp_bad(d->why, "\"bytesValue\" is not a string");
	while (len > 0 && text[len - 1] == '=')
		len--;
	out = arena_alloc(d->a, len + 1);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0 || len % 4 == 1)
			return otlp_bad(d->why, "\"bytesValue\" is not base64");
		bits = bits << 6 | (unsigned int)digit;
		if (i % 4)
			out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	*to = (struct val){.type = VAL_BYTES, .str = {out, n}};
	return 0;
}

static int val_double(struct decode *d, struct val *to, json_t *j)
{
	const char *text = json_string_value(j);
	char *end = NULL;

	to->type = VAL_DOUBLE;
	if (json_is_number(j)) {
		to->d = json_number_value(j);
	} else if (text && strcmp(text, "NaN") == 0) {
		to->d = NAN;
	} else if (text && (strcmp(text, "Infinity") == 0 || strcmp(text, "-Infinity") == 0)) {
		to->d = *text == '-' ? -INFINITY : INFINITY;
	} else {
		to->d = text && *text && strchr("-.0123456789", *text) ? strtod(text, &end) : 0;
		if (!end || *end || end == text)
			return otlp_bad(d->why, "\"doubleValue\" is not a number");
	}
	return 0;
}

static int val_int(struct decode *d, struct val *to, json_t *j)
{
	__int128 v = 0;

	if (to_i128(j, true, &v) || v > INT64_MAX || v < INT64_MIN)
		return otlp_bad(d->why, "\"intValue\" is not a 64-bit integer");
	*to = (struct val){.type = VAL_INT, .i = (int64_t)v};
	return 0;
}

static int val_string(struct decode *d, struct val *to, json_t *j)
{
	if (!json_is_string(j))
		return otlp_bad(d->why, "\"stringValue\" is not a string");
	to->type = VAL_STR;
	return copy_str(d, &to->str, j);
}

static int val_bool(struct decode *d, struct val *to, json_t *j)
{
	if (!json_is_boolean(j))
		return otlp_bad(d->why, "\"boolValue\" is not a boolean");
	*to = (struct val){.type = VAL_BOOL, .b = json_is_true(j)};
	return 0;
}

static int val_from(struct decode *d, struct val *to, json_t *j, int depth);

static int attrs_from(struct decode *d, struct attrs *to, json_t *obj, const char *key, int depth);

static int val_array(struct decode *d, struct val *to, json_t *j, int depth)
{
	json_t *list = NULL, *elem;
	void *elems = NULL;
	size_t i;
	int err = json_is_object(j) ? 0 : otlp_bad(d->why, "\"arrayValue\" is not an object");

	err = err ?: get_list(d, j, "values", sizeof(struct val), &list, &elems, &to->cnt);
	to->type = VAL_ARRAY;
	to->elems = elems;
	json_array_foreach (list, i, elem) {
		err = err ?: want_object(d, elem, "values");
		err = err ?: val_from(d, &to->elems[i], elem, depth + 1);
	}
	return err;
}

static int val_kvlist(struct decode *d, struct val *to, json_t *j, int depth)
{
	struct attrs list = {0};
	int err = json_is_object(j) ? 0 : otlp_bad(d->why, "\"kvlistValue\" is not an object");

	err = err ?: attrs_from(d, &list, j, "values", depth + 1);
	*to = (struct val){.type = VAL_KVLIST, .cnt = list.cnt, .entries = list.at};
	return err;
}

static int val_from(struct decode *d, struct val *to, json_t *obj, int depth)
{
	static const struct {
		const char *key;
		int (*fn)(struct decode *d, struct val *to, json_t *j);
	} scalars[] = {
	    {"stringValue", val_string}, {"intValue", val_int},	    {"boolValue", val_bool},
	    {"doubleValue", val_double}, {"bytesValue", val_bytes},
	};
	json_t *j;

	if (depth > OTLP_DEPTH_MAX)
		return otlp_bad(d->why, "a value is nested deeper than %d levels", OTLP_DEPTH_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(scalars); i++) {
		j = get(obj, scalars[i].key);
		if (j)
			return scalars[i].fn(d, to, j);
	}
	j = get(obj, "arrayValue");
	if (j)
		return val_array(d, to, j, depth);
	j = get(obj, "kvlistValue");
	return j ? val_kvlist(d, to, j, depth) : 0;
}

static int attr_from(struct decode *d, struct attr *to, json_t *obj, int depth)
{
	json_t *value = NULL;
	int err = want_object(d, obj, "attributes");

	err = err ?: get_str(d, obj, "key", &to->key);
	err = err ?: get_typed(d, obj, "value", JSON_OBJECT, &value);
	return err ?: value ? val_from(d, &to->val, value, depth) : 0;
}

static int attrs_from(struct decode *d, struct attrs *to, json_t *obj, const char *key, int depth)
{
	json_t *list = NULL, *elem;
	void *at = NULL;
	size_t i;
	int err = get_list(d, obj, key, sizeof(struct attr), &list, &at, &to->cnt);

	to->at = at;
	json_array_foreach (list, i, elem) {
		err = err ?: attr_from(d, &to->at[i], elem, depth);
	}
	return err;
}

static int get_attrs(struct decode *d, json_t *obj, struct attrs *to)
{
	int err = attrs_from(d, to, obj, "attributes", 1);

	return err ?: get_u32(d, obj, "droppedAttributesCount", &to->dropped);
}

/* --- spans --- */

static int events_from(struct decode *d, struct span *sp, json_t *obj)
{
	json_t *list = NULL, *j;
	void *at = NULL;
	size_t i;
	int err = get_list(d, obj, "events", sizeof(struct event), &list, &at, &sp->event_cnt);

	sp->events = at;
	json_array_foreach (list, i, j) {
		err = err ?: want_object(d, j, "events");
		err = err ?: get_u64(d, j, "timeUnixNano", &sp->events[i].time_ns);
		err = err ?: get_str(d, j, "name", &sp->events[i].name);
		err = err ?: get_attrs(d, j, &sp->events[i].attrs);
	}
	return err ?: get_u32(d, obj, "droppedEventsCount", &sp->events_dropped);
}

static int links_from(struct decode *d, struct span *sp, json_t *obj)
{
	json_t *list = NULL, *j;
	void *at = NULL;
	size_t i;
	int err = get_list(d, obj, "links", sizeof(struct link), &list, &at, &sp->link_cnt);

	sp->links = at;
	json_array_foreach (list, i, j) {
		err = err ?: want_object(d, j, "links");
		err = err ?: get_id(d, j, "traceId", sp->links[i].trace_id, 16);
		err = err ?: get_id(d, j, "spanId", sp->links[i].span_id, 8);
		err = err ?: get_str(d, j, "traceState", &sp->links[i].trace_state);
		err = err ?: get_u32(d, j, "flags", &sp->links[i].flags);
		err = err ?: get_attrs(d, j, &sp->links[i].attrs);
	}
	return err ?: get_u32(d, obj, "droppedLinksCount", &sp->links_dropped);
}

static int status_from(struct decode *d, struct span *sp, json_t *obj)
{
	static const char *const names[] = {"UNSET", "OK", "ERROR"};
	json_t *status = NULL;
	int64_t code = 0;
	int err = get_typed(d, obj, "status", JSON_OBJECT, &status);

	err = err ?: get_str(d, status, "message", &sp->status_message);
	err = err ?: get_enum(d, status, "code", "STATUS_CODE_", names, ARRAY_SIZE(names), &code);
	sp->status = otlp_status(code);
	return err;
}

static int span_from(struct decode *d, struct span *sp, json_t *obj)
{
	static const char *const kinds[] = {"UNSPECIFIED", "INTERNAL", "SERVER",
					    "CLIENT",	   "PRODUCER", "CONSUMER"};
	int64_t kind = 0;
	int err = want_object(d, obj, "spans");

	err = err ?: get_id(d, obj, "traceId", sp->trace_id, 16);
	err = err ?: get_id(d, obj, "spanId", sp->span_id, 8);
	err = err ?: get_id(d, obj, "parentSpanId", sp->parent_id, 8);
	err = err ?: get_str(d, obj, "traceState", &sp->trace_state);
	err = err ?: get_u32(d, obj, "flags", &sp->flags);
	err = err ?: get_str(d, obj, "name", &sp->name);
	err = err ?: get_enum(d, obj, "kind", "SPAN_KIND_", kinds, ARRAY_SIZE(kinds), &kind);
	sp->kind = otlp_kind(kind);
	err = err ?: get_u64(d, obj, "startTimeUnixNano", &sp->start_ns);
	err = err ?: get_u64(d, obj, "endTimeUnixNano", &sp->end_ns);
	err = err ?: get_attrs(d, obj, &sp->attrs);
	err = err ?: events_from(d, sp, obj);
	err = err ?: links_from(d, sp, obj);
	return err ?: status_from(d, sp, obj);
}

/* --- the request --- */

static int scope_from(struct decode *d, json_t *obj, struct scope **ret)
{
	struct scope *scope = arena_new(d->a, struct scope);
	json_t *j = NULL;
	int err = scope ? 0 : -ENOMEM;

	err = err ?: get_typed(d, obj, "scope", JSON_OBJECT, &j);
	err = err ?: get_str(d, obj, "schemaUrl", &scope->schema_url);
	err = err ?: get_str(d, j, "name", &scope->name);
	err = err ?: get_str(d, j, "version", &scope->version);
	err = err ?: get_attrs(d, j, &scope->attrs);
	if (!err)
		*ret = scope;
	return err;
}

static int scope_spans_from(struct decode *d, struct otlp_spans *to, const struct resource *res,
			    json_t *obj)
{
	json_t *list = NULL, *j;
	struct scope *scope = NULL;
	size_t i;
	int err = want_object(d, obj, "scopeSpans");

	err = err ?: scope_from(d, obj, &scope);
	err = err ?: get_typed(d, obj, "spans", JSON_ARRAY, &list);
	if (err)
		return err;
	json_array_foreach (list, i, j) {
		struct span *sp = &to->at[to->cnt];

		*sp = (struct span){.res = res, .scope = scope};
		err = span_from(d, sp, j);
		if (err)
			return err;
		if (otlp_ids_legal(sp))
			to->cnt++;
		else
			to->rejected++;
	}
	return 0;
}

static int resource_spans_from(struct decode *d, struct otlp_spans *to, json_t *obj)
{
	struct resource *res = arena_new(d->a, struct resource);
	json_t *j = NULL, *list = NULL;
	size_t i;
	int err = res ? want_object(d, obj, "resourceSpans") : -ENOMEM;

	err = err ?: get_typed(d, obj, "resource", JSON_OBJECT, &j);
	err = err ?: get_str(d, obj, "schemaUrl", &res->schema_url);
	err = err ?: get_attrs(d, j, &res->attrs);
	err = err ?: get_typed(d, obj, "scopeSpans", JSON_ARRAY, &list);
	json_array_foreach (list, i, j) {
		err = err ?: scope_spans_from(d, to, res, j);
	}
	return err;
}

/* An upper bound; what is not an array counts nothing and is refused later. */
static size_t span_count(json_t *resource_spans)
{
	json_t *rs, *ss;
	size_t i, k, cnt = 0;

	json_array_foreach (resource_spans, i, rs) {
		json_array_foreach (json_object_get(rs, "scopeSpans"), k, ss) {
			cnt += json_array_size(json_object_get(ss, "spans"));
		}
	}
	return cnt;
}

static int request_from(struct decode *d, json_t *root, struct otlp_spans *ret)
{
	json_t *list = NULL, *j;
	size_t i;
	int err = json_is_object(root) ? 0 : otlp_bad(d->why, "the JSON is not an object");

	err = err ?: get_typed(d, root, "resourceSpans", JSON_ARRAY, &list);
	if (err)
		return err;
	ret->at = arena_array(d->a, struct span, span_count(list));
	if (!ret->at)
		return -ENOMEM;
	json_array_foreach (list, i, j) {
		err = err ?: resource_spans_from(d, ret, j);
	}
	return err;
}

int otlp_decode_json(struct arena *a, const char *buf, size_t len, struct otlp_spans *ret,
		     struct strbuf *why)
{
	struct decode d = {a, why};
	struct otlp_spans spans = {0};
	json_error_t je;
	json_t *root = json_loadb(buf, len, JSON_ALLOW_NUL, &je);
	int err;

	if (!root)
		return otlp_bad(why, "JSON line %d, column %d: %s", je.line, je.column, je.text);
	err = request_from(&d, root, &spans);
	json_decref(root);
	if (!err)
		*ret = spans;
	return err;
}

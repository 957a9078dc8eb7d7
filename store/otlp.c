/* SPDX-License-Identifier: Apache-2.0 */
/* otlp.c - the writer of OTLP JSON: values, attributes, spans, in the form of proto3 JSON that
 * Tempo answers with (ids base64, 64-bit numbers as strings, enums by name, defaults left out).
 *
 * Writes straight into a strbuf and keeps nothing. Called by web/ for answers. The invariant: every
 * string goes through otlp_json_string, whatever its origin, so the output is always valid JSON and
 * safe inside HTML. */
#include "store/otlp_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- strings --- */

/* Length of the UTF-8 sequence at p, 0 when it is none (overlong, surrogate, cut, beyond 10FFFF).
 */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (left < len || p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static bool ascii_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

static void ascii_escape(struct strbuf *out, unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		strbuf_addc(out, '\\');
		strbuf_addc(out, (char)c);
		break;
	case '\n':
		strbuf_adds(out, "\\n");
		break;
	case '\r':
		strbuf_adds(out, "\\r");
		break;
	case '\t':
		strbuf_adds(out, "\\t");
		break;
	default:
		strbuf_printf(out, "\\u%04x", c);
	}
}

/* U+2028 and U+2029 are line ends in JavaScript; they are escaped like <>&. */
static bool is_line_separator(const unsigned char *p, size_t len)
{
	return len == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);
}

void otlp_json_string(struct strbuf *out, struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t i = 0, len;

	strbuf_addc(out, '"');
	while (i < s.len) {
		size_t from = i;

		while (i < s.len && ascii_plain(p[i]))
			i++;
		strbuf_add(out, p + from, i - from);
		if (i == s.len)
			break;
		len = utf8_len(p + i, s.len - i);
		if (len == 1)
			ascii_escape(out, p[i]);
		else if (is_line_separator(p + i, len))
			strbuf_printf(out, "\\u20%02x", p[i + 2] - 0x80);
		else if (len)
			strbuf_add(out, p + i, len);
		else
			strbuf_adds(out, "\\ufffd");
		i += len ? len : 1;
	}
	strbuf_addc(out, '"');
}

static void base64(struct strbuf *out, const void *bytes, size_t len)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = bytes;

	strbuf_addc(out, '"');
	for (; len > 0; p += 3, len -= len < 3 ? len : 3) {
		unsigned int b =
		    (unsigned int)p[0] << 16 | (len > 1 ? p[1] << 8 : 0) | (len > 2 ? p[2] : 0);

		strbuf_addc(out, digits[b >> 18]);
		strbuf_addc(out, digits[b >> 12 & 63]);
		strbuf_addc(out, len > 1 ? digits[b >> 6 & 63] : '=');
		strbuf_addc(out, len > 2 ? digits[b & 63] : '=');
	}
	strbuf_addc(out, '"');
}

/* The shortest of three precisions that reads back as the same number. */
void otlp_json_double(struct strbuf *out, double d)
{
	char text[40];

	if (isnan(d) || isinf(d)) {
		strbuf_adds(out, isnan(d) ? "\"NaN\"" : d < 0 ? "\"-Infinity\"" : "\"Infinity\"");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	strbuf_adds(out, text);
}

/* --- objects: `first` says whether a comma is due --- */

static void member(struct strbuf *out, bool *first, const char *key)
{
	if (!*first)
		strbuf_addc(out, ',');
	*first = false;
	strbuf_printf(out, "\"%s\":", key);
}

static void member_str(struct strbuf *out, bool *first, const char *key, struct str s)
{
	if (!s.len)
		return;
	member(out, first, key);
	otlp_json_string(out, s);
}

static void member_u32(struct strbuf *out, bool *first, const char *key, uint32_t n)
{
	if (!n)
		return;
	member(out, first, key);
	strbuf_printf(out, "%" PRIu32, n);
}

static void member_u64(struct strbuf *out, bool *first, const char *key, uint64_t n)
{
	if (!n)
		return;
	member(out, first, key);
	strbuf_printf(out, "\"%" PRIu64 "\"", n);
}

static void member_id(struct strbuf *out, bool *first, const char *key, const uint8_t *id,
		      size_t len)
{
	member(out, first, key);
	base64(out, id, len);
}

/* Before element i of the list `key`; an empty list is left out like any default. */
static void member_elem(struct strbuf *out, bool *first, const char *key, uint32_t i)
{
	if (i) {
		strbuf_addc(out, ',');
		return;
	}
	member(out, first, key);
	strbuf_addc(out, '[');
}

static void members_attrs(struct strbuf *out, bool *first, const struct attrs *as)
{
	for (uint32_t i = 0; i < as->cnt; i++) {
		member_elem(out, first, "attributes", i);
		otlp_json_attr(out, &as->at[i]);
	}
	if (as->cnt)
		strbuf_addc(out, ']');
	member_u32(out, first, "droppedAttributesCount", as->dropped);
}

/* --- values --- */

static void json_val(struct strbuf *out, const struct val *v);

static void json_elems(struct strbuf *out, const struct val *v)
{
	strbuf_adds(out, v->cnt ? "{\"values\":[" : "{");
	for (uint32_t i = 0; i < v->cnt; i++) {
		if (i)
			strbuf_addc(out, ',');
		if (v->type == VAL_ARRAY)
			json_val(out, &v->elems[i]);
		else
			otlp_json_attr(out, &v->entries[i]);
	}
	strbuf_adds(out, v->cnt ? "]}" : "}");
}

static void json_val(struct strbuf *out, const struct val *v)
{
	static const char *const keys[] = {
	    [VAL_STR] = "stringValue",	  [VAL_BOOL] = "boolValue",   [VAL_INT] = "intValue",
	    [VAL_DOUBLE] = "doubleValue", [VAL_ARRAY] = "arrayValue", [VAL_KVLIST] = "kvlistValue",
	    [VAL_BYTES] = "bytesValue",
	};

	if (v->type == VAL_EMPTY) {
		strbuf_adds(out, "{}");
		return;
	}
	strbuf_printf(out, "{\"%s\":", keys[v->type]);
	if (v->type == VAL_STR)
		otlp_json_string(out, v->str);
	else if (v->type == VAL_BOOL)
		strbuf_adds(out, v->b ? "true" : "false");
	else if (v->type == VAL_INT)
		strbuf_printf(out, "\"%" PRId64 "\"", v->i);
	else if (v->type == VAL_DOUBLE)
		otlp_json_double(out, v->d);
	else if (v->type == VAL_BYTES)
		base64(out, v->str.p, v->str.len);
	else
		json_elems(out, v);
	strbuf_addc(out, '}');
}

void otlp_json_attr(struct strbuf *out, const struct attr *at)
{
	bool first = true;

	strbuf_addc(out, '{');
	member_str(out, &first, "key", at->key);
	member(out, &first, "value");
	json_val(out, &at->val);
	strbuf_addc(out, '}');
}

/* --- spans --- */

static void json_event(struct strbuf *out, const struct event *e)
{
	bool first = true;

	strbuf_addc(out, '{');
	member_u64(out, &first, "timeUnixNano", e->time_ns);
	member_str(out, &first, "name", e->name);
	members_attrs(out, &first, &e->attrs);
	strbuf_addc(out, '}');
}

static void json_link(struct strbuf *out, const struct link *l)
{
	bool first = true;

	strbuf_addc(out, '{');
	member_id(out, &first, "traceId", l->trace_id, sizeof(l->trace_id));
	member_id(out, &first, "spanId", l->span_id, sizeof(l->span_id));
	member_str(out, &first, "traceState", l->trace_state);
	members_attrs(out, &first, &l->attrs);
	member_u32(out, &first, "flags", l->flags);
	strbuf_addc(out, '}');
}

static void json_events_links(struct strbuf *out, bool *first, const struct span *sp)
{
	for (uint32_t i = 0; i < sp->event_cnt; i++) {
		member_elem(out, first, "events", i);
		json_event(out, &sp->events[i]);
	}
	if (sp->event_cnt)
		strbuf_addc(out, ']');
	member_u32(out, first, "droppedEventsCount", sp->events_dropped);
	for (uint32_t i = 0; i < sp->link_cnt; i++) {
		member_elem(out, first, "links", i);
		json_link(out, &sp->links[i]);
	}
	if (sp->link_cnt)
		strbuf_addc(out, ']');
	member_u32(out, first, "droppedLinksCount", sp->links_dropped);
}

static void json_status(struct strbuf *out, const struct span *sp)
{
	bool first = true;

	strbuf_addc(out, '{');
	member_str(out, &first, "message", sp->status_message);
	if (sp->status) {
		member(out, &first, "code");
		strbuf_adds(out, sp->status == STATUS_OK ? "\"STATUS_CODE_OK\""
							 : "\"STATUS_CODE_ERROR\"");
	}
	strbuf_addc(out, '}');
}

static void json_span(struct strbuf *out, const struct span *sp)
{
	static const char *const kinds[] = {
	    [KIND_INTERNAL] = "INTERNAL", [KIND_SERVER] = "SERVER",	[KIND_CLIENT] = "CLIENT",
	    [KIND_PRODUCER] = "PRODUCER", [KIND_CONSUMER] = "CONSUMER",
	};
	bool first = true;

	strbuf_addc(out, '{');
	member_id(out, &first, "traceId", sp->trace_id, sizeof(sp->trace_id));
	member_id(out, &first, "spanId", sp->span_id, sizeof(sp->span_id));
	member_str(out, &first, "traceState", sp->trace_state);
	if (!span_is_root(sp))
		member_id(out, &first, "parentSpanId", sp->parent_id, sizeof(sp->parent_id));
	member_u32(out, &first, "flags", sp->flags);
	member_str(out, &first, "name", sp->name);
	if (sp->kind) {
		member(out, &first, "kind");
		strbuf_printf(out, "\"SPAN_KIND_%s\"", kinds[sp->kind]);
	}
	member_u64(out, &first, "startTimeUnixNano", sp->start_ns);
	member_u64(out, &first, "endTimeUnixNano", sp->end_ns);
	members_attrs(out, &first, &sp->attrs);
	json_events_links(out, &first, sp);
	member(out, &first, "status");
	json_status(out, sp);
	strbuf_addc(out, '}');
}

static void json_scope_spans(struct strbuf *out, const struct otlp_place *at, size_t cnt)
{
	const struct scope *scope = at->span->scope;
	bool first = true;

	strbuf_adds(out, "{\"scope\":{");
	member_str(out, &first, "name", scope->name);
	member_str(out, &first, "version", scope->version);
	members_attrs(out, &first, &scope->attrs);
	strbuf_adds(out, "},\"spans\":");
	for (size_t i = 0; i < cnt; i++) {
		strbuf_addc(out, i ? ',' : '[');
		json_span(out, at[i].span);
	}
	strbuf_addc(out, ']');
	first = false;
	member_str(out, &first, "schemaUrl", scope->schema_url);
	strbuf_addc(out, '}');
}

static void json_resource_spans(struct strbuf *out, const struct otlp_place *at, size_t cnt)
{
	const struct resource *res = at->span->res;
	bool first = true;
	size_t i, end;

	strbuf_adds(out, "{\"resource\":{");
	members_attrs(out, &first, &res->attrs);
	strbuf_adds(out, "},\"scopeSpans\":");
	for (i = 0; i < cnt; i = end) {
		end = otlp_same_scope(at, i, cnt);
		strbuf_addc(out, i ? ',' : '[');
		json_scope_spans(out, &at[i], end - i);
	}
	strbuf_addc(out, ']');
	first = false;
	member_str(out, &first, "schemaUrl", res->schema_url);
	strbuf_addc(out, '}');
}

void otlp_encode_json(struct strbuf *out, const struct span *spans, size_t cnt)
{
	const struct otlp_place *at;
	struct arena a;
	size_t i, end;

	arena_init(&a, 0);
	at = otlp_group(&a, spans, cnt);
	strbuf_addc(out, '[');
	for (i = 0; i < cnt; i = end) {
		end = otlp_same_res(at, i, cnt);
		if (i)
			strbuf_addc(out, ',');
		json_resource_spans(out, &at[i], end - i);
	}
	strbuf_addc(out, ']');
	arena_fini(&a);
}

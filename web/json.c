/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - what json.h promises. Strings and attributes are written by store/otlp.h, so that there
 * is one escaper. Called by the handlers. The invariant: `comma` is set after every complete
 * element and cleared by an opening bracket or a key. */
#include "web/json.h"

#include <inttypes.h>

#include "store/otlp.h"

static void element(struct json *j, const char *key)
{
	if (j->comma)
		strbuf_addc(j->out, ',');
	if (key)
		strbuf_printf(j->out, "\"%s\":", key);
	j->comma = true;
}

void json_open(struct json *j, const char *key, char bracket)
{
	element(j, key);
	strbuf_addc(j->out, bracket);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	strbuf_addc(j->out, bracket);
	j->comma = true;
}

void json_str(struct json *j, const char *key, struct str s)
{
	element(j, key);
	otlp_json_string(j->out, s);
}

void json_num(struct json *j, const char *key, uint64_t n)
{
	element(j, key);
	strbuf_printf(j->out, "%" PRIu64, n);
}

void json_num_str(struct json *j, const char *key, uint64_t n)
{
	element(j, key);
	strbuf_printf(j->out, "\"%" PRIu64 "\"", n);
}

void json_double(struct json *j, const char *key, double d)
{
	element(j, key);
	otlp_json_double(j->out, d);
}

void json_key(struct json *j, struct str key)
{
	json_str(j, NULL, key);
	strbuf_addc(j->out, ':');
	j->comma = false;
}

void json_opt_str(struct json *j, const char *key, struct str s)
{
	if (s.len)
		json_str(j, key, s);
}

void json_opt_num(struct json *j, const char *key, uint64_t n)
{
	if (n)
		json_num(j, key, n);
}

void json_opt_num_str(struct json *j, const char *key, uint64_t n)
{
	if (n)
		json_num_str(j, key, n);
}

void json_opt_double(struct json *j, const char *key, double d)
{
	if (d != 0)
		json_double(j, key, d);
}

void json_opt_attrs(struct json *j, const char *key, const struct attrs *as)
{
	if (!as->cnt)
		return;
	json_open(j, key, '[');
	for (uint32_t i = 0; i < as->cnt; i++) {
		element(j, NULL);
		otlp_json_attr(j->out, &as->at[i]);
	}
	json_close(j, ']');
}

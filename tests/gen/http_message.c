/* SPDX-License-Identifier: Apache-2.0 */
/* http_message.c - writes the requests and responses of an exchange that http.c has planned: targets, headers in
 * any order and form that is legal, and their bodies' places in the stream. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the request --- */

const char *method_make(struct rng *r, bool first)
{
	static const char *const common[] = { "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE",
					      "HEAD", "OPTIONS", "PATCH", "TRACE" };
	static const char *const plain[] = { "PROPFIND", "MOVE", "LOCK", "MKCOL", "REPORT", "ACL" };
	static const char *const odd[] = { "M-SEARCH", "VERSION-CONTROL", "MKREDIRECTREF", "get",
					   "X", "!#$%&'*+-.^_`|~09" };

	if (rng_chance(r, 90))
		return RNG_PICK(r, common);
	return first || rng_chance(r, 60) ? RNG_PICK(r, plain) : RNG_PICK(r, odd);
}

static void word_put(struct text *t, struct rng *r, uint32_t len)
{
	static const char of[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (; len; len--)
		text_put(t, &of[rng_below(r, sizeof(of) - 1)], 1);
}

static void query_put(struct text *t, struct rng *r)
{
	while (rng_chance(r, 40)) {
		text_str(t, "&");
		word_put(t, r, rng_between(r, 1, 8));
		text_str(t, "=");
		word_put(t, r, rng_below(r, 12));
		if (rng_chance(r, 10))
			text_str(t, "%20?/:@!$'()*,;");
	}
}

static void target_make(struct maker *m, struct exchange *x)
{
	struct rng *r = &m->s->rng;

	if (x->kind == KIND_TUNNEL) {
		text_fmt(&x->target, "g%s.example:%u", x->id, rng_between(r, 1, 65535));
		return;
	}
	if (!strcmp(x->method, "OPTIONS") && rng_chance(r, 30)) {
		text_str(&x->target, "*");
		return;
	}
	if (rng_chance(r, 8))
		text_fmt(&x->target, "http://h%u.example:%u", rng_below(r, 9), rng_between(r, 1, 65535));
	text_fmt(&x->target, "/x/%u/%u", m->s->conn, x->n);
	if (rng_chance(r, 50)) {
		text_str(&x->target, "/");
		word_put(&x->target, r, rng_below(r, 30));
	}
	text_fmt(&x->target, "?g=%s", x->id);
	query_put(&x->target, r);
	if (rng_chance(r, 3)) {
		text_str(&x->target, "&long=");
		word_put(&x->target, r, rng_between(r, 100, 6000));
	}
}

/* A random header's name; those that begin like one that matters are the interesting ones. */
static void name_put(struct text *t, struct rng *r)
{
	static const char *const known[] = {
		"Accept", "accept-encoding", "Cookie", "X-Request-Id", "Cache-Control", "content-type",
		"Content-Encoding", "TE", "Trailer", "Hos", "Hosts", "H", "Content-Lengt",
		"Content-Length-X", "Transfer-Encodin", "Transfer-Encoding-2", "X-Content-Length",
		"User-Agen", "User-Agents", "traceparen", "traceparents", "tracestate", "U", "C", "T",
	};

	if (rng_chance(r, 70)) {
		text_str(t, RNG_PICK(r, known));
		return;
	}
	text_str(t, rng_chance(r, 50) ? "X-" : "t_");
	word_put(t, r, rng_between(r, 1, 40));
}

static void value_put(struct text *t, struct rng *r)
{
	static const char *const sly[] = { "Content-Length: 7", "chunked", "host: evil", "a:b:c", "",
					   "GET / HTTP/1.1", "\"quoted \\\" text\"", "HTTP/1.1 200 OK" };

	if (rng_chance(r, 25))
		text_str(t, RNG_PICK(r, sly));
	else
		word_put(t, r, rng_below(r, rng_chance(r, 5) ? 900 : 40));
}

static void blank_put(struct text *t, struct rng *r)
{
	static const char *const some[] = { " ", " ", " ", " ", "", "", "\t", "  ", " \t ",
					    "                          " };

	text_str(t, RNG_PICK(r, some));
}

static void case_put(struct text *t, struct rng *r, const char *name)
{
	uint32_t how = rng_below(r, 4);

	for (; *name; name++) {
		char c = *name;
		bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

		if (letter && (how == 1 || (how == 3 && rng_chance(r, 50))))
			c ^= 0x20;
		text_put(t, &c, 1);
	}
}

static void line_end(struct maker *m)
{
	text_str(&m->to->bytes, m->bare_lf && rng_chance(&m->s->rng, 80) ? "\n" : "\r\n");
}

void header_put(struct maker *m, const char *name, const char *value)
{
	struct rng *r = &m->s->rng;
	struct text *t = &m->to->bytes;

	case_put(t, r, name);
	text_str(t, ":");
	blank_put(t, r);
	text_str(t, value);
	if (rng_chance(r, 10))
		blank_put(t, r);
	line_end(m);
}

static void header_random(struct maker *m)
{
	struct rng *r = &m->s->rng;
	struct text *t = &m->to->bytes;

	name_put(t, r);
	text_str(t, ":");
	blank_put(t, r);
	value_put(t, r);
	line_end(m);
	if (!rng_chance(r, 1))
		return;
	text_str(t, rng_chance(r, 50) ? " " : "\t"); /* folded */
	text_str(t, rng_chance(r, 50) ? "content-length: 5" : "more of it");
	line_end(m);
}

static uint32_t header_cnt(struct rng *r)
{
	uint32_t kind = rng_below(r, 200);

	return kind == 0 ? 200 : kind < 20 ? rng_between(r, 10, 60) : rng_below(r, 8);
}

/* The headers that matter, in any order, with others between them. */
static void headers_put(struct maker *m, struct field *fields, uint32_t cnt)
{
	uint32_t others = header_cnt(&m->s->rng), i;

	while (cnt || others) {
		i = rng_below(&m->s->rng, cnt + others);
		if (i >= cnt) {
			others--;
			header_random(m);
			continue;
		}
		header_put(m, fields[i].name, fields[i].value);
		fields[i] = fields[--cnt];
	}
	line_end(m);
}

static void parent_make(struct exchange *x, struct rng *r)
{
	unsigned long long hi = rng_next(r), lo = rng_next(r), span = rng_next(r);

	snprintf(x->trace, sizeof(x->trace), "%016llx%016llx", hi, lo);
	snprintf(x->parent, sizeof(x->parent), "%016llx", span);
	snprintf(x->traceparent, sizeof(x->traceparent), "00-%s-%s-0%u", x->trace, x->parent,
		 rng_below(r, 2));
}

static void request_fields(struct maker *m, struct exchange *x, struct field *f, uint32_t *cnt)
{
	struct rng *r = &m->s->rng;

	if (x->minor || rng_chance(r, 60)) {
		if (x->kind == KIND_TUNNEL)
			text_str(&x->host, x->target.p);
		else if (rng_chance(r, 97))
			text_fmt(&x->host, "h%u.example", rng_below(r, 1000));
		if (x->host.len && x->kind != KIND_TUNNEL && rng_chance(r, 30))
			text_fmt(&x->host, ":%u", rng_between(r, 1, 65535));
		f[(*cnt)++] = (struct field){ "Host", x->host.len ? x->host.p : "" };
	}
	if (x->target.p[0] != '/' || rng_chance(r, 60)) {
		text_fmt(&x->agent, "gen/1 (g=%s)", x->id);
		if (rng_chance(r, 3))
			word_put(&x->agent, r, rng_below(r, 600));
		f[(*cnt)++] = (struct field){ "User-Agent", x->agent.p };
	}
	if (rng_chance(r, 10)) {
		parent_make(x, r);
		f[(*cnt)++] = (struct field){ "traceparent", x->traceparent };
	}
	if (x->kind == KIND_CONTINUE)
		f[(*cnt)++] = (struct field){ "Expect", "100-continue" };
	if (x->kind == KIND_UPGRADE)
		f[(*cnt)++] = (struct field){ "Upgrade", "websocket" };
	if (rng_chance(r, 30))
		f[(*cnt)++] = (struct field){ "Connection", "keep-alive" };
	body_fields(m, &x->req, f, cnt);
}

void request_put(struct maker *m, struct exchange *x)
{
	struct rng *r = &m->s->rng;
	struct flow *f = &m->s->flow[CLIENT];
	struct field fields[FIELDS_MAX];
	uint32_t cnt = 0;

	m->to = f;
	m->bare_lf = rng_chance(r, 2);
	x->req_at = flow_at(f);
	if (x->n && rng_chance(r, 2))
		text_str(&f->bytes, "\r\n");
	flow_mark(f);
	target_make(m, x);
	text_fmt(&f->bytes, "%s ", x->method);
	text_str(&f->bytes, x->target.p);
	text_fmt(&f->bytes, " HTTP/1.%u", x->minor);
	line_end(m);
	request_fields(m, x, fields, &cnt);
	headers_put(m, fields, cnt);
	flow_head(f, x->req_at);
	x->req_head = flow_at(f);
	body_put(m, &x->req);
	x->req_end = flow_at(f);
}

/* --- the response --- */

static void status_line(struct maker *m, int status)
{
	static const char *const reasons[] = { " OK", " ", "", " Not Quite", " HTTP/1.1 404", " a: b" };

	flow_mark(m->to);
	text_fmt(&m->to->bytes, "HTTP/1.%u %d%s", rng_chance(&m->s->rng, 90), status,
		 RNG_PICK(&m->s->rng, reasons));
	line_end(m);
}

static void interim_put(struct maker *m, int status)
{
	uint32_t from = flow_at(m->to);

	status_line(m, status);
	headers_put(m, NULL, 0);
	flow_head(m->to, from);
}

void response_put(struct maker *m, struct exchange *x)
{
	static const int interim[] = { 100, 102, 103 };
	struct rng *r = &m->s->rng;
	struct flow *f = &m->s->flow[SERVER];
	struct field fields[FIELDS_MAX];
	uint32_t cnt = 0, from;

	m->to = f;
	m->bare_lf = rng_chance(r, 2);
	x->resp_at = flow_at(f);
	if (x->kind == KIND_CONTINUE)
		interim_put(m, 100);
	x->interim_end = flow_at(f);
	while (x->minor && rng_chance(r, 6))
		interim_put(m, RNG_PICK(r, interim));
	from = flow_at(f);
	status_line(m, x->status);
	body_fields(m, &x->resp, fields, &cnt);
	headers_put(m, fields, cnt);
	flow_head(f, from);
	x->resp_head = flow_at(f);
	body_put(m, &x->resp);
	x->resp_end = flow_at(f);
}

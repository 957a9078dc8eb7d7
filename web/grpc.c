/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.c - a call is answered as the request to HTTP that asks the same: its message becomes a
 * target (grpc_methods.c), the route's handler answers in protobuf, and its status becomes that of
 * gRPC. So both say the same, peers are asked alike, and a new endpoint needs a row. The invariant:
 * a message is bounded before it is kept, packed or not. */
#include "web/grpc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/grpc.pb-c.h"
#include "store/stats.h"
#include "web/access.h"
#include "web/exchange.h"
#include "web/front.h"
#include "web/routes.h"

enum { PREFIX = 5, PACK_MIN = 1024 };

struct call *grpc_call_new(struct web *w)
{
	struct call *c = calloc(1, sizeof(*c));

	must(c);
	c->web = w;
	c->http = 200;
	for (size_t i = 0; i < HEAD_CNT; i++)
		strbuf_init(&c->head[i]);
	strbuf_init(&c->body);
	strbuf_init(&c->out);
	strbuf_init(&c->message);
	return c;
}

void grpc_call_free(struct call *c)
{
	for (size_t i = 0; i < HEAD_CNT; i++)
		strbuf_fini(&c->head[i]);
	strbuf_fini(&c->body);
	strbuf_fini(&c->out);
	strbuf_fini(&c->message);
	free(c);
}

bool grpc_is_ingest(const struct call *c)
{
	return c->method->ingest;
}

bool grpc_packs(const struct call *c)
{
	return accepts_gzip(c->head[HEAD_ACCEPT].p);
}

/* --- the end --- */

static void count(const struct call *c)
{
	char labels[160];

	snprintf(labels, sizeof(labels), "method=\"%s\",status=\"%d\"",
		 c->method ? c->method->path + 1 : "other", c->status);
	stat_add(stats_cell(STAT_COUNTER, "grpc_requests_total", labels, "gRPC calls answered."),
		 1);
}

static void set_status(struct call *c, enum grpc_code code, const char *text)
{
	c->status = code;
	strbuf_clear(&c->message);
	grpc_message_encode(&c->message, text);
	count(c);
}

void grpc_refuse(struct call *c, enum grpc_code code, const char *fmt, ...)
{
	struct strbuf text;
	va_list ap;

	strbuf_init(&text);
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	set_status(c, code, text.p);
	c->done = true;
	strbuf_fini(&text);
}

/* --- the request comes in --- */

void grpc_header(struct call *c, struct str name, struct str value)
{
	static const char *const names[HEAD_CNT] = {
#define X(id, text) text,
		CALL_HEADERS(X)
#undef X
	};

	for (size_t i = 0; i < HEAD_CNT; i++) {
		if (!str_eq(name, str_of(names[i])))
			continue;
		strbuf_clear(&c->head[i]);
		strbuf_add(&c->head[i], value.p, value.len);
	}
}

static struct str head(const struct call *c, enum call_header h)
{
	return (struct str){c->head[h].p, c->head[h].len};
}

static bool speaks_grpc(const struct call *c)
{
	struct str type = head(c, HEAD_TYPE), name = STR("application/grpc");

	return str_starts(type, name) && (type.len == name.len || strchr("+;", type.p[name.len]));
}

static bool refuse_http(struct call *c, uint16_t status)
{
	c->http = status;
	grpc_refuse(c, GRPC_INTERNAL, "this is not gRPC");
	return false;
}

static bool token_ok(const struct call *c)
{
	struct str token = {c->web->token.p, c->web->token.len};

	return !token.len || (c->method && c->method->open) ||
	       access_token_ok(c->head[HEAD_AUTHORIZATION].p, token);
}

static bool encoding_known(const struct call *c)
{
	struct str coding = head(c, HEAD_ENCODING);

	return !coding.len || str_eq(coding, STR("identity")) || str_eq(coding, STR("gzip"));
}

/* The Host header is not asked for: it keeps browsers out, and none speaks HTTP/2 without TLS. */
bool grpc_begin(struct call *c)
{
	uint64_t timeout = grpc_timeout_ns(head(c, HEAD_TIMEOUT));

	if (!str_eq(head(c, HEAD_METHOD), STR("POST")))
		return refuse_http(c, 405);
	if (!speaks_grpc(c))
		return refuse_http(c, 415);
	c->method = grpc_method_find(head(c, HEAD_PATH));
	if (c->web->ingest_only && c->method && !c->method->ingest && !c->method->open)
		c->method = NULL;
	if (!token_ok(c))
		grpc_refuse(c, GRPC_UNAUTHENTICATED, "a bearer token is required");
	else if (!c->method)
		grpc_refuse(c, GRPC_UNIMPLEMENTED, "unknown method %s", c->head[HEAD_PATH].p);
	else if (!encoding_known(c))
		grpc_refuse(c, GRPC_UNIMPLEMENTED, "only gzip is understood as grpc-encoding");
	else if (timeout)
		c->deadline_ns = clock_mono_ns() + timeout;
	return !c->done;
}

/* What the prefix says, as soon as it is there: the rest need not be read. */
static bool fits(const struct call *c, size_t max)
{
	const uint8_t *p = (const uint8_t *)c->body.p;

	return c->body.len <= max + PREFIX &&
	       (c->body.len < PREFIX ||
		((uint64_t)p[1] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 8 | p[4]) <= max);
}

bool grpc_take(struct call *c, const uint8_t *data, size_t len)
{
	strbuf_add(&c->body, data, len);
	if (fits(c, c->method->message_max))
		return true;
	c->body.len -= len; /* as h2.c has counted it */
	grpc_refuse(c, GRPC_RESOURCE_EXHAUSTED, "the message is larger than %" PRIu32 " KiB",
		    c->method->message_max >> 10);
	return false;
}

/* --- on a worker: the message --- */

static bool is_late(const struct call *c)
{
	return c->deadline_ns && clock_mono_ns() > c->deadline_ns;
}

static bool gone(void *arg)
{
	struct call *c = arg;

	return c->gone || c->web->stopping || is_late(c);
}

/* The message, unpacked into plain if need be. False: the call has its status. */
static bool message_of(struct call *c, struct strbuf *plain, struct str *ret)
{
	bool packed;
	int err = grpc_unframe((struct str){c->body.p, c->body.len}, &packed, ret);

	if (err || (packed && !str_eq(head(c, HEAD_ENCODING), STR("gzip")))) {
		set_status(c, GRPC_INTERNAL, "the body is not one message of gRPC");
		return false;
	}
	if (!packed)
		return true;
	err = body_gunzip(*ret, c->method->message_max, plain);
	*ret = (struct str){plain->p, plain->len};
	if (err == -EFBIG)
		set_status(c, GRPC_RESOURCE_EXHAUSTED, "the message is too large");
	else if (err)
		set_status(c, GRPC_INVALID_ARGUMENT, "the message is not gzip");
	return !err;
}

/* --- on a worker: the reply --- */

static enum grpc_code code_of(unsigned int http)
{
	switch (http) {
	case 400:
		return GRPC_INVALID_ARGUMENT;
	case 413:
		return GRPC_RESOURCE_EXHAUSTED;
	case 501:
		return GRPC_UNIMPLEMENTED;
	case 503:
		return GRPC_UNAVAILABLE;
	case 504:
		return GRPC_DEADLINE_EXCEEDED;
	default:
		return GRPC_INTERNAL;
	}
}

/* Ingest says what is wrong in a google.rpc.Status, which is what gRPC wants. */
static bool status_from_message(struct call *c, const struct reply *out)
{
	Grpcpb__RpcStatus *m =
		grpcpb__rpc_status__unpack(NULL, out->body.len, (const uint8_t *)out->body.p);
	struct strbuf text;

	if (!m)
		return false;
	strbuf_init(&text);
	strbuf_add(&text, m->message.data, m->message.len);
	set_status(c, m->code ? (enum grpc_code)m->code : GRPC_INTERNAL, text.p);
	strbuf_fini(&text);
	grpcpb__rpc_status__free_unpacked(m, NULL);
	return true;
}

static void failed(struct call *c, const struct reply *out)
{
	if (is_late(c))
		set_status(c, GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
	else if (gone(c))
		set_status(c, c->web->stopping ? GRPC_UNAVAILABLE : GRPC_CANCELLED,
			   c->web->stopping ? "the server stops" : "cancelled");
	else if (out->type == TYPE_TEXT || !status_from_message(c, out))
		set_status(c, code_of(out->status), out->body.p);
}

/* The prefix, and the reply's body behind it. */
static void frame(struct call *c, struct reply *out, struct strbuf *to)
{
	bool packed = out->body.len >= PACK_MIN && grpc_packs(c) && reply_gzip(out);
	uint32_t len = (uint32_t)out->body.len;
	const uint8_t prefix[PREFIX] = {packed, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
					(uint8_t)(len >> 8), (uint8_t)len};

	strbuf_add(to, prefix, sizeof(prefix));
	strbuf_add(to, out->body.p, len);
}

static void finish(struct call *c, struct reply *out, struct strbuf *to)
{
	if (c->method->finish)
		c->method->finish(out);
	if (out->status != 200 || out->body.len > UINT32_MAX) {
		failed(c, out);
	} else if (!out->type || !strstr(out->type, "protobuf")) {
		set_status(c, GRPC_UNIMPLEMENTED, "this answer has no form in gRPC yet");
	} else {
		frame(c, out, to);
		set_status(c, GRPC_OK, "");
	}
}

/* --- on a worker: the handler --- */

static void handle(struct request *rq, struct reply *out)
{
	size_t path_len = strcspn(rq->target.p, "?");
	struct str rest = {rq->target.p + path_len, rq->target.len - path_len};
	const struct route *route;

	if (rest.len)
		rest = (struct str){rest.p + 1, rest.len - 1};
	rq->path = (struct str){rq->target.p, path_len};
	rq->params = params_parse(rq->arena, rest);
	route = route_find(rq->path, rq->arena, &rq->segment);
	if (route)
		route->handler(rq, out);
	else
		reply_text(out, 501, "this is not there yet");
}

/* Nothing is heaped up for a client that does not read. */
static bool send_part(void *arg, struct reply *part)
{
	struct call *c = arg;
	struct strbuf framed;

	if (part->status != 200 || part->body.len > UINT32_MAX || front_has(c) != FRONT_NOTHING)
		return false;
	strbuf_init(&framed);
	frame(c, part, &framed);
	front_give(c, &framed, false);
	strbuf_fini(&framed);
	return true;
}

static void answer(struct call *c, struct str message, struct strbuf *to)
{
	struct reply out = {0};
	struct strbuf why;
	struct arena a;
	struct request rq = {
		.store = c->web->store,
		.grpc = true,
		.commits = c->web->ingest_commits,
		.arena = &a,
		.ready = c->web->ready,
		.method = "GET",
		.peers = c->web->peers,
		.accept = TYPE_PROTOBUF,
		.content_type = "",
		.content_encoding = "",
		.gone = gone,
		.gone_arg = c,
		.part = c->method->finish ? NULL : send_part,
		.part_arg = c,
	};

	arena_init(&a, 0);
	strbuf_init(&out.body);
	strbuf_init(&why);
	if (c->method->ask(&rq, message, &why)) {
		set_status(c, GRPC_INVALID_ARGUMENT, why.p);
	} else {
		handle(&rq, &out);
		finish(c, &out, to);
	}
	strbuf_fini(&why);
	strbuf_fini(&out.body);
	arena_fini(&a);
}

void grpc_run(struct job *j)
{
	struct call *c = (struct call *)((char *)j - offsetof(struct call, job));
	struct strbuf to, plain;
	struct str message;

	strbuf_init(&to);
	strbuf_init(&plain);
	if (gone(c))
		failed(c, NULL);
	else if (message_of(c, &plain, &message))
		answer(c, message, &to);
	strbuf_fini(&plain);
	front_give(c, &to, true);
	strbuf_fini(&to);
}

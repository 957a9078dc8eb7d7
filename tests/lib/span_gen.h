/* SPDX-License-Identifier: Apache-2.0 */
/* span_gen.h - spans for the tests and benchmarks of store/: random ones that use everything a span
 * can say, demo-like ones (a request through nginx, an API and PostgreSQL: five spans), and a deep
 * comparison. Deterministic: the same seed gives the same spans. */
#ifndef WIRESPAN_TEST_SPAN_GEN_H
#define WIRESPAN_TEST_SPAN_GEN_H

#include <string.h>

#include "store/base.h"
#include "store/span.h"

struct gen {
	struct arena *a;
	uint64_t state;
};

static inline uint64_t gen_u64(struct gen *g)
{
	g->state += 0x9e3779b97f4a7c15u;
	uint64_t z = g->state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint32_t gen_below(struct gen *g, uint32_t n)
{
	return (uint32_t)(gen_u64(g) % n);
}

static inline void gen_bytes(struct gen *g, void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)to)[i] = (uint8_t)gen_u64(g);
}

/* Mostly short and from a small set, sometimes anything, sometimes long. */
static inline struct str gen_str(struct gen *g)
{
	static const char *const words[] = {"",		  "a",
					    "ab",	  "GET",
					    "http.route", "/api/todos/{id}",
					    "localhost",  "SELECT todos",
					    "wirespan",	  "\x01\xff<&>"};
	char any[3000];
	size_t len;

	if (gen_below(g, 10) < 7)
		return str_of(words[gen_below(g, ARRAY_SIZE(words))]);
	len = gen_below(g, 50) ? gen_below(g, 40) : gen_below(g, sizeof(any));
	gen_bytes(g, any, len);
	return arena_str(g->a, any, len);
}

static inline struct attr *gen_attrs(struct gen *g, uint32_t cnt, int depth);

static inline struct val gen_val(struct gen *g, int depth)
{
	struct val v = {.type = gen_below(g, depth < 4 ? VAL_BYTES + 1 : VAL_DOUBLE + 1)};
	uint64_t u = gen_u64(g);
	bool same;
	struct val first;

	switch (v.type) {
	case VAL_STR:
	case VAL_BYTES:
		v.str = gen_str(g);
		break;
	case VAL_BOOL:
		v.b = u & 1;
		break;
	case VAL_INT:
		v.i = (int64_t)(u >> gen_below(g, 64)) * (u & 1 ? 1 : -1);
		break;
	case VAL_DOUBLE:
		memcpy(&v.d, &u, sizeof(u));
		break;
	case VAL_ARRAY:
		v.cnt = gen_below(g, 5);
		v.elems = arena_array(g->a, struct val, v.cnt);
		first = gen_val(g, depth + 1);
		same = gen_below(g, 2);
		for (uint32_t i = 0; i < v.cnt; i++)
			v.elems[i] = same ? first : gen_val(g, depth + 1);
		break;
	case VAL_KVLIST:
		v.cnt = gen_below(g, 4);
		v.entries = gen_attrs(g, v.cnt, depth + 1);
		break;
	case VAL_EMPTY:
		break;
	}
	return v;
}

static inline struct attr *gen_attrs(struct gen *g, uint32_t cnt, int depth)
{
	struct attr *at = arena_array(g->a, struct attr, cnt);

	for (uint32_t i = 0; i < cnt; i++)
		at[i] = (struct attr){gen_str(g), gen_val(g, depth)};
	return at;
}

static inline struct attrs gen_attr_list(struct gen *g, uint32_t max)
{
	uint32_t cnt = gen_below(g, max + 1);

	return (struct attrs){
	    .at = gen_attrs(g, cnt, 1),
	    .cnt = cnt,
	    .dropped = gen_below(g, 4) ? 0 : (uint32_t)gen_u64(g),
	};
}

static inline const struct resource *gen_resource(struct gen *g)
{
	struct resource *res = arena_new(g->a, struct resource);

	res->attrs = gen_attr_list(g, 6);
	res->schema_url = gen_str(g);
	return res;
}

static inline const struct scope *gen_scope(struct gen *g)
{
	struct scope *sc = arena_new(g->a, struct scope);

	*sc = (struct scope){gen_str(g), gen_str(g), gen_str(g), gen_attr_list(g, 2)};
	return sc;
}

static inline void gen_events(struct gen *g, struct span *sp)
{
	sp->event_cnt = gen_below(g, 4);
	sp->events = arena_array(g->a, struct event, sp->event_cnt);
	for (uint32_t i = 0; i < sp->event_cnt; i++)
		sp->events[i] = (struct event){gen_u64(g), gen_str(g), gen_attr_list(g, 3)};
}

static inline void gen_links(struct gen *g, struct span *sp)
{
	sp->link_cnt = gen_below(g, 3);
	sp->links = arena_array(g->a, struct link, sp->link_cnt);
	for (uint32_t i = 0; i < sp->link_cnt; i++) {
		gen_bytes(g, sp->links[i].trace_id, 24);
		sp->links[i].flags = (uint32_t)gen_u64(g);
		sp->links[i].trace_state = gen_str(g);
		sp->links[i].attrs = gen_attr_list(g, 3);
	}
}

/* Anything that span.h allows, about start_ns. */
static inline struct span gen_span(struct gen *g, const uint8_t trace_id[16], uint64_t start_ns)
{
	struct span sp = {
	    .start_ns = start_ns + gen_below(g, NS_PER_S),
	    .kind = gen_below(g, 6),
	    .status = gen_below(g, 3),
	    .name = gen_str(g),
	    .attrs = gen_attr_list(g, 12),
	};

	memcpy(sp.trace_id, trace_id, 16);
	gen_bytes(g, sp.span_id, 8);
	if (gen_below(g, 3))
		gen_bytes(g, sp.parent_id, 8);
	sp.end_ns = sp.start_ns + gen_below(g, NS_PER_S) - (gen_below(g, 20) ? 0 : 5000);
	if (gen_below(g, 50) == 0) {
		sp.kind = 99;
		sp.status = 1000;
	}
	if (gen_below(g, 3) == 0) {
		gen_events(g, &sp);
		gen_links(g, &sp);
		sp.flags = (uint32_t)gen_u64(g);
		sp.events_dropped = gen_below(g, 3);
		sp.links_dropped = gen_below(g, 3);
		sp.status_message = gen_str(g);
		sp.trace_state = gen_str(g);
	}
	sp.res = gen_resource(g);
	sp.scope = gen_scope(g);
	return sp;
}

/* --- deep comparison --- */

static inline bool gen_attrs_eq(const struct attr *a, const struct attr *b, uint32_t cnt);

static inline bool gen_val_eq(const struct val *a, const struct val *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VAL_EMPTY:
		return true;
	case VAL_STR:
	case VAL_BYTES:
		return str_eq(a->str, b->str);
	case VAL_BOOL:
		return a->b == b->b;
	case VAL_INT:
		return a->i == b->i;
	case VAL_DOUBLE:
		return memcmp(&a->d, &b->d, 8) == 0;
	case VAL_KVLIST:
		return a->cnt == b->cnt && gen_attrs_eq(a->entries, b->entries, a->cnt);
	case VAL_ARRAY:
		for (uint32_t i = 0; a->cnt == b->cnt && i < a->cnt; i++)
			if (!gen_val_eq(&a->elems[i], &b->elems[i]))
				return false;
		return a->cnt == b->cnt;
	}
	return false;
}

static inline bool gen_attrs_eq(const struct attr *a, const struct attr *b, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (!str_eq(a[i].key, b[i].key) || !gen_val_eq(&a[i].val, &b[i].val))
			return false;
	return true;
}

static inline bool gen_lists_eq(const struct attrs *a, const struct attrs *b)
{
	return a->cnt == b->cnt && a->dropped == b->dropped && gen_attrs_eq(a->at, b->at, a->cnt);
}

static inline bool gen_events_eq(const struct span *a, const struct span *b)
{
	for (uint32_t i = 0; a->event_cnt == b->event_cnt && i < a->event_cnt; i++)
		if (a->events[i].time_ns != b->events[i].time_ns ||
		    !str_eq(a->events[i].name, b->events[i].name) ||
		    !gen_lists_eq(&a->events[i].attrs, &b->events[i].attrs))
			return false;
	return a->event_cnt == b->event_cnt;
}

static inline bool gen_links_eq(const struct span *a, const struct span *b)
{
	for (uint32_t i = 0; a->link_cnt == b->link_cnt && i < a->link_cnt; i++)
		if (memcmp(a->links[i].trace_id, b->links[i].trace_id, 24) != 0 ||
		    a->links[i].flags != b->links[i].flags ||
		    !str_eq(a->links[i].trace_state, b->links[i].trace_state) ||
		    !gen_lists_eq(&a->links[i].attrs, &b->links[i].attrs))
			return false;
	return a->link_cnt == b->link_cnt;
}

static inline bool gen_shared_eq(const struct span *a, const struct span *b)
{
	return str_eq(a->res->schema_url, b->res->schema_url) &&
	       gen_lists_eq(&a->res->attrs, &b->res->attrs) &&
	       str_eq(a->scope->name, b->scope->name) &&
	       str_eq(a->scope->version, b->scope->version) &&
	       str_eq(a->scope->schema_url, b->scope->schema_url) &&
	       gen_lists_eq(&a->scope->attrs, &b->scope->attrs);
}

static inline bool gen_span_eq(const struct span *a, const struct span *b)
{
	return memcmp(a->trace_id, b->trace_id, 16) == 0 &&
	       memcmp(a->span_id, b->span_id, 8) == 0 &&
	       memcmp(a->parent_id, b->parent_id, 8) == 0 && a->start_ns == b->start_ns &&
	       a->end_ns == b->end_ns && a->kind == b->kind && a->status == b->status &&
	       a->flags == b->flags && a->events_dropped == b->events_dropped &&
	       a->links_dropped == b->links_dropped && str_eq(a->name, b->name) &&
	       str_eq(a->status_message, b->status_message) &&
	       str_eq(a->trace_state, b->trace_state) && gen_lists_eq(&a->attrs, &b->attrs) &&
	       gen_events_eq(a, b) && gen_links_eq(a, b) && gen_shared_eq(a, b);
}

/* --- demo-like --- */

static inline struct attr gen_s(const char *key, struct str s)
{
	return (struct attr){str_of(key), {.type = VAL_STR, .str = s}};
}

static inline struct attr gen_i(const char *key, int64_t i)
{
	return (struct attr){str_of(key), {.type = VAL_INT, .i = i}};
}

static inline const struct resource *gen_demo_resource(struct arena *a, const char *service,
						       const char *exe, int pid)
{
	struct resource *res = arena_new(a, struct resource);
	struct attr list[] = {
	    gen_s("service.name", str_of(service)),
	    gen_s("service.instance.id", str_of(arena_printf(a, "node-1-%d-8812345", pid))),
	    gen_s("host.name", STR("node-1")),
	    gen_i("process.pid", pid),
	    gen_s("process.executable.name", str_of(exe)),
	    gen_s("telemetry.sdk.language", STR("go")),
	    gen_s("telemetry.distro.name", STR("wirespan")),
	};

	res->attrs =
	    (struct attrs){arena_array(a, struct attr, ARRAY_SIZE(list)), ARRAY_SIZE(list), 0};
	memcpy(res->attrs.at, list, sizeof(list));
	res->schema_url = STR("https://opentelemetry.io/schemas/1.37.0");
	return res;
}

struct gen_demo {
	const struct resource *nginx, *api, *pg;
	const struct scope *scope;
};

static inline void gen_demo_init(struct gen_demo *d, struct arena *a)
{
	struct scope *sc = arena_new(a, struct scope);

	sc->name = STR("wirespan");
	sc->version = STR("0.1.0");
	d->scope = sc;
	d->nginx = gen_demo_resource(a, "nginx", "nginx", 4711);
	d->api = gen_demo_resource(a, "todo-api", "api", 4712);
	d->pg = gen_demo_resource(a, "postgres", "postgres", 4713);
}

static inline struct attrs gen_http(struct gen *g, uint32_t id, bool is_client, uint32_t port)
{
	struct str path = str_of(arena_printf(g->a, "/api/todos/%u", id));
	struct attr list[] = {
	    gen_s("http.request.method", STR("GET")),
	    is_client ? gen_s("url.full", str_of(arena_printf(g->a, "http://127.0.0.1:8080" STR_FMT,
							      STR_ARG(path))))
		      : gen_s("url.path", path),
	    gen_s("url.scheme", STR("http")),
	    gen_s(is_client ? "url.template" : "http.route", STR("/api/todos/{id}")),
	    gen_i("http.response.status_code", 200),
	    gen_s("server.address", STR("127.0.0.1")),
	    gen_i("server.port", is_client ? 8080 : 80),
	    gen_s("network.peer.address", STR("127.0.0.1")),
	    gen_i("network.peer.port", port),
	    gen_s("network.protocol.version", STR("1.1")),
	    gen_s("user_agent.original", STR("curl/7.88.1")),
	    gen_i("http.request.body.size", 0),
	    gen_i("http.response.body.size", 80 + gen_below(g, 40)),
	};
	struct attrs as = {arena_array(g->a, struct attr, ARRAY_SIZE(list)), ARRAY_SIZE(list), 0};

	memcpy(as.at, list, sizeof(list));
	return as;
}

static inline struct attrs gen_sql(struct gen *g, uint32_t port)
{
	struct attr list[] = {
	    gen_s("db.system.name", STR("postgresql")),
	    gen_s("db.namespace", STR("todos")),
	    gen_s("db.operation.name", STR("SELECT")),
	    gen_s("db.collection.name", STR("todos")),
	    gen_s("db.query.text",
		  STR("SELECT id, title, done, created_at FROM todos WHERE id = $1")),
	    gen_s("db.query.summary", STR("SELECT todos")),
	    gen_s("server.address", STR("127.0.0.1")),
	    gen_i("server.port", 5432),
	    gen_s("network.peer.address", STR("127.0.0.1")),
	    gen_i("network.peer.port", port),
	    gen_i("db.response.returned_rows", gen_below(g, 3)),
	};
	struct attrs as = {arena_array(g->a, struct attr, ARRAY_SIZE(list)), ARRAY_SIZE(list), 0};

	memcpy(as.at, list, sizeof(list));
	return as;
}

/* As the kernel half makes them: they begin with the time. */
static inline void gen_trace_id(struct gen *g, uint64_t start_ns, uint8_t trace_id[16])
{
	uint32_t first = __builtin_bswap32((uint32_t)(start_ns >> 24));

	gen_bytes(g, trace_id, 16);
	memcpy(trace_id, &first, sizeof(first));
}

/* Fills five spans of one trace; memory from g->a. */
static inline void gen_demo_trace(struct gen *g, const struct gen_demo *d, uint64_t start_ns,
				  struct span sp[5])
{
	const struct resource *const res[] = {d->nginx, d->nginx, d->api, d->api, d->pg};
	uint32_t id = gen_below(g, 1000000), off = 0;

	memset(sp, 0, 5 * sizeof(*sp));
	gen_trace_id(g, start_ns, sp[0].trace_id);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t port = 32768 + gen_below(g, 28000);

		memcpy(sp[i].trace_id, sp[0].trace_id, 16);
		gen_bytes(g, sp[i].span_id, 8);
		if (i > 0)
			memcpy(sp[i].parent_id, sp[i - 1].span_id, 8);
		off += 20000 + gen_below(g, 40000);
		sp[i].start_ns = start_ns + off;
		sp[i].end_ns = start_ns + 2000000 - off + gen_below(g, 1000000);
		sp[i].kind = i % 2 ? KIND_CLIENT : KIND_SERVER;
		sp[i].name = i < 3 ? STR("GET /api/todos/{id}") : STR("SELECT todos");
		sp[i].attrs = i < 3 ? gen_http(g, id, i == 1, port) : gen_sql(g, port);
		sp[i].res = res[i];
		sp[i].scope = d->scope;
	}
}

#endif

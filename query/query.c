/* SPDX-License-Identifier: Apache-2.0 */
/* query.c - the life of a query: memory, limits, the sentence of its error. What is asked lives in
 * search.c, metrics.c, trace.c and tags.c. A query answers one question; everything it hands out
 * lives in its arena or in its store read, and both end in query_end. */
#include "query/query_impl.h"
#include "query/parse.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEFAULT_TIMEOUT_MS = 30000,
	POLL_STEPS = 256,
	FEW = 4,
	BEAT_REST = 9 /* times what it took */
};
static const size_t DEFAULT_MEMORY = 256u << 20, CROWDED_MEMORY = 64u << 20;
static const uint64_t DEFAULT_PART_NS = 200ull * NS_PER_MS;

/* Queries that run now: beyond a few, each has less memory, so that all together have a bound. */
static atomic_uint running;

int query_begin(struct query **ret, struct store *s, const struct query_limits *limits)
{
	struct query *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->store = s;
	if (limits)
		q->limits = *limits;
	if (atomic_fetch_add(&running, 1) >= FEW && !q->limits.memory)
		q->limits.memory = CROWDED_MEMORY;
	q->limits.memory = q->limits.memory ?: DEFAULT_MEMORY;
	q->limits.timeout_ms = q->limits.timeout_ms ?: DEFAULT_TIMEOUT_MS;
	q->limits.part_ns = q->limits.part_ns ?: DEFAULT_PART_NS;
	q->deadline_ns = clock_mono_ns() + (uint64_t)q->limits.timeout_ms * NS_PER_MS;
	arena_init(&q->arena, q->limits.memory);
	arena_init(&q->scratch, q->limits.memory);
	strbuf_init(&q->why);
	*ret = q;
	return 0;
}

void query_end(struct query *q)
{
	if (!q)
		return;
	atomic_fetch_sub(&running, 1);
	if (q->read)
		store_read_end(q->read);
	re_free(q->regexes);
	arena_fini(&q->arena);
	arena_fini(&q->scratch);
	strbuf_fini(&q->why);
	free(q);
}

const char *query_error(const struct query *q)
{
	return q->why.len ? q->why.p : "";
}

struct arena *query_arena(struct query *q)
{
	return &q->arena;
}

int query_fail(struct query *q, int err, const char *fmt, ...)
{
	va_list ap;

	strbuf_clear(&q->why);
	va_start(ap, fmt);
	strbuf_vprintf(&q->why, fmt, ap);
	va_end(ap);
	return err;
}

int query_fail_memory(struct query *q)
{
	return query_fail(q, -ERANGE,
			  "the query needs more than the %zu MiB of memory it may have: "
			  "narrow the time range, the filter or the limit",
			  q->limits.memory >> 20);
}

int query_poll(struct query *q)
{
	return ++q->steps % POLL_STEPS ? 0 : query_poll_now(q);
}

void query_beat(struct query *q, void (*fn)(void *arg), void *arg)
{
	q->beat = fn;
	q->beat_arg = arg;
	q->beat_ns = clock_mono_ns() + q->limits.part_ns;
}

/* What fails in it has failed for it alone. */
static void beat(struct query *q, uint64_t now)
{
	void (*fn)(void *arg) = q->beat;
	uint64_t rest;

	q->beat = NULL;
	fn(q->beat_arg);
	strbuf_clear(&q->why);
	q->beat = fn;
	rest = (clock_mono_ns() - now) * BEAT_REST;
	q->beat_ns = clock_mono_ns() + (rest > q->limits.part_ns ? rest : q->limits.part_ns);
}

int query_poll_now(struct query *q)
{
	uint64_t now = clock_mono_ns();

	if (q->limits.gone && q->limits.gone(q->limits.gone_arg))
		return query_fail(q, -ECANCELED, "the client has gone");
	if (now > q->deadline_ns)
		return query_fail(q, -ETIMEDOUT,
				  "the query ran longer than %u ms: narrow the time "
				  "range or the filter",
				  q->limits.timeout_ms);
	if (q->beat && now >= q->beat_ns)
		beat(q, now);
	return 0;
}

int query_parse_as(struct query *q, struct str text, struct tql *ret, const char *syntax,
		   const char *sense)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = parse_query(&q->arena, text, ret, &why);
	must(!q->regexes);
	q->regexes = ret->regexes;
	if (err)
		query_fail(q, err, "%s%s", ret->parsed ? sense : syntax, why.p ? why.p : "");
	strbuf_fini(&why);
	return err;
}

int query_parse(struct query *q, struct str text, struct tql *ret)
{
	static const char invalid[] = "invalid TraceQL query: ";

	return query_parse_as(q, text, ret, invalid, invalid);
}

static int read_failed(struct query *q, int err)
{
	return query_fail(q, err, "the store cannot be read: %s", strerror(-err));
}

int query_read(struct query *q, uint64_t from_ns, uint64_t to_ns)
{
	int err;

	must(!q->read);
	err = store_read_begin(&q->read, q->store, from_ns, to_ns);
	return err ? read_failed(q, err) : 0;
}

int query_read_trace(struct query *q, const uint8_t trace_id[16])
{
	int err;

	must(!q->read);
	err = store_read_begin_trace(&q->read, q->store, trace_id);
	return err ? read_failed(q, err) : 0;
}

int query_check(struct str text, struct strbuf *why)
{
	struct arena a;
	struct tql t;
	int err;

	arena_init(&a, DEFAULT_MEMORY);
	err = parse_query(&a, text, &t, why);
	re_free(t.regexes);
	arena_fini(&a);
	return err ? -EINVAL : 0;
}

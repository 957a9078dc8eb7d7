/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c - deep copies of spans, quickly: this runs in the caller of store_append, under its lock.
 *
 * It encodes nothing. Resources and scopes are many times larger than what changes from span to
 * span, so they are copied once per batch: found again by address within a call, by content across
 * calls (an address says nothing once its owner may have reused the memory). */
#include "store/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/keys.h"

/* Room for spans that an idle batch keeps. */
enum { KEEP_CAP = 1024, SHARED_LEN_MAX = 64 };

void batch_init(struct batch *b)
{
	memset(b, 0, sizeof(*b));
	arena_init(&b->mem, 0);
}

void batch_fini(struct batch *b)
{
	arena_fini(&b->mem);
	free(b->at);
}

size_t batch_bytes(const struct batch *b)
{
	return b->mem.used + b->cnt * sizeof(*b->at);
}

void batch_clear(struct batch *b)
{
	arena_reset(&b->mem);
	b->cnt = 0;
	if (b->cap > KEEP_CAP) {
		free(b->at);
		b->at = NULL;
		b->cap = 0;
	}
	memset(b->resources, 0, sizeof(b->resources));
	memset(b->scopes, 0, sizeof(b->scopes));
	memset(b->strings, 0, sizeof(b->strings));
}

/* --- is it a span --- */

static bool attrs_ok(const struct attr *at, uint32_t cnt, unsigned depth);

static bool val_ok(const struct val *v, unsigned depth)
{
	if (v->type > VAL_BYTES || depth > VAL_DEPTH_MAX)
		return false;
	if (v->type == VAL_KVLIST)
		return attrs_ok(v->entries, v->cnt, depth + 1);
	if (v->type == VAL_ARRAY)
		for (uint32_t i = 0; i < v->cnt; i++)
			if (!val_ok(&v->elems[i], depth + 1))
				return false;
	return true;
}

static bool attrs_ok(const struct attr *at, uint32_t cnt, unsigned depth)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (!val_ok(&at[i].val, depth))
			return false;
	return true;
}

static bool span_ok(const struct span *sp)
{
	bool ok = sp->res && sp->scope && attrs_ok(sp->attrs.at, sp->attrs.cnt, 1);

	ok = ok && attrs_ok(sp->res->attrs.at, sp->res->attrs.cnt, 1);
	ok = ok && attrs_ok(sp->scope->attrs.at, sp->scope->attrs.cnt, 1);
	for (uint32_t i = 0; ok && i < sp->event_cnt; i++)
		ok = attrs_ok(sp->events[i].attrs.at, sp->events[i].attrs.cnt, 1);
	for (uint32_t i = 0; ok && i < sp->link_cnt; i++)
		ok = attrs_ok(sp->links[i].attrs.at, sp->links[i].attrs.cnt, 1);
	return ok;
}

int batch_check(const struct span *spans, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		if (!span_ok(&spans[i]))
			return -EINVAL;
	return 0;
}

/* --- copies --- */

static struct attr *attrs_dup(struct batch *b, const struct attr *from, uint32_t cnt);

static uint64_t hash_of(struct str s)
{
	uint64_t h = s.len, v;

	for (; s.len >= 8; s.len -= 8, s.p += 8) {
		memcpy(&v, s.p, 8);
		h = (h ^ v) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	v = 0;
	memcpy(&v, s.p, s.len);
	return (h ^ v) * 0x9e3779b97f4a7c15u;
}

/* Keys and most values are the same from span to span: the copy that is there already serves. */
static void str_dup(struct batch *b, struct str *s)
{
	struct str *slot;

	if (s->len == 0) {
		*s = STR("");
		return;
	}
	if (s->len > SHARED_LEN_MAX) {
		*s = arena_str(&b->mem, s->p, s->len);
		return;
	}
	slot = &b->strings[hash_of(*s) >> 55];
	if (!str_eq(*slot, *s))
		*slot = arena_str(&b->mem, s->p, s->len);
	*s = *slot;
}

/* A key's copy is found by its address first: within a call it stays what it is. */
static void key_dup(struct batch *b, struct str *key)
{
	struct key_copy *slot = &b->keys[((uintptr_t)key->p >> 3) % BATCH_KEYS];

	if (!slot->from || slot->from != key->p || slot->to.len != key->len) {
		slot->from = key->p;
		str_dup(b, key);
		slot->to = *key;
	}
	*key = slot->to;
}

static void val_dup(struct batch *b, struct val *v)
{
	const struct val *from = v->elems;

	switch (v->type) {
	case VAL_STR:
	case VAL_BYTES:
		str_dup(b, &v->str);
		return;
	case VAL_KVLIST:
		v->entries = attrs_dup(b, v->entries, v->cnt);
		return;
	case VAL_ARRAY:
		v->elems = arena_array(&b->mem, struct val, v->cnt);
		for (uint32_t i = 0; i < v->cnt; i++) {
			v->elems[i] = from[i];
			val_dup(b, &v->elems[i]);
		}
		return;
	default:
		return;
	}
}

static struct attr *attrs_dup(struct batch *b, const struct attr *from, uint32_t cnt)
{
	struct attr *to = arena_array(&b->mem, struct attr, cnt);

	for (uint32_t i = 0; i < cnt; i++) {
		to[i] = from[i];
		key_dup(b, &to[i].key);
		val_dup(b, &to[i].val);
	}
	return to;
}

static const struct resource *resource_dup(struct batch *b, const struct resource *from)
{
	struct resource *to = arena_new(&b->mem, struct resource);

	*to = *from;
	str_dup(b, &to->schema_url);
	to->attrs.at = attrs_dup(b, from->attrs.at, from->attrs.cnt);
	return to;
}

static const struct scope *scope_dup(struct batch *b, const struct scope *from)
{
	struct scope *to = arena_new(&b->mem, struct scope);

	*to = *from;
	str_dup(b, &to->name);
	str_dup(b, &to->version);
	str_dup(b, &to->schema_url);
	to->attrs.at = attrs_dup(b, from->attrs.at, from->attrs.cnt);
	return to;
}

/* A full table starts again from the front; copies that it forgets stay in the arena. */
static const struct resource *resource_share(struct batch *b, const struct resource *res)
{
	size_t i = 0;

	while (i < BATCH_SHARED && b->resources[i] && !resource_is(b->resources[i], res))
		i++;
	if (i == BATCH_SHARED) {
		memset(b->resources, 0, sizeof(b->resources));
		i = 0;
	}
	if (!b->resources[i])
		b->resources[i] = resource_dup(b, res);
	return b->resources[i];
}

static const struct scope *scope_share(struct batch *b, const struct scope *scope)
{
	size_t i = 0;

	while (i < BATCH_SHARED && b->scopes[i] && !scope_is(b->scopes[i], scope))
		i++;
	if (i == BATCH_SHARED) {
		memset(b->scopes, 0, sizeof(b->scopes));
		i = 0;
	}
	if (!b->scopes[i])
		b->scopes[i] = scope_dup(b, scope);
	return b->scopes[i];
}

static void events_dup(struct batch *b, struct span *sp)
{
	const struct event *from = sp->events;

	sp->events = arena_array(&b->mem, struct event, sp->event_cnt);
	for (uint32_t i = 0; i < sp->event_cnt; i++) {
		sp->events[i] = from[i];
		str_dup(b, &sp->events[i].name);
		sp->events[i].attrs.at = attrs_dup(b, from[i].attrs.at, from[i].attrs.cnt);
	}
}

static void links_dup(struct batch *b, struct span *sp)
{
	const struct link *from = sp->links;

	sp->links = arena_array(&b->mem, struct link, sp->link_cnt);
	for (uint32_t i = 0; i < sp->link_cnt; i++) {
		sp->links[i] = from[i];
		str_dup(b, &sp->links[i].trace_state);
		sp->links[i].attrs.at = attrs_dup(b, from[i].attrs.at, from[i].attrs.cnt);
	}
}

static void span_dup(struct batch *b, struct span *sp)
{
	str_dup(b, &sp->name);
	str_dup(b, &sp->status_message);
	str_dup(b, &sp->trace_state);
	sp->attrs.at = attrs_dup(b, sp->attrs.at, sp->attrs.cnt);
	if (sp->event_cnt)
		events_dup(b, sp);
	if (sp->link_cnt)
		links_dup(b, sp);
}

static void batch_grow(struct batch *b, size_t cnt)
{
	size_t cap = b->cap ? b->cap : 256;

	while (cap - b->cnt < cnt)
		cap *= 2;
	if (cap == b->cap)
		return;
	b->at = realloc(b->at, cap * sizeof(*b->at));
	must(b->at);
	b->cap = cap;
}

/* Spans of a call that share a pointer share the content. */
enum { CALL_SLOTS = 16 };

struct call_slot {
	const void *from, *to;
};

static struct call_slot *call_slot(struct call_slot *slots, const void *p)
{
	return &slots[((uintptr_t)p >> 4) % CALL_SLOTS];
}

void batch_add(struct batch *b, const struct span *spans, size_t cnt)
{
	struct call_slot res[CALL_SLOTS] = {0}, scopes[CALL_SLOTS] = {0}, *sl;

	batch_grow(b, cnt);
	memset(b->keys, 0, sizeof(b->keys));
	for (size_t i = 0; i < cnt; i++) {
		struct span *sp = &b->at[b->cnt].span;

		b->at[b->cnt++] = (struct batch_span){.span = spans[i]};
		span_dup(b, sp);
		sl = call_slot(res, sp->res);
		if (sl->from != sp->res)
			*sl = (struct call_slot){sp->res, resource_share(b, sp->res)};
		sp->res = sl->to;
		sl = call_slot(scopes, sp->scope);
		if (sl->from != sp->scope)
			*sl = (struct call_slot){sp->scope, scope_share(b, sp->scope)};
		sp->scope = sl->to;
	}
}

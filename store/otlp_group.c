/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_group.c - what both forms of OTLP need before they encode or after they decode: spans
 * ordered by the content of their resource and scope, and the few rules of ids and enums. Writes no
 * bytes. Called by otlp.c, otlp_pb.c and otlp_json.c. The invariant: equality is by content, so a
 * hash only finds candidates and `*_eq` decides. */
#include "store/otlp_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- hash and equality by content --- */

static uint64_t hash_bytes(uint64_t h, const void *p, size_t len)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3;
	return (h ^ len) * 0x100000001b3;
}

static uint64_t hash_str(uint64_t h, struct str s)
{
	return hash_bytes(h, s.p, s.len);
}

/* Arrays and lists count by their length alone: they are rare in resources. */
static uint64_t hash_attrs(uint64_t h, const struct attrs *as)
{
	for (uint32_t i = 0; i < as->cnt; i++) {
		const struct val *v = &as->at[i].val;

		h = hash_str(h, as->at[i].key);
		if (v->type == VAL_STR || v->type == VAL_BYTES)
			h = hash_str(h, v->str);
		else if (v->type == VAL_INT)
			h = hash_bytes(h, &v->i, sizeof(v->i));
		else
			h = hash_bytes(h, &v->cnt, sizeof(v->cnt));
	}
	return h;
}

static uint64_t res_hash(const struct resource *r)
{
	return hash_str(hash_attrs(0xcbf29ce484222325, &r->attrs), r->schema_url);
}

static uint64_t scope_hash(const struct scope *s)
{
	uint64_t h = hash_str(hash_str(0xcbf29ce484222325, s->name), s->version);

	return hash_attrs(hash_str(h, s->schema_url), &s->attrs);
}

/* --- numbering --- */

struct numbers {
	const struct span **slots; /* a span whose resource (or scope) has the number beside it */
	uint32_t *numbers;
	size_t mask;
	uint32_t next;
};

static struct numbers numbers_make(struct arena *a, size_t cnt)
{
	size_t size = 16;

	while (size < cnt * 2)
		size *= 2;
	return (struct numbers){arena_array(a, const struct span *, size),
				arena_array(a, uint32_t, size), size - 1, 0};
}

static uint32_t number_of(struct numbers *n, const struct span *sp, bool scope)
{
	size_t i = (size_t)(scope ? scope_hash(sp->scope) : res_hash(sp->res));

	for (i &= n->mask; n->slots[i]; i = (i + 1) & n->mask)
		if (scope ? scope_is(n->slots[i]->scope, sp->scope)
			  : resource_is(n->slots[i]->res, sp->res))
			return n->numbers[i];
	n->slots[i] = sp;
	n->numbers[i] = n->next;
	return n->next++;
}

static int place_cmp(const void *left, const void *right)
{
	const struct otlp_place *a = left, *b = right;

	if (a->res != b->res)
		return a->res < b->res ? -1 : 1;
	if (a->scope != b->scope)
		return a->scope < b->scope ? -1 : 1;
	return (a->span > b->span) - (a->span < b->span);
}

/* The previous span's numbers are tried first: neighbours mostly share both. */
const struct otlp_place *otlp_group(struct arena *a, const struct span *spans, size_t cnt)
{
	struct otlp_place *at = arena_array(a, struct otlp_place, cnt ? cnt : 1);
	struct numbers res = numbers_make(a, cnt), scopes = numbers_make(a, cnt);

	for (size_t i = 0; i < cnt; i++) {
		const struct span *sp = &spans[i], *last = i ? sp - 1 : NULL;

		at[i].span = sp;
		at[i].res =
		    last && last->res == sp->res ? at[i - 1].res : number_of(&res, sp, false);
		at[i].scope = last && last->scope == sp->scope ? at[i - 1].scope
							       : number_of(&scopes, sp, true);
	}
	qsort(at, cnt, sizeof(*at), place_cmp);
	return at;
}

size_t otlp_same_res(const struct otlp_place *at, size_t from, size_t cnt)
{
	size_t i = from;

	while (i < cnt && at[i].res == at[from].res)
		i++;
	return i;
}

size_t otlp_same_scope(const struct otlp_place *at, size_t from, size_t cnt)
{
	size_t i = from;

	while (i < cnt && at[i].res == at[from].res && at[i].scope == at[from].scope)
		i++;
	return i;
}

/* --- rules of decoding --- */

bool otlp_ids_legal(const struct span *sp)
{
	static const uint8_t zero[16];

	return memcmp(sp->trace_id, zero, 16) != 0 && memcmp(sp->span_id, zero, 8) != 0;
}

int otlp_bad(struct strbuf *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (why)
		strbuf_vprintf(why, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

enum span_kind otlp_kind(int64_t number)
{
	return number >= KIND_INTERNAL && number <= KIND_CONSUMER ? (enum span_kind)number
								  : KIND_UNSPECIFIED;
}

enum span_status otlp_status(int64_t number)
{
	return number == STATUS_OK || number == STATUS_ERROR ? (enum span_status)number
							     : STATUS_UNSET;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* series.c - what series.h promises: a hash table of series, and their memory. Knows nothing of
 * spans or of TraceQL. The hash is seeded, as the labels are whatever somebody sent in spans; the
 * room is counted before anything is allocated, so a full set has left the arena usable. */
#include "query/series.h"

#include <stdlib.h>

enum { EXEMPLARS_IN_ALL = 10000, FIRST_CAP = 64 };

/* --- memory --- */
static bool count(struct series_set *set, size_t len)
{
	set->full |= len > set->conf.room - set->used;
	if (!set->full)
		set->used += len;
	return !set->full;
}

static void *take(struct series_set *set, size_t len)
{
	void *p = count(set, len) ? arena_alloc(set->arena, len) : NULL;

	set->full |= !p;
	return p;
}

void series_set_init(struct series_set *set, struct arena *a, const struct series_conf *conf)
{
	uint64_t span_ns = conf->grid.step_ns * conf->grid.cnt;

	*set = (struct series_set){.conf = *conf,
				   .arena = a,
				   .seed = clock_mono_ns() | 1,
				   .exemplars_left = EXEMPLARS_IN_ALL};
	if (set->conf.exemplars > EXEMPLARS_MAX)
		set->conf.exemplars = EXEMPLARS_MAX;
	if (set->conf.exemplars)
		set->slot_ns = span_ns / set->conf.exemplars + 1;
}

/* --- the table --- */
static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0xff51afd7ed558ccdull;
	return h ^ (h >> 32);
}

static uint64_t str_hash(uint64_t h, struct str s)
{
	uint64_t word;

	h = mix(h, s.len);
	for (; s.len >= 8; s.p += 8, s.len -= 8) {
		memcpy(&word, s.p, 8);
		h = mix(h, word);
	}
	word = 0;
	if (s.len)
		memcpy(&word, s.p, s.len);
	return mix(h, word);
}

/* What is equal in tval_cmp has the same: 0.0 and -0.0, all NaNs. */
static uint64_t double_bits(double d)
{
	uint64_t bits;

	d = isnan(d) ? (double)NAN : d + 0.0;
	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static uint32_t labels_hash(const struct series_set *set, const struct tval *labels)
{
	uint64_t h = set->seed;

	for (uint32_t i = 0; i < set->conf.label_cnt; i++) {
		const struct tval *v = &labels[i];

		h = mix(h, v->type);
		if (v->type == TYPE_STR)
			h = str_hash(h, v->str);
		else if (v->type == TYPE_BOOL)
			h = mix(h, v->b);
		else if (v->type == TYPE_FLOAT)
			h = mix(h, double_bits(v->d));
		else if (v->type != TYPE_NIL)
			h = mix(h, (uint64_t)v->i);
	}
	return (uint32_t)(mix(h, set->seed) >> 32);
}

int series_labels_cmp(const struct tval *a, const struct tval *b, uint32_t cnt)
{
	int c = 0;

	for (uint32_t i = 0; i < cnt && !c; i++)
		c = tval_cmp(&a[i], &b[i]);
	return c;
}

/* The slot with these labels, or the free one for them. */
static uint32_t slot_of(const struct series_set *set, const struct tval *labels, uint32_t hash)
{
	uint32_t mask = set->cap - 1, at = hash & mask;

	for (; set->slots[at]; at = (at + 1) & mask)
		if (set->slots[at]->hash == hash &&
		    !series_labels_cmp(set->slots[at]->labels, labels, set->conf.label_cnt))
			break;
	return at;
}

static bool grow(struct series_set *set)
{
	uint32_t cap = set->cap ? set->cap * 2 : FIRST_CAP;
	struct series **slots = take(set, cap * sizeof(*slots));

	if (!slots)
		return false;
	for (uint32_t i = 0; i < set->cap; i++) {
		uint32_t to;

		if (!set->slots[i])
			continue;
		for (to = set->slots[i]->hash & (cap - 1); slots[to]; to = (to + 1) & (cap - 1))
			;
		slots[to] = set->slots[i];
	}
	set->slots = slots;
	set->cap = cap;
	return true;
}

static struct tval *labels_copy(struct series_set *set, const struct tval *labels)
{
	struct tval *to = take(set, (set->conf.label_cnt ?: 1) * sizeof(*to));

	for (uint32_t i = 0; to && i < set->conf.label_cnt; i++) {
		char *text;

		to[i] = labels[i];
		if (to[i].type != TYPE_STR)
			continue;
		text = take(set, to[i].str.len ?: 1);
		if (!text)
			return NULL;
		if (to[i].str.len)
			memcpy(text, to[i].str.p, to[i].str.len);
		to[i].str.p = text;
	}
	return to;
}

/* --- one series --- */
static double *numbers_new(struct series_set *set, double start)
{
	double *num = take(set, set->conf.grid.cnt * sizeof(*num));

	for (uint32_t i = 0; num && i < set->conf.grid.cnt; i++)
		num[i] = start;
	return num;
}

static bool fill(struct series_set *set, struct series *s)
{
	size_t counts = set->conf.grid.cnt * sizeof(*s->cnt);

	switch (set->conf.acc) {
	case ACC_COUNT:
		return (s->cnt = take(set, counts));
	case ACC_MIN:
	case ACC_MAX:
		return (s->num = numbers_new(set, NAN));
	case ACC_SUM:
		return (s->cnt = take(set, counts)) && (s->num = numbers_new(set, 0));
	default:
		return (s->hist = take(set, SERIES_BUCKETS * sizeof(*s->hist)));
	}
}

static struct series *series_new(struct series_set *set, const struct tval *labels, uint32_t hash)
{
	struct series *s;

	if ((set->cnt * 2 >= set->cap && !grow(set)) || !count(set, set->conf.later))
		return NULL;
	s = take(set, sizeof(*s));
	if (!s || !(s->labels = labels_copy(set, labels)) || !fill(set, s))
		return NULL;
	s->hash = hash;
	set->slots[slot_of(set, labels, hash)] = s;
	set->cnt++;
	return s;
}

struct series *series_find(const struct series_set *set, const struct tval *labels)
{
	return set->cap ? set->slots[slot_of(set, labels, labels_hash(set, labels))] : NULL;
}

struct series *series_of(struct series_set *set, const struct tval *labels)
{
	uint32_t hash = labels_hash(set, labels);
	struct series *s = set->cap ? set->slots[slot_of(set, labels, hash)] : NULL;

	return s ? s : series_new(set, labels, hash);
}

uint32_t *series_hist_new(struct series_set *set, struct series *s, uint32_t bucket)
{
	if (!count(set, set->conf.later_hist))
		return NULL;
	return s->hist[bucket] = take(set, set->conf.grid.cnt * sizeof(**s->hist));
}

static uint64_t time_slot_of(const struct series_set *set, uint64_t t_ns)
{
	return (t_ns - set->conf.grid.base_ns - 1) / set->slot_ns;
}

bool series_slot_is_free(const struct series_set *set, const struct series *s, uint64_t t_ns)
{
	uint64_t slot = time_slot_of(set, t_ns);

	return slot < set->conf.exemplars && !(s->slots[slot >> 6] >> (slot & 63) & 1);
}

void series_exemplar_new(struct series_set *set, struct series *s, const struct exemplar *x)
{
	uint64_t slot = time_slot_of(set, x->t_ns);
	struct exemplar *to;

	if (!series_slot_is_free(set, s, x->t_ns))
		return;
	to = arena_new(set->arena, struct exemplar); /* bounded by their number */
	if (!to)
		return;
	*to = *x;
	to->next = s->exemplars;
	s->exemplars = to;
	s->slots[slot >> 6] |= 1ull << (slot & 63);
	s->exemplar_cnt++;
	set->exemplars_left--;
}

static int by_labels(const void *a, const void *b, void *cnt)
{
	const struct series *const *x = a, *const *y = b;

	return series_labels_cmp((*x)->labels, (*y)->labels, *(uint32_t *)cnt);
}

struct series **series_sorted(const struct series_set *set)
{
	struct series **all = arena_array(set->arena, struct series *, set->cnt + 1);
	uint32_t n = 0, label_cnt = set->conf.label_cnt;

	for (uint32_t i = 0; all && i < set->cap; i++)
		if (set->slots[i])
			all[n++] = set->slots[i];
	if (all)
		qsort_r(all, n, sizeof(*all), by_labels, &label_cnt);
	return all;
}

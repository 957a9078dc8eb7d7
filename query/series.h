/* SPDX-License-Identifier: Apache-2.0 */
/* series.h - what a metrics query adds up: one series per group of labels, one number (or one
 * histogram) per interval of time. Finding a group's series hashes its labels; adding to a series
 * that is at hand does not, so that whoever has a dictionary of label values looks each code up
 * once and then only adds. Everything lives in the arena that the set was made with, and a set
 * never takes more of it than it was given room for: then it is full, and further groups are left
 * out. */
#ifndef WIRESPAN_QUERY_SERIES_H
#define WIRESPAN_QUERY_SERIES_H

#include <math.h>
#include <string.h>

#include "query/ops.h"

/* --- time: interval i is (base + i * step, base + (i + 1) * step]; base wraps below 0 --- */
struct grid {
	uint64_t base_ns, step_ns;
	uint32_t cnt;
};

enum { GRID_OUT = UINT32_MAX };

/* The interval that t is in; GRID_OUT: none. */
static inline uint32_t grid_at(const struct grid *g, uint64_t t_ns)
{
	uint64_t n = (t_ns - g->base_ns - 1) / g->step_ns;

	return n < g->cnt ? (uint32_t)n : (uint32_t)GRID_OUT;
}

/* --- series --- */
enum acc {
	ACC_COUNT,
	ACC_MIN,
	ACC_MAX,
	ACC_SUM, /* and how many; avg is made of it too */
	ACC_HIST /* how many values there are up to each power of two */
};

enum {
	SERIES_LABELS = 5,
	SERIES_BUCKETS = 64, /* of 2^0, 2^1, .. 2^63 */
	EXEMPLARS_MAX = 100, /* of one series */
};

struct exemplar {
	struct exemplar *next;
	uint8_t trace_id[16];
	uint64_t t_ns;
	double value; /* NaN: as the sample */
	uint32_t at;  /* interval */
};

struct series {
	const struct tval *labels; /* as many as the set has */
	uint64_t *cnt;		   /* COUNT, SUM: per interval */
	double *num;		   /* MIN, MAX (NaN: nothing yet), SUM: per interval */
	uint32_t **hist;	   /* HIST: per bucket NULL, or a number per interval */
	struct exemplar *exemplars;
	uint64_t slots[2]; /* which parts of the time have their exemplar */
	uint32_t exemplar_cnt;
	uint32_t hash;
	uint32_t seen, values; /* the owner's, see compare.c */
};

struct series_conf {
	struct grid grid;
	enum acc acc;
	uint32_t label_cnt;
	uint32_t exemplars; /* per series; 0: none */
	size_t room;	    /* bytes of the arena, what the owner needs later included: */
	size_t later;	    /* per series */
	size_t later_hist;  /* per bucket */
};

struct series_set {
	struct series_conf conf;
	struct arena *arena;
	uint64_t seed;
	uint64_t slot_ns;
	size_t used;
	struct series **slots; /* a hash table; cap is a power of two */
	uint32_t cap, cnt;
	uint32_t exemplars_left;
	bool full; /* something was left out */
};

void series_set_init(struct series_set *set, struct arena *a, const struct series_conf *conf);
/* The series with these labels, made when it is not there; NULL: the set is full. Strings are
 * copied. */
struct series *series_of(struct series_set *set, const struct tval *labels);
/* The same; NULL when it is not there. */
struct series *series_find(const struct series_set *set, const struct tval *labels);
/* All of them, sorted by labels; NULL: the arena is full. */
struct series **series_sorted(const struct series_set *set);
int series_labels_cmp(const struct tval *a, const struct tval *b, uint32_t cnt);

/* The bucket that v >= 2 is in. */
static inline uint32_t series_bucket(uint64_t v)
{
	return 64 - (uint32_t)__builtin_clzll(v - 1);
}

/* Makes room for a bucket; NULL: the set is full. */
uint32_t *series_hist_new(struct series_set *set, struct series *s, uint32_t bucket);
/* Has this part of the time no exemplar yet? */
bool series_slot_is_free(const struct series_set *set, const struct series *s, uint64_t t_ns);
/* Keeps an exemplar if so. */
void series_exemplar_new(struct series_set *set, struct series *s, const struct exemplar *x);

/* --- adding: at is an interval of the grid --- */
static inline void series_count(struct series *s, uint32_t at)
{
	s->cnt[at]++;
}

static inline void series_min(struct series *s, uint32_t at, double v)
{
	s->num[at] = s->num[at] <= v ? s->num[at] : v;
}

static inline void series_max(struct series *s, uint32_t at, double v)
{
	s->num[at] = s->num[at] >= v ? s->num[at] : v;
}

static inline void series_sum(struct series *s, uint32_t at, double v)
{
	s->num[at] += v;
	s->cnt[at]++;
}

/* v >= 2 and at most 2^63. */
static inline void series_hist(struct series_set *set, struct series *s, uint32_t at, uint64_t v)
{
	uint32_t b = series_bucket(v), *cnt = s->hist[b];

	if (!cnt)
		cnt = series_hist_new(set, s, b);
	if (cnt)
		cnt[at]++;
}

static inline bool series_wants_exemplar(const struct series_set *set, const struct series *s)
{
	return s->exemplar_cnt < set->conf.exemplars && set->exemplars_left;
}

#endif

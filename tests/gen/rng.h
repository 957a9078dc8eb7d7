/* SPDX-License-Identifier: Apache-2.0 */
/* rng.h - random numbers that a seed repeats: splitmix64, one state per user, so that what a
 * connection does depends on the seed and its number alone, not on the threads around it. */
#ifndef GEN_RNG_H
#define GEN_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t x = r->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline struct rng rng_of(uint64_t seed, uint64_t what)
{
	struct rng a = { seed }, b = { rng_next(&a) ^ what * 0xd6e8feb86659fd93u };

	return (struct rng){ rng_next(&b) };
}

/* 0 to n - 1 */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return n ? (uint32_t)(rng_next(r) % n) : 0;
}

static inline uint32_t rng_between(struct rng *r, uint32_t from, uint32_t to)
{
	return from + rng_below(r, to - from + 1);
}

static inline bool rng_chance(struct rng *r, uint32_t percent)
{
	return rng_below(r, 100) < percent;
}

#define RNG_PICK(r, list) ((list)[rng_below((r), sizeof(list) / sizeof(*(list)))])

#endif

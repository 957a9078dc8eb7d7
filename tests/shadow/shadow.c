/* SPDX-License-Identifier: Apache-2.0 */
/* shadow.c - see shadow.h. Every entry of a map is an allocation of its own, freed when it is
 * deleted: whoever uses one after that is found by the address sanitizer. Entries of all maps hang
 * in a few chains, picked by map and key; a test has few of them. */
#include "tests/shadow/shadow.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHAINS = 256, LOOPS_MAX = 1 << 23 /* BPF_MAX_LOOPS */, PAGE = 4096 };

struct entry {
	struct entry *next;
	const void *map;
	size_t key_len;
	bool array;
	_Alignas(8) __u8 key[64];
	_Alignas(8) __u8 value[];
};

struct task_struct *shadow_task;
__u64 shadow_ring_waiting;

static struct entry *chains[CHAINS];
static struct shadow_record *records, **records_end = &records;
static __u64 now;
static __u64 seed;

void shadow_reset(void)
{
	for (int i = 0; i < CHAINS; i++) {
		while (chains[i]) {
			struct entry *e = chains[i];

			chains[i] = e->next;
			free(e);
		}
	}
	while (records) {
		struct shadow_record *r = records;

		records = r->next;
		free(r);
	}
	records_end = &records;
	now = 1000;
	seed = 1;
	shadow_ring_waiting = 0;
}

/* --- maps --- */

static struct entry **chain_of(const void *map, const void *key, size_t len)
{
	__u64 h = (uintptr_t)map;

	for (size_t i = 0; i < len; i++)
		h = (h ^ ((const __u8 *)key)[i]) * 0x100000001b3ull;
	return &chains[(h ^ h >> 32) % CHAINS];
}

static struct entry **entry_find(const void *map, const void *key, size_t len)
{
	struct entry **at = chain_of(map, key, len);

	while (*at && ((*at)->map != map || memcmp((*at)->key, key, len)))
		at = &(*at)->next;
	return at;
}

static struct entry *entry_new(struct entry **at, const void *map, const void *key, size_t key_len,
			       size_t value_len)
{
	struct entry *e = calloc(1, sizeof(*e) + value_len);

	if (!e || key_len > sizeof(e->key))
		abort();
	e->map = map;
	e->key_len = key_len;
	memcpy(e->key, key, key_len);
	*at = e;
	return e;
}

static void entry_delete(struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	free(e);
}

size_t shadow_count(const void *map)
{
	size_t n = 0;

	for (int i = 0; i < CHAINS; i++)
		for (struct entry *e = chains[i]; e; e = e->next)
			n += e->map == map && (!e->array || *(const __u64 *)e->value);
	return n;
}

static bool is_array(struct shadow_shape shape)
{
	return shape.type == BPF_MAP_TYPE_PERCPU_ARRAY || shape.type == BPF_MAP_TYPE_ARRAY;
}

void *shadow_lookup(const void *map, struct shadow_shape shape, const void *key)
{
	struct entry **at = entry_find(map, key, shape.key);

	if (!*at && is_array(shape) && *(const __u32 *)key < shape.max)
		entry_new(at, map, key, shape.key, shape.value)->array = true;
	return *at ? (*at)->value : NULL;
}

long shadow_update(const void *map, struct shadow_shape shape, const void *key, const void *value)
{
	struct entry **at = entry_find(map, key, shape.key);

	if (!*at && shadow_count(map) >= shape.max)
		return -E2BIG;
	if (!*at)
		entry_new(at, map, key, shape.key, shape.value);
	memcpy((*at)->value, value, shape.value);
	return 0;
}

long shadow_delete(const void *map, struct shadow_shape shape, const void *key)
{
	struct entry **at = entry_find(map, key, shape.key);

	if (!*at)
		return -ENOENT;
	entry_delete(at);
	return 0;
}

void *shadow_storage(const void *map, size_t len, const void *owner, const void *init, __u64 flags)
{
	struct entry **at = entry_find(map, &owner, sizeof(owner));

	if (!*at && !(flags & BPF_LOCAL_STORAGE_GET_F_CREATE))
		return NULL;
	if (!*at) {
		entry_new(at, map, &owner, sizeof(owner), len);
		if (init)
			memcpy((*at)->value, init, len);
	}
	return (*at)->value;
}

void shadow_storage_free(const void *owner)
{
	for (int i = 0; i < CHAINS; i++) {
		struct entry **at = &chains[i];

		while (*at) {
			if ((*at)->key_len == sizeof(owner) &&
			    !memcmp((*at)->key, &owner, sizeof(owner)))
				entry_delete(at);
			else
				at = &(*at)->next;
		}
	}
}

/* --- the rest --- */

long shadow_loop(__u32 n, long (*step)(__u32, void *), void *arg, __u64 flags)
{
	if (flags)
		return -EINVAL;
	if (n > LOOPS_MAX)
		return -E2BIG;
	for (__u32 i = 0; i < n; i++)
		if (step(i, arg))
			return i + 1;
	return n;
}

long shadow_read(void *to, __u32 len, const void *from)
{
	if ((uintptr_t)from < PAGE) {
		memset(to, 0, len);
		return -EFAULT;
	}
	memcpy(to, from, len);
	return 0;
}

long shadow_output(const void *data, __u64 len)
{
	struct shadow_record *r = malloc(sizeof(*r) + len);

	if (!r)
		abort();
	r->next = NULL;
	r->len = len;
	memcpy(r->bytes, data, len);
	*records_end = r;
	records_end = &r->next;
	return 0;
}

const struct shadow_record *shadow_records(void)
{
	return records;
}

__u64 shadow_now(void)
{
	return ++now;
}

__u32 shadow_random(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

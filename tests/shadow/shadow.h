/* SPDX-License-Identifier: Apache-2.0 */
/* shadow.h - what the kernel gives to a BPF program, on the host: maps, storage, the ring buffer,
 * time, random numbers, the loop. Knows nothing of connections; pair.h builds those on it. Time
 * moves by one at every look, and random numbers are the same in every run, so a replay that does
 * the same things gives the same bytes. */
#ifndef WIRESPAN_SHADOW_H
#define WIRESPAN_SHADOW_H

#include "tests/shadow/vmlinux.h"

enum { SHADOW_UNIX = 1 /* AF_UNIX */ };

struct shadow_shape {
	__u32 type;
	size_t key, value, max;
};

struct shadow_record {
	struct shadow_record *next;
	size_t len;
	_Alignas(8) __u8 bytes[];
};

/* Who runs. */
extern struct task_struct *shadow_task;

/* How much waits in the ring, as the kernel half is told: it is never full. */
extern __u64 shadow_ring_waiting;

/* Everything as at boot. */
void shadow_reset(void);

/* Records since shadow_reset, oldest first. */
const struct shadow_record *shadow_records(void);
/* Entries in a hash; in an array, those whose first word is set. */
size_t shadow_count(const void *map);
/* The owner of storage is gone. */
void shadow_storage_free(const void *owner);

/* --- the helpers; results and errors as in the kernel --- */
void *shadow_lookup(const void *map, struct shadow_shape shape, const void *key);
long shadow_update(const void *map, struct shadow_shape shape, const void *key, const void *value);
long shadow_delete(const void *map, struct shadow_shape shape, const void *key);
void *shadow_storage(const void *map, size_t len, const void *owner, const void *init, __u64 flags);
long shadow_loop(__u32 n, long (*step)(__u32, void *), void *arg, __u64 flags);
/* The first page is never there. */
long shadow_read(void *to, __u32 len, const void *from);
long shadow_output(const void *data, __u64 len);
__u64 shadow_now(void);
__u32 shadow_random(void);

#endif

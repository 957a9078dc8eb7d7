/* SPDX-License-Identifier: Apache-2.0 */
/* retain.c - old partitions go: by age and by what they take on disk, always the oldest, always
 * whole. Called by the committer's thread after commits and about once a second, and at start
 * before anything is written. Reads in progress keep what they have open. The invariant: the newest
 * partition stays, however small the limit. */
#include "store/env.h"

static struct part *parts_oldest(struct store *s)
{
	struct part *p = s->parts;

	while (p && p->next)
		p = p->next;
	return p;
}

static uint64_t parts_bytes(const struct store *s)
{
	uint64_t bytes = 0;

	for (const struct part *p = s->parts; p; p = p->next)
		bytes += p->bytes;
	return bytes;
}

static const char *reason_to_go(const struct store *s, const struct part *p, uint64_t now_ns)
{
	uint64_t end_ns = p->start_ns + p->width_ns;

	if (s->conf.max_age_ns && end_ns < now_ns && now_ns - end_ns >= s->conf.max_age_ns)
		return "age";
	if (s->keep_bytes && p != s->parts && parts_bytes(s) > s->keep_bytes)
		return "size";
	return NULL;
}

/* What is gone is removed without the lock: readers do not wait for the disk. */
void retain_run(struct store *s)
{
	uint64_t now_ns = clock_real_ns();
	char name[PART_NAME_MAX];
	const char *reason;
	struct part *p;

	pthread_mutex_lock(&s->parts_lock);
	while ((p = parts_oldest(s)) && (reason = reason_to_go(s, p, now_ns))) {
		log_info("store: partition %s goes by %s", p->name, reason);
		strcpy(name, p->name);
		part_remove(s, p);
		pthread_mutex_unlock(&s->parts_lock);
		folder_part_remove(s, name, ".gone");
		pthread_mutex_lock(&s->parts_lock);
	}
	pthread_mutex_unlock(&s->parts_lock);
}

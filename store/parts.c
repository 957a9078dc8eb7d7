/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the list of partitions, newest first: found at start, made when a span needs one,
 * opened when used, closed when idle, set aside when damaged, removed when retention says so.
 *
 * It reads and writes no span. Everything here happens under parts_lock; opening an environment
 * there costs others about a tenth of a millisecond. The invariants: a partition that someone uses
 * (refs) stays open and in memory, even when it has left the list and the disk; and what is in the
 * list as PART_GOOD has passed the checks of part_open once. */
#include "store/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const uint64_t IDLE_NS = 60ull * NS_PER_S, IDLE_WRITTEN_NS = 2ull * NS_PER_S;
enum { WRITTEN_MAX = 4 };

static const char *suffix_of(const struct part *p)
{
	return p->state == PART_DAMAGED ? ".damaged" : "";
}

static int part_cmp(const struct part *a, const struct part *b)
{
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return (int)a->state - (int)b->state;
}

struct part *part_new(uint64_t start_ns, uint64_t width_ns, uint32_t number)
{
	struct part *p = calloc(1, sizeof(*p));

	must(p);
	p->start_ns = start_ns;
	p->width_ns = width_ns;
	p->number = number;
	p->data_fd = -1;
	part_name(p->name, start_ns, number);
	return p;
}

void parts_insert(struct store *s, struct part *p)
{
	struct part **at = &s->parts;

	while (*at && part_cmp(*at, p) > 0)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static void parts_unlink(struct store *s, struct part *p)
{
	struct part **at = &s->parts;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->next = NULL;
}

static void part_free(struct part *p)
{
	part_close(p);
	filter_close(&p->filter);
	free(p);
}

static void part_bytes_renew(struct store *s, struct part *p)
{
	char name[PART_NAME_MAX + 16];

	snprintf(name, sizeof(name), "%s%s", p->name, suffix_of(p));
	p->bytes = folder_part_bytes(s, name);
}

/* --- use --- */

void part_set_aside(struct store *s, struct part *p, int err)
{
	int failed;

	if (p->state != PART_GOOD || s->conf.read_only)
		return;
	failed = folder_part_rename(s, p->name, ".damaged");
	if (failed)
		folder_part_remove(s, p->name, ".damaged"); /* an older one of the same name */
	failed = failed ? folder_part_rename(s, p->name, ".damaged") : 0;
	log_warn("store: partition %s/%s is damaged (%s); %s", s->conf.dir, p->name, strerror(-err),
		 failed ? "it cannot be renamed and is not used"
			: "it was set aside as .damaged, the others serve");
	stat_add(s->cells.damaged, 1);
	p->state = PART_DAMAGED;
	p->committed.spans = 0;
	if (p->refs == 0)
		part_close(p);
}

int part_use(struct store *s, struct part *p)
{
	int err = p->env ? 0 : part_open(s, p, false);

	if (err == -EUCLEAN || err == -ENODATA)
		part_set_aside(s, p, err);
	if (err)
		return err;
	p->refs++;
	return 0;
}

void part_unuse(struct part *p)
{
	must(p->refs > 0);
	p->used_ns = clock_mono_ns();
	if (--p->refs == 0 && p->state == PART_GONE)
		part_free(p);
	else if (p->refs == 0 && (p->state == PART_DAMAGED || p->is_stale))
		part_close(p);
}

void part_remove(struct store *s, struct part *p)
{
	folder_part_gone(s, p->name, suffix_of(p));
	parts_unlink(s, p);
	p->state = PART_GONE;
	if (p->refs == 0)
		part_free(p);
}

/* Late spans, or a day's worth that is pushed at once, write to many partitions within a minute. */
void parts_close_idle(struct store *s)
{
	uint64_t now = clock_mono_ns();
	unsigned written = 0;

	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next) {
		uint64_t idle =
			p->is_written && ++written > WRITTEN_MAX ? IDLE_WRITTEN_NS : IDLE_NS;

		if (p->env && p->refs == 0 && !p->is_unsynced && now - p->used_ns > idle)
			part_close(p);
	}
	pthread_mutex_unlock(&s->parts_lock);
}

void parts_renew_locks(struct store *s)
{
	uint64_t kept = fault_pages_kept();

	if (kept == s->pages_kept)
		return;
	s->pages_kept = kept;
	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next) {
		if (p->env && p->refs == 0 && !p->is_unsynced)
			part_close(p);
		else if (p->env)
			p->is_stale = true;
	}
	pthread_mutex_unlock(&s->parts_lock);
}

void parts_free(struct store *s)
{
	while (s->parts) {
		struct part *p = s->parts;

		must(p->refs == 0);
		s->parts = p->next;
		part_free(p);
	}
}

/* --- which one takes a span --- */

uint64_t parts_start_of(struct store *s, uint64_t t_ns)
{
	uint64_t start_ns = t_ns - t_ns % s->conf.partition_ns;

	for (const struct part *p = s->parts; p; p = p->next)
		if (p->state == PART_GOOD && p->start_ns <= t_ns &&
		    t_ns - p->start_ns < p->width_ns)
			return p->start_ns;
	return start_ns;
}

static int part_make(struct store *s, uint64_t start_ns, uint32_t number, struct part **ret)
{
	struct part *p = part_new(start_ns, s->conf.partition_ns, number);
	int err = folder_part_make(s, p->name, ".gone") ?: part_open(s, p, true);

	err = err ?: folder_part_made(s, p->name);
	if (err) {
		folder_part_remove(s, p->name, ".gone");
		part_free(p);
		return err;
	}
	part_bytes_renew(s, p);
	parts_insert(s, p);
	*ret = p;
	return 0;
}

/* The newest one of this start decides, whatever its state: numbers are not used twice. */
static struct part *part_of_start(struct store *s, uint64_t start_ns)
{
	struct part *p = s->parts;

	while (p && p->start_ns != start_ns)
		p = p->next;
	return p;
}

int parts_take(struct store *s, uint64_t start_ns, struct part **ret)
{
	struct part *p;
	int err = 0;

	pthread_mutex_lock(&s->parts_lock);
	p = part_of_start(s, start_ns);
	if (p && p->state == PART_GOOD && !p->is_full && p->bytes < s->roll_bytes)
		err = part_use(s, p);
	if (!p || p->state != PART_GOOD || p->is_full || p->bytes >= s->roll_bytes) {
		err = part_make(s, start_ns, p ? p->number + 1 : 1, &p);
		if (!err)
			err = part_use(s, p);
	}
	if (!err)
		*ret = p;
	pthread_mutex_unlock(&s->parts_lock);
	return err;
}

/* --- what the folder holds --- */

static struct part *part_find(struct store *s, uint64_t start_ns, uint32_t number,
			      enum part_state state)
{
	struct part *p = s->parts;

	while (p && (p->start_ns != start_ns || p->number != number || p->state != state))
		p = p->next;
	return p;
}

/* Of an environment's errors, those that say that its files are not what we wrote. */
static bool is_damage(int err)
{
	return err == -EUCLEAN || err == -EIO || err == -EISDIR || err == -ENOTDIR;
}

enum { SUSPECT_MAX = 3 };

/* What made the program fault, or was written to by one that did not end well, is looked at page by
 * page before it is mapped. Faults without a page that is wrong: not for ever. */
static int part_doubt(struct store *s, struct part *p)
{
	int64_t suspect = folder_part_suspect(s, p->name);

	if (suspect >= SUSPECT_MAX)
		return -EUCLEAN;
	if (suspect < 0 && !(s->unclean_ns && folder_part_changed(s, p->name, s->unclean_ns)))
		return 0;
	return part_pages_check(s, p);
}

/* The writer's look at a partition: keep, set aside, remove, or refuse the store. */
static int part_found(struct store *s, struct part *p)
{
	int err = p->state == PART_GOOD ? part_doubt(s, p) ?: part_open(s, p, false) : 0;

	if (p->state == PART_GONE || err == -ENODATA) {
		folder_part_remove(s, p->name, err ? "" : ".gone");
		part_free(p);
		return 0;
	}
	if (err && !is_damage(err)) {
		part_free(p);
		return err;
	}
	part_close(p);
	parts_insert(s, p);
	if (err)
		part_set_aside(s, p, err);
	part_bytes_renew(s, p);
	return 0;
}

/* The reader's: what does not open may be half made, or half gone, and is no concern of a reader.
 */
static int part_seen(struct store *s, struct part *p)
{
	int err = p->state == PART_GOOD ? part_open(s, p, false) : -ENODATA;

	if (err) {
		part_free(p);
		return err == -EPROTO ? err : 0;
	}
	parts_insert(s, p);
	part_bytes_renew(s, p);
	return 0;
}

static int name_found(struct store *s, const char *name)
{
	enum part_state state;
	uint64_t start_ns;
	uint32_t number;
	struct part *p;

	if (part_name_parse(name, &start_ns, &number, &state) < 0 ||
	    part_find(s, start_ns, number, state))
		return 0;
	p = part_new(start_ns, s->conf.partition_ns, number);
	p->state = state;
	return s->conf.read_only ? part_seen(s, p) : part_found(s, p);
}

/* A read-only store sees partitions go: the writer's retention is at work. */
static void parts_drop_gone(struct store *s)
{
	for (struct part *p = s->parts, *next; p; p = next) {
		next = p->next;
		if (faccessat(s->dir_fd, p->name, F_OK, 0) == 0)
			continue;
		parts_unlink(s, p);
		p->state = PART_GONE;
		if (p->refs == 0)
			part_free(p);
	}
}

int parts_scan(struct store *s, struct strbuf *why)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!dir)
		return -errno;
	if (s->conf.read_only)
		parts_drop_gone(s);
	while (!err && (de = readdir(dir))) {
		err = name_found(s, de->d_name);
		if (err && why)
			strbuf_printf(why, "cannot open the partition %s/%s: %s", s->conf.dir,
				      de->d_name,
				      err == -EPROTO ? "its format is of an unknown version; use "
						       "the program that wrote it"
						     : strerror(-err));
	}
	closedir(dir);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - store.h's handle: open, close, what the store says of itself. The work is elsewhere:
 * folder.c and parts.c (what there is), append.c and commit.c (in), read.c and tags.c (out). The
 * invariant: store_close undoes whatever part of store_open was done. */
#include "store/env.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const uint64_t MIB = 1 << 20, GIB = 1 << 30;

static uint64_t clamp_u64(uint64_t v, uint64_t lo, uint64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* An eighth of the limit a partition, so that retention removes little at a time; one batch's room
 * below the limit, so that du never sees more than was asked for; and a map that even a batch of
 * nothing but new traces cannot fill before the roll-over. */
static void sizes_choose(struct store *s)
{
	uint64_t max = s->conf.max_bytes;

	s->roll_bytes = max ? clamp_u64(max / 8, MIB, 4 * GIB) : 4 * GIB;
	s->keep_bytes = max ? max - clamp_u64(max / 16, 0, 16 * MIB) : 0;
	s->map_bytes = clamp_u64(s->roll_bytes * 4, GIB, UINT64_MAX);
}

static void cells_make(struct store_cells *c)
{
	c->spans = stats_cell(STAT_COUNTER, "store_spans_total", "", "Spans committed.");
	c->commits = stats_cell(STAT_COUNTER, "store_commits_total", "", "Transactions committed.");
	c->commit_us = stats_cell(STAT_COUNTER, "store_commit_microseconds_total", "",
				  "Time spent in commits, waiting for the disk included.");
	c->lost =
		stats_cell(STAT_COUNTER, "store_lost_total", "",
			   "Spans that the program before this one had accepted and not committed");
	c->rejected = stats_cell(STAT_COUNTER, "store_rejected_total", "",
				 "Spans refused or lost because the store could not write.");
	c->failed = stats_cell(STAT_COUNTER, "store_commit_failures_total", "",
			       "Commits that failed and were or will be tried again.");
	c->damaged = stats_cell(STAT_COUNTER, "store_damaged_total", "",
				"Partitions set aside because they did not pass their checks.");
	c->unclean = stats_cell(STAT_COUNTER, "store_unclean_total", "",
				"Pieces of a partition that reads left out as damaged.");
	c->clamped =
	    stats_cell(STAT_COUNTER, "store_clamped_total", "",
		       "Spans with a start so early or late that another partition took them.");
	c->bytes = stats_cell(STAT_GAUGE, "store_bytes", "", "Bytes on disk, all partitions.");
	c->parts = stats_cell(STAT_GAUGE, "store_partitions", "", "Partitions.");
	c->batch_spans = stats_cell(STAT_GAUGE, "store_batch_spans", "",
				    "Spans accepted and not yet committed.");
	c->batch_bytes = stats_cell(STAT_GAUGE, "store_batch_bytes", "",
				    "Memory of the spans not yet committed.");
}

static void gauges_renew(void *arg)
{
	struct store *s = arg;
	struct store_stat st;

	store_stat(s, &st);
	stat_set(s->cells.bytes, st.bytes);
	stat_set(s->cells.parts, st.partitions);
	pthread_mutex_lock(&s->lock);
	stat_set(s->cells.batch_spans, s->accepted - s->committed);
	stat_set(s->cells.batch_bytes, batch_bytes(s->fill) + batch_bytes(s->work));
	pthread_mutex_unlock(&s->lock);
}

static struct store *store_new(const struct store_conf *conf)
{
	struct store *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	must(s);
	s->conf = *conf;
	s->conf.dir = strdup(conf->dir);
	must(s->conf.dir);
	s->conf.partition_ns = conf->partition_ns ? conf->partition_ns : 3600ull * NS_PER_S;
	/* A partition's name has its start in whole seconds. */
	s->conf.partition_ns = clamp_u64(s->conf.partition_ns, NS_PER_S, UINT64_MAX);
	s->conf.partition_ns -= s->conf.partition_ns % NS_PER_S;
	s->conf.commit_ms = conf->commit_ms ? conf->commit_ms : 200;
	s->dir_fd = s->lock_fd = -1;
	sizes_choose(s);
	cells_make(&s->cells);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->parts_lock, NULL);
	pthread_cond_init(&s->wake, &attr);
	pthread_cond_init(&s->done, &attr);
	pthread_condattr_destroy(&attr);
	batch_init(&s->batches[0]);
	batch_init(&s->batches[1]);
	s->fill = &s->batches[0];
	s->work = &s->batches[1];
	return s;
}

int store_open_folder(struct store **ret, const struct store_conf *conf, int *ret_format,
		      struct strbuf *why)
{
	struct store *s = store_new(conf);
	int err = folder_open(s, ret_format, why);

	if (err)
		store_close(s);
	else
		*ret = s;
	return err;
}

static void tally_begin(struct store *s)
{
	uint64_t lost;

	s->tally = tally_open(s->dir_fd, &lost);
	if (!lost)
		return;
	log_warn("store: the program before this one ended with %llu spans accepted and not "
		 "committed: they are lost",
		 (unsigned long long)lost);
	stat_add(s->cells.lost, lost);
}

int store_open(struct store **ret, const struct store_conf *conf, struct strbuf *why)
{
	struct store *s;
	int err = store_open_folder(&s, conf, NULL, why);

	if (err)
		return err;
	err = parts_scan(s, why);
	if (!err && !s->conf.read_only) {
		tally_begin(s);
		retain_run(s);
		err = committer_start(s);
		if (err && why)
			strbuf_printf(why, "cannot start the store's thread: %s", strerror(-err));
	}
	if (err) {
		store_close(s);
		return err;
	}
	stats_on_read(gauges_renew, s);
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	stats_off_read(gauges_renew, s);
	committer_stop(s);
	parts_free(s);
	tally_close(s->tally);
	folder_close(s);
	batch_fini(&s->batches[0]);
	batch_fini(&s->batches[1]);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->done);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->parts_lock);
	free((char *)s->conf.dir);
	free(s);
}

static void stat_add_part(struct store_stat *st, const struct part *p)
{
	const struct part_meta *m = &p->committed;

	st->bytes += p->bytes;
	st->partitions++;
	if (p->state != PART_GOOD || m->spans == 0)
		return;
	if (st->spans == 0 || m->min_start_ns < st->oldest_ns)
		st->oldest_ns = m->min_start_ns;
	if (m->max_start_ns > st->newest_ns)
		st->newest_ns = m->max_start_ns;
	st->spans += m->spans;
}

void store_stat(struct store *s, struct store_stat *ret)
{
	struct store_stat st = {0};

	pthread_mutex_lock(&s->parts_lock);
	if (s->conf.read_only)
		parts_scan(s, NULL);
	for (const struct part *p = s->parts; p; p = p->next)
		stat_add_part(&st, p);
	pthread_mutex_unlock(&s->parts_lock);
	*ret = st;
}

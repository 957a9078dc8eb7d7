/* SPDX-License-Identifier: Apache-2.0 */
/* append.c - spans come in: two batches, one thread that commits, back pressure in between.
 *
 * One batch takes what comes while the other one is committed; when both are full, callers wait.
 * A batch whose commit failed stays and is tried again every second; meanwhile nothing is accepted.
 * The thread also makes commits durable half a second later, builds what waits for a silence
 * (columns, filters), runs retention and gives memory back; with nothing to do it looks at the clock
 * once a second and writes nothing. It encodes nothing (commit.c). The invariant: accepted - committed is what the two
 * batches hold. */
#include "store/env.h"

#include <errno.h>
#include <malloc.h>
#include <time.h>

/* A batch is committed early when it is large; callers wait only when it is very large: that is the
 * time for which a slow disk does not slow down the ring buffer. */
enum { BATCH_LARGE = 4 << 20, BATCH_FULL = 12 << 20 };

/* Durable a second after the commit is promised: half of it is for a disk that is busy. */
static const uint64_t SYNC_NS = NS_PER_S / 2;
static const uint64_t RETURN_NS = 10ull * NS_PER_S;

static bool fill_is_large(const struct store *s)
{
	return batch_bytes(s->fill) >= BATCH_LARGE;
}

static bool fill_is_full(const struct store *s)
{
	return batch_bytes(s->fill) >= BATCH_FULL;
}

/* --- the callers' side --- */

int store_append(struct store *s, const struct span *spans, size_t cnt)
{
	int err = s->conf.read_only ? -EROFS : batch_check(spans, cnt);

	if (err || cnt == 0)
		return err;
	pthread_mutex_lock(&s->lock);
	while (!s->err && fill_is_full(s))
		pthread_cond_wait(&s->done, &s->lock);
	err = s->err;
	if (!err) {
		if (s->fill->cnt == 0)
			s->fill->first_ns = clock_mono_ns();
		batch_add(s->fill, spans, cnt);
		if (s->fill->cnt == cnt || fill_is_large(s))
			pthread_cond_signal(&s->wake);
		s->accepted += cnt;
		s->tally->accepted = s->accepted;
	}
	pthread_mutex_unlock(&s->lock);
	if (err)
		stat_add(s->cells.rejected, cnt);
	return err;
}

int store_flush(struct store *s)
{
	uint64_t upto, fails;
	int err = 0;

	if (s->conf.read_only)
		return 0;
	pthread_mutex_lock(&s->lock);
	upto = s->accepted;
	fails = s->fail_cnt;
	if (s->flush_upto < upto)
		s->flush_upto = upto;
	pthread_cond_signal(&s->wake);
	while (s->committed < upto && !err) {
		pthread_cond_wait(&s->done, &s->lock);
		if (s->fail_cnt != fails && s->committed < upto)
			err = s->err;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* --- the committer's side; s->lock is held except where it says otherwise --- */

static bool is_asked(const struct store *s)
{
	return s->stop || s->committed < s->flush_upto;
}

/* When there is something to commit; UINT64_MAX: nothing waits. */
static uint64_t commit_due_ns(const struct store *s)
{
	if (!s->is_working && s->fill->cnt == 0)
		return UINT64_MAX;
	if (is_asked(s))
		return 0;
	if (s->is_working)
		return s->retry_ns;
	return fill_is_large(s) ? 0 : s->fill->first_ns + (uint64_t)s->conf.commit_ms * NS_PER_MS;
}

static void commit_failed(struct store *s, int err)
{
	if (s->err != err)
		log_warn("store: cannot commit to %s: %s; spans are refused until it works again",
			 s->conf.dir, strerror(-err));
	s->err = err;
	s->fail_cnt++;
	s->flush_upto = s->committed;
	s->retry_ns = clock_mono_ns() + NS_PER_S;
	stat_add(s->cells.failed, 1);
}

static void commit_worked(struct store *s)
{
	if (s->err)
		log_warn("store: %s takes spans again", s->conf.dir);
	s->err = 0;
	s->committed += s->work->cnt;
	s->is_working = false;
	batch_clear(s->work);
	if (!s->sync_ns)
		s->sync_ns = clock_mono_ns() + SYNC_NS;
	if (s->keep_house_ns > s->sync_ns)
		s->keep_house_ns = s->sync_ns;
}

static void commit_now(struct store *s)
{
	struct batch *b = s->fill;
	int err;

	if (!s->is_working) {
		s->fill = s->work;
		s->work = b;
		s->is_working = true;
		pthread_cond_broadcast(&s->done);
	}
	pthread_mutex_unlock(&s->lock);
	err = commit_batch(s, s->work);
	retain_run(s);
	pthread_mutex_lock(&s->lock);
	if (err)
		commit_failed(s, err);
	else
		commit_worked(s);
	pthread_cond_broadcast(&s->done);
}

/* Batches, dictionaries and LMDB's pages of a commit come and go in sizes that leave holes in malloc's
 * heaps, one a thread: what is free in them goes back, or memory rises for hours. */
static void memory_return(struct store *s, uint64_t now)
{
	if (s->committed == s->returned_at || now < s->return_ns)
		return;
	s->returned_at = s->committed;
	s->return_ns = now + RETURN_NS;
	malloc_trim(0);
}

static void keep_house(struct store *s)
{
	uint64_t now = clock_mono_ns();
	bool sync = s->sync_ns && now >= s->sync_ns;

	if (sync)
		s->sync_ns = 0;
	s->keep_house_ns = now + NS_PER_S;
	if (s->sync_ns && s->sync_ns < s->keep_house_ns)
		s->keep_house_ns = s->sync_ns;
	pthread_mutex_unlock(&s->lock);
	if (sync)
		commit_sync(s);
	parts_write_heads(s);
	blocks_build_idle(s);
	parts_seal(s);
	retain_run(s);
	parts_close_idle(s);
	memory_return(s, now);
	pthread_mutex_lock(&s->lock);
}

static void wait_until(struct store *s, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

	pthread_cond_timedwait(&s->wake, &s->lock, &ts);
}

/* At the end a failed commit gets one more try. */
static void *committer_run(void *arg)
{
	struct store *s = arg;

	thread_yields();
	pthread_mutex_lock(&s->lock);
	for (;;) {
		uint64_t now = clock_mono_ns(), due = commit_due_ns(s);
		bool last = s->stop;

		if (!last && s->keep_house_ns <= now)
			keep_house(s);
		else if (due <= now)
			commit_now(s);
		else if (last)
			break;
		else
			wait_until(s, due < s->keep_house_ns ? due : s->keep_house_ns);
		if (last && s->err)
			break;
	}
	pthread_mutex_unlock(&s->lock);
	commit_sync(s);
	return NULL;
}

int committer_start(struct store *s)
{
	int rc = pthread_create(&s->thread, NULL, committer_run, s);

	s->has_thread = rc == 0;
	return -rc;
}

void committer_stop(struct store *s)
{
	if (!s->has_thread)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->has_thread = false;
	if (s->accepted > s->committed) {
		log_error("store: %llu spans could not be committed and are lost",
			  (unsigned long long)(s->accepted - s->committed));
		stat_add(s->cells.rejected, s->accepted - s->committed);
	}
}

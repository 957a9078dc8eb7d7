/* SPDX-License-Identifier: Apache-2.0 */
/* seal.c - what a partition gets once its time is over and nobody writes to it any more: its filter
 * (filter.h). A late span takes it away, and after another silence a new one is made.
 * Called by the committer's thread about once a second, for a bounded time. The invariant: nothing
 * here is needed for a right answer, so that a failure costs speed alone. */
#include "store/env.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const uint64_t SILENT_NS = 30ull * NS_PER_S, ROUND_NS = 100ull * NS_PER_MS;
enum { TRACES_MIN = 256 }; /* fewer are searched as fast */

static void filter_path(char path[PART_NAME_MAX + 16], const struct part *p)
{
	snprintf(path, PART_NAME_MAX + 16, "%s" PART_FILTER, p->name);
}

const struct filter *part_filter(struct store *s, struct part *p)
{
	char path[PART_NAME_MAX + 16];

	if (p->filter_tried != p->committed.chunks) {
		p->filter_tried = p->committed.chunks;
		filter_close(&p->filter);
		filter_path(path, p);
		filter_open(&p->filter, s->dir_fd, path);
	}
	return p->filter.blocks && p->filter.chunks == p->committed.chunks ? &p->filter : NULL;
}

/* A count of chunks that is the same again, after a power cut or a damaged head took the last ones,
 * would make an old filter look right. */
void part_unseal(struct store *s, struct part *p)
{
	char path[PART_NAME_MAX + 16];

	filter_path(path, p);
	if (unlinkat(s->dir_fd, path, 0) < 0 && errno != ENOENT)
		log_warn("store: cannot remove %s/%s: %m", s->conf.dir, path);
}

/* --- making --- */

static int keys_add(struct filter_maker *m, MDB_txn *txn, MDB_dbi traces)
{
	MDB_val key, val;
	MDB_cursor *cur;
	uint64_t k;
	int rc = mdb_cursor_open(txn, traces, &cur);

	if (rc)
		return store_err(rc);
	while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT_NODUP)) &&
	       key.mv_size == sizeof(k)) {
		memcpy(&k, key.mv_data, sizeof(k));
		filter_add(m, k);
	}
	mdb_cursor_close(cur);
	return rc == MDB_NOTFOUND ? 0 : rc ? store_err(rc) : -EUCLEAN;
}

static int filter_make(struct store *s, const struct part *p, MDB_txn *txn)
{
	char path[PART_NAME_MAX + 16];
	struct filter_maker *m;
	struct part_meta meta;
	MDB_stat st;
	int err = part_meta_get(p, txn, &meta) ?: store_err(mdb_stat(txn, p->traces, &st));

	if (err)
		return err;
	m = filter_maker_new(st.ms_entries);
	err = keys_add(m, txn, p->traces);
	filter_path(path, p);
	err = err ?: filter_save(m, meta.chunks, s->dir_fd, path);
	filter_maker_free(m);
	return err;
}

static bool wants_filter(struct store *s, struct part *p)
{
	return p->state == PART_GOOD && (p->env || p->written_ns) &&
	       p->committed.chunks >= TRACES_MIN && p->start_ns + p->width_ns < clock_real_ns() &&
	       clock_mono_ns() - p->written_ns >= SILENT_NS &&
	       p->filter_made != p->committed.chunks && !part_filter(s, p);
}

static void part_seal(struct store *s, struct part *p)
{
	MDB_txn *txn;
	int err = store_err(mdb_txn_begin(p->env, NULL, MDB_RDONLY, &txn));

	if (!err) {
		err = filter_make(s, p, txn);
		mdb_txn_abort(txn);
	}
	if (err)
		log_warn("store: no filter for partition %s: %s", p->name, strerror(-err));
}

void parts_seal(struct store *s)
{
	uint64_t end_ns = clock_mono_ns() + ROUND_NS;
	struct part *p;

	pthread_mutex_lock(&s->parts_lock);
	do {
		for (p = s->parts; p && !wants_filter(s, p); p = p->next)
			;
		if (!p)
			break;
		p->filter_made = p->committed.chunks; /* whatever comes of it */
		if (part_use(s, p))
			continue;
		pthread_mutex_unlock(&s->parts_lock);
		part_seal(s, p);
		pthread_mutex_lock(&s->parts_lock);
		p->filter_tried = 0;
		p->bytes = folder_part_bytes(s, p->name);
		part_unuse(p);
	} while (clock_mono_ns() < end_ns);
	pthread_mutex_unlock(&s->parts_lock);
}

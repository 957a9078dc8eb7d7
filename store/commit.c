/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c - a batch becomes transactions: which partition each span goes to, spans of one trace
 * side by side, chunks, index, dictionary, meta row, all of a partition in one commit.
 *
 * Runs in the committer's thread alone, which is the only writer. It neither waits nor tries again
 * (append.c does), except past a partition that turned out damaged or full. The invariant: a span
 * is marked done when, and only when, the transaction that holds it was committed. */
#include "store/block.h"
#include "store/env.h"
#include "store/trace_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* TXN_SPANS_MAX bounds the dirty pages of a transaction, CHUNK_SPANS_MAX a search in encode.c. */
enum {
	PARTS_MAX = 8,
	TXN_SPANS_MAX = 65536,
	CHUNK_SPANS_MAX = 256,
	TRIES_MAX = 4,
	WRITERS_MAX = 2
};

/* A disk with less than a few batches' room is full. */
enum { ROOM_MIN = 16 << 20 };

static const uint64_t AHEAD_NS = 3600ull * NS_PER_S;

/* --- which partition --- */

struct route {
	uint64_t lo_ns, hi_ns; /* starts are clamped to this */
	uint64_t starts[PARTS_MAX];
	size_t cnt;
	uint64_t clamped;
};

static struct route route_of(const struct store *s)
{
	uint64_t now = clock_real_ns(), age = s->conf.max_age_ns;

	return (struct route){
		.lo_ns = age && age < now ? now - age : 0,
		.hi_ns = now + AHEAD_NS,
	};
}

static uint64_t nearest(const struct route *r, uint64_t start_ns)
{
	uint64_t best = r->starts[0], best_off = UINT64_MAX;

	for (size_t i = 0; i < r->cnt; i++) {
		uint64_t at = r->starts[i], off = at > start_ns ? at - start_ns : start_ns - at;

		if (off < best_off) {
			best = at;
			best_off = off;
		}
	}
	return best;
}

static uint64_t route_start(struct store *s, struct route *r, uint64_t t_ns)
{
	uint64_t t = t_ns < r->lo_ns ? r->lo_ns : t_ns > r->hi_ns ? r->hi_ns : t_ns;
	uint64_t start_ns = parts_start_of(s, t);

	if (t != t_ns)
		r->clamped++;
	for (size_t i = 0; i < r->cnt; i++)
		if (r->starts[i] == start_ns)
			return start_ns;
	if (r->cnt == PARTS_MAX)
		return nearest(r, start_ns);
	return r->starts[r->cnt++] = start_ns;
}

static void batch_route(struct store *s, struct batch *b)
{
	struct route r = route_of(s);

	pthread_mutex_lock(&s->parts_lock);
	for (size_t i = 0; i < b->cnt; i++)
		if (!b->at[i].is_done)
			b->at[i].part_ns = route_start(s, &r, b->at[i].span.start_ns);
	pthread_mutex_unlock(&s->parts_lock);
	stat_add(s->cells.clamped, r.clamped);
}

/* --- spans of one trace side by side --- */

struct group {
	uint32_t cnt, at; /* its place in the order */
};

/* What one transaction takes. */
struct take {
	struct batch_span **from;
	const struct span **order; /* by trace (in order of first arrival), then by arrival */
	struct group *groups;
	uint32_t *group_of, *slots;
	uint32_t cnt, group_cnt, slot_mask;
};

static void take_init(struct take *t, const struct batch *b)
{
	size_t cap = b->cnt < TXN_SPANS_MAX ? b->cnt : TXN_SPANS_MAX, slot_cnt = 64;

	while (slot_cnt < cap * 2)
		slot_cnt *= 2;
	t->from = calloc(cap, sizeof(*t->from));
	t->order = calloc(cap, sizeof(*t->order));
	t->groups = calloc(cap, sizeof(*t->groups));
	t->group_of = calloc(cap, sizeof(*t->group_of));
	t->slots = calloc(slot_cnt, sizeof(*t->slots));
	must(t->from && t->order && t->groups && t->group_of && t->slots);
	t->slot_mask = (uint32_t)slot_cnt - 1;
}

static void take_fini(struct take *t)
{
	free(t->from);
	free(t->order);
	free(t->groups);
	free(t->group_of);
	free(t->slots);
}

/* The group of span i's trace. A slot holds 1 + the first span of its group. */
static uint32_t take_group(struct take *t, uint32_t i)
{
	const uint8_t *id = t->from[i]->span.trace_id;

	for (uint32_t at = trace_hash(id);; at++) {
		uint32_t *slot = &t->slots[at & t->slot_mask];

		if (*slot == 0) {
			*slot = i + 1;
			return t->group_cnt++;
		}
		if (memcmp(t->from[*slot - 1]->span.trace_id, id, 16) == 0)
			return t->group_of[*slot - 1];
	}
}

/* Takes the spans of the first partition that has some left. */
static void take_fill(struct take *t, struct batch *b)
{
	uint32_t at = 0;

	t->cnt = t->group_cnt = 0;
	memset(t->slots, 0, (t->slot_mask + 1) * sizeof(*t->slots));
	for (size_t i = 0; i < b->cnt && t->cnt < TXN_SPANS_MAX; i++)
		if (!b->at[i].is_done && (t->cnt == 0 || b->at[i].part_ns == t->from[0]->part_ns))
			t->from[t->cnt++] = &b->at[i];
	memset(t->groups, 0, t->cnt * sizeof(*t->groups));
	for (uint32_t i = 0; i < t->cnt; i++) {
		t->group_of[i] = take_group(t, i);
		t->groups[t->group_of[i]].cnt++;
	}
	for (uint32_t g = 0; g < t->group_cnt; g++) {
		t->groups[g].at = at;
		at += t->groups[g].cnt;
		t->groups[g].cnt = 0;
	}
	for (uint32_t i = 0; i < t->cnt; i++) {
		struct group *g = &t->groups[t->group_of[i]];

		t->order[g->at + g->cnt++] = &t->from[i]->span;
	}
}

/* --- one transaction --- */

struct writing {
	struct part *p;
	MDB_txn *txn;
	MDB_cursor *spans;
	struct trace_rows rows;
	struct part_meta meta;
	uint64_t block_spans;
	struct strbuf chunk;
};

void meta_note(struct part_meta *m, const struct span *sp)
{
	uint64_t end_ns = sp->end_ns > sp->start_ns ? sp->end_ns : sp->start_ns;

	if (m->spans == 0 || sp->start_ns < m->min_start_ns)
		m->min_start_ns = sp->start_ns;
	if (sp->start_ns > m->max_start_ns)
		m->max_start_ns = sp->start_ns;
	if (end_ns > m->max_end_ns)
		m->max_end_ns = end_ns;
	m->spans++;
}

static int chunk_put(struct writing *w, const uint8_t trace_id[16])
{
	uint64_t seq = ++w->meta.chunks;
	MDB_val key = {sizeof(seq), &seq}, val;

	put_sum(&w->chunk, SUM_SPANS, seq);
	trace_rows_add(&w->rows, trace_id, seq);
	val = (MDB_val){w->chunk.len, w->chunk.p};
	return store_err(mdb_cursor_put(w->spans, &key, &val, MDB_APPEND));
}

static int group_put(struct writing *w, const struct span *const *spans, uint32_t cnt)
{
	int err = 0;

	while (cnt > 0 && !err) {
		uint32_t some = cnt < CHUNK_SPANS_MAX ? cnt : CHUNK_SPANS_MAX;

		strbuf_clear(&w->chunk);
		some = encode_chunk(&w->p->writer->enc, &w->chunk, spans, some);
		for (uint32_t i = 0; i < some; i++)
			meta_note(&w->meta, spans[i]);
		err = chunk_put(w, spans[0]->trace_id);
		spans += some;
		cnt -= some;
	}
	return err;
}

static int dict_entry_put(void *arg, enum dict_kind kind, uint32_t id, struct str bytes)
{
	struct writing *w = arg;
	uint64_t k = dict_key(kind, id);
	MDB_val key = {sizeof(k), &k}, val;

	strbuf_clear(&w->chunk);
	strbuf_add(&w->chunk, bytes.p, bytes.len);
	put_sum(&w->chunk, SUM_DICT, k);
	val = (MDB_val){w->chunk.len, w->chunk.p};
	return store_err(mdb_put(w->txn, w->p->dict, &key, &val, MDB_NOOVERWRITE));
}

static int take_blocks(struct writing *w)
{
	struct writer *writer = w->p->writer;
	int err = 0;

	if (!writer->has_no_blocks)
		err = blocks_build(w->p, w->txn, w->meta.spans, BLOCK_SPANS);
	if (err != -EUCLEAN && err != -ENOMEM)
		return err ?: blocks_spans(w->p, w->txn, &w->block_spans);
	log_warn("store: no more columns in partition %s: %s", w->p->name, strerror(-err));
	writer->has_no_blocks = true;
	w->block_spans = w->meta.spans;
	return 0;
}

static int take_write(struct writing *w, const struct take *t)
{
	int err = 0;

	encoder_forget(&w->p->writer->enc);
	for (uint32_t g = 0; g < t->group_cnt && !err; g++)
		err = group_put(w, t->order + t->groups[g].at, t->groups[g].cnt);
	err = err ?: trace_rows_put(&w->rows, w->txn, w->p->traces);
	err = err ?: dict_each_new(w->p->writer->dict, dict_entry_put, w);
	err = err ?: part_meta_put(w->p, w->txn, &w->meta);
	return err ?: take_blocks(w);
}

static int txn_write(struct writing *w, const struct take *t)
{
	int err = store_err(mdb_txn_begin(w->p->env, NULL, 0, &w->txn));

	if (err)
		return err;
	err = part_writer_open(w->p, w->txn);
	err = err ?: part_meta_get(w->p, w->txn, &w->meta);
	err = err ?: store_err(mdb_cursor_open(w->txn, w->p->spans, &w->spans));
	err = err ?: take_write(w, t);
	if (err) {
		mdb_txn_abort(w->txn);
		return err;
	}
	return store_err(mdb_txn_commit(w->txn));
}

/* --- around it --- */

/* A writer has the dictionary in memory: only the partitions written last keep theirs. */
static void writers_trim(struct store *s)
{
	size_t kept = 0;

	for (struct part *p = s->parts; p; p = p->next)
		if (p->writer && ++kept > WRITERS_MAX)
			part_writer_close(p);
}

static void take_done(struct store *s, struct take *t, struct writing *w, uint64_t began_ns)
{
	struct part *p = w->p;

	for (uint32_t i = 0; i < t->cnt; i++)
		t->from[i]->is_done = true;
	s->tally->committed += t->cnt;
	dict_saved(p->writer->dict);
	stat_add(s->cells.spans, t->cnt);
	stat_add(s->cells.commits, 1);
	stat_add(s->cells.commit_us, (clock_mono_ns() - began_ns) / 1000);
	pthread_mutex_lock(&s->parts_lock);
	p->committed = w->meta;
	p->block_spans = w->block_spans;
	p->committed_ns = p->written_ns = clock_mono_ns();
	p->bytes = folder_part_bytes(s, p->name);
	p->is_unsynced = p->is_written = true;
	writers_trim(s);
	pthread_mutex_unlock(&s->parts_lock);
}

/* The dictionary in memory has entries that were not committed: away with it. -EAGAIN: another try
 * may go well, since a damaged or full partition is out of the way, or LMDB's environment (which
 * has given up after a failed write, MDB_PANIC) will be opened anew. */
static int take_failed(struct store *s, struct part *p, int err)
{
	bool is_map_full = err == -ENOSPC && p->bytes >= s->map_bytes / 2;
	bool lost_writes = part_lost_writes(p);

	part_writer_close(p);
	if (err != -EUCLEAN && err != -ENOTRECOVERABLE && !is_map_full && !lost_writes)
		return err;
	pthread_mutex_lock(&s->parts_lock);
	if (err == -EUCLEAN)
		part_set_aside(s, p, err);
	if (lost_writes)
		part_mistrust(s, p);
	p->is_stale = p->is_stale || err == -ENOTRECOVERABLE;
	p->is_full = p->is_full || is_map_full;
	pthread_mutex_unlock(&s->parts_lock);
	return -EAGAIN;
}

static int take_commit(struct store *s, struct take *t)
{
	struct writing w = {0};
	uint64_t began_ns = clock_mono_ns();
	int err = parts_take(s, t->from[0]->part_ns, &w.p);

	if (err)
		return err;
	if (!w.p->writer)
		part_unseal(s, w.p);
	part_watch_writes(s, w.p);
	strbuf_init(&w.chunk);
	err = txn_write(&w, t);
	if (err)
		err = take_failed(s, w.p, err);
	else
		take_done(s, t, &w, began_ns);
	strbuf_fini(&w.chunk);
	trace_rows_fini(&w.rows);
	pthread_mutex_lock(&s->parts_lock);
	part_unuse(w.p);
	pthread_mutex_unlock(&s->parts_lock);
	return err;
}

/* LMDB calls a write that the disk took half of EIO: most often there was no room for the rest. */
static int disk_err(const struct store *s, int err)
{
	struct statvfs fs;

	if (err == -EAGAIN)
		err = -EIO;
	if (err == -EIO && fstatvfs(s->dir_fd, &fs) == 0 && fs.f_bavail * fs.f_frsize < ROOM_MIN)
		return -ENOSPC;
	return err;
}

int commit_batch(struct store *s, struct batch *b)
{
	struct take t = {0};
	int err = 0, tries = 0;

	if (b->cnt == 0)
		return 0;
	parts_renew_locks(s);
	batch_route(s, b);
	take_init(&t, b);
	for (take_fill(&t, b); t.cnt > 0; take_fill(&t, b)) {
		err = take_commit(s, &t);
		if (err && (err != -EAGAIN || ++tries == TRIES_MAX))
			break;
		err = 0;
	}
	take_fini(&t);
	return disk_err(s, err);
}

void commit_sync(struct store *s)
{
	int err, dead;

	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next) {
		if (!p->is_unsynced || !p->env)
			continue;
		p->is_unsynced = false;
		p->refs++;
		pthread_mutex_unlock(&s->parts_lock);
		err = mdb_env_sync(p->env, 1);
		mdb_reader_check(p->env, &dead); /* a killed reader would keep pages from use */
		pthread_mutex_lock(&s->parts_lock);
		if (err)
			part_mistrust(s, p);
		part_unuse(p);
	}
	pthread_mutex_unlock(&s->parts_lock);
}

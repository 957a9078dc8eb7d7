/* SPDX-License-Identifier: Apache-2.0 */
/* read.c - spans go out: a snapshot over partitions, a trace by its id, a walk newest first.
 *
 * No lock is held while reading: each partition of the read has its own LMDB transaction and is
 * kept open by its use count, whatever retention does meanwhile. Strings are borrowed from the map.
 * It filters nothing (query does). The invariant: damage is left out, counted and said; it never
 * ends a read and never becomes an answer. */
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>

/* One chunk decoded: a chunk holds one commit's spans of one trace. */
enum { WALK_ARENA_MAX = 512 << 20 };

/* --- begin, end --- */

static bool overlaps(const struct part *p, uint64_t from_ns, uint64_t to_ns)
{
	const struct part_meta *m = &p->committed;

	return p->state == PART_GOOD && m->spans > 0 && m->min_start_ns <= to_ns &&
	       m->max_end_ns >= from_ns;
}

/* What another process writes is known only from inside the transaction. */
static int part_begin(struct store *s, struct part *p, MDB_txn **ret)
{
	MDB_txn *txn;
	int err = part_use(s, p);

	if (err)
		return err;
	err = store_err(mdb_txn_begin(p->env, NULL, MDB_RDONLY, &txn));
	if (!err && s->conf.read_only) {
		err = part_meta_get(p, txn, &p->committed);
		if (err)
			mdb_txn_abort(txn);
	}
	if (err)
		part_unuse(p);
	else
		*ret = txn;
	return err == -ENOTRECOVERABLE ? -EIO : err;
}

/* A reader of a folder that another process writes to does not know how old a filter is. */
static bool lacks(struct store *s, struct part *p, const uint64_t *trace)
{
	const struct filter *f = trace && !s->conf.read_only ? part_filter(s, p) : NULL;

	return f && !filter_may_have(f, *trace);
}

static int parts_begin(struct store_read *r, uint64_t from_ns, uint64_t to_ns,
		       const uint64_t *trace)
{
	struct store *s = r->store;
	int err = 0;

	for (struct part *p = s->parts; p && !err; p = p->next) {
		struct read_part *rp = &r->at[r->cnt];

		if (!s->conf.read_only && (!overlaps(p, from_ns, to_ns) || lacks(s, p, trace)))
			continue;
		err = part_begin(s, p, &rp->txn);
		if (err == -EUCLEAN || err == -ENODATA || (err == -ENOENT && s->conf.read_only)) {
			err = 0; /* set aside, or gone since; the others serve */
			continue;
		}
		if (err)
			break;
		if (overlaps(p, from_ns, to_ns)) {
			rp->part = p;
			r->cnt++;
		} else {
			mdb_txn_abort(rp->txn);
			part_unuse(p);
		}
	}
	return err;
}

static size_t parts_cnt(const struct store *s)
{
	size_t cnt = 0;

	for (const struct part *p = s->parts; p; p = p->next)
		cnt++;
	return cnt;
}

static void read_free(struct store_read *r)
{
	for (size_t i = 0; i < r->cnt; i++) {
		if (r->at[i].has_dec)
			decoder_fini(&r->at[i].dec);
		mdb_txn_abort(r->at[i].txn);
		part_unuse(r->at[i].part);
	}
	free(r);
}

static int read_begin(struct store_read **ret, struct store *s, uint64_t from_ns, uint64_t to_ns,
		      const uint64_t *trace)
{
	struct store_read *r = NULL;
	int err;

	pthread_mutex_lock(&s->parts_lock);
	err = s->conf.read_only ? parts_scan(s, NULL) : 0;
	if (!err) {
		r = calloc(1, sizeof(*r) + parts_cnt(s) * sizeof(r->at[0]));
		must(r);
		r->store = s;
		err = parts_begin(r, from_ns, to_ns, trace);
	}
	if (err && r)
		read_free(r);
	pthread_mutex_unlock(&s->parts_lock);
	if (!err)
		*ret = r;
	return err;
}

int store_read_begin(struct store_read **ret, struct store *s, uint64_t from_ns, uint64_t to_ns)
{
	return read_begin(ret, s, from_ns, to_ns, NULL);
}

int store_read_begin_trace(struct store_read **ret, struct store *s, const uint8_t trace_id[16])
{
	uint64_t trace = trace_key(trace_id);

	return read_begin(ret, s, 0, UINT64_MAX, &trace);
}

void store_read_end(struct store_read *r)
{
	struct store *s;

	if (!r)
		return;
	s = r->store;
	pthread_mutex_lock(&s->parts_lock);
	read_free(r);
	pthread_mutex_unlock(&s->parts_lock);
}

void read_unclean(struct store_read *r, struct read_part *rp)
{
	stat_add(r->store->cells.unclean, 1);
	if (!rp->has_warned)
		log_warn("store: partition %s has damage; a read left some of it out",
			 rp->part->name);
	rp->has_warned = true;
}

/* --- chunks --- */

static int dict_get(void *arg, enum dict_kind kind, uint32_t id, struct str *ret)
{
	const struct read_part *rp = arg;
	uint64_t k = dict_key(kind, id);
	MDB_val key = {sizeof(k), &k}, val;

	if (mdb_get(rp->txn, rp->part->dict, &key, &val))
		return -EUCLEAN;
	return sum_check(SUM_DICT, k, (struct str){val.mv_data, val.mv_size}, ret) ? 0 : -EUCLEAN;
}

struct decoder *read_decoder(struct read_part *rp)
{
	if (!rp->has_dec)
		decoder_init(&rp->dec, dict_get, rp);
	rp->has_dec = true;
	return &rp->dec;
}

int read_chunk(struct read_part *rp, struct arena *a, MDB_val key, MDB_val val, struct span **ret,
	       uint32_t *ret_cnt)
{
	struct str chunk;

	if (!row_open(SUM_SPANS, key, val, &chunk))
		return -EUCLEAN;
	return decode_chunk(read_decoder(rp), a, chunk, ret, ret_cnt);
}

/* --- a trace --- */

struct found {
	const struct span *sp;
	uint32_t arrival;
	bool is_repeat;
};

struct trace {
	struct store_read *r;
	struct arena *a;
	const uint8_t *id;
	struct found *at;
	size_t cnt, cap;
};

static void trace_add(struct trace *t, const struct span *spans, uint32_t cnt)
{
	if (t->cap - t->cnt < cnt) {
		t->cap = t->cap * 2 + cnt;
		t->at = realloc(t->at, t->cap * sizeof(*t->at));
		must(t->at);
	}
	for (uint32_t i = 0; i < cnt; i++, t->cnt++)
		t->at[t->cnt] = (struct found){.sp = &spans[i], .arrival = (uint32_t)t->cnt};
}

static int trace_chunk(struct trace *t, struct read_part *rp, MDB_val seq)
{
	const uint8_t *id;
	struct span *spans;
	struct str bytes;
	MDB_val chunk;
	uint32_t cnt;
	int err;

	if (seq.mv_size != sizeof(uint64_t) || mdb_get(rp->txn, rp->part->spans, &seq, &chunk))
		return -EUCLEAN;
	id = chunk_trace_id((struct str){chunk.mv_data, chunk.mv_size});
	if (!id || memcmp(id, t->id, 16) != 0)
		return row_open(SUM_SPANS, seq, chunk, &bytes) ? 0 : -EUCLEAN;
	rp->keeps_dec = true;
	err = read_chunk(rp, t->a, seq, chunk, &spans, &cnt);
	if (!err)
		trace_add(t, spans, cnt);
	return err;
}

static int trace_part(struct trace *t, struct read_part *rp)
{
	uint64_t k = trace_key(t->id);
	MDB_val key = {sizeof(k), &k}, seq;
	MDB_cursor *cur;
	int err = 0, rc = mdb_cursor_open(rp->txn, rp->part->traces, &cur);

	if (rc) {
		read_unclean(t->r, rp);
		return 0;
	}
	rc = mdb_cursor_get(cur, &key, &seq, MDB_SET_KEY);
	for (; !rc && err != -ENOMEM; rc = mdb_cursor_get(cur, &key, &seq, MDB_NEXT_DUP)) {
		err = trace_chunk(t, rp, seq);
		if (err == -EUCLEAN)
			read_unclean(t->r, rp);
	}
	if (rc && rc != MDB_NOTFOUND)
		read_unclean(t->r, rp);
	mdb_cursor_close(cur);
	return err == -ENOMEM ? err : 0;
}

static int u64_cmp(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int found_same(const struct found *x, const struct found *y)
{
	int c = memcmp(x->sp->span_id, y->sp->span_id, 8);

	c = c ? c : u64_cmp(x->sp->kind, y->sp->kind);
	return c ? c : u64_cmp(x->sp->start_ns, y->sp->start_ns);
}

static int found_by_identity(const void *x, const void *y)
{
	const struct found *a = x, *b = y;
	int c = found_same(a, b);

	return c ? c : u64_cmp(a->arrival, b->arrival);
}

static int found_by_start(const void *x, const void *y)
{
	const struct found *a = x, *b = y;
	int c = u64_cmp(a->sp->start_ns, b->sp->start_ns);

	return c ? c : u64_cmp(a->arrival, b->arrival);
}

/* Sorts, drops repeats (the one that arrived first stays), copies into one array. */
static int trace_finish(struct trace *t, struct span **ret, size_t *ret_cnt)
{
	struct span *spans;
	size_t cnt = 0;

	if (t->cnt > 1)
		qsort(t->at, t->cnt, sizeof(*t->at), found_by_identity);
	for (size_t i = 1; i < t->cnt; i++)
		t->at[i].is_repeat = found_same(&t->at[i - 1], &t->at[i]) == 0;
	if (t->cnt > 1)
		qsort(t->at, t->cnt, sizeof(*t->at), found_by_start);
	spans = arena_array(t->a, struct span, t->cnt);
	if (!spans)
		return -ENOMEM;
	for (size_t i = 0; i < t->cnt; i++)
		if (!t->at[i].is_repeat)
			spans[cnt++] = *t->at[i].sp;
	*ret = spans;
	*ret_cnt = cnt;
	return 0;
}

int store_trace(struct store_read *r, struct arena *a, const uint8_t trace_id[16],
		struct span **ret, size_t *ret_cnt)
{
	struct trace t = {.r = r, .a = a, .id = trace_id};
	int err = 0;

	for (size_t i = r->cnt; i-- > 0 && !err;)
		err = trace_part(&t, &r->at[i]);
	err = err ?: trace_finish(&t, ret, ret_cnt);
	free(t.at);
	return err;
}

/* --- a walk --- */

struct walk {
	struct store_read *r;
	store_span_fn *fn;
	void *arg;
	struct arena mem;
};

static int walk_chunk(struct walk *w, struct read_part *rp, MDB_val key, MDB_val val)
{
	struct span *spans;
	uint32_t cnt;
	int err;

	arena_reset(&w->mem);
	err = read_chunk(rp, &w->mem, key, val, &spans, &cnt);
	if (err == -EUCLEAN)
		read_unclean(w->r, rp);
	if (err)
		return err == -EUCLEAN ? 0 : err;
	while (cnt-- > 0 && !err)
		err = w->fn(w->arg, &spans[cnt]);
	return err;
}

void read_walk_begin(struct read_part *rp)
{
	rp->walks++;
}

void read_walk_end(struct read_part *rp)
{
	if (--rp->walks == 0 && rp->has_dec && !rp->keeps_dec) {
		decoder_fini(&rp->dec);
		rp->has_dec = false;
	}
}

/* The cursor on the last chunk that is not behind `last`. */
static int seek(MDB_cursor *cur, uint64_t last, MDB_val *key, MDB_val *val)
{
	uint64_t at = last;
	int rc;

	*key = (MDB_val){sizeof(at), &at};
	rc = last == UINT64_MAX ? MDB_NOTFOUND : mdb_cursor_get(cur, key, val, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(cur, key, val, MDB_LAST);
	if (!rc && key->mv_size == sizeof(at) && memcmp(key->mv_data, &last, sizeof(at)) != 0)
		return mdb_cursor_get(cur, key, val, MDB_PREV);
	return rc;
}

static uint64_t seq_of(MDB_val key)
{
	uint64_t seq = 0;

	if (key.mv_size == sizeof(seq))
		memcpy(&seq, key.mv_data, sizeof(seq));
	return seq;
}

int read_walk_chunks(struct store_read *r, struct read_part *rp, uint64_t first, uint64_t last,
		     store_span_fn *fn, void *arg)
{
	struct walk w = {.r = r, .fn = fn, .arg = arg};
	MDB_cursor *cur;
	MDB_val key, val;
	int err = 0, rc = mdb_cursor_open(rp->txn, rp->part->spans, &cur);

	arena_init(&w.mem, WALK_ARENA_MAX);
	if (!rc) {
		rc = seek(cur, last, &key, &val);
		for (; !rc && !err && seq_of(key) >= first;
		     rc = mdb_cursor_get(cur, &key, &val, MDB_PREV))
			err = walk_chunk(&w, rp, key, val);
		mdb_cursor_close(cur);
	}
	if (rc && rc != MDB_NOTFOUND)
		read_unclean(r, rp);
	arena_fini(&w.mem);
	return err;
}

int store_walk(struct store_read *r, store_span_fn *fn, void *arg)
{
	int err = 0;

	for (size_t i = 0; i < r->cnt && !err; i++) {
		read_walk_begin(&r->at[i]);
		err = read_walk_chunks(r, &r->at[i], 1, UINT64_MAX, fn, arg);
		read_walk_end(&r->at[i]);
	}
	return err;
}

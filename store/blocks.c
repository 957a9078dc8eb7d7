/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.c - the table of blocks in a partition: when one is built, and how a read walks them.
 *
 * Blocks are made from committed chunks, in the same transaction as a commit when enough spans wait
 * for one, else when a partition has had no commit for a while. A block that came out small is
 * built again together with what follows it, so that a partition of many small bursts does not end
 * as many small blocks. Chunks that cannot be read never fail a commit: without a block their spans
 * stay in the tail.
 *
 * Partitions of before 2026-12 have no such table; they are all tail. */
#include "store/block.h"
#include "store/read.h"

#include <errno.h>

/* A block below SMALL is built anew. Idle partitions: after QUIET_NS when there is much, after
 * SILENT_NS when there is anything worth it. */
enum { SMALL = BLOCK_SPANS / 2, MUCH = BLOCK_SPANS / 4, LITTLE = 256 };
enum { CHUNK_ARENA_MAX = 512 << 20, BLOCK_ARENA_MAX = 256 << 20 };
static const uint64_t QUIET_NS = 2ull * NS_PER_S, SILENT_NS = 30ull * NS_PER_S;

/* --- building --- */

struct build {
	const struct part *p;
	MDB_txn *txn;
	struct decoder dec;
	struct arena mem;     /* of one chunk */
	uint64_t upto, spans; /* chunks and spans that are in blocks */
	uint64_t last_small;  /* key of the last block when it is small; 0: it is not */
	uint64_t last_first;  /* ... its first chunk, and the spans before it */
	uint64_t spans_before;
};

static int build_dict_get(void *arg, enum dict_kind kind, uint32_t id, struct str *ret)
{
	const struct build *b = arg;
	uint64_t k = dict_key(kind, id);
	MDB_val key = {sizeof(k), &k}, val;

	if (mdb_get(b->txn, b->p->dict, &key, &val))
		return -EUCLEAN;
	return row_open(SUM_DICT, key, val, ret) ? 0 : -EUCLEAN;
}

static int last_block(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret_seq, struct block_head *ret)
{
	MDB_cursor *cur;
	MDB_val key, val;
	struct str bytes;
	int err, rc = mdb_cursor_open(txn, dbi, &cur);

	if (rc)
		return store_err(rc);
	rc = mdb_cursor_get(cur, &key, &val, MDB_LAST);
	*ret = (struct block_head){0};
	*ret_seq = 0;
	if (rc == MDB_NOTFOUND)
		err = 0;
	else if (rc)
		err = store_err(rc);
	else if (!row_open(SUM_COLUMNS, key, val, &bytes))
		err = -EUCLEAN;
	else
		err = block_head_parse(bytes, ret);
	if (!rc && !err)
		memcpy(ret_seq, key.mv_data, sizeof(*ret_seq));
	mdb_cursor_close(cur);
	return !err && ret->chunks > *ret_seq ? -EUCLEAN : err;
}

static int build_begin(struct build *b)
{
	struct block_head h;
	int err = last_block(b->txn, b->p->columns, &b->upto, &h);

	b->spans = h.total_spans;
	b->last_small = h.spans && h.spans < SMALL ? b->upto : 0;
	b->last_first = b->upto - h.chunks + 1;
	b->spans_before = h.total_spans - h.spans;
	return err;
}

/* Chunks from first on until there are enough spans for a block, or up to chunk `most`; *ret_last
 * is the last one. */
static int gather(struct build *b, struct block_builder *bb, uint64_t first, uint64_t most,
		  uint64_t *ret_last)
{
	MDB_val key = {sizeof(first), &first}, val;
	struct span *spans;
	struct str chunk;
	MDB_cursor *cur;
	uint32_t cnt;
	int err = 0, rc = mdb_cursor_open(b->txn, b->p->spans, &cur);

	if (rc)
		return store_err(rc);
	rc = mdb_cursor_get(cur, &key, &val, MDB_SET);
	for (; !rc && !err; rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)) {
		arena_reset(&b->mem);
		if (!row_open(SUM_SPANS, key, val, &chunk))
			err = -EUCLEAN;
		err = err ?: decode_chunk(&b->dec, &b->mem, chunk, &spans, &cnt);
		memcpy(ret_last, key.mv_data, sizeof(*ret_last));
		for (uint32_t i = 0; !err && i < cnt; i++)
			block_add(bb, (uint32_t)(*ret_last - first), &spans[i]);
		if (block_spans(bb) >= BLOCK_SPANS || *ret_last >= most)
			break;
	}
	mdb_cursor_close(cur);
	return err ?: rc && rc != MDB_NOTFOUND ? store_err(rc) : 0;
}

static int block_put(struct build *b, uint64_t last, struct strbuf *bytes)
{
	MDB_val key = {sizeof(last), &last}, val;
	int rc = 0;

	put_sum(bytes, SUM_COLUMNS, last);
	val = (MDB_val){bytes->len, bytes->p};
	if (b->last_small) {
		MDB_val old = {sizeof(b->last_small), &b->last_small};

		rc = mdb_del(b->txn, b->p->columns, &old, NULL);
	}
	b->last_small = 0;
	return store_err(rc ?: mdb_put(b->txn, b->p->columns, &key, &val, MDB_APPEND));
}

static int build_one(struct build *b)
{
	struct block_builder *bb = block_builder_new(&b->dec);
	uint64_t first = b->last_small ? b->last_first : b->upto + 1, last = 0;
	uint64_t before = b->last_small ? b->spans_before : b->spans;
	struct strbuf bytes;
	int err = gather(b, bb, first, UINT64_MAX, &last);

	strbuf_init(&bytes);
	if (!err && block_spans(bb) == 0)
		err = -EUCLEAN;
	if (!err) {
		block_build(bb, (uint32_t)(last - first + 1), before + block_spans(bb), &bytes);
		b->upto = last;
		b->spans = before + block_spans(bb);
		err = block_put(b, last, &bytes);
	}
	strbuf_fini(&bytes);
	block_builder_free(bb);
	return err;
}

int blocks_build(const struct part *p, MDB_txn *txn, uint64_t spans, uint32_t at_least)
{
	struct build b = {.p = p, .txn = txn};
	int err;

	if (!p->has_columns)
		return 0;
	decoder_init(&b.dec, build_dict_get, &b);
	arena_init(&b.mem, CHUNK_ARENA_MAX);
	err = build_begin(&b);
	while (!err && spans >= b.spans && spans - b.spans >= at_least)
		err = build_one(&b);
	arena_fini(&b.mem);
	decoder_fini(&b.dec);
	return err;
}

int blocks_spans(const struct part *p, MDB_txn *txn, uint64_t *ret)
{
	struct block_head h = {0};
	uint64_t seq;
	int err = p->has_columns ? last_block(txn, p->columns, &seq, &h) : 0;

	*ret = h.total_spans;
	return err;
}

/* --- are they right? --- */

/* Half a sentence; NULL: made of its chunks again, the block is the same again. */
static const char *block_fault(struct build *b, uint64_t last, MDB_val key, MDB_val val)
{
	struct block_builder *bb;
	const char *fault = NULL;
	struct block_head h;
	struct strbuf again;
	struct str stored;
	uint64_t got = 0, before = b->spans;

	if (!row_open(SUM_COLUMNS, key, val, &stored) || block_head_parse(stored, &h))
		return "does not fit its sum, or does not parse";
	b->spans = h.total_spans; /* a fault of one block is not one of all that follow */
	if (h.chunks > last || last - h.chunks != b->upto)
		return "does not follow the one before";
	bb = block_builder_new(&b->dec);
	strbuf_init(&again);
	if (gather(b, bb, b->upto + 1, last, &got) || got != last || block_spans(bb) == 0) {
		fault = "is of chunks that are not there, or are damaged";
	} else {
		block_build(bb, h.chunks, before + block_spans(bb), &again);
		if (!str_eq((struct str){again.p, again.len}, stored))
			fault = "does not say what its chunks say";
	}
	strbuf_fini(&again);
	block_builder_free(bb);
	return fault;
}

static int rows_fault(struct build *b, MDB_cursor *cur, blocks_wrong_fn *wrong, void *arg)
{
	MDB_val key, val;
	int rc;

	while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT))) {
		const char *fault = "has a key that is no number";
		uint64_t last = b->upto;

		if (key.mv_size == sizeof(last)) {
			memcpy(&last, key.mv_data, sizeof(last));
			fault = block_fault(b, last, key, val);
		}
		if (fault)
			wrong(arg, last, fault);
		b->upto = last;
	}
	return rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

int blocks_check(const struct part *p, MDB_txn *txn, blocks_wrong_fn *wrong, void *arg)
{
	struct build b = {.p = p, .txn = txn};
	MDB_cursor *cur;
	int err;

	if (!p->has_columns)
		return 0;
	err = store_err(mdb_cursor_open(txn, p->columns, &cur));
	if (err)
		return err;
	decoder_init(&b.dec, build_dict_get, &b);
	arena_init(&b.mem, CHUNK_ARENA_MAX);
	err = rows_fault(&b, cur, wrong, arg);
	mdb_cursor_close(cur);
	arena_fini(&b.mem);
	decoder_fini(&b.dec);
	return err;
}

/* --- idle partitions --- */

static bool wants_blocks(const struct part *p, uint64_t now)
{
	uint64_t tail = p->committed.spans - p->block_spans;

	return p->state == PART_GOOD && p->has_columns && p->committed_ns && !p->has_lost_writes &&
	       ((tail >= MUCH && now - p->committed_ns >= QUIET_NS) ||
		(tail >= LITTLE && now - p->committed_ns >= SILENT_NS));
}

/* Whatever comes of it, it is not tried again before the next commit. */
static void build_rest(struct store *s, struct part *p)
{
	bool lost_writes;
	MDB_txn *txn;
	int err;

	part_watch_writes(s, p);
	err = store_err(mdb_txn_begin(p->env, NULL, 0, &txn));
	if (!err) {
		err = blocks_build(p, txn, p->committed.spans, LITTLE);
		if (err)
			mdb_txn_abort(txn);
		else
			err = store_err(mdb_txn_commit(txn));
	}
	if (err)
		log_warn("store: no columns for the end of partition %s: %s", p->name,
			 strerror(-err));
	lost_writes = err && part_lost_writes(p);
	pthread_mutex_lock(&s->parts_lock);
	p->committed_ns = 0;
	if (lost_writes)
		part_mistrust(s, p);
	if (!err) {
		p->block_spans = p->committed.spans;
		p->is_unsynced = p->is_written = true;
		p->bytes = folder_part_bytes(s, p->name);
	}
	p->is_stale = p->is_stale || err == -ENOTRECOVERABLE;
	pthread_mutex_unlock(&s->parts_lock);
}

void blocks_build_idle(struct store *s)
{
	uint64_t now = clock_mono_ns();

	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next) {
		if (!wants_blocks(p, now) || part_use(s, p))
			continue;
		pthread_mutex_unlock(&s->parts_lock);
		build_rest(s, p);
		pthread_mutex_lock(&s->parts_lock);
		part_unuse(p);
		break; /* the list may have changed; the others have their turn in a second */
	}
	pthread_mutex_unlock(&s->parts_lock);
}

/* --- reading --- */

struct walk {
	struct store_read *r;
	store_block_fn *block_fn;
	store_span_fn *span_fn;
	void *arg;
	struct arena mem;
};

static int block_spans_walk(struct walk *w, struct read_part *rp, uint64_t last, uint64_t chunks)
{
	return read_walk_chunks(w->r, rp, last - chunks + 1, last, w->span_fn, w->arg);
}

static int walk_block(struct walk *w, struct read_part *rp, uint64_t last, struct str bytes)
{
	struct column_block b;
	int err;

	arena_reset(&w->mem);
	err = block_parse(read_decoder(rp), &w->mem, bytes, &b);
	if (err == -EUCLEAN) { /* the chunks say the same */
		struct block_head h;

		read_unclean(w->r, rp);
		err = block_head_parse(bytes, &h);
		return err || h.chunks > last ? 0 : block_spans_walk(w, rp, last, h.chunks);
	}
	if (err)
		return err;
	b.first_seq = last - b.chunks + 1;
	b.part = rp;
	err = w->block_fn(w->arg, &b);
	return err == STORE_BLOCK_SPANS ? block_spans_walk(w, rp, last, b.chunks) : err;
}

/* As row_open, which is asked once per block. */
static bool block_open(struct part *p, uint64_t last, MDB_val key, MDB_val val, struct str *ret)
{
	_Atomic uint64_t *summed = &p->summed[last * 0x9e3779b97f4a7c15u >> 55];

	if (atomic_load_explicit(summed, memory_order_relaxed) == last && val.mv_size >= SUM_LEN) {
		*ret = (struct str){val.mv_data, val.mv_size - SUM_LEN};
		return true;
	}
	if (!row_open(SUM_COLUMNS, key, val, ret))
		return false;
	atomic_store_explicit(summed, last, memory_order_relaxed);
	return true;
}

static bool block_is_sound(struct part *p, MDB_val key, MDB_val val, uint64_t *ret_last,
			   struct str *ret, struct block_head *ret_head)
{
	if (key.mv_size != sizeof(*ret_last))
		return false;
	memcpy(ret_last, key.mv_data, sizeof(*ret_last));
	if (*ret_last == 0 || !block_open(p, *ret_last, key, val, ret) ||
	    block_head_parse(*ret, ret_head))
		return false;
	return ret_head->chunks > 0 && ret_head->chunks <= *ret_last;
}

/* The newest first. What is in no sound block comes as spans: the tail, and what is damaged. */
static int walk_part(struct walk *w, struct read_part *rp)
{
	uint64_t left = UINT64_MAX, last; /* the newest chunk that was not walked yet */
	MDB_cursor *cur = NULL;
	struct block_head h;
	struct str bytes;
	MDB_val key, val;
	int err = 0, rc = MDB_NOTFOUND;

	if (rp->part->has_columns)
		rc = mdb_cursor_open(rp->txn, rp->part->columns, &cur)
			     ?: mdb_cursor_get(cur, &key, &val, MDB_LAST);
	for (; !rc && !err; rc = mdb_cursor_get(cur, &key, &val, MDB_PREV)) {
		if (!block_is_sound(rp->part, key, val, &last, &bytes, &h) || last > left) {
			read_unclean(w->r, rp);
			continue;
		}
		if (last < left)
			err = read_walk_chunks(w->r, rp, last + 1, left, w->span_fn, w->arg);
		err = err ?: walk_block(w, rp, last, bytes);
		left = last - h.chunks;
	}
	if (rc && rc != MDB_NOTFOUND)
		read_unclean(w->r, rp);
	if (!err && left > 0)
		err = read_walk_chunks(w->r, rp, 1, left, w->span_fn, w->arg);
	if (cur)
		mdb_cursor_close(cur);
	return err;
}

int store_walk_blocks(struct store_read *r, store_block_fn *block_fn, store_span_fn *span_fn,
		      void *arg)
{
	struct walk w = {.r = r, .block_fn = block_fn, .span_fn = span_fn, .arg = arg};
	int err = 0;

	arena_init(&w.mem, BLOCK_ARENA_MAX);
	for (size_t i = 0; i < r->cnt && !err; i++) {
		read_walk_begin(&r->at[i]);
		err = walk_part(&w, &r->at[i]);
		read_walk_end(&r->at[i]);
	}
	arena_fini(&w.mem);
	return err;
}

int store_block_trace_id(const struct column_block *b, uint64_t chunk, uint8_t ret[16])
{
	const struct read_part *rp = b->part;
	uint64_t seq = b->first_seq + chunk;
	MDB_val key = {sizeof(seq), &seq}, val;
	const uint8_t *id;
	struct str bytes;

	if (chunk >= b->chunks || mdb_get(rp->txn, rp->part->spans, &key, &val) ||
	    !row_open(SUM_SPANS, key, val, &bytes))
		return -EUCLEAN;
	id = chunk_trace_id(bytes);
	if (!id)
		return -EUCLEAN;
	memcpy(ret, id, 16);
	return 0;
}

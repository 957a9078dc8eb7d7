/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - `wirespan store check`: is a partition what keys.h says? First the pages, without LMDB;
 * only when they are sound the rows, by LMDB: the dictionary, each chunk decoded, the index against
 * the chunks both ways, the meta row against what was counted, the columns and the filter against
 * the chunks. It reads one snapshot and changes nothing, so it may run beside the writer. Called
 * through tools.h. */
#include "store/pages.h"
#include "store/read.h"
#include "store/tools_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAY_MAX = 20, TRIES = 10, CHUNK_ARENA_MAX = 512 << 20 };

struct checking {
	struct part *p;
	MDB_txn *txn;
	store_say_fn *say;
	void *arg;
	uint64_t wrong;
	struct filter filter;	 /* of this snapshot, or none */
	struct part_meta seen;	 /* what the chunks say */
	uint64_t *keys, key_cap; /* trace_key of chunk i + 1 */
};

static void wrong(struct checking *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void wrong(struct checking *c, const char *fmt, ...)
{
	char text[240];
	va_list ap;

	if (c->wrong++ >= SAY_MAX || !c->say)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->say(c->arg, c->p->name, text);
}

static void pages_said(void *arg, const char *text)
{
	wrong(arg, "%s", text);
}

#define U64(v) ((unsigned long long)(v))

static bool u64_of(MDB_val val, uint64_t *ret)
{
	memcpy(ret, val.mv_data, val.mv_size == 8 ? 8 : 0);
	return val.mv_size == 8;
}

/* --- rows --- */

typedef void row_fn(struct checking *c, struct read_part *rp, MDB_val key, MDB_val val);

static void table_each(struct checking *c, struct read_part *rp, MDB_dbi dbi, const char *name,
		       row_fn *fn)
{
	MDB_val key, val;
	MDB_cursor *cur;
	int rc = mdb_cursor_open(c->txn, dbi, &cur);

	if (!rc) {
		while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)))
			fn(c, rp, key, val);
		mdb_cursor_close(cur);
	}
	if (rc != MDB_NOTFOUND)
		wrong(c, "table %s: cannot be read to its end: %s", name, mdb_strerror(rc));
}

/* Ids from 0 without gaps, each thing once, within the limits: dict_load asks for all that. */
static void dict_check(struct checking *c)
{
	struct dict *d = dict_new();
	MDB_val key, val;
	MDB_cursor *cur;
	struct str bytes;
	uint64_t id;
	int rc = mdb_cursor_open(c->txn, c->p->dict, &cur);

	while (!rc && !(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT))) {
		if (!u64_of(key, &id))
			wrong(c, "dictionary: a key is not a number");
		else if (!sum_check(SUM_DICT, id, (struct str){val.mv_data, val.mv_size}, &bytes))
			wrong(c, "dictionary: the sum of entry %llu of kind %llu is wrong",
			      U64(id & UINT32_MAX), U64(id >> 32));
		else if (dict_load(d, (enum dict_kind)(id >> 32), (uint32_t)id, bytes))
			wrong(c,
			      "dictionary: entry %llu of kind %llu is out of order, there twice, "
			      "or "
			      "past the limits",
			      U64(id & UINT32_MAX), U64(id >> 32));
	}
	if (rc == MDB_NOTFOUND)
		mdb_cursor_close(cur);
	else
		wrong(c, "dictionary: cannot be read to its end: %s", mdb_strerror(rc));
	dict_free(d);
}

static void key_note(struct checking *c, uint64_t seq, const uint8_t *trace_id)
{
	if (seq > c->key_cap) {
		c->key_cap = c->key_cap ? c->key_cap * 2 : 1024;
		c->keys = realloc(c->keys, c->key_cap * sizeof(*c->keys));
		must(c->keys);
	}
	c->keys[seq - 1] = trace_key(trace_id);
}

static void chunk_check(struct checking *c, struct read_part *rp, MDB_val key, MDB_val val)
{
	struct span *spans;
	struct arena a;
	uint32_t cnt;
	uint64_t seq;

	if (!u64_of(key, &seq) || seq != c->seen.chunks + 1) {
		wrong(c, "spans: after chunk %llu comes another than the next",
		      U64(c->seen.chunks));
		return;
	}
	c->seen.chunks++;
	if (val.mv_size < 16) {
		wrong(c, "spans: chunk %llu is too short", U64(seq));
		key_note(c, seq, (const uint8_t[16]){0});
		return;
	}
	key_note(c, seq, val.mv_data);
	arena_init(&a, CHUNK_ARENA_MAX);
	if (read_chunk(rp, &a, key, val, &spans, &cnt))
		wrong(c, "spans: chunk %llu does not fit its sum, or does not decode", U64(seq));
	else
		for (uint32_t i = 0; i < cnt; i++)
			meta_note(&c->seen, &spans[i]);
	arena_fini(&a);
}

/* Each row of the index leads to a chunk of that trace. There are no two equal rows (LMDB's order),
 * so as many rows as chunks are all of them. */
static void index_check(struct checking *c, struct read_part *rp, MDB_val key, MDB_val val)
{
	uint64_t trace, seq;

	(void)rp;
	if (!u64_of(key, &trace) || !u64_of(val, &seq) || seq == 0 || seq > c->seen.chunks)
		wrong(c, "traces: a row leads to a chunk that does not exist");
	else if (c->keys[seq - 1] != trace)
		wrong(c, "traces: a row leads to chunk %llu, which is of another trace", U64(seq));
	else if (c->filter.blocks && !filter_may_have(&c->filter, trace))
		wrong(c, "filter: does not know the trace of chunk %llu", U64(seq));
}

static void index_cnt_check(struct checking *c)
{
	MDB_stat st = {0};

	mdb_stat(c->txn, c->p->traces, &st);
	if (st.ms_entries != c->seen.chunks)
		wrong(c, "traces: %llu rows for %llu chunks", U64(st.ms_entries),
		      U64(c->seen.chunks));
}

static void meta_check(struct checking *c)
{
	const struct part_meta *s = &c->seen;
	struct part_meta m;
	int err = part_meta_get(c->p, c->txn, &m);

	if (err)
		wrong(c,
		      "meta: the row is missing, does not fit its sum, or is of another partition");
	else if (m.spans != s->spans || m.chunks != s->chunks)
		wrong(c, "meta: says %llu spans in %llu chunks, there are %llu in %llu",
		      U64(m.spans), U64(m.chunks), U64(s->spans), U64(s->chunks));
	else if (s->spans && (m.min_start_ns != s->min_start_ns ||
			      m.max_start_ns != s->max_start_ns || m.max_end_ns != s->max_end_ns))
		wrong(c, "meta: its bounds of time are not those of the spans");
}

static void block_wrong(void *arg, uint64_t key, const char *fault)
{
	wrong(arg, "columns: the block up to chunk %llu %s", U64(key), fault);
}

static void columns_check(struct checking *c)
{
	int err = blocks_check(c->p, c->txn, block_wrong, c);

	if (err)
		wrong(c, "columns: cannot be read to its end: %s", strerror(-err));
}

/* One of other chunks than those of the snapshot says nothing. */
static void filter_drop_stale(struct checking *c)
{
	if (c->filter.blocks && c->filter.chunks != c->seen.chunks)
		filter_close(&c->filter);
}

static void rows_check(struct checking *c)
{
	struct read_part rp = {.part = c->p, .txn = c->txn};

	dict_check(c);
	table_each(c, &rp, c->p->spans, "spans", chunk_check);
	filter_drop_stale(c);
	table_each(c, &rp, c->p->traces, "traces", index_check);
	index_cnt_check(c);
	meta_check(c);
	columns_check(c);
	if (rp.has_dec)
		decoder_fini(&rp.dec);
}

/* --- a partition --- */

static int snapshot_check(struct checking *c, int fd)
{
	struct pages_say say = {pages_said, c, 0};
	int err = pages_check(fd, mdb_txn_id(c->txn), &say);

	if (!err && part_tables_open(c->p, c->txn))
		wrong(c, "a table is missing or of another kind");
	else if (!err)
		rows_check(c);
	return err;
}

/* LMDB may open a file whose head is sound, and hold a snapshot of it, before anybody looks at the
 * rest. What a writer does meanwhile makes it take a newer one. */
static int env_check(struct store *s, struct checking *c)
{
	int fd, err = part_env_open(s, c->p);

	err = err ?: store_err(mdb_env_get_fd(c->p->env, &fd));
	if (err)
		return err;
	err = -EAGAIN;
	for (int i = 0; i < TRIES && err == -EAGAIN; i++) {
		err = store_err(mdb_txn_begin(c->p->env, NULL, MDB_RDONLY, &c->txn));
		if (err)
			return err;
		err = snapshot_check(c, fd);
		mdb_txn_abort(c->txn);
	}
	return err;
}

struct check {
	store_say_fn *say;
	void *arg;
	struct store_check sum;
};

static void part_check(struct store *s, const struct part_file *pf, struct check *all)
{
	struct part *p = part_new(pf->start_ns, s->conf.partition_ns, pf->number);
	struct checking c = {.p = p, .say = all->say, .arg = all->arg};
	char path[PART_NAME_MAX + 16];
	int err;

	snprintf(path, sizeof(path), "%s" PART_FILTER, p->name);
	if (filter_open(&c.filter, s->dir_fd, path) == -EUCLEAN)
		wrong(&c, "filter: is not as it was written");
	err = env_check(s, &c);
	if (err == -EUCLEAN && !c.wrong)
		wrong(&c, "data.mdb is not an LMDB file");
	else if (err && err != -EUCLEAN && err != -ENODATA)
		wrong(&c, "cannot be read: %s", strerror(-err));
	all->sum.partitions += err != -ENODATA; /* gone since */
	all->sum.bad += c.wrong > 0;
	all->sum.spans += c.seen.spans;
	all->sum.chunks += c.seen.chunks;
	free(c.keys);
	filter_close(&c.filter);
	part_close(p);
	free(p);
}

static int file_check(void *arg, struct store *s, const struct part_file *pf)
{
	struct check *all = arg;

	if (pf->state == PART_GOOD)
		part_check(s, pf, all);
	all->sum.set_aside += pf->state == PART_DAMAGED;
	return 0;
}

int store_check(const char *dir, store_say_fn *say, void *arg, struct store_check *ret,
		struct strbuf *why)
{
	struct check all = {.say = say, .arg = arg};
	int err = part_files_each(dir, file_check, &all, why);

	if (!err)
		*ret = all.sum;
	return err;
}

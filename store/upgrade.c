/* SPDX-License-Identifier: Apache-2.0 */
/* upgrade.c - a folder of an older format becomes one of this: partition by partition, each copied
 * into a folder NAME.new by the step from its version to the next, made durable, and put in the old
 * one's place by one rename of data.mdb. DIR/format says the new version when all are done. The
 * invariant: killed at any time, each partition is whole in one version or the other, its own meta
 * row says in which, and the next run goes on there. Called through tools.h. */
#include "store/tools_impl.h"
#include "store/trace_rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One partition from a version to the next: all of `from` into the empty tables of `to`. */
struct copy {
	struct part *from, *to;
	MDB_txn *in, *out;
	struct strbuf row;
	struct trace_rows rows;
};

typedef int step_fn(struct copy *c);

/* --- from 1 to 2: rows get sums, the partition its blocks of columns --- */

typedef int row_copy_fn(struct copy *c, MDB_val key, MDB_val val);

static int table_copy(struct copy *c, MDB_dbi dbi, row_copy_fn *fn)
{
	MDB_val key, val;
	MDB_cursor *cur;
	int err = store_err(mdb_cursor_open(c->in, dbi, &cur)), rc = 0;

	if (err)
		return err;
	while (!err && !(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)))
		err = fn(c, key, val);
	mdb_cursor_close(cur);
	return err ?: rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

static int row_sum_add(struct copy *c, enum sum_table table, MDB_dbi dbi, MDB_val key, MDB_val val)
{
	uint64_t k;

	if (key.mv_size != sizeof(k))
		return -EUCLEAN;
	memcpy(&k, key.mv_data, sizeof(k));
	strbuf_clear(&c->row);
	strbuf_add(&c->row, val.mv_data, val.mv_size);
	put_sum(&c->row, table, k);
	val = (MDB_val){c->row.len, c->row.p};
	return store_err(mdb_put(c->out, dbi, &key, &val, MDB_APPEND));
}

static int dict_row_copy(struct copy *c, MDB_val key, MDB_val val)
{
	return row_sum_add(c, SUM_DICT, c->to->dict, key, val);
}

static int chunk_row_copy(struct copy *c, MDB_val key, MDB_val val)
{
	return row_sum_add(c, SUM_SPANS, c->to->spans, key, val);
}

static int trace_row_copy(struct copy *c, MDB_val key, MDB_val val)
{
	return store_err(mdb_put(c->out, c->to->traces, &key, &val, MDB_APPENDDUP));
}

static int meta_copy(struct copy *c, struct part_meta *ret)
{
	MDB_val key = {4, (void *)"meta"}, val;
	int err = store_err(mdb_get(c->in, c->from->meta, &key, &val));

	*ret = (struct part_meta){0};
	if (!err && val.mv_size != META_LEN)
		err = -EUCLEAN;
	if (!err)
		memcpy(ret, val.mv_data, META_LEN);
	return err;
}

static int step_1_to_2(struct copy *c)
{
	struct part_meta m;
	int err = meta_copy(c, &m);

	m.format = 2;
	err = err ?: table_copy(c, c->from->dict, dict_row_copy);
	err = err ?: table_copy(c, c->from->spans, chunk_row_copy);
	err = err ?: table_copy(c, c->from->traces, trace_row_copy);
	/* Old ones have no sums; new ones take little longer than a copy. */
	err = err ?: blocks_build(c->to, c->out, m.spans, 1);
	return err ?: part_meta_put(c->to, c->out, &m);
}

/* --- from 2 to 3: the index has other keys --- */

static int row_copy(struct copy *c, MDB_dbi dbi, MDB_val key, MDB_val val)
{
	return store_err(mdb_put(c->out, dbi, &key, &val, MDB_APPEND));
}

static int dict_row_keep(struct copy *c, MDB_val key, MDB_val val)
{
	return row_copy(c, c->to->dict, key, val);
}

static int block_row_keep(struct copy *c, MDB_val key, MDB_val val)
{
	return row_copy(c, c->to->columns, key, val);
}

static int chunk_row_keep(struct copy *c, MDB_val key, MDB_val val)
{
	uint64_t seq;

	if (key.mv_size != sizeof(seq) || val.mv_size < 16)
		return -EUCLEAN;
	memcpy(&seq, key.mv_data, sizeof(seq));
	trace_rows_add(&c->rows, val.mv_data, seq); /* a chunk begins with its trace's id */
	return row_copy(c, c->to->spans, key, val);
}

static int step_2_to_3(struct copy *c)
{
	struct part_meta m;
	int err = meta_copy(c, &m);

	if (!err && m.sum != meta_sum(&m))
		err = -EUCLEAN;
	m.format = 3;
	err = err ?: table_copy(c, c->from->dict, dict_row_keep);
	err = err ?: table_copy(c, c->from->spans, chunk_row_keep);
	if (!err && c->from->has_columns)
		err = table_copy(c, c->from->columns, block_row_keep);
	err = err ?: trace_rows_put(&c->rows, c->out, c->to->traces);
	return err ?: part_meta_put(c->to, c->out, &m);
}

static step_fn *const steps[STORE_FORMAT] = {[1] = step_1_to_2, [2] = step_2_to_3};

/* --- one partition --- */

static int format_of(const struct part *p, MDB_txn *txn, uint32_t *ret)
{
	MDB_val key = {4, (void *)"meta"}, val;
	int rc = mdb_get(txn, p->meta, &key, &val);

	if (rc || val.mv_size < sizeof(*ret))
		return rc ? store_err(rc) : -EUCLEAN;
	memcpy(ret, val.mv_data, sizeof(*ret));
	return 0;
}

static int copy_begin(struct store *s, struct copy *c, uint32_t *ret_format)
{
	int err = part_pages_check(s, c->from) ?: part_env_open(s, c->from);

	err = err ?: store_err(mdb_txn_begin(c->from->env, NULL, MDB_RDONLY, &c->in));
	err = err ?: part_tables_open(c->from, c->in);
	return err ?: format_of(c->from, c->in, ret_format);
}

static int copy_write(struct store *s, struct copy *c, uint32_t format)
{
	int err = folder_part_make(s, c->to->name, c->to->suffix) ?: part_env_open(s, c->to);

	err = err ?: store_err(mdb_txn_begin(c->to->env, NULL, 0, &c->out));
	if (err)
		return err;
	err = part_tables_make(c->to, c->out) ?: steps[format](c);
	if (err)
		mdb_txn_abort(c->out);
	else
		err = store_err(mdb_txn_commit(c->out));
	return err ?: store_err(mdb_env_sync(c->to->env, 1));
}

static void copy_end(struct copy *c)
{
	if (c->in)
		mdb_txn_abort(c->in);
	part_close(c->from);
	part_close(c->to);
	free(c->from);
	free(c->to);
	strbuf_fini(&c->row);
	trace_rows_fini(&c->rows);
}

/* One step; *ret_format: where the partition stood. */
static int part_step(struct store *s, const struct part_file *pf, uint32_t *ret_format)
{
	struct copy c = {.from = part_new(pf->start_ns, s->conf.partition_ns, pf->number),
			 .to = part_new(pf->start_ns, s->conf.partition_ns, pf->number)};
	bool is_new = false;
	int err;

	c.to->suffix = ".new";
	strbuf_init(&c.row);
	err = copy_begin(s, &c, ret_format);
	if (!err && (*ret_format == 0 || *ret_format > STORE_FORMAT))
		err = -EUCLEAN;
	if (!err && *ret_format < STORE_FORMAT) {
		err = copy_write(s, &c, *ret_format);
		is_new = !err;
	}
	copy_end(&c);
	return err ?: is_new ? folder_part_replace(s, pf->name, ".new") : 0;
}

static int part_upgrade(struct store *s, const struct part_file *pf, store_say_fn *say, void *arg)
{
	uint32_t format = 0, first = 0;
	char text[160];
	int err;

	folder_part_remove(s, pf->name, ".new"); /* what a run before left */
	do {
		err = part_step(s, pf, &format);
		first = first ? first : format;
	} while (!err && format < STORE_FORMAT);
	if (err == -ENODATA) { /* an old program was stopped while it made the folder */
		folder_part_remove(s, pf->name, "");
		return 0;
	}
	if (err == -EUCLEAN) {
		folder_part_remove(s, pf->name, ".damaged");
		if (folder_part_rename(s, pf->name, ".damaged") == 0) {
			say(arg, pf->name, "is damaged and was set aside as .damaged");
			return 0;
		}
	}
	if (err)
		return err;
	snprintf(text, sizeof(text), first < STORE_FORMAT ? "version %u -> %d" : "is version %u",
		 first, STORE_FORMAT);
	say(arg, pf->name, text);
	return 0;
}

/* --- the folder --- */

static int parts_upgrade(struct store *s, store_say_fn *say, void *arg, struct strbuf *why)
{
	struct part_file *at = NULL;
	size_t cnt = 0;
	int err = part_files_list(s, &at, &cnt);

	if (err && why)
		strbuf_printf(why, "cannot read the folder %s: %s", s->conf.dir, strerror(-err));
	for (size_t i = 0; i < cnt && !err; i++) {
		if (at[i].state == PART_GOOD)
			err = part_upgrade(s, &at[i], say, arg);
		if (err && why)
			strbuf_printf(why,
				      "cannot upgrade %s/%s: %s; what was upgraded stays so, run "
				      "it again when that is mended",
				      s->conf.dir, at[i].name, strerror(-err));
	}
	free(at);
	return err;
}

int store_upgrade(const char *dir, store_say_fn *say, void *arg, struct strbuf *why)
{
	const struct store_conf conf = {.dir = dir};
	struct store *s;
	int format = 0, err;

	if (access(dir, F_OK) < 0) {
		err = -errno;
		if (why)
			strbuf_printf(why, "cannot open the store folder %s: %s", dir,
				      strerror(-err));
		return err;
	}
	err = store_open_folder(&s, &conf, &format, why);
	if (err)
		return err;
	if (format < STORE_FORMAT) {
		err = parts_upgrade(s, say, arg, why);
		if (!err) {
			err = folder_format_write(s);
			if (err && why)
				strbuf_printf(why, "cannot write %s/format: %s", s->conf.dir,
					      strerror(-err));
		}
	}
	if (!err)
		say(arg, "",
		    format < STORE_FORMAT ? "the folder is of this program's version now"
					  : "the folder is of this program's version");
	store_close(s);
	return err;
}

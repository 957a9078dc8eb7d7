/* SPDX-License-Identifier: Apache-2.0 */
/* tools.c - store_parts and store_export, and what all of tools.h's functions begin with: the names
 * of a folder's partitions, in order. Opens partitions for reading alone, by name, so that one that
 * does not open is said and the others go on. Called through tools.h. */
#include "store/tools_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/otlp.h"

/* --- names --- */

static int name_cmp(const void *a, const void *b)
{
	const struct part_file *x = a, *y = b;

	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)x->state - (int)y->state;
}

int part_files_list(struct store *s, struct part_file **ret, size_t *ret_cnt)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct part_file *at = NULL, pf;
	size_t cnt = 0;
	struct dirent *de;

	if (!dir)
		return -errno;
	while ((de = readdir(dir))) {
		if (strlen(de->d_name) >= sizeof(pf.name) ||
		    part_name_parse(de->d_name, &pf.start_ns, &pf.number, &pf.state))
			continue;
		strcpy(pf.name, de->d_name);
		at = realloc(at, (cnt + 1) * sizeof(*at));
		must(at);
		at[cnt++] = pf;
	}
	closedir(dir);
	if (cnt)
		qsort(at, cnt, sizeof(*at), name_cmp);
	*ret = at;
	*ret_cnt = cnt;
	return 0;
}

int part_files_each(const char *dir, part_file_fn *fn, void *arg, struct strbuf *why)
{
	const struct store_conf conf = {.dir = dir, .read_only = true};
	struct part_file *at = NULL;
	struct store *s;
	size_t cnt = 0;
	int err = store_open_folder(&s, &conf, NULL, why);

	if (err)
		return err;
	err = part_files_list(s, &at, &cnt);
	for (size_t i = 0; i < cnt && !err; i++)
		err = fn(arg, s, &at[i]);
	free(at);
	store_close(s);
	return err;
}

/* --- parts --- */

static uint64_t table_bytes(MDB_txn *txn, MDB_dbi dbi)
{
	MDB_stat st;

	if (mdb_stat(txn, dbi, &st))
		return 0;
	return (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
}

/* Chunks of one trace that have a tree of their own (many hundreds) are in no count. */
static void tables_measure(MDB_txn *txn, struct store_part *ret)
{
	static const char *const names[] = {
#define X(name) #name,
		STORE_TABLES(X)
#undef X
	};
	MDB_dbi dbi;

	for (size_t i = 0; i < STORE_TABLE_CNT; i++)
		if (mdb_dbi_open(txn, names[i], 0, &dbi) == 0)
			ret->table_bytes[i] = table_bytes(txn, dbi);
}

static void dicts_measure(const struct part *p, MDB_txn *txn, struct store_part *ret)
{
	MDB_val key, val;
	MDB_cursor *cur;
	uint64_t k;

	for (size_t i = 0; i < STORE_DICT_CNT; i++)
		ret->dict_max[i] =
			(uint32_t)(i == DICT_STRING ? DICT_STRINGS_MAX : DICT_OTHERS_MAX);
	if (mdb_cursor_open(txn, p->dict, &cur))
		return;
	while (mdb_cursor_get(cur, &key, &val, MDB_NEXT) == 0) {
		memcpy(&k, key.mv_data, key.mv_size == 8 ? 8 : 0);
		if (key.mv_size == 8 && k >> 32 < STORE_DICT_CNT)
			ret->dict_cnt[k >> 32]++;
	}
	mdb_cursor_close(cur);
}

static int part_measure(struct store *s, struct part *p, struct store_part *ret)
{
	const struct part_meta *m = &p->committed;
	MDB_txn *txn;
	int err = part_open(s, p, false);

	if (err)
		return err;
	err = store_err(mdb_txn_begin(p->env, NULL, MDB_RDONLY, &txn));
	if (!err) {
		tables_measure(txn, ret);
		dicts_measure(p, txn, ret);
		ret->spans = m->spans;
		ret->chunks = m->chunks;
		ret->min_start_ns = m->min_start_ns;
		ret->max_start_ns = m->max_start_ns;
		ret->max_end_ns = m->max_end_ns;
		mdb_txn_abort(txn);
	}
	return err;
}

struct telling {
	store_part_fn *fn;
	void *arg;
	struct strbuf *why;
};

static int part_tell(void *arg, struct store *s, const struct part_file *pf)
{
	struct store_part sp = {.name = pf->name, .is_aside = pf->state == PART_DAMAGED};
	struct telling *t = arg;
	struct part *p;
	int err = 0;

	if (pf->state == PART_GONE)
		return 0;
	sp.bytes = folder_part_bytes(s, pf->name);
	if (!sp.is_aside) {
		p = part_new(pf->start_ns, s->conf.partition_ns, pf->number);
		err = part_measure(s, p, &sp);
		part_close(p);
		free(p);
	}
	if (err == -ENODATA || err == -ENOENT) /* empty, or gone since */
		return 0;
	if (err && t->why)
		strbuf_printf(t->why,
			      "the partition %s/%s cannot be read: %s; see `wirespan store check`",
			      s->conf.dir, pf->name, strerror(-err));
	return err ?: t->fn(t->arg, &sp);
}

int store_parts(const char *dir, store_part_fn *fn, void *arg, struct strbuf *why)
{
	struct telling t = {fn, arg, why};

	return part_files_each(dir, part_tell, &t, why);
}

/* --- export --- */

enum { EXPORT_BATCH = 2 << 20, EXPORT_SPANS = 5000 };

struct exporting {
	struct store_export *ex;
	store_write_fn *fn;
	void *arg;
	struct batch batch;
	struct strbuf out;
};

/* What comes out longer than a message may be goes in halves. */
static int spans_write(struct exporting *e, const struct span *spans, size_t cnt)
{
	strbuf_clear(&e->out);
	otlp_encode_pb(&e->out, spans, cnt);
	if (e->out.len > STORE_EXPORT_MAX && cnt > 1)
		return spans_write(e, spans, cnt / 2)
			       ?: spans_write(e, spans + cnt / 2, cnt - cnt / 2);
	e->ex->messages++;
	e->ex->spans += cnt;
	e->ex->bytes += e->out.len;
	return e->fn(e->arg, e->out.p, e->out.len);
}

static int batch_write(struct exporting *e)
{
	size_t cnt = e->batch.cnt;
	struct span *spans = calloc(cnt ? cnt : 1, sizeof(*spans));
	int err;

	must(spans);
	for (size_t i = 0; i < cnt; i++)
		spans[i] = e->batch.at[i].span;
	err = cnt ? spans_write(e, spans, cnt) : 0;
	free(spans);
	batch_clear(&e->batch);
	return err;
}

static int span_export(void *arg, const struct span *sp)
{
	struct exporting *e = arg;

	if (sp->start_ns < e->ex->from_ns || sp->start_ns > e->ex->to_ns)
		return 0;
	batch_add(&e->batch, sp, 1);
	return e->batch.cnt >= EXPORT_SPANS || batch_bytes(&e->batch) >= EXPORT_BATCH
		       ? batch_write(e)
		       : 0;
}

int store_export(struct store_export *ex, store_write_fn *fn, void *arg, struct strbuf *why)
{
	const struct store_conf conf = {.dir = ex->dir, .read_only = true};
	struct exporting e = {.ex = ex, .fn = fn, .arg = arg};
	struct store_read *r;
	struct store *s;
	uint64_t unclean;
	int err = store_open(&s, &conf, why);

	if (err)
		return err;
	ex->spans = ex->messages = ex->bytes = 0;
	unclean = *s->cells.unclean;
	batch_init(&e.batch);
	strbuf_init(&e.out);
	err = store_read_begin(&r, s, ex->from_ns, ex->to_ns);
	if (!err) {
		err = store_walk(r, span_export, &e) ?: batch_write(&e);
		store_read_end(r);
	}
	if (err && why && !why->len)
		strbuf_printf(why, "cannot export %s: %s", s->conf.dir, strerror(-err));
	ex->unclean = *s->cells.unclean - unclean;
	strbuf_fini(&e.out);
	batch_fini(&e.batch);
	store_close(s);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* env.c - one partition as an LMDB environment: open, check, its meta row, its writer's dictionary.
 *
 * It decides nothing about partitions (parts.c) and reads no span. The map is made large and sparse
 * once (a partition is rolled over long before it is full), so it never grows under a reader. The
 * invariants: an environment is opened once per process, and LMDB's codes end at store_err. */
#include "store/env.h"
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READERS_MAX = 510, TABLES = 5 };

int store_err(int rc)
{
	switch (rc) {
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EAGAIN;
	case MDB_PANIC:
		return -ENOTRECOVERABLE; /* stays in store/: take_failed */
	case MDB_TXN_FULL:
		return -EFBIG;
	default:
		return rc < 0 ? -EUCLEAN : -rc;
	}
}

bool row_open(enum sum_table table, MDB_val key, MDB_val val, struct str *ret)
{
	uint64_t k;

	if (key.mv_size != sizeof(k))
		return false;
	memcpy(&k, key.mv_data, sizeof(k));
	return sum_check(table, k, (struct str){val.mv_data, val.mv_size}, ret);
}

/* --- names --- */

void part_name(char name[PART_NAME_MAX], uint64_t start_ns, uint32_t number)
{
	time_t sec = (time_t)(start_ns / NS_PER_S);
	size_t len;
	struct tm tm;

	gmtime_r(&sec, &tm);
	len = strftime(name, PART_NAME_MAX, sec % 3600 ? "%Y%m%dT%H%M%SZ" : "%Y%m%dT%HZ", &tm);
	if (number > 1)
		snprintf(name + len, PART_NAME_MAX - len, "-%u", number);
}

int part_name_parse(const char *name, uint64_t *ret_start_ns, uint32_t *ret_number,
		    enum part_state *ret_state)
{
	char plain[PART_NAME_MAX], again[PART_NAME_MAX];
	const char *dot = strchrnul(name, '.'), *end;
	enum part_state state = PART_GOOD;
	struct tm tm = {0};
	unsigned number = 1;
	uint64_t start_ns;

	if (*dot && strcmp(dot, ".damaged") != 0 && strcmp(dot, ".gone") != 0)
		return -EINVAL;
	if (*dot)
		state = dot[1] == 'd' ? PART_DAMAGED : PART_GONE;
	if ((size_t)(dot - name) >= sizeof(plain))
		return -EINVAL;
	snprintf(plain, sizeof(plain), "%.*s", (int)(dot - name), name);
	end = strptime(plain, "%Y%m%dT%HZ", &tm);
	if (!end)
		end = strptime(plain, "%Y%m%dT%H%M%SZ", &tm);
	if (!end || (*end && sscanf(end, "-%u", &number) != 1))
		return -EINVAL;
	start_ns = (uint64_t)timegm(&tm) * NS_PER_S;
	part_name(again, start_ns, number);
	if (strcmp(again, plain) != 0)
		return -EINVAL;
	*ret_start_ns = start_ns;
	*ret_number = number;
	*ret_state = state;
	return 0;
}

/* --- the meta row --- */

static MDB_val meta_key(void)
{
	return (MDB_val){.mv_size = 4, .mv_data = (void *)"meta"};
}

int part_meta_get(const struct part *p, MDB_txn *txn, struct part_meta *ret)
{
	MDB_val key = meta_key(), val;
	struct part_meta m;
	int rc = mdb_get(txn, p->meta, &key, &val);

	if (rc)
		return rc == MDB_NOTFOUND ? -EUCLEAN : store_err(rc);
	if (val.mv_size < 4)
		return -EUCLEAN;
	memcpy(&m.format, val.mv_data, 4);
	if (val.mv_size != META_LEN)
		return -EUCLEAN;
	memcpy(&m, val.mv_data, META_LEN);
	if (m.format == 1 && m.sum == 0)
		return -EPROTO;
	if (m.sum != meta_sum(&m))
		return -EUCLEAN;
	if (m.format != STORE_FORMAT)
		return -EPROTO;
	if (m.start_ns != p->start_ns || m.number != p->number || m.width_ns == 0)
		return -EUCLEAN;
	*ret = m;
	return 0;
}

int part_meta_put(const struct part *p, MDB_txn *txn, const struct part_meta *m)
{
	struct part_meta summed = *m;
	MDB_val key = meta_key(), val = {.mv_size = META_LEN, .mv_data = &summed};

	summed.sum = meta_sum(m);
	return store_err(mdb_put(txn, p->meta, &key, &val, 0));
}

/* --- open --- */

static int tables_open(struct part *p, MDB_txn *txn, unsigned create)
{
	const unsigned dups = MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP;
	int rc = mdb_dbi_open(txn, "meta", create, &p->meta);

	if (!rc)
		rc = mdb_dbi_open(txn, "dict", create | MDB_INTEGERKEY, &p->dict);
	if (!rc)
		rc = mdb_dbi_open(txn, "spans", create | MDB_INTEGERKEY, &p->spans);
	if (!rc)
		rc = mdb_dbi_open(txn, "traces", create | MDB_INTEGERKEY | dups, &p->traces);
	if (rc)
		return rc;
	rc = mdb_dbi_open(txn, "columns", create | MDB_INTEGERKEY, &p->columns);
	p->has_columns = rc == 0;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int tables_make(struct part *p)
{
	struct part_meta m = {
		.format = STORE_FORMAT,
		.number = p->number,
		.start_ns = p->start_ns,
		.width_ns = p->width_ns,
	};
	MDB_txn *txn;
	int err = store_err(mdb_txn_begin(p->env, NULL, 0, &txn));

	if (err)
		return err;
	err = store_err(tables_open(p, txn, MDB_CREATE)) ?: part_meta_put(p, txn, &m);
	if (err) {
		mdb_txn_abort(txn);
		return err;
	}
	p->committed = m;
	return store_err(mdb_txn_commit(txn));
}

static int tables_find(struct part *p)
{
	MDB_txn *txn;
	int err = store_err(mdb_txn_begin(p->env, NULL, MDB_RDONLY, &txn));

	if (err)
		return err;
	err = store_err(tables_open(p, txn, 0));
	err = err ?: part_meta_get(p, txn, &p->committed);
	if (err)
		mdb_txn_abort(txn);
	else
		mdb_txn_commit(txn); /* keeps the table handles */
	p->width_ns = err ? p->width_ns : p->committed.width_ns;
	return err;
}

int part_tables_open(struct part *p, MDB_txn *txn)
{
	return store_err(tables_open(p, txn, 0));
}

int part_tables_make(struct part *p, MDB_txn *txn)
{
	return store_err(tables_open(p, txn, MDB_CREATE));
}

static int table_walk(MDB_txn *txn, MDB_dbi dbi)
{
	MDB_cursor *cur;
	MDB_val key, val;
	int rc = mdb_cursor_open(txn, dbi, &cur);

	if (rc)
		return rc;
	do {
		rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT);
	} while (!rc);
	mdb_cursor_close(cur);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int tables_walk(struct part *p)
{
	const MDB_dbi dbis[TABLES] = {p->meta, p->dict, p->spans, p->traces, p->columns};
	MDB_txn *txn;
	int rc = mdb_txn_begin(p->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return store_err(rc);
	for (size_t i = 0; i < (p->has_columns ? TABLES : TABLES - 1) && !rc; i++)
		rc = table_walk(txn, dbis[i]);
	mdb_txn_abort(txn);
	return store_err(rc);
}

/* A map that reaches past the end of its file faults. LMDB may leave pages at the end unwritten
 * that it took and gave back within one transaction; a torn file looks the same. Either way the
 * file is filled up with a hole. *ret_short says that the tables want a look. */
static int file_fill(struct part *p, bool *ret_short)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	off_t need;
	int fd;

	if (mdb_env_info(p->env, &info) || mdb_env_stat(p->env, &st) ||
	    mdb_env_get_fd(p->env, &fd) || fstat(fd, &file) < 0)
		return -EUCLEAN;
	if (info.me_last_pgno >= info.me_mapsize / st.ms_psize)
		return -EUCLEAN;
	need = (off_t)((info.me_last_pgno + 1) * st.ms_psize);
	*ret_short = file.st_size < need;
	return *ret_short && ftruncate(fd, need) < 0 ? -errno : 0;
}

/* Its file, without LMDB. -ENODATA: there is none, what made or removed it was stopped. */
static int data_open(struct store *s, const struct part *p)
{
	char path[PART_NAME_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", p->name);
	fd = openat(s->dir_fd, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : errno == ENOENT ? -ENODATA : -errno;
}

/* LMDB believes the head of a file. */
static int head_check(struct store *s, struct part *p)
{
	int fd = data_open(s, p), err;

	if (fd < 0)
		return fd;
	err = pages_head(fd);
	close(fd);
	return err == -ENODATA ? -EUCLEAN : err;
}

int part_pages_check(struct store *s, const struct part *p)
{
	struct pages_say say = {0};
	int fd = data_open(s, p), err;

	if (fd < 0)
		return fd;
	err = pages_check(fd, 0, &say);
	close(fd);
	return err;
}

int part_env_open(struct store *s, struct part *p)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/%s%s", s->conf.dir, p->name,
			 p->suffix ? p->suffix : "");
	int err = p->suffix ? 0 : head_check(s, p), rc;

	if (err)
		return err;
	rc = n < (int)sizeof(path) ? mdb_env_create(&p->env) : ENAMETOOLONG;
	if (rc)
		return store_err(rc);
	fault_watch(p->env);
	mdb_env_set_maxdbs(p->env, TABLES);
	mdb_env_set_maxreaders(p->env, READERS_MAX);
	if (!s->conf.read_only)
		mdb_env_set_mapsize(p->env, s->map_bytes);
	return store_err(mdb_env_open(
		p->env, path, MDB_NOTLS | (s->conf.read_only ? MDB_RDONLY : MDB_NOMETASYNC), 0640));
}

int part_open(struct store *s, struct part *p, bool is_new)
{
	bool is_short = false;
	int err, dead;

	must(!p->env);
	p->suffix = is_new ? ".gone" : NULL;
	err = part_env_open(s, p);
	if (!err && !s->conf.read_only && !is_new)
		err = file_fill(p, &is_short);
	err = err ?: is_new ? tables_make(p) : tables_find(p);
	if (!err && is_new)
		err = store_err(mdb_env_sync(p->env, 1));
	p->suffix = NULL;
	if (!err && is_short)
		err = tables_walk(p);
	if (err) {
		part_close(p);
		return err;
	}
	mdb_reader_check(p->env, &dead); /* places that killed readers left behind */
	p->used_ns = clock_mono_ns();
	return 0;
}

void part_close(struct part *p)
{
	part_writer_close(p);
	part_close_env(p);
	p->is_stale = p->is_written = false;
	for (size_t i = 0; i < SUMMED_BLOCKS; i++)
		p->summed[i] = 0;
}

/* --- the writer --- */

static int dict_fill(struct dict *d, MDB_cursor *cur)
{
	MDB_val key, val;
	struct str bytes;
	uint64_t id;
	int rc, err = 0;

	while (!err && !(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT))) {
		if (key.mv_size != sizeof(id))
			return -EUCLEAN;
		memcpy(&id, key.mv_data, sizeof(id));
		if (!sum_check(SUM_DICT, id, (struct str){val.mv_data, val.mv_size}, &bytes))
			return -EUCLEAN;
		err = dict_load(d, (enum dict_kind)(id >> 32), (uint32_t)id, bytes);
	}
	return err ?: rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

int part_writer_open(struct part *p, MDB_txn *txn)
{
	struct writer *w;
	MDB_cursor *cur;
	int err;

	if (p->writer)
		return 0;
	err = store_err(mdb_cursor_open(txn, p->dict, &cur));
	if (err)
		return err;
	w = calloc(1, sizeof(*w));
	must(w);
	w->dict = dict_new();
	encoder_init(&w->enc, dict_put, w->dict);
	p->writer = w;
	err = dict_fill(w->dict, cur);
	mdb_cursor_close(cur);
	if (err)
		part_writer_close(p);
	return err;
}

void part_writer_close(struct part *p)
{
	if (!p->writer)
		return;
	encoder_fini(&p->writer->enc);
	dict_free(p->writer->dict);
	free(p->writer);
	p->writer = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* env.h - what the files of store/ share: the store, its partitions, and who may touch what.
 *
 * A partition is one LMDB environment. It is opened when somebody needs it, once per process
 * (LMDB's rule), and closed when nobody has used it for a while. parts_lock guards the list and
 * every field of a partition that is not marked otherwise; lock guards the batches. Whoever needs
 * both takes none of them inside the other. Never included from outside of store/. */
#ifndef WIRESPAN_STORE_ENV_H
#define WIRESPAN_STORE_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/batch.h"
#include "store/codec.h"
#include "store/dict.h"
#include "store/filter.h"
#include "store/keys.h"
#include "store/stats.h"
#include "store/store.h"
#include "store/tally.h"

enum { SUMMED_BLOCKS = 1 << 9 }; /* 8 million spans */
enum { PAGE_MOST = 64 << 10 };	 /* the largest page of any machine, and LMDB's */

struct part {
	struct part *next; /* older */
	uint64_t start_ns, width_ns;
	uint32_t number;
	char name[PART_NAME_MAX]; /* of its folder, without what state adds */
	const char *suffix;	  /* of its folder while it is being made; else NULL */
	enum part_state state;
	uint32_t refs; /* who uses env; the last one of a PART_GONE frees it */
	MDB_env *env;  /* NULL: closed */
	MDB_dbi meta, dict, spans, traces, columns;
	bool has_columns; /* the partition has the table of blocks */
	/* Blocks whose sums were right since the partition was opened, by their keys: a scan of a
	 * million spans would sum 20 MiB anew each time. A key names one block for ever. */
	_Atomic uint64_t summed[SUMMED_BLOCKS];
	int data_fd;			      /* of what this process writes to; else -1 */
	bool has_lost_writes, is_head_unsure; /* see writeback.c */
	bool is_full;	  /* takes nothing more, whatever its size */
	bool is_stale;	  /* the environment gave up: closed and opened again when nobody uses it */
	bool is_unsynced; /* its last commit may still be undone by a power cut */
	bool is_written;  /* since it was opened: LMDB keeps the pages of its largest commit */
	uint64_t bytes;	  /* on disk */
	uint64_t used_ns; /* CLOCK_MONOTONIC */
	struct part_meta committed;
	uint64_t block_spans;  /* of the committed ones: those in blocks */
	uint64_t written_ns;   /* CLOCK_MONOTONIC of this process's last commit; 0: none */
	uint64_t committed_ns; /* CLOCK_MONOTONIC of the last commit; 0: none that waits for blocks
				*/
	struct filter filter;  /* ask part_filter */
	uint64_t filter_tried, filter_made; /* for that many chunks; 0: not yet */
	/* Of the committer's thread alone: NULL while nothing was written lately. */
	struct writer *writer;
};

struct writer {
	struct dict *dict;
	bool has_no_blocks; /* its chunks could not be read: no more tries */
	struct encoder enc;
};

struct store_cells {
	stat_cell *spans, *commits, *commit_us, *lost, *rejected, *failed, *damaged, *unclean,
		*clamped;
	stat_cell *bytes, *parts, *batch_spans, *batch_bytes;
};

struct store {
	struct store_conf conf; /* defaults filled in; dir is ours */
	int dir_fd, lock_fd;
	bool is_locked;
	struct tally *tally; /* the writer's; else NULL */
	uint64_t unclean_ns; /* since when a writer was at work that did not close the store; 0 */
	uint64_t roll_bytes; /* a partition of this size takes no more */
	uint64_t keep_bytes; /* all partitions; 0: no limit */
	uint64_t map_bytes;
	struct store_cells cells;

	pthread_mutex_t parts_lock;
	struct part *parts; /* newest first */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* for the committer: there is something to do */
	pthread_cond_t done; /* for the others: room, or a commit ended */
	struct batch batches[2];
	struct batch *fill; /* takes what comes */
	struct batch *work; /* being committed, or waiting for another try */
	bool is_working;    /* work is not empty */
	bool stop, has_thread;
	int err; /* of the last commit; while it is set nothing is accepted */
	uint64_t retry_ns, sync_ns, keep_house_ns;
	uint64_t return_ns, returned_at; /* malloc's free memory: not before, last at so many committed */
	uint64_t pages_kept; /* fault_pages_kept() at the last commit */
	uint64_t accepted, committed, flush_upto, fail_cnt; /* in spans, but fail_cnt */
	pthread_t thread;
};

/* --- store.c --- */

/* A store with a folder and without partitions, for tools.h; store_close closes it. ret_format NULL:
 * any format other than this program's is refused. */
int store_open_folder(struct store **ret, const struct store_conf *conf, int *ret_format,
		      struct strbuf *why);

/* --- fault.c --- */

void fault_watch(MDB_env *env);
/* How many pages of locks go on in memory, seen by this process alone. */
uint64_t fault_pages_kept(void);

/* --- env.c: one partition --- */

int store_err(int lmdb_code);
/* The row of a table with u64 keys, without its sum; false: damaged. */
bool row_open(enum sum_table table, MDB_val key, MDB_val val, struct str *ret);
/* Its pages without LMDB: 0, -EUCLEAN, ... */
int part_pages_check(struct store *s, const struct part *p);
/* Only mdb_env_open, and before it a look at the file's head. */
int part_env_open(struct store *s, struct part *p);
int part_tables_open(struct part *p, MDB_txn *txn);
int part_tables_make(struct part *p, MDB_txn *txn);
/* Opens the environment; makes it when is_new. The caller has parts_lock. */
int part_open(struct store *s, struct part *p, bool is_new);
void part_close(struct part *p);
/* The meta row: 0, -EUCLEAN, -EPROTO. */
int part_meta_get(const struct part *p, MDB_txn *txn, struct part_meta *ret);
int part_meta_put(const struct part *p, MDB_txn *txn, const struct part_meta *m);
/* Makes the writer (loads the dictionary) when there is none. */
int part_writer_open(struct part *p, MDB_txn *txn);
void part_writer_close(struct part *p);

/* --- writeback.c --- */

/* Before it is written to. */
void part_watch_writes(struct store *s, struct part *p);
/* After a write that failed: was something written before that the disk did not take? */
bool part_lost_writes(const struct part *p);
/* Needs parts_lock: takes no more. */
void part_mistrust(struct store *s, struct part *p);
/* Takes parts_lock: writes the heads again of those that are mistrusted. */
void parts_write_heads(struct store *s);
/* part_close()'s part. */
void part_close_env(struct part *p);

/* --- parts.c: the list; callers have parts_lock except where it says otherwise --- */

struct part *part_new(uint64_t start_ns, uint64_t width_ns, uint32_t number);
void parts_insert(struct store *s, struct part *p);
/* Opens what is closed and counts the user. A partition that fails is set aside. */
int part_use(struct store *s, struct part *p);
void part_unuse(struct part *p);
/* The start of the partition that covers t. */
uint64_t parts_start_of(struct store *s, uint64_t t_ns);
/* The partition that takes spans of start_ns now, made when needed; in use. Takes parts_lock. */
int parts_take(struct store *s, uint64_t start_ns, struct part **ret);
/* Renamed, and out of the way of everybody but retention. */
void part_set_aside(struct store *s, struct part *p, int err);
/* Out of the list; its folder has the suffix .gone and is the caller's to remove. Memory goes with
 * the last user. */
void part_remove(struct store *s, struct part *p);
/* Takes parts_lock: closes what was idle for a minute, and what keeps memory for nothing. */
void parts_close_idle(struct store *s);
/* Takes parts_lock, before a commit: when locks were lost (fault.c), closes what nobody uses; the
 * rest is closed by its last user, or once it is durable. The next one to open it gets the file's
 * locks again. */
void parts_renew_locks(struct store *s);
void parts_free(struct store *s);
/* Brings the list up to date with the folder: at start, and in a read-only store before each read.
 */
int parts_scan(struct store *s, struct strbuf *why);

/* --- folder.c: DIR itself --- */

int folder_open(struct store *s, int *ret_format, struct strbuf *why);
int folder_format_write(struct store *s);
void folder_close(struct store *s);
/* A partition is made as .gone, which a crash leaves to be removed, and gets its name when it is
 * whole and on the disk. */
int folder_part_make(struct store *s, const char *name, const char *suffix);
int folder_part_made(struct store *s, const char *name);
/* Its data.mdb is replaced by that of the folder with the suffix, which goes. */
int folder_part_replace(struct store *s, const char *name, const char *suffix);
/* It is named .gone, at once; removing takes a millisecond for each MiB. */
void folder_part_gone(struct store *s, const char *name, const char *suffix);
void folder_part_remove(struct store *s, const char *name, const char *suffix);
int folder_part_rename(struct store *s, const char *name, const char *suffix);
/* How often it made the program fault; -1: it has no mark. */
int64_t folder_part_suspect(struct store *s, const char *name);
/* Was its file written to since then? */
bool folder_part_changed(struct store *s, const char *name, uint64_t since_ns);
uint64_t folder_part_bytes(struct store *s, const char *name);

/* --- blocks.c: the columns of a partition --- */

/* In a write transaction: blocks for the first `spans` spans of the partition, as long as at least
 * at_least of them are in none. */
int blocks_build(const struct part *p, MDB_txn *txn, uint64_t spans, uint32_t at_least);
/* Takes parts_lock: blocks for what waits in a partition that nobody writes to any more. */
void blocks_build_idle(struct store *s);
/* Says of each block that is not what its chunks make, byte for byte: its key, and a half sentence.
 */
typedef void blocks_wrong_fn(void *arg, uint64_t key, const char *fault);
int blocks_check(const struct part *p, MDB_txn *txn, blocks_wrong_fn *wrong, void *arg);
/* How many of the spans are in blocks. */
int blocks_spans(const struct part *p, MDB_txn *txn, uint64_t *ret);

/* --- seal.c --- */

/* Takes parts_lock: makes the filters of partitions that nobody writes to any more. */
void parts_seal(struct store *s);
/* Before the first write to a partition since its writer was made. */
void part_unseal(struct store *s, struct part *p);
/* The filter of the partition as it is now; NULL: there is none. Needs parts_lock. */
const struct filter *part_filter(struct store *s, struct part *p);

/* --- append.c, commit.c, retain.c --- */

int committer_start(struct store *s);
/* Commits what is left, ends the thread. */
void committer_stop(struct store *s);
/* Writes all spans that are not done yet. On an error some may be. */
int commit_batch(struct store *s, struct batch *b);
/* Counts a span in a meta row. */
void meta_note(struct part_meta *m, const struct span *sp);
/* Makes commits durable that are not yet. */
void commit_sync(struct store *s);
/* Removes what is too old or too much. */
void retain_run(struct store *s);

#endif

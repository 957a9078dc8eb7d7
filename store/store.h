/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - where spans stay: partitions by time, one LMDB environment each, in one folder.
 *
 * One process at a time has the folder open for writing (a lock file says which). In it any thread
 * may append and any thread may read. Appending is cheap: a span is copied into a batch in memory;
 * one thread of the store encodes and commits the batch every 200 ms, or earlier when it is large,
 * with one transaction per partition that it touches (most often one). A span is
 *   accepted   when store_append returns: a crash of the process loses it, at most the last 200 ms
 *              (the next start counts how many: store_lost_total);
 *   committed  when store_flush returns: it survives kill -9;
 *   durable    at most a second later (LMDB's MDB_NOMETASYNC): it survives a power cut.
 * Reads see what is committed. Old partitions are unlinked whole when they pass the age or the size
 * limit; reads that began before go on undisturbed. An idle store writes nothing, once the columns of
 * its last spans are written (half a minute later at most).
 *
 * A span belongs to the partition of its start, late ones too, as long as that lies between now -
 * max_age_ns and now + 1 h; others go to the partition at that bound (store_clamped_total), their
 * times untouched. When a commit fails (disk full), its batch stays in memory and is tried again
 * every second; until one goes well nothing new is accepted.
 *
 * Errors: 0 or -errno. -EBUSY another instance has the store, -EPROTO the format is of an unknown
 * version, -EUCLEAN damaged, -ENOSPC/-EDQUOT/-EROFS/-EIO the disk says no. LMDB's codes never leave
 * this folder. */
#ifndef WIRESPAN_STORE_H
#define WIRESPAN_STORE_H

#include "store/base.h"
#include "store/span.h"

struct store;
struct store_read;

struct store_conf {
	const char *dir;        /* made, with parents, when missing; mode 0750 */
	uint64_t max_bytes;     /* of all partitions on disk; the oldest go first; 0: no limit */
	uint64_t max_age_ns;    /* 0: no limit */
	uint64_t partition_ns;  /* width of a partition; 0: one hour */
	uint32_t commit_ms;     /* 0: 200 */
	bool read_only;         /* no lock, no writer thread; store_append returns -EROFS */
};

/* Opens or makes the store. On an error *why (may be NULL) gets one plain sentence that says what,
 * where and what to do. */
int store_open(struct store **ret, const struct store_conf *conf, struct strbuf *why);
/* Commits what was accepted, closes. NULL is fine. No read may be open. */
void store_close(struct store *s);

/* What a damaged page, or a disk that fails, does to a process that maps it: from now on SIGBUS and
 * SIGSEGV in a partition's map say which one it was. marks (the writer's program): the partition is
 * marked, looked at when the store is opened the next time, and set aside if need be. argv not NULL:
 * this program is executed anew with it, at once; else the process ends by the signal. Without marks
 * it ends with status 1. */
void store_on_fault(bool marks, char *const *argv);

/* Accepts cnt spans (all are copied). Blocks while the batch is full (the disk is slower than the
 * input). 0, or -errno when the store cannot write now: none were accepted, and they are counted
 * as lost in the registry (store_rejected_total). -EINVAL: not what span.h allows, or values nested
 * deeper than 64. */
int store_append(struct store *s, const struct span *spans, size_t cnt);
/* Returns when all that was accepted before the call is committed; 0 or the commit's error. */
int store_flush(struct store *s);

/* A consistent view of the partitions that may hold spans which overlap [from_ns, to_ns] (start
 * and end since 1970; 0, UINT64_MAX: all). Everything read through it is borrowed until _end. Keep
 * it short: seconds, not minutes. Each thread begins its own. */
int store_read_begin(struct store_read **ret, struct store *s, uint64_t from_ns, uint64_t to_ns);
/* The same for store_trace of this one trace, whenever it was: partitions that are known not to hold
 * it are left out. */
int store_read_begin_trace(struct store_read **ret, struct store *s, const uint8_t trace_id[16]);
void store_read_end(struct store_read *r);

/* All spans of a trace, in order of start, then of arrival; an identical repeat (same span id,
 * kind and start) is given once. Structs live in the arena, their strings, resources and scopes in
 * the read. No span: 0 and *ret_cnt = 0. -ENOMEM when the arena's limit is reached. Looks in *all*
 * partitions of the read. */
int store_trace(struct store_read *r, struct arena *a, const uint8_t trace_id[16], struct span **ret,
		size_t *ret_cnt);

/* Non-zero ends the walk and is what the walk returns. */
typedef int store_span_fn(void *arg, const struct span *sp);

/* Walks the spans of the read: newest partition first, in it the newest commit first, in that the
 * trace that came last first. What is damaged is left out and counted (store_unclean_total). sp is
 * valid until fn returns; its strings until store_read_end. */
int store_walk(struct store_read *r, store_span_fn *fn, void *arg);

enum tag_scope { TAG_SPAN, TAG_RESOURCE, TAG_EVENT, TAG_LINK, TAG_SCOPE, TAG_SCOPE_COUNT };

typedef int store_tag_fn(void *arg, enum tag_scope scope, struct str key);
/* Every attribute key seen in the read's partitions, whatever the type of its values, each once per
 * scope, in no order. */
int store_tag_keys(struct store_read *r, store_tag_fn *fn, void *arg);

struct store_stat {
	uint64_t spans;      /* committed, in all partitions */
	uint64_t bytes;      /* on disk, as du sees it */
	uint32_t partitions;
	uint64_t oldest_ns, newest_ns; /* bounds of span starts; 0: empty */
};

void store_stat(struct store *s, struct store_stat *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* tools.h - what one does to a store from outside of the program that serves it: verify, measure,
 * copy out, bring up to date. check, parts and export only read, and may do so beside a running
 * instance; upgrade takes the folder's lock. All return 0 or -errno with one sentence in why (may
 * be NULL), as store.h has them. */
#ifndef WIRESPAN_STORE_TOOLS_H
#define WIRESPAN_STORE_TOOLS_H

#include "store/base.h"
#include "store/store.h"

/* Something to say of a partition; part is "" for the folder. */
typedef void store_say_fn(void *arg, const char *part, const char *text);

/* --- check --- */

struct store_check {
	uint32_t partitions, bad, set_aside; /* looked at; with something wrong; .damaged before */
	uint64_t spans, chunks;
};

/* Looks at everything: pages without LMDB, then rows, sums, spans, index, dictionary, meta. Says
 * each thing that is wrong (at most some twenty a partition). 0 also when something is: ret->bad.
 */
int store_check(const char *dir, store_say_fn *say, void *arg, struct store_check *ret,
		struct strbuf *why);

/* --- parts --- */

#define STORE_TABLES(X) X(meta) X(dict) X(spans) X(traces) X(columns)
enum store_table {
#define X(name) STORE_TABLE_##name,
	STORE_TABLES(X)
#undef X
		STORE_TABLE_CNT,
};

#define STORE_DICTS(X) X(strings) X(fields) X(shapes) X(resources) X(scopes)
enum store_dict {
#define X(name) STORE_DICT_##name,
	STORE_DICTS(X)
#undef X
		STORE_DICT_CNT,
};

struct store_part {
	const char *name;
	bool is_aside;	/* .damaged: only name and bytes say something */
	uint64_t bytes; /* on disk, as du sees it */
	uint64_t spans, chunks;
	uint64_t min_start_ns, max_start_ns, max_end_ns; /* only when spans > 0 */
	uint64_t table_bytes[STORE_TABLE_CNT];		 /* whole pages */
	uint32_t dict_cnt[STORE_DICT_CNT], dict_max[STORE_DICT_CNT];
};

typedef int store_part_fn(void *arg, const struct store_part *p);
/* Calls fn for each partition, the oldest first; non-zero ends it and is returned. */
int store_parts(const char *dir, store_part_fn *fn, void *arg, struct strbuf *why);

/* --- export --- */

struct store_export {
	const char *dir;
	uint64_t from_ns, to_ns; /* spans whose start is in [from, to]; 0, UINT64_MAX: all */
	uint64_t spans, messages, bytes,
		unclean; /* the result; unclean: pieces left out as damaged */
};

typedef int store_write_fn(void *arg, const void *p, size_t len);
/* Hands over OTLP TracesData messages (protobuf), one a call, of at most EXPORT_MAX bytes unless
 * one span alone is longer. One after another they are one message again: their only field is
 * repeated. */
enum { STORE_EXPORT_MAX = 8 << 20 };
int store_export(struct store_export *ex, store_write_fn *fn, void *arg, struct strbuf *why);

/* --- upgrade --- */

/* Brings a folder of an older format up to date, partition by partition, saying each. May be killed
 * at any time and run again. */
int store_upgrade(const char *dir, store_say_fn *say, void *arg, struct strbuf *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c - an LMDB data file (format 1 of LMDB 0.9) walked by hand: meta pages, the two root
 * trees, the tables in the main one, their duplicates' trees and sub-pages, overflow pages, the
 * free list. Knows nothing of what the rows mean (check.c does). The invariant: no byte of the file
 * is believed; every offset is checked before it is used, and a page is visited once, so that time
 * and memory are bounded by the file's size. */
#include "store/pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the layout, from mdb.c --- */

enum { META_MAGIC = (int)0xBEEFC0DE, META_VERSION = 1, PAGE_HEAD = 16, NODE_HEAD = 8 };
enum { PSIZE_MIN = 512, PSIZE_MAX = 65536, DEPTH_MAX = 32, TABLES_MAX = 16, SAY_MAX = 20 };
enum page_flag { P_BRANCH = 1, P_LEAF = 2, P_OVERFLOW = 4, P_META = 8, P_LEAF2 = 32, P_SUBP = 64 };
enum node_flag { F_BIG = 1, F_TABLE = 2, F_DUPS = 4 };
enum table_flag { T_DUPSORT = 4, T_INTEGERKEY = 8, T_DUPFIXED = 16, T_INTEGERDUP = 32 };

#define NO_PAGE UINT64_MAX

struct page_head {
	uint64_t pgno;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper;
		};
		uint32_t overflow_cnt;
	};
};

struct node_head {
	uint16_t lo, hi, flags, key_len;
};

struct table {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	uint32_t magic, version;
	uint64_t address, map_bytes;
	struct table free, main;
	uint64_t last_pgno, txn_id;
};

_Static_assert(sizeof(struct page_head) == PAGE_HEAD, "LMDB's page header");
_Static_assert(sizeof(struct node_head) == NODE_HEAD, "LMDB's node header");
_Static_assert(sizeof(struct table) == 48 && sizeof(struct meta) == 136, "LMDB's meta page");

/* --- reading --- */

static int read_at(int fd, void *to, size_t len, uint64_t off)
{
	ssize_t n = pread(fd, to, len, (off_t)off);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EUCLEAN;
}

static int meta_read(int fd, uint64_t off, struct meta *ret)
{
	char buf[PAGE_HEAD + sizeof(*ret)];
	struct page_head head;
	int err = read_at(fd, buf, sizeof(buf), off);

	if (err)
		return err;
	memcpy(&head, buf, sizeof(head));
	memcpy(ret, buf + PAGE_HEAD, sizeof(*ret));
	if (!(head.flags & P_META) || ret->magic != (uint32_t)META_MAGIC ||
	    ret->version != META_VERSION)
		return -EUCLEAN;
	return 0;
}

static bool psize_is_sane(uint32_t psize)
{
	return psize >= PSIZE_MIN && psize <= PSIZE_MAX && (psize & (psize - 1)) == 0;
}

static int metas_read(int fd, struct meta at[2])
{
	struct stat st;
	int err = fstat(fd, &st) < 0 ? -errno : 0;

	if (!err && st.st_size == 0)
		return -ENODATA;
	err = err ?: meta_read(fd, 0, &at[0]);
	if (!err && !psize_is_sane(at[0].free.pad))
		err = -EUCLEAN;
	err = err ?: meta_read(fd, at[0].free.pad, &at[1]);
	for (int i = 0; i < 2 && !err; i++)
		if (at[i].free.pad != at[0].free.pad || at[i].map_bytes > 1ull << 46 ||
		    at[i].map_bytes / at[i].free.pad <= at[i].last_pgno || at[i].last_pgno < 1)
			err = -EUCLEAN;
	return err;
}

int pages_head(int fd)
{
	struct meta at[2];

	return metas_read(fd, at);
}

/* --- one walk --- */

struct walk {
	int fd;
	uint32_t psize;
	uint64_t last, page_cnt; /* of the file: whole pages */
	uint8_t *used, *free;	 /* a bit a page */
	struct pages_say *say;
};

/* What was counted in one tree. */
struct tally {
	uint64_t branch_pages, leaf_pages, overflow_pages, entries;
	const struct table *t;
	const char *name;
	bool is_free_list, is_main, is_sub;
};

static void wrong(struct walk *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void wrong(struct walk *w, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (w->say->cnt++ >= SAY_MAX || !w->say->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	w->say->fn(w->say->arg, text);
}

static bool bit_test_and_set(uint8_t *bits, uint64_t i)
{
	bool was = bits[i / 8] >> i % 8 & 1;

	bits[i / 8] |= (uint8_t)(1 << i % 8);
	return was;
}

#define U64(v) ((unsigned long long)(v))

/* Marks cnt pages as used; false when that cannot be. */
static bool pages_take(struct walk *w, const struct tally *y, uint64_t pgno, uint64_t cnt)
{
	if (pgno < 2 || pgno > w->last || cnt > w->last - pgno + 1) {
		wrong(w, "table %s: refers to page %llu, which the file does not have", y->name,
		      U64(pgno));
		return false;
	}
	for (uint64_t i = pgno; i < pgno + cnt; i++)
		if (bit_test_and_set(w->used, i)) {
			wrong(w, "table %s: page %llu is used twice", y->name, U64(i));
			return false;
		}
	return true;
}

static bool page_read(struct walk *w, const struct tally *y, uint64_t pgno, char *to)
{
	struct page_head head;
	int err = read_at(w->fd, to, w->psize, pgno * w->psize);

	memcpy(&head, to, sizeof(head));
	if (err)
		wrong(w, "table %s: page %llu cannot be read: %s", y->name, U64(pgno),
		      err == -EUCLEAN ? "the file is too short" : strerror(-err));
	else if (head.pgno != pgno)
		wrong(w, "table %s: page %llu says that it is page %llu", y->name, U64(pgno),
		      U64(head.pgno));
	else
		return true;
	return false;
}

static void tree_check(struct walk *w, const struct table *t, const char *name,
		       const struct tally *above);

/* --- leaves --- */

static void free_list_note(struct walk *w, struct tally *y, const char *list, uint64_t len)
{
	uint64_t cnt, pgno;

	memcpy(&cnt, list, len >= 8 ? 8 : 0);
	if (len < 8 || cnt > len / 8 - 1) {
		wrong(w, "free list: an entry is longer than its row");
		return;
	}
	for (uint64_t i = 1; i <= cnt; i++) {
		memcpy(&pgno, list + i * 8, 8);
		if (pgno < 2 || pgno > w->last)
			wrong(w, "free list: page %llu does not exist", U64(pgno));
		else if (bit_test_and_set(w->free, pgno))
			wrong(w, "free list: page %llu is free twice", U64(pgno));
	}
	(void)y;
}

/* A value on pages of its own. */
static void overflow_check(struct walk *w, struct tally *y, const char *data, uint64_t len)
{
	uint64_t pgno, cnt = (PAGE_HEAD - 1 + len) / w->psize + 1;
	struct page_head head;
	char *whole;

	memcpy(&pgno, data, 8);
	if (!pages_take(w, y, pgno, cnt))
		return;
	y->overflow_pages += cnt;
	/* The rest of the last page may never have been written. */
	whole = malloc(y->is_free_list ? PAGE_HEAD + len : PAGE_HEAD);
	must(whole);
	if (read_at(w->fd, whole, y->is_free_list ? PAGE_HEAD + len : PAGE_HEAD, pgno * w->psize)) {
		wrong(w, "table %s: page %llu cannot be read", y->name, U64(pgno));
	} else {
		memcpy(&head, whole, sizeof(head));
		if (head.pgno != pgno || !(head.flags & P_OVERFLOW) || head.overflow_cnt != cnt)
			wrong(w, "table %s: page %llu is not the long value that it should be",
			      y->name, U64(pgno));
		else if ((pgno + cnt - 1) * w->psize >= w->page_cnt * w->psize)
			wrong(w, "table %s: a long value at page %llu ends past the file", y->name,
			      U64(pgno));
		else if (y->is_free_list)
			free_list_note(w, y, whole + PAGE_HEAD, len);
	}
	free(whole);
}

/* Duplicates that fit beside their key. */
static void sub_page_check(struct walk *w, struct tally *y, const char *p, uint64_t len)
{
	struct page_head head;
	uint64_t cnt;

	memcpy(&head, p, len >= PAGE_HEAD ? PAGE_HEAD : 0);
	if (len < PAGE_HEAD || !(head.flags & P_SUBP) || !(head.flags & P_LEAF2) || head.pad != 8 ||
	    head.lower < PAGE_HEAD || head.lower % 2 || head.upper > len ||
	    head.lower > head.upper) {
		wrong(w, "table %s: values of one key are damaged", y->name);
		return;
	}
	cnt = (head.lower - PAGE_HEAD) / 2;
	if (PAGE_HEAD + cnt * 8 > len)
		wrong(w, "table %s: values of one key end outside of their page", y->name);
	y->entries += cnt;
}

static void sub_table_check(struct walk *w, struct tally *y, const char *key, uint32_t key_len,
			    const char *data, uint64_t len)
{
	struct table t;
	char name[32];

	if (len != sizeof(t) || y->is_sub || y->is_free_list) {
		wrong(w, "table %s: a tree where none belongs", y->name);
		return;
	}
	memcpy(&t, data, sizeof(t));
	if (y->is_main)
		snprintf(name, sizeof(name), "%.*s", (int)key_len, key);
	tree_check(w, &t, y->is_main ? name : y->name, y);
	y->entries += y->is_main ? 1 : t.entries;
}

static void leaf_node_check(struct walk *w, struct tally *y, const char *page, uint32_t at)
{
	struct node_head n;
	uint64_t len, room = w->psize - at - NODE_HEAD;
	const char *key = page + at + NODE_HEAD, *data;
	bool is_integer = y->is_free_list || (y->t->flags & T_INTEGERKEY);

	memcpy(&n, page + at, sizeof(n));
	len = n.lo | (uint64_t)n.hi << 16;
	data = key + n.key_len;
	if (n.key_len > room || (n.flags & F_BIG ? 8 : len) > room - n.key_len ||
	    (is_integer && n.key_len != 8)) {
		wrong(w, "table %s: a row ends outside of its page", y->name);
	} else if (n.flags & F_TABLE) {
		if (y->is_main ? n.flags & F_DUPS : !(n.flags & F_DUPS))
			wrong(w, "table %s: a row is of a kind that does not exist", y->name);
		else
			sub_table_check(w, y, key, n.key_len, data, len);
	} else if (n.flags & F_DUPS) {
		if (y->t->flags & T_DUPSORT)
			sub_page_check(w, y, data, len);
		else
			wrong(w, "table %s: many values where one belongs", y->name);
	} else {
		y->entries++;
		if (y->is_main)
			wrong(w, "table %s: a row that is no table", y->name);
		else if ((y->t->flags & T_INTEGERDUP) && len != 8)
			wrong(w, "table %s: a value is not a number", y->name);
		else if (n.flags & F_BIG)
			overflow_check(w, y, data, len);
		else if (y->is_free_list)
			free_list_note(w, y, data, len);
	}
}

/* --- pages --- */

/* How many nodes; 0 and a sentence when the page makes no sense. */
static uint32_t page_nodes(struct walk *w, const struct tally *y, const char *page)
{
	struct page_head h;
	uint32_t cnt;

	memcpy(&h, page, sizeof(h));
	if (h.lower < PAGE_HEAD || h.lower > h.upper || h.upper > w->psize || h.lower % 2) {
		wrong(w, "table %s: page %llu has impossible bounds", y->name, U64(h.pgno));
		return 0;
	}
	cnt = (h.lower - PAGE_HEAD) / 2;
	if (cnt == 0 && !y->is_free_list)
		wrong(w, "table %s: page %llu is empty", y->name, U64(h.pgno));
	return cnt;
}

/* Where node i begins; 0 and a sentence when it is outside. */
static uint32_t node_at(struct walk *w, const struct tally *y, const char *page, uint32_t i)
{
	struct page_head h;
	uint16_t at;

	memcpy(&h, page, sizeof(h));
	memcpy(&at, page + PAGE_HEAD + 2 * i, sizeof(at));
	if (at >= h.upper && at <= w->psize - NODE_HEAD && at % 2 == 0)
		return at;
	wrong(w, "table %s: page %llu has a row outside of it", y->name, U64(h.pgno));
	return 0;
}

static void leaf2_check(struct walk *w, struct tally *y, const char *page)
{
	uint32_t cnt = page_nodes(w, y, page);
	struct page_head h;

	memcpy(&h, page, sizeof(h));
	if (!y->is_sub || h.pad != 8 || PAGE_HEAD + cnt * 8 > w->psize)
		wrong(w, "table %s: page %llu is of a kind that has no place there", y->name,
		      U64(h.pgno));
	y->entries += cnt;
}

static void leaf_check(struct walk *w, struct tally *y, const char *page)
{
	uint32_t cnt = page_nodes(w, y, page), at;

	for (uint32_t i = 0; i < cnt; i++)
		if ((at = node_at(w, y, page, i)))
			leaf_node_check(w, y, page, at);
}

static void page_check(struct walk *w, struct tally *y, uint64_t pgno, unsigned depth);

static void child_check(struct walk *w, struct tally *y, const char *page, uint32_t at, bool first,
			unsigned depth)
{
	bool is_integer = y->is_free_list || (y->t->flags & T_INTEGERKEY);
	struct node_head n;

	memcpy(&n, page + at, sizeof(n));
	/* The first key of a branch is never looked at. */
	if (n.key_len > w->psize - at - NODE_HEAD ||
	    (!first && (is_integer || y->is_sub) && n.key_len != 8))
		wrong(w, "table %s: a key ends outside of its page", y->name);
	else
		page_check(w, y, n.lo | (uint64_t)n.hi << 16 | (uint64_t)n.flags << 32, depth + 1);
}

/* A page at depth (1: the root) and all below. */
static void page_check(struct walk *w, struct tally *y, uint64_t pgno, unsigned depth)
{
	unsigned want = depth == y->t->depth ? (unsigned)P_LEAF : (unsigned)P_BRANCH;
	struct page_head h;
	uint32_t cnt, at;
	char *page;

	if (!pages_take(w, y, pgno, 1))
		return;
	page = calloc(1, w->psize);
	must(page);
	if (page_read(w, y, pgno, page)) {
		memcpy(&h, page, sizeof(h));
		if ((h.flags & (P_BRANCH | P_LEAF | P_OVERFLOW | P_META | P_SUBP)) != want ||
		    (want == P_BRANCH && h.flags & P_LEAF2) ||
		    (want == P_LEAF && y->is_sub && !(h.flags & P_LEAF2))) {
			wrong(w, "table %s: page %llu is of another kind than its place asks for",
			      y->name, U64(pgno));
		} else if (want == P_LEAF) {
			y->leaf_pages++;
			if (h.flags & P_LEAF2)
				leaf2_check(w, y, page);
			else
				leaf_check(w, y, page);
		} else {
			y->branch_pages++;
			cnt = page_nodes(w, y, page);
			if (cnt == 1 && !y->is_free_list)
				wrong(w, "table %s: page %llu has one branch", y->name, U64(pgno));
			for (uint32_t i = 0; i < cnt; i++)
				if ((at = node_at(w, y, page, i)))
					child_check(w, y, page, at, i == 0, depth);
		}
	}
	free(page);
}

static void tree_check(struct walk *w, const struct table *t, const char *name,
		       const struct tally *above)
{
	struct tally y = {.t = t, .name = name};
	uint64_t before = w->say->cnt;

	y.is_free_list = !above && strcmp(name, "(free list)") == 0;
	y.is_main = !above && !y.is_free_list;
	y.is_sub = above && !above->is_main;
	if ((t->root == NO_PAGE) != (t->depth == 0) || t->depth > DEPTH_MAX) {
		wrong(w, "table %s: has a root without a depth, or the other way round", name);
		return;
	}
	if (t->root != NO_PAGE)
		page_check(w, &y, t->root, 1);
	if (w->say->cnt != before)
		return;
	if (y.branch_pages != t->branch_pages || y.leaf_pages != t->leaf_pages ||
	    y.overflow_pages != t->overflow_pages || y.entries != t->entries)
		wrong(w, "table %s: has %llu rows on %llu pages and says that it has %llu on %llu",
		      name, U64(y.entries), U64(y.branch_pages + y.leaf_pages + y.overflow_pages),
		      U64(t->entries), U64(t->branch_pages + t->leaf_pages + t->overflow_pages));
}

static void overlap_check(struct walk *w)
{
	for (uint64_t i = 2; i <= w->last; i++)
		if (w->used[i / 8] >> i % 8 & w->free[i / 8] >> i % 8 & 1)
			wrong(w, "page %llu is in use and in the free list", U64(i));
}

/* Page i holds the odd or the even transactions, and the two are neighbours: one that is older than
 * that was damaged, and the other would be taken for the newest. */
static bool metas_fit(const struct meta at[2])
{
	uint64_t a = at[0].txn_id, b = at[1].txn_id;

	return a % 2 == 0 && (b % 2 == 1 || (a == 0 && b == 0)) &&
	       (a + 1 == b || b + 1 == a || a == b);
}

static int snapshot_choose(const struct meta at[2], uint64_t txn_id, struct meta *ret)
{
	if (!txn_id) {
		*ret = at[at[1].txn_id > at[0].txn_id];
		return 0;
	}
	for (int i = 0; i < 2; i++)
		if (at[i].txn_id == txn_id) {
			*ret = at[i];
			return 0;
		}
	return -EAGAIN;
}

/* Nobody wrote a head meanwhile. */
static bool meta_settled(int fd, const struct meta at[2])
{
	struct meta again[2];

	return metas_read(fd, again) == 0 && again[0].txn_id == at[0].txn_id &&
	       again[1].txn_id == at[1].txn_id;
}

int pages_check(int fd, uint64_t txn_id, struct pages_say *say)
{
	struct walk w = {.fd = fd, .say = say};
	uint64_t before = say->cnt;
	struct meta at[2], m;
	struct stat st;
	int err = metas_read(fd, at);

	if (!err && fstat(fd, &st) < 0)
		err = -errno;
	err = err ?: snapshot_choose(at, txn_id, &m);
	if (!err && !metas_fit(at)) {
		if (txn_id && say->cnt == before && !meta_settled(fd, at))
			return -EAGAIN;
		wrong(&w, "data.mdb: its two heads do not belong together");
	}
	if (err == -EUCLEAN || err == -ENODATA)
		wrong(&w, "data.mdb %s", err == -ENODATA ? "is empty" : "is not an LMDB file");
	if (err)
		return err == -ENODATA ? -EUCLEAN : err;
	w.psize = m.free.pad;
	w.last = m.last_pgno;
	w.page_cnt = (uint64_t)st.st_size / w.psize;
	if (w.last / 16 >
	    (uint64_t)st.st_size) { /* bounds the bits; such a file has no such page */
		wrong(&w, "data.mdb says that it has %llu pages", U64(w.last + 1));
		return -EUCLEAN;
	}
	w.used = calloc(2, w.last / 8 + 1);
	must(w.used);
	w.free = w.used + w.last / 8 + 1;
	tree_check(&w, &m.free, "(free list)", NULL);
	tree_check(&w, &m.main, "(tables)", NULL);
	overlap_check(&w);
	free(w.used);
	return say->cnt == before ? 0 : -EUCLEAN;
}

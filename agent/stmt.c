/* SPDX-License-Identifier: Apache-2.0 */
/* stmt.c - see stmt.h. Pieces of one text are put together in a few slots, the whole text is
 * sanitised and described, and the result is kept once for all connections that sent the same (a
 * pool prepares the same statements on each of its connections, and most simple queries differ only
 * in their literals). It knows no protocol and never waits for a piece: a text whose middle was
 * lost is kept as cut. Called by drain.c and span_build.c on the drain thread. The invariants:
 * memory is bounded by the entries given to stmts_new, by TEXT_BYTES_MAX and by the slots, whatever
 * is sent; an entry is in the table, in one order of use and among those of its text, or in the free
 * chain. */
#include "agent/stmt.h"
#include "agent/sql.h"
#include "agent/utf8.h"
#include "store/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOT_CNT = 16,		  /* texts that can be incomplete at the same time */
	TEXT_BYTES_MAX = 3 << 20, /* of all distinct texts together */
	FRESH_FLOOR = 64,	  /* entries that a flood of long texts leaves to the newest */
	FRESH_BYTES = 1 << 20, /* … and bytes: of those kept many are of connections long gone */
};

/* A place in an order of use; the first member of what has one. */
struct link {
	struct link *newer, *older;
	uint32_t size;
	bool used, kept;
};

struct list {
	struct link *newest, *oldest;
	uint32_t cnt;
	size_t bytes;
};

/* Found twice, or a database name: kept. The rest, which is what single queries leave behind, goes
 * first, so that a flood of those does not drive out prepared statements, which are sent only once.
 */
struct lru {
	struct list fresh, kept;
};

/* One distinct text; freed with its last entry. */
struct text {
	struct link link; /* its size: of this allocation */
	struct text *chain;
	struct entry *entries;
	uint64_t hash;
	uint32_t refs; /* entries, and one while there is none yet */
	bool database;
	struct stmt stmt; /* its strings are in bytes */
	char bytes[];
};

struct entry {
	struct link link;
	uint64_t conn, stmt;
	struct text *text;
	struct entry *chain;	   /* of its bucket, or of the free ones */
	struct entry *next, *prev; /* of its text */
};

/* A text whose pieces are still coming. */
struct slot {
	uint64_t conn, stmt;
	uint64_t tick; /* of its last piece; 0: free */
	uint32_t have, total;
	char text[STMT_TEXT_MAX];
};

struct stmts {
	bool sanitize;
	uint32_t max, bucket_cnt; /* buckets: a power of two */
	uint32_t touched; /* entries that were ever in use: those behind them cost no memory yet */
	uint64_t seed, tick;
	struct entry *entries, *free;
	struct entry **buckets;
	struct text **texts;
	struct lru by_entry; /* who goes when there are too many */
	struct lru by_text; /* who goes when they are too long: that of a pool's connections is used
			       by any */
	struct slot slots[SLOT_CNT];
	struct strbuf clean;
	struct arena arena; /* of one text at a time */
	stat_cell *known, *bytes, *unknown, *evicted_by_number, *evicted_by_bytes;
};

/* --- hashes: seeded, since a traced program chooses what goes in --- */

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

static uint64_t hash_bytes(uint64_t h, struct str s)
{
	uint64_t word = 0;

	for (; s.len >= sizeof(word); s.p += sizeof(word), s.len -= sizeof(word)) {
		memcpy(&word, s.p, sizeof(word));
		h = mix(h ^ word) + 0x9e3779b97f4a7c15u;
	}
	word = s.len;
	memcpy((char *)&word + 1, s.p, s.len);
	return mix(h ^ word);
}

/* --- orders of use --- */

static void lru_remove(struct lru *o, struct link *k)
{
	struct list *l = k->kept ? &o->kept : &o->fresh;

	*(k->newer ? &k->newer->older : &l->newest) = k->older;
	*(k->older ? &k->older->newer : &l->oldest) = k->newer;
	l->cnt--;
	l->bytes -= k->size;
}

static void lru_add(struct lru *o, struct link *k)
{
	struct list *l = k->kept ? &o->kept : &o->fresh;

	k->newer = NULL;
	k->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = k;
	l->newest = k;
	l->cnt++;
	l->bytes += k->size;
}

static void lru_renew(struct lru *o, struct link *k)
{
	lru_remove(o, k);
	lru_add(o, k);
}

static void lru_touch(struct lru *o, struct link *k)
{
	lru_remove(o, k);
	k->kept = k->kept || k->used;
	k->used = true;
	lru_add(o, k);
}

/* The next to go: a fresh one as long as more than floor of them are there. */
static struct link *lru_victim(struct lru *o, uint32_t floor)
{
	return o->fresh.cnt > floor || !o->kept.oldest ? o->fresh.oldest : o->kept.oldest;
}

static uint32_t lru_cnt(const struct lru *o)
{
	return o->fresh.cnt + o->kept.cnt;
}

static size_t lru_bytes(const struct lru *o)
{
	return o->fresh.bytes + o->kept.bytes;
}

/* --- distinct texts --- */

static bool text_is(const struct text *t, uint64_t hash, const struct stmt *st, bool database)
{
	return t->hash == hash && t->database == database && t->stmt.cut == st->cut &&
	       str_eq(t->stmt.text, st->text);
}

static struct str bytes_take(char **at, struct str s)
{
	struct str copy = {*at, s.len};

	memcpy(*at, s.p, s.len);
	*at += s.len;
	return copy;
}

static struct text *text_new(const struct stmt *st)
{
	size_t size = sizeof(struct text) + st->text.len + st->operation.len + st->collection.len +
		      st->summary.len;
	struct text *t = malloc(size);
	char *at;

	must(t);
	at = t->bytes;
	*t = (struct text){.link.size = size};
	t->stmt.text = bytes_take(&at, st->text);
	t->stmt.operation = bytes_take(&at, st->operation);
	t->stmt.collection = bytes_take(&at, st->collection);
	t->stmt.summary = bytes_take(&at, st->summary);
	t->stmt.cut = st->cut;
	return t;
}

/* The text with this content, with one more reference. It is described only when it is new. */
static struct text *text_get(struct stmts *s, struct stmt *st, bool database)
{
	uint64_t hash = hash_bytes(s->seed + database, st->text);
	struct text **bucket = &s->texts[hash & (s->bucket_cnt - 1)];
	struct text *t = *bucket;

	while (t && !text_is(t, hash, st, database))
		t = t->chain;
	if (!t) {
		if (!database)
			sql_describe(&s->arena, st->text, &st->operation, &st->collection,
				     &st->summary);
		t = text_new(st);
		t->hash = hash;
		t->database = t->link.kept = database;
		t->chain = *bucket;
		*bucket = t;
		lru_add(&s->by_text, &t->link);
	} else {
		lru_renew(&s->by_text, &t->link);
	}
	t->refs++;
	return t;
}

static void text_put(struct stmts *s, struct text *t)
{
	struct text **at = &s->texts[t->hash & (s->bucket_cnt - 1)];

	if (--t->refs)
		return;
	while (*at != t)
		at = &(*at)->chain;
	*at = t->chain;
	lru_remove(&s->by_text, &t->link);
	free(t);
}

/* --- entries --- */

static struct entry **entry_bucket(struct stmts *s, uint64_t conn, uint64_t stmt)
{
	return &s->buckets[mix(mix(s->seed ^ conn) ^ stmt) & (s->bucket_cnt - 1)];
}

static struct entry *entry_find(struct stmts *s, uint64_t conn, uint64_t stmt)
{
	struct entry *e = *entry_bucket(s, conn, stmt);

	while (e && (e->conn != conn || e->stmt != stmt))
		e = e->chain;
	return e;
}

static void entry_attach(struct entry *e, struct text *t)
{
	e->text = t;
	e->next = t->entries;
	if (e->next)
		e->next->prev = e;
	t->entries = e;
}

static void entry_detach(struct stmts *s, struct entry *e)
{
	*(e->prev ? &e->prev->next : &e->text->entries) = e->next;
	if (e->next)
		e->next->prev = e->prev;
	text_put(s, e->text);
}

static void entry_drop(struct stmts *s, struct entry *e)
{
	struct entry **at = entry_bucket(s, e->conn, e->stmt);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	lru_remove(&s->by_entry, &e->link);
	entry_detach(s, e);
	e->chain = s->free;
	s->free = e;
}

static struct entry *entry_take(struct stmts *s)
{
	struct entry *e;

	if (!s->free && s->touched < s->max)
		return &s->entries[s->touched++];
	if (!s->free) {
		entry_drop(s, (struct entry *)lru_victim(&s->by_entry, s->max / 2));
		stat_add(s->evicted_by_number, 1);
	}
	e = s->free;
	s->free = e->chain;
	return e;
}

static void text_evict(struct stmts *s, struct text *t)
{
	uint32_t cnt = t->refs;

	stat_add(s->evicted_by_bytes, cnt);
	while (cnt--)
		entry_drop(s, t->entries); /* the last one frees it */
}

/* By texts, not by entries: one of many that share a text would give nothing back. The newest text
 * is never alone above the bound. */
static void texts_bound(struct stmts *s)
{
	struct lru *o = &s->by_text;

	while (lru_bytes(o) > TEXT_BYTES_MAX && lru_cnt(o) > 1)
		text_evict(s, (struct text *)lru_victim(
				      o, o->fresh.bytes > FRESH_BYTES ? FRESH_FLOOR : UINT32_MAX));
}

static void entry_add(struct stmts *s, uint64_t conn, uint64_t stmt, struct text *t)
{
	struct entry *e = entry_take(s), **bucket = entry_bucket(s, conn, stmt);

	*e = (struct entry){
		.link.kept = stmt == STMT_DATABASE, .conn = conn, .stmt = stmt, .chain = *bucket};
	*bucket = e;
	entry_attach(e, t);
	lru_add(&s->by_entry, &e->link);
	texts_bound(s);
	stat_set(s->known, lru_cnt(&s->by_entry));
	stat_set(s->bytes, lru_bytes(&s->by_text));
}

/* --- whole texts --- */

static struct str sanitized(struct stmts *s, struct str raw)
{
	if (!s->sanitize)
		return utf8_copy(&s->arena, raw);
	strbuf_clear(&s->clean);
	sql_sanitize(&s->clean, raw);
	return (struct str){s->clean.p, s->clean.len};
}

/* The text of (conn, stmt) is as whole as it will ever be; it replaces what was known. */
static void learn(struct stmts *s, uint64_t conn, uint64_t stmt, struct str raw, bool cut)
{
	bool database = stmt == STMT_DATABASE;
	struct stmt st = {.text = STR(""), .cut = cut};
	struct entry *e = entry_find(s, conn, stmt);
	struct text *t;

	st.operation = st.collection = st.summary = STR("");
	arena_reset(&s->arena);
	raw.len = strnlen(raw.p, raw.len);
	st.text = database ? utf8_copy(&s->arena, raw) : sanitized(s, raw);
	t = text_get(s, &st, database);
	if (e)
		entry_drop(s, e);
	entry_add(s, conn, stmt, t);
}

/* --- pieces --- */

static void slot_finish(struct stmts *s, struct slot *sl)
{
	learn(s, sl->conn, sl->stmt, (struct str){sl->text, sl->have}, sl->have < sl->total);
	sl->tick = 0;
}

static struct slot *slot_find(struct stmts *s, uint64_t conn, uint64_t stmt)
{
	for (uint32_t i = 0; i < SLOT_CNT; i++) {
		struct slot *sl = &s->slots[i];

		if (sl->tick && sl->conn == conn && sl->stmt == stmt)
			return sl;
	}
	return NULL;
}

/* A free slot; when there is none, the one that waits longest ends as it is. */
static struct slot *slot_new(struct stmts *s, const struct rec_stmt *rs)
{
	struct slot *sl = &s->slots[0];

	for (uint32_t i = 1; i < SLOT_CNT; i++) {
		if (s->slots[i].tick < sl->tick)
			sl = &s->slots[i];
	}
	if (sl->tick)
		slot_finish(s, sl);
	sl->conn = rs->conn;
	sl->stmt = rs->stmt;
	sl->have = 0;
	return sl;
}

static void slot_add(struct stmts *s, struct slot *sl, const struct rec_stmt *rs, uint32_t len)
{
	uint32_t room = STMT_TEXT_MAX - sl->have;

	len = len < room ? len : room;
	memcpy(sl->text + sl->have, rs->text, len);
	sl->have += len;
	sl->total = rs->total; /* only the last piece knows */
	sl->tick = ++s->tick;
	if (sl->have >= sl->total || sl->have == STMT_TEXT_MAX)
		slot_finish(s, sl);
}

void stmts_add(struct stmts *s, const struct rec_stmt *rs, uint32_t len)
{
	struct slot *sl = slot_find(s, rs->conn, rs->stmt);

	len = len < STMT_CHUNK ? len : STMT_CHUNK;
	if (rs->off == 0) {
		if (sl)
			sl->tick = 0; /* sent anew */
		if (len >= rs->total) {
			learn(s, rs->conn, rs->stmt, (struct str){rs->text, rs->total}, false);
			return;
		}
		sl = slot_new(s, rs);
	} else if (!sl) {
		return; /* its beginning was lost */
	} else if (rs->off != sl->have) {
		slot_finish(s, sl);
		return;
	}
	slot_add(s, sl, rs, len);
}

/* --- look-up --- */

/* Spans come behind the texts they refer to, so a text that is not whole by then never will be. */
const struct stmt *stmts_find(struct stmts *s, uint64_t conn, uint64_t stmt)
{
	struct slot *sl = slot_find(s, conn, stmt);
	struct entry *e;

	if (sl)
		slot_finish(s, sl);
	e = entry_find(s, conn, stmt);
	if (!e) {
		if (stmt != STMT_DATABASE)
			stat_add(s->unknown, 1);
		return NULL;
	}
	lru_touch(&s->by_entry, &e->link);
	lru_touch(&s->by_text, &e->text->link);
	return &e->text->stmt;
}

struct str stmts_database(struct stmts *s, uint64_t conn)
{
	const struct stmt *st = stmts_find(s, conn, STMT_DATABASE);

	return st ? st->text : STR("");
}

/* --- life --- */

static uint32_t power_of_two(uint32_t least)
{
	uint32_t n = 16;

	while (n < least)
		n *= 2;
	return n;
}

static void cells_open(struct stmts *s)
{
	static const char evicted[] =
		"SQL texts that were forgotten, oldest use first: of too many statements, or "
		"of too many bytes; most are of connections long gone";

	s->known = stats_cell(STAT_GAUGE, "statements", "",
			      "Statements of connections whose text is known");
	s->bytes = stats_cell(STAT_GAUGE, "statement_bytes", "",
			      "Bytes of their texts, each kept once");
	s->unknown = stats_cell(STAT_COUNTER, "statements_unknown_total", "",
				"Spans whose SQL text was lost, forgotten, or sent before we came");
	s->evicted_by_number =
		stats_cell(STAT_COUNTER, "statements_evicted_total", "reason=\"number\"", evicted);
	s->evicted_by_bytes =
		stats_cell(STAT_COUNTER, "statements_evicted_total", "reason=\"bytes\"", evicted);
}

int stmts_new(struct stmts **ret, uint32_t max, bool sanitize)
{
	struct stmts *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->sanitize = sanitize;
	s->max = max > FRESH_FLOOR ? max : FRESH_FLOOR;
	s->bucket_cnt = power_of_two(s->max);
	cells_open(s);
	s->seed = mix(clock_real_ns() ^ (uintptr_t)s);
	s->entries = calloc(s->max, sizeof(*s->entries));
	s->buckets = calloc(s->bucket_cnt, sizeof(struct entry *));
	s->texts = calloc(s->bucket_cnt, sizeof(struct text *));
	strbuf_init(&s->clean);
	arena_init(&s->arena, 0);
	if (!s->entries || !s->buckets || !s->texts) {
		stmts_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void stmts_free(struct stmts *s)
{
	if (!s)
		return;
	while (lru_cnt(&s->by_entry))
		entry_drop(s, (struct entry *)lru_victim(&s->by_entry, 0));
	arena_fini(&s->arena);
	strbuf_fini(&s->clean);
	free(s->texts);
	free(s->buckets);
	free(s->entries);
	free(s);
}

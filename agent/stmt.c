/* SPDX-License-Identifier: Apache-2.0 */
/* stmt.c - see stmt.h. Pieces of one text are put together in a few slots, the whole text is
 * sanitised and described, and the result is kept once for all connections that sent the same (a
 * pool prepares the same statements on each of its connections, and most simple queries differ only
 * in their literals). It knows no protocol and never waits for a piece: a text whose middle was
 * lost is kept as cut. Called by drain.c and span_build.c on the drain thread. The invariants:
 * memory is bounded by the entries given to stmts_new, by TEXT_BYTES_MAX and by the slots, whatever
 * is sent; an entry is in the table and in exactly one list, or in the free chain. */
#include "agent/stmt.h"
#include "agent/sql.h"
#include "agent/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOT_CNT = 16,		  /* texts that can be incomplete at the same time */
	TEXT_BYTES_MAX = 3 << 20, /* of all distinct texts together */
	FRESH_FLOOR = 64,	  /* entries that a flood of long texts leaves to the newest */
	FRESH_BYTES = 1 << 20,	  /* … and bytes: of those kept many are of connections long gone */
};

/* One distinct text; freed with its last entry. */
struct text {
	struct text *chain;
	uint64_t hash;
	uint32_t refs;
	uint32_t size; /* of this allocation */
	bool database;
	struct stmt stmt; /* its strings are in bytes */
	char bytes[];
};

struct list {
	struct entry *newest, *oldest;
	uint32_t cnt;
	size_t bytes; /* of texts; one that several entries share counts for each */
};

struct entry {
	uint64_t conn, stmt;
	struct text *text;
	struct entry *chain; /* of its bucket, or of the free ones */
	struct entry *newer, *older;
	struct list *list;
	bool used;
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
	uint64_t seed, tick;
	size_t text_bytes;
	struct entry *entries, *free;
	struct entry **buckets;
	struct text **texts;
	/* Found twice, or a database name: kept. The rest, which is what single queries leave
	 * behind, goes first, so that a flood of those does not drive out prepared statements,
	 * which are sent only once. */
	struct list fresh, kept;
	struct slot slots[SLOT_CNT];
	struct strbuf clean;
	struct arena arena; /* of one text at a time */
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
	*t = (struct text){.size = size};
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
		t->database = database;
		t->chain = *bucket;
		*bucket = t;
		s->text_bytes += t->size;
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
	s->text_bytes -= t->size;
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

static void list_remove(struct entry *e)
{
	struct list *l = e->list;

	*(e->newer ? &e->newer->older : &l->newest) = e->older;
	*(e->older ? &e->older->newer : &l->oldest) = e->newer;
	l->cnt--;
	l->bytes -= e->text->size;
}

static void list_add(struct list *l, struct entry *e)
{
	e->list = l;
	e->newer = NULL;
	e->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = e;
	l->newest = e;
	l->cnt++;
	l->bytes += e->text->size;
}

static void entry_drop(struct stmts *s, struct entry *e)
{
	struct entry **at = entry_bucket(s, e->conn, e->stmt);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	list_remove(e);
	text_put(s, e->text);
	e->chain = s->free;
	s->free = e;
}

/* The next to go: a fresh one as long as more than floor of them are there. */
static struct entry *victim(struct stmts *s, uint32_t floor)
{
	return s->fresh.cnt > floor || !s->kept.oldest ? s->fresh.oldest : s->kept.oldest;
}

static void entry_add(struct stmts *s, uint64_t conn, uint64_t stmt, struct text *t)
{
	struct entry **bucket, *e;

	if (!s->free)
		entry_drop(s, victim(s, s->max / 2));
	e = s->free;
	s->free = e->chain;
	bucket = entry_bucket(s, conn, stmt);
	*e = (struct entry){.conn = conn, .stmt = stmt, .text = t, .chain = *bucket};
	*bucket = e;
	list_add(stmt == STMT_DATABASE ? &s->kept : &s->fresh, e);
	while (s->text_bytes > TEXT_BYTES_MAX && s->fresh.cnt + s->kept.cnt > 1) {
		struct entry *old = victim(s, s->fresh.bytes > FRESH_BYTES ? FRESH_FLOOR : UINT32_MAX);

		entry_drop(s, old == e ? s->kept.oldest : old);
	}
}

static void entry_touch(struct stmts *s, struct entry *e)
{
	bool keep = e->used || e->list == &s->kept;

	e->used = true;
	list_remove(e);
	list_add(keep ? &s->kept : &s->fresh, e);
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
	if (!e)
		return NULL;
	entry_touch(s, e);
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

int stmts_new(struct stmts **ret, uint32_t max, bool sanitize)
{
	struct stmts *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->sanitize = sanitize;
	s->max = max > FRESH_FLOOR ? max : FRESH_FLOOR;
	s->bucket_cnt = power_of_two(s->max);
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
	for (uint32_t i = s->max; i-- > 0;) {
		s->entries[i].chain = s->free;
		s->free = &s->entries[i];
	}
	*ret = s;
	return 0;
}

void stmts_free(struct stmts *s)
{
	if (!s)
		return;
	while (s->fresh.oldest)
		entry_drop(s, s->fresh.oldest);
	while (s->kept.oldest)
		entry_drop(s, s->kept.oldest);
	arena_fini(&s->arena);
	strbuf_fini(&s->clean);
	free(s->texts);
	free(s->buckets);
	free(s->entries);
	free(s);
}

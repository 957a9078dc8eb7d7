/* SPDX-License-Identifier: Apache-2.0 */
/* keys.h - the on-disk format, version 3: this comment is its definition, the helpers below are its
 * smallest parts (names, table rows, varints). It holds no policy and opens no file. Included by
 * all of store/, by nobody else. Whoever changes a byte of what is described here raises
 * STORE_FORMAT.
 *
 * THE FOLDER
 *   DIR/format                  the text "wirespan-store 3\n"; a lower number is refused
 *                               until `wirespan store upgrade`, a higher one for good
 *   DIR/lock                    flock(LOCK_EX) by the writer, holds its pid in decimal; empty when it
 *                               closed the store well
 *   DIR/tally                   u64 spans accepted, u64 of them committed, since the last start; the
 *                               difference is what a kill lost
 *   DIR/20261122T13Z/           a partition: its start in UTC. When the start is not a whole hour:
 *                               20261122T133000Z. Further partitions of the same time, begun when
 *                               one grows past its share of the size limit: 20261122T13Z-2, -3, ...
 *   DIR/20261122T13Z/data.mdb   an LMDB environment; lock.mdb beside it is LMDB's
 *   DIR/20261122T13Z/filter     which traces the partition cannot hold, see below; not always there
 *   DIR/<partition>.damaged     set aside, never opened again, removed by retention like the others
 *   DIR/<partition>.suspect     a byte for each time that reading it made the program fault;
 *                               empty: the program faulted while it was open
 *   DIR/<partition>.gone        being made or removed; what a crash left of it is removed at start
 * Other names are left alone.
 *
 * A PARTITION (LMDB tables; integer keys are native u64, as MDB_INTEGERKEY wants it; every other
 * fixed-width number is little-endian; the machine has to be little-endian)
 *   table   key                       value
 *   meta    "meta"                    72 bytes, see below; written by every commit
 *   dict    u64 kind << 32 | id       bytes, sum; ids of a kind count up from 0 without gaps
 *   spans   u64 sequence, from 1, up  a chunk, sum (MDB_APPEND)
 *   traces  u64 trace_key(trace id)   u64 sequences of its chunks (DUPSORT DUPFIXED INTEGERDUP).
 *                                     Other traces may share the key: the chunk's own id decides.
 *                                     In version 2 it was a hash of the id and nothing else.
 *   columns u64 sequence of the last  a block, sum. Partitions of before 2026-12 have no such
 *           chunk in the block        table. It says nothing that the chunks do not say: they make
 *                                     it, byte for byte (`store check` makes it again).
 *
 *   meta:  u32 format  u32 number(1 for no suffix)  u64 start_ns  u64 width_ns  u64 spans
 *          u64 chunks(= last sequence)  u64 min_start_ns  u64 max_start_ns  u64 max_end_ns
 *          u64 sum of the 64 bytes before
 *
 *   sum: u32 row_sum(table, key, bytes). LMDB has none, and a flipped bit in a string would decode:
 *   what does not fit its sum is left out by reads and counted, never shown. The table and the key
 *   are in it, so that a row in another's place does not pass either. Rows of traces need none: the
 *   chunk's own id decides. Version 1 was the same without sums (0 in the meta row).
 *
 * THE FILTER (made when nobody writes to the partition any more, removed before the next write; of
 * other chunks than the meta row's it says nothing)
 *   "wsfilter"  u64 chunks  u64 blocks  u64 row_sum(filter, chunks, the blocks)  blocks of 8 u32:
 *   trace key k, h = k * 0x9e3779b97f4a7c15, h ^= h >> 32, sets bit (u32)h * salt[i] >> 27 in word
 *   i of block (h >> 32) * blocks >> 32
 *
 * A span goes to the partition of its start, after the start was clamped to [now - max_age,
 * now + 1 h]; one commit writes to at most 8 partitions, what would need a ninth goes to the
 * nearest of the eight. So a partition may hold spans from outside its nominal time: reads go by
 * min_start and max_end, which are true.
 *
 * ENCODING
 *   v     unsigned LEB128 varint, at most 10 bytes        z   zigzag in a varint
 *   ref   a string: v.  even: dictionary string v / 2.  v % 4 == 1: v / 4 bytes follow.
 *         v % 4 == 3: the (v / 4)-th noted string of this chunk. Noted are the first 255 strings
 *         of a chunk that stand in it by their bytes and are 4 bytes or longer, from 0.
 *         Inside resources, scopes and dict values nothing is noted.
 *
 *   chunk = spans of one trace from one commit, in order of arrival. Cut so that it fits into an
 *   LMDB leaf beside another one (CHUNK_TARGET); a larger single span makes a chunk of its own.
 *     16 trace id   v span count   8 base_ns (after no start)   8 span id, each
 *     v parent, each   0: none (root). 1: 8 bytes follow. n + 2: the n-th span id of this chunk
 *     body, each
 *   body = v head     bits 0-2 kind, 3-4 status, 5 flags follow, 6 more follows
 *          v more     only if head says so: the bits of enum more_bit
 *          v kind, v status   only with MORE_WIDE (values that head has no room for)
 *          v flags    only if head says so
 *          v start - base_ns     z end - start
 *          ref name
 *          v resource   0: that of the span before. 1: a resource follows. n + 2: dictionary
 *          v scope      the same with scopes
 *          attrs
 *          then, each only with its bit of more and in this order: v attributes dropped;
 *          ref status message; ref trace state; v count and events; v events dropped;
 *          v count and links; v links dropped
 *   event    = z time - start of span, ref name, attrs, v dropped
 *   link     = 16 trace id, 8 span id, v flags, ref trace state, attrs, v dropped
 *   resource = ref schema url, attrs, v dropped
 *   scope    = ref name, ref version, ref schema url, attrs, v dropped
 *   attrs    = v shape, the values one after another.  shape 0: inline: v count, then for each
 *              field v: 0: u8 type and ref key follow, n + 1: dictionary field n.
 *              shape 1: no attributes.  n + 2: dictionary shape n
 *   value    = by type. EMPTY: one zero byte. STR: ref. BOOL: one byte 0 or 1. INT: z. DOUBLE: 8
 *              bytes. BYTES: v length, bytes. ARRAY: v count, then u8 type and value each.
 *              KVLIST: v count, then ref key, u8 type and value each. ARRAY_STR, _BOOL, _INT,
 *              _DOUBLE (all elements of one type): v count, then values. At most 64 levels.
 *
 *   dict kinds: STRING: the bytes. FIELD: u8 enum tag_scope, u8 type, key. SHAPE: v field id, each.
 *   RESOURCE, SCOPE: as above.
 *
 * A BLOCK: the spans of consecutive chunks by column (columns.h has the picture)
 *   block  = v chunks   v spans   v spans of the partition up to and with this block
 *            8 first start   8 last start   8 last end
 *            v count and resources: v 0: attrs follow, id + 1: dictionary
 *            v count and scopes: v 0: str name, str version, attrs follow, id + 1: dictionary
 *            v count and groups   8 bytes that nobody reads
 *   group  = v rows   v flags (enum group_flag)   v count and str keys
 *            then the columns of enum column_id and one per key, each: v length, and in that length
 *            u8 form. OPAQUE: nothing more.
 *            NUMBERS: for each run of 128 rows 8 base, 4 offset of its numbers behind the heads of
 *            all runs, 4 width; then the numbers less base, packed.
 *            VALUES: v count, v length and values, the rows' indices packed in as many bits as the
 *            last index needs.
 *   packed = width bits each, lowest bits first, up to a whole byte; widths from 57 on are 64
 *   str    = v length, bytes       attrs = v count, then str key and value each
 *   value  = u8 enum val_type. STR: str. INT: z. DOUBLE: 8. BOOL: one byte. ARRAY: u8 type of all
 *            elements, v count, elements without their types. EMPTY stands for all else.
 *
 * WHAT GOES INTO THE DICTIONARY, so that it stays bounded per partition (the writer keeps a copy in
 * memory): never more entries or bytes of a kind than enum dict_limit says, never an entry longer
 * than DICT_ENTRY_MAX. A string of 2 bytes or more goes in unless the field that it is a value of
 * has put FIELD_VALUES_MAX strings there already (values of many kinds: paths with ids, addresses);
 * then it stands in the chunk. What finds no room stands in the chunk: nothing is ever refused for
 * want of dictionary. */
#ifndef WIRESPAN_STORE_KEYS_H
#define WIRESPAN_STORE_KEYS_H

#include <string.h>

#include "store/base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

enum { STORE_FORMAT = 3, META_LEN = 72, CHUNK_TARGET = 1900, VAL_DEPTH_MAX = 64 };
enum { NOTED_MAX = 255, NOTED_LEN_MIN = 4 };

enum dict_kind { DICT_STRING, DICT_FIELD, DICT_SHAPE, DICT_RESOURCE, DICT_SCOPE, DICT_KIND_COUNT };

enum dict_limit {
	DICT_STRINGS_MAX = 32768,
	DICT_STRING_BYTES_MAX = 2 << 20,
	DICT_OTHERS_MAX = 4096, /* fields, shapes, resources, scopes: each */
	DICT_OTHER_BYTES_MAX = 256 << 10,
	DICT_ENTRY_MAX = 1024,
	SHAPE_FIELDS_MAX = 128,
	FIELD_VALUES_MAX = 512,
};

/* On disk; the first eight are enum val_type. */
enum disk_type {
	DISK_ARRAY_STR = 8,
	DISK_ARRAY_BOOL,
	DISK_ARRAY_INT,
	DISK_ARRAY_DOUBLE,
	DISK_TYPE_COUNT,
};

enum head_bit {
	HEAD_KIND = 7,
	HEAD_STATUS_SHIFT = 3,
	HEAD_STATUS = 3,
	HEAD_FLAGS = 32,
	HEAD_MORE = 64
};

enum more_bit {
	MORE_WIDE = 1,
	MORE_DROPPED = 2,
	MORE_MESSAGE = 4,
	MORE_STATE = 8,
	MORE_EVENTS = 16,
	MORE_EVENTS_DROPPED = 32,
	MORE_LINKS = 64,
	MORE_LINKS_DROPPED = 128,
};

/* --- table rows --- */

struct part_meta {
	uint32_t format, number;
	uint64_t start_ns, width_ns;
	uint64_t spans, chunks;
	uint64_t min_start_ns, max_start_ns, max_end_ns; /* only when spans > 0 */
	uint64_t sum;
};

_Static_assert(sizeof(struct part_meta) == META_LEN, "the meta row is an on-disk format");

static inline uint64_t dict_key(enum dict_kind kind, uint32_t id)
{
	return (uint64_t)kind << 32 | id;
}

static inline uint32_t trace_hash(const uint8_t trace_id[16])
{
	uint64_t a, b;

	memcpy(&a, trace_id, 8);
	memcpy(&b, trace_id + 8, 8);
	a = (a ^ b >> 29) * 0x9e3779b97f4a7c15u;
	b = (b ^ a >> 32) * 0xbf58476d1ce4e5b9u;
	return (uint32_t)(b ^ b >> 31);
}

/* The first four bytes of the id as a number, then its hash. Ids that begin with the time (the kernel half's
 * do, X-Ray's and others') go into the index side by side: a commit then writes a few of its pages
 * anew, not one for each trace. */
static inline uint64_t trace_key(const uint8_t trace_id[16])
{
	uint32_t first;

	memcpy(&first, trace_id, 4);
	return (uint64_t)__builtin_bswap32(first) << 32 | trace_hash(trace_id);
}

/* --- sums --- */

enum { SUM_LEN = 4 };

enum sum_table { SUM_META = 1, SUM_DICT, SUM_SPANS, SUM_COLUMNS, SUM_FILTER };

static inline uint64_t sum_mix(uint64_t h, uint64_t v)
{
	__uint128_t m = (__uint128_t)(h ^ v) * 0x9e3779b97f4a7c15u;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Against accidents, not against people. */
static inline uint32_t row_sum(enum sum_table table, uint64_t key, const void *bytes, size_t len)
{
	uint64_t h = sum_mix(0x5bd1e9955bd1e995u ^ (uint64_t)table << 56, key), v = 0;
	const uint8_t *p = bytes;

	h = sum_mix(h, len);
	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&v, p, 8);
		h = sum_mix(h, v ^ 0xc2b2ae3d27d4eb4fu);
	}
	v = 0;
	if (len)
		memcpy(&v, p, len);
	return (uint32_t)(sum_mix(h, v ^ 0xc2b2ae3d27d4eb4fu) >> 32);
}

/* The row without its sum; false: the sum says no. */
static inline bool sum_check(enum sum_table table, uint64_t key, struct str row, struct str *ret)
{
	uint32_t sum;

	if (row.len < SUM_LEN)
		return false;
	memcpy(&sum, row.p + row.len - SUM_LEN, SUM_LEN);
	*ret = (struct str){row.p, row.len - SUM_LEN};
	return row_sum(table, key, ret->p, ret->len) == sum;
}

static inline void put_sum(struct strbuf *row, enum sum_table table, uint64_t key)
{
	uint32_t sum = row_sum(table, key, row->p, row->len);

	strbuf_add(row, &sum, SUM_LEN);
}

static inline uint64_t meta_sum(const struct part_meta *m)
{
	return row_sum(SUM_META, 0, m, offsetof(struct part_meta, sum));
}

/* --- names --- */

enum { PART_NAME_MAX = 48 };

#define PART_SUSPECT ".suspect"
#define PART_FILTER  "/filter"

enum part_state { PART_GOOD, PART_DAMAGED, PART_GONE };

void part_name(char name[PART_NAME_MAX], uint64_t start_ns, uint32_t number);
/* 0, or -EINVAL: not the name of a partition. */
int part_name_parse(const char *name, uint64_t *ret_start_ns, uint32_t *ret_number,
		    enum part_state *ret_state);

/* --- bytes out --- */

static inline uint64_t zigzag(int64_t v)
{
	return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static inline void put_varint(struct strbuf *out, uint64_t v)
{
	uint8_t b[10];
	size_t n = 0;

	while (v >= 0x80) {
		b[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	b[n++] = (uint8_t)v;
	strbuf_add(out, b, n);
}

static inline void put_u64(struct strbuf *out, uint64_t v)
{
	strbuf_add(out, &v, sizeof(v));
}

/* --- bytes in: past the end, or after anything bad, everything reads as zero and bad stays set ---
 */

struct reader {
	const uint8_t *p, *end;
	bool bad;
};

static inline size_t reader_left(const struct reader *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->p);
}

static inline uint64_t get_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && reader_left(r) > 0; shift += 7) {
		uint8_t b = *r->p++;

		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->bad = true;
	return 0;
}

static inline uint32_t get_varint32(struct reader *r)
{
	uint64_t v = get_varint(r);

	if (v > UINT32_MAX)
		r->bad = true;
	return r->bad ? 0 : (uint32_t)v;
}

/* len bytes, or NULL and bad. */
static inline const uint8_t *get_bytes(struct reader *r, uint64_t len)
{
	const uint8_t *p = r->p;

	if (r->bad || len > reader_left(r)) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	return p;
}

static inline uint64_t get_u64(struct reader *r)
{
	const uint8_t *p = get_bytes(r, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, 8);
	return v;
}

static inline uint8_t get_u8(struct reader *r)
{
	const uint8_t *p = get_bytes(r, 1);

	return p ? *p : 0;
}

#endif

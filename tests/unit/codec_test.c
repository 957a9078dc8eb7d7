/* SPDX-License-Identifier: Apache-2.0 */
/* codec_test.c - spans to bytes and back: everything a span can say survives, with a roomy, a full
 * and no dictionary; every truncation and thousands of damaged chunks and dictionary entries end in
 * spans or -EUCLEAN, with the input against the end of its mapping so that an over-read faults. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/dict.h"
#include "tests/lib/span_gen.h"

enum { SPANS = 10000, MAP_LEN = 1 << 20 };

/* --- a dictionary as both sides see it --- */

struct book {
	struct dict *dict;
	struct str at[DICT_KIND_COUNT][DICT_STRINGS_MAX];
	struct arena mem;
	bool is_empty; /* nothing goes in */
	uint64_t flip; /* not 0: damages what it gives */
};

static int book_note(void *arg, enum dict_kind kind, uint32_t id, struct str bytes)
{
	struct book *b = arg;

	b->at[kind][id] = bytes;
	return 0;
}

static uint32_t book_put(void *arg, enum dict_kind kind, uint32_t owner, struct str bytes)
{
	struct book *b = arg;
	uint32_t id = b->is_empty ? DICT_NO_ID : dict_put(b->dict, kind, owner, bytes);

	if (id != DICT_NO_ID)
		dict_each_new(b->dict, book_note, b);
	dict_saved(b->dict);
	return id;
}

static int book_get(void *arg, enum dict_kind kind, uint32_t id, struct str *ret)
{
	struct book *b = arg;
	struct gen g = {&b->mem, b->flip + id};

	if (!b->at[kind][id].p)
		return -EUCLEAN;
	*ret = b->at[kind][id];
	if (b->flip && ret->len && gen_below(&g, 4) == 0) {
		*ret = arena_str(&b->mem, ret->p, gen_below(&g, (uint32_t)ret->len + 1));
		if (ret->len)
			((char *)ret->p)[gen_below(&g, (uint32_t)ret->len)] = (char)gen_u64(&g);
	}
	return 0;
}

static struct book *book_new(void)
{
	struct book *b = calloc(1, sizeof(*b));

	b->dict = dict_new();
	arena_init(&b->mem, 0);
	return b;
}

static void book_free(struct book *b)
{
	dict_free(b->dict);
	arena_fini(&b->mem);
	free(b);
}

/* --- round trips --- */

static void check_trace(struct book *b, struct encoder *e, struct decoder *d, struct gen *g,
			uint32_t cnt)
{
	const struct span **spans = arena_array(g->a, const struct span *, cnt);
	struct span *made = arena_array(g->a, struct span, cnt), *back;
	uint8_t id[16];
	struct strbuf out;
	uint32_t done = 0, some, back_cnt;

	(void)b;
	gen_bytes(g, id, 16);
	for (uint32_t i = 0; i < cnt; i++) {
		made[i] = gen_span(g, id, gen_u64(g) >> gen_below(g, 8));
		if (i > 0 && gen_below(g, 2))
			memcpy(made[i].parent_id, made[gen_below(g, i)].span_id, 8);
		if (i > 0 && gen_below(g, 2)) {
			made[i].res = made[i - 1].res;
			made[i].scope = made[i - 1].scope;
		}
		spans[i] = &made[i];
	}
	strbuf_init(&out);
	for (; done < cnt; done += some) {
		strbuf_clear(&out);
		encoder_forget(e);
		some = encode_chunk(e, &out, spans + done, cnt - done);
		assert_true(some > 0 && some <= cnt - done);
		assert_true(some == 1 || out.len <= CHUNK_TARGET);
		assert_int_equal(
		    decode_chunk(d, g->a, (struct str){out.p, out.len}, &back, &back_cnt), 0);
		assert_int_equal(back_cnt, some);
		for (uint32_t i = 0; i < some; i++)
			assert_true(gen_span_eq(&back[i], spans[done + i]));
	}
	strbuf_fini(&out);
}

static void round_trips(bool is_empty, uint32_t spans)
{
	struct book *b = book_new();
	struct encoder e;
	struct decoder d;
	struct arena a;
	struct gen g = {&a, 7};

	b->is_empty = is_empty;
	encoder_init(&e, book_put, b);
	decoder_init(&d, book_get, b);
	arena_init(&a, 0);
	for (uint32_t n = 0; n < spans;) {
		uint32_t cnt = 1 + gen_below(&g, gen_below(&g, 20) ? 8 : 200);

		check_trace(b, &e, &d, &g, cnt);
		arena_reset(&a);
		n += cnt;
	}
	encoder_fini(&e);
	decoder_fini(&d);
	arena_fini(&a);
	book_free(b);
}

static void test_round_trip(void **state)
{
	(void)state;
	round_trips(false, SPANS);
}

static void test_without_dictionary(void **state)
{
	(void)state;
	round_trips(true, SPANS / 10);
}

/* What every span says again and again costs a few bytes. */
static void test_small(void **state)
{
	struct book *b = book_new();
	struct gen_demo demo;
	struct encoder e;
	struct arena a;
	struct gen g = {&a, 1};
	struct strbuf out;
	struct span sp[5];
	const struct span *list[] = {&sp[0], &sp[1], &sp[2], &sp[3], &sp[4]};

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&out);
	gen_demo_init(&demo, &a);
	encoder_init(&e, book_put, b);
	for (int i = 0; i < 1000; i++) {
		strbuf_clear(&out);
		gen_demo_trace(&g, &demo, 1700000000ull * NS_PER_S, sp);
		assert_int_equal(encode_chunk(&e, &out, list, 5), 5);
	}
	assert_true(out.len < 5 * 70);
	encoder_fini(&e);
	strbuf_fini(&out);
	arena_fini(&a);
	book_free(b);
}

static void test_dict_is_bounded(void **state)
{
	struct dict *d = dict_new();
	char text[64];
	uint32_t in = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		int len = snprintf(text, sizeof(text), "value %d", i);

		in += dict_put(d, DICT_STRING, 5, (struct str){text, (size_t)len}) != DICT_NO_ID;
	}
	assert_int_equal(in, FIELD_VALUES_MAX);
	for (int i = 0; i < 100000; i++) {
		int len = snprintf(text, sizeof(text), "other %d", i);

		in += dict_put(d, DICT_STRING, (uint32_t)i % OWNER_COUNT,
			       (struct str){text, (size_t)len}) != DICT_NO_ID;
	}
	assert_int_equal(in, DICT_STRINGS_MAX);
	assert_int_equal(dict_put(d, DICT_STRING, 5, STR("value 7")), 7);
	assert_int_equal(dict_load(d, DICT_FIELD, 3, STR("x")), -EUCLEAN);
	dict_free(d);
}

/* --- hostile bytes --- */

/* Decodes bytes that end where the readable memory ends. */
static int decode_at_edge(struct decoder *d, struct arena *a, const char *p, size_t len, char *edge)
{
	struct span *spans;
	uint32_t cnt;

	arena_reset(a);
	memcpy(edge - len, p, len);
	return decode_chunk(d, a, (struct str){edge - len, len}, &spans, &cnt);
}

static char *edge_map(void)
{
	char *p =
	    mmap(NULL, MAP_LEN + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + MAP_LEN, 4096, PROT_NONE), 0);
	return p + MAP_LEN;
}

static void encode_some(struct book *b, struct gen *g, struct strbuf *out)
{
	struct encoder e;
	struct span sp[6];
	const struct span *list[6];
	uint8_t id[16] = {1};

	for (int i = 0; i < 6; i++) {
		sp[i] = gen_span(g, id, 1000);
		list[i] = &sp[i];
	}
	encoder_init(&e, book_put, b);
	encode_chunk(&e, out, list, 6);
	encoder_fini(&e);
}

static void test_truncations(void **state)
{
	struct book *b = book_new();
	struct arena a, mem;
	struct gen g = {&mem, 3};
	struct decoder d;
	char *edge = edge_map();

	(void)state;
	arena_init(&a, 0);
	arena_init(&mem, 0);
	decoder_init(&d, book_get, b);
	for (int n = 0; n < 20; n++) {
		struct strbuf out;

		b->is_empty = n % 2;
		strbuf_init(&out);
		encode_some(b, &g, &out);
		assert_int_equal(decode_at_edge(&d, &a, out.p, out.len, edge), 0);
		for (size_t len = 0; len < out.len && len < 4000; len++)
			assert_int_equal(decode_at_edge(&d, &a, out.p, len, edge), -EUCLEAN);
		strbuf_addc(&out, 0);
		assert_int_equal(decode_at_edge(&d, &a, out.p, out.len, edge), -EUCLEAN);
		strbuf_fini(&out);
	}
	decoder_fini(&d);
	munmap(edge - MAP_LEN, MAP_LEN + 4096);
	arena_fini(&a);
	arena_fini(&mem);
	book_free(b);
}

static void test_damage(void **state)
{
	struct book *b = book_new();
	struct arena a, mem;
	struct gen g = {&mem, 5};
	char *edge = edge_map();

	(void)state;
	arena_init(&a, 0);
	arena_init(&mem, 0);
	for (int n = 0; n < 3000; n++) {
		struct strbuf out;
		struct decoder d;
		int err;

		b->is_empty = n % 3 == 0;
		b->flip = n % 3 == 1 ? (uint64_t)n : 0;
		strbuf_init(&out);
		encode_some(b, &g, &out);
		for (uint32_t i = 1 + gen_below(&g, 8); i > 0; i--)
			out.p[gen_below(&g, (uint32_t)out.len)] =
			    gen_below(&g, 2) ? (char)gen_u64(&g) : (char)0xff;
		decoder_init(&d, book_get, b);
		err = decode_at_edge(&d, &a, out.p, out.len, edge);
		assert_true(err == 0 || err == -EUCLEAN || err == -ENOMEM);
		decoder_fini(&d);
		strbuf_fini(&out);
		arena_reset(&mem);
		arena_reset(&b->mem);
	}
	munmap(edge - MAP_LEN, MAP_LEN + 4096);
	arena_fini(&a);
	arena_fini(&mem);
	book_free(b);
}

/* Counts far beyond the input must not take memory. */
static void test_counts_are_not_believed(void **state)
{
	struct book *b = book_new();
	struct strbuf out;
	struct decoder d;
	struct arena a;
	struct span *spans;
	uint32_t cnt;

	(void)state;
	strbuf_init(&out);
	strbuf_add(&out, "0123456789abcdef", 16);
	put_varint(&out, 0xffffffff);
	put_u64(&out, 0);
	arena_init(&a, 1 << 20);
	decoder_init(&d, book_get, b);
	assert_int_equal(decode_chunk(&d, &a, (struct str){out.p, out.len}, &spans, &cnt),
			 -EUCLEAN);
	assert_int_equal(a.used, 0);
	decoder_fini(&d);
	arena_fini(&a);
	strbuf_fini(&out);
	book_free(b);
}

static void test_varints(void **state)
{
	static const uint64_t values[] = {0,	   1,	       127,	   128,	      300,
					  1 << 14, UINT32_MAX, UINT64_MAX, INT64_MAX, 1ull << 63};
	uint8_t overlong[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
	struct reader r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct strbuf out;

		strbuf_init(&out);
		put_varint(&out, values[i]);
		r = (struct reader){(uint8_t *)out.p, (uint8_t *)out.p + out.len, false};
		assert_true(get_varint(&r) == values[i] && !r.bad && r.p == r.end);
		assert_true(zigzag(unzigzag(values[i])) == values[i]);
		strbuf_fini(&out);
	}
	r = (struct reader){overlong, overlong + sizeof(overlong), false};
	get_varint(&r);
	assert_true(r.bad);
}

static void test_part_names(void **state)
{
	static const char *const bad[] = {"",
					  "lock",
					  "format",
					  "20261122T13",
					  "20261122T13Z-1",
					  "20261122T13Z-02",
					  "20261122T13Z.x",
					  "20261322T13Z",
					  "20261122T130000Z",
					  "20261122T13Z-2x",
					  "lost+found"};
	char name[PART_NAME_MAX];
	enum part_state st;
	uint64_t start;
	uint32_t n;

	(void)state;
	part_name(name, 1795352400ull * NS_PER_S, 1);
	assert_string_equal(name, "20261122T13Z");
	part_name(name, 1795352401ull * NS_PER_S, 12);
	assert_string_equal(name, "20261122T130001Z-12");
	assert_int_equal(part_name_parse("20261122T130001Z-12.damaged", &start, &n, &st), 0);
	assert_true(start == 1795352401ull * NS_PER_S && n == 12 && st == PART_DAMAGED);
	assert_int_equal(part_name_parse("20261122T13Z.gone", &start, &n, &st), 0);
	assert_true(start == 1795352400ull * NS_PER_S && n == 1 && st == PART_GONE);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(part_name_parse(bad[i], &start, &n, &st), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_without_dictionary),
	    cmocka_unit_test(test_small),
	    cmocka_unit_test(test_dict_is_bounded),
	    cmocka_unit_test(test_truncations),
	    cmocka_unit_test(test_damage),
	    cmocka_unit_test(test_counts_are_not_believed),
	    cmocka_unit_test(test_varints),
	    cmocka_unit_test(test_part_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

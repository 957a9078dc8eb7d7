/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_test.c - OTLP in both forms: what goes in comes out, what Grafana dereferences is there, and
 * nothing hostile gets through: every truncation, flipped bytes, deep nesting, small arenas. */
#include "store/otlp.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const char full_json[] =
    "{\"unknown\":[1,{\"x\":null}],\"resourceSpans\":[{\"schemaUrl\":\"https://a/1\","
    "\"resource\":{\"attributes\":["
    "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}}]},"
    "\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1.2\",\"attributes\":["
    "{\"key\":\"lv\",\"value\":{\"intValue\":3}}]},\"spans\":[{"
    "\"traceId\":\"8DA608A2C202E8B2E650F5699AEABB5E\",\"spanId\":\"f75585c747bf6190\","
    "\"parentSpanId\":\"d4327147e7c67a9f\",\"traceState\":\"a=b\",\"name\":\"GET <x>\","
    "\"kind\":\"SPAN_KIND_SERVER\",\"startTimeUnixNano\":\"1795342500000000001\","
    "\"endTimeUnixNano\":1795342500000000002,\"flags\":257,\"droppedAttributesCount\":2,"
    "\"droppedEventsCount\":3,\"droppedLinksCount\":4,\"attributes\":["
    "{\"key\":\"s\",\"value\":{\"stringValue\":\"a\\u0000b\"}},"
    "{\"key\":\"i\",\"value\":{\"intValue\":\"-9223372036854775808\"}},"
    "{\"key\":\"t\",\"value\":{\"boolValue\":true}},"
    "{\"key\":\"f\",\"value\":{\"boolValue\":false}},"
    "{\"key\":\"d\",\"value\":{\"doubleValue\":0.1}},"
    "{\"key\":\"n\",\"value\":{\"doubleValue\":\"NaN\"}},"
    "{\"key\":\"m\",\"value\":{\"doubleValue\":\"-Infinity\"}},"
    "{\"key\":\"y\",\"value\":{\"bytesValue\":\"AP/+\"}},"
    "{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":1},{}]}}},"
    "{\"key\":\"e\",\"value\":{\"arrayValue\":{}}},"
    "{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":"
    "{\"stringValue\":\"\"}}]}}},"
    "{\"key\":\"z\",\"value\":null}],"
    "\"events\":[{\"timeUnixNano\":5,\"name\":\"boom\",\"attributes\":["
    "{\"key\":\"x\",\"value\":{\"intValue\":\"7\"}}]}],"
    "\"links\":[{\"traceId\":\"0102030405060708090a0b0c0d0e0f10\",\"spanId\":\"0102030405060708\"}]"
    ","
    "\"status\":{\"code\":2,\"message\":\"no\"}}]}]}]}";

static const char full_out[] =
    "[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}"
    "}]},"
    "\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1.2\",\"attributes\":["
    "{\"key\":\"lv\",\"value\":{\"intValue\":\"3\"}}]},\"spans\":[{"
    "\"traceId\":\"jaYIosIC6LLmUPVpmuq7Xg==\",\"spanId\":\"91WFx0e/YZA=\",\"traceState\":\"a=b\","
    "\"parentSpanId\":\"1DJxR+fGep8=\",\"flags\":257,\"name\":\"GET \\u003cx\\u003e\","
    "\"kind\":\"SPAN_KIND_SERVER\",\"startTimeUnixNano\":\"1795342500000000001\","
    "\"endTimeUnixNano\":\"1795342500000000002\",\"attributes\":["
    "{\"key\":\"s\",\"value\":{\"stringValue\":\"a\\u0000b\"}},"
    "{\"key\":\"i\",\"value\":{\"intValue\":\"-9223372036854775808\"}},"
    "{\"key\":\"t\",\"value\":{\"boolValue\":true}},"
    "{\"key\":\"f\",\"value\":{\"boolValue\":false}},"
    "{\"key\":\"d\",\"value\":{\"doubleValue\":0.1}},"
    "{\"key\":\"n\",\"value\":{\"doubleValue\":\"NaN\"}},"
    "{\"key\":\"m\",\"value\":{\"doubleValue\":\"-Infinity\"}},"
    "{\"key\":\"y\",\"value\":{\"bytesValue\":\"AP/+\"}},"
    "{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},{}]}}},"
    "{\"key\":\"e\",\"value\":{\"arrayValue\":{}}},"
    "{\"key\":\"k\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"q\",\"value\":"
    "{\"stringValue\":\"\"}}]}}},"
    "{\"key\":\"z\",\"value\":{}}],\"droppedAttributesCount\":2,"
    "\"events\":[{\"timeUnixNano\":\"5\",\"name\":\"boom\",\"attributes\":["
    "{\"key\":\"x\",\"value\":{\"intValue\":\"7\"}}]}],\"droppedEventsCount\":3,"
    "\"links\":[{\"traceId\":\"AQIDBAUGBwgJCgsMDQ4PEA==\",\"spanId\":\"AQIDBAUGBwg=\"}],"
    "\"droppedLinksCount\":4,"
    "\"status\":{\"message\":\"no\",\"code\":\"STATUS_CODE_ERROR\"}}]}],"
    "\"schemaUrl\":\"https://a/1\"}]";

static int decode_json(struct arena *a, const char *text, struct otlp_spans *ret)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = otlp_decode_json(a, text, strlen(text), ret, &why);
	assert_int_equal(err == -EBADMSG, why.len > 0);
	strbuf_fini(&why);
	return err;
}

static void assert_json(const struct otlp_spans *spans, const char *want)
{
	struct strbuf out;

	strbuf_init(&out);
	otlp_encode_json(&out, spans->at, spans->cnt);
	assert_string_equal(out.p, want);
	strbuf_fini(&out);
}

static void test_json_and_back(void **state)
{
	struct otlp_spans spans;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_int_equal(decode_json(&a, full_json, &spans), 0);
	assert_int_equal(spans.cnt, 1);
	assert_int_equal(spans.at[0].kind, KIND_SERVER);
	assert_true(isnan(attrs_find(&spans.at[0].attrs, STR("n"))->d));
	assert_json(&spans, full_out);
	arena_fini(&a);
}

static void test_pb_and_back(void **state)
{
	struct otlp_spans in, spans;
	struct strbuf pb;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&pb);
	assert_int_equal(decode_json(&a, full_json, &in), 0);
	otlp_encode_pb(&pb, in.at, in.cnt);
	assert_int_equal(otlp_decode_pb(&a, pb.p, pb.len, &spans, NULL), 0);
	assert_json(&spans, full_out);
	strbuf_fini(&pb);
	arena_fini(&a);
}

/* The bytes, written by hand from the field numbers: empty resource, scope and status are there. */
static void test_empty_messages(void **state)
{
	static const uint8_t want[] = {
	    0x0a, 0x26, 0x0a, 0x00, 0x12, 0x22, 0x0a, 0x00, 0x12, 0x1e, 0x0a, 0x10, 0x01, 0x01,
	    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
	    0x12, 0x08, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x7a, 0x00,
	};
	struct resource res = {0};
	struct scope scope = {0};
	struct span sp = {.res = &res, .scope = &scope};
	struct strbuf pb;

	(void)state;
	memset(sp.trace_id, 1, 16);
	memset(sp.span_id, 2, 8);
	strbuf_init(&pb);
	otlp_encode_pb(&pb, &sp, 1);
	assert_int_equal(pb.len, sizeof(want));
	assert_memory_equal(pb.p, want, sizeof(want));
	strbuf_clear(&pb);
	otlp_encode_json(&pb, &sp, 1);
	assert_string_equal(pb.p,
			    "[{\"resource\":{},\"scopeSpans\":[{\"scope\":{},\"spans\":[{"
			    "\"traceId\":\"AQEBAQEBAQEBAQEBAQEBAQ==\",\"spanId\":\"AgICAgICAgI=\","
			    "\"status\":{}}]}]}]");
	strbuf_fini(&pb);
}

static void test_attr_bytes(void **state)
{
	static const uint8_t want[] = {0x0a, 0x01, 'k', 0x12, 0x02, 0x18, 0x2a};
	struct attr at = {.key = STR("k"), .val = {.type = VAL_INT, .i = 42}};
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	otlp_pb_attr(&out, &at);
	assert_int_equal(out.len, sizeof(want));
	assert_memory_equal(out.p, want, sizeof(want));
	strbuf_fini(&out);
}

/* Equal resources behind different pointers become one group, in order of first appearance. */
static void test_grouping(void **state)
{
	struct attr one = {STR("service.name"), {.type = VAL_STR, .str = STR("a")}};
	struct attr same = {STR("service.name"), {.type = VAL_STR, .str = STR("a")}};
	struct attr other = {STR("service.name"), {.type = VAL_STR, .str = STR("b")}};
	struct resource res[] = {
	    {.attrs = {&one, 1, 0}}, {.attrs = {&other, 1, 0}}, {.attrs = {&same, 1, 0}}};
	struct scope scope = {.name = STR("s")};
	struct span sp[3] = {0};
	struct strbuf out;
	int groups = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		sp[i] = (struct span){.res = &res[i], .scope = &scope, .start_ns = (uint64_t)i + 1};
	strbuf_init(&out);
	otlp_encode_json(&out, sp, 3);
	for (const char *p = out.p; (p = strstr(p, "\"resource\"")); p++)
		groups++;
	assert_int_equal(groups, 2);
	assert_true(strstr(out.p, "\"1\"") < strstr(out.p, "\"3\""));
	assert_true(strstr(out.p, "\"3\"") < strstr(out.p, "\"2\""));
	strbuf_fini(&out);
}

static void check_string(struct str in, const char *want)
{
	struct strbuf out;

	strbuf_init(&out);
	otlp_json_string(&out, in);
	assert_string_equal(out.p, want);
	strbuf_fini(&out);
}

static void test_strings(void **state)
{
	(void)state;
	check_string(STR(""), "\"\"");
	check_string(STR("a\"\\\n\r\t\x01<&>\x7f"),
		     "\"a\\\"\\\\\\n\\r\\t\\u0001\\u003c\\u0026\\u003e\x7f\"");
	check_string(STR("é€😀"), "\"é€😀\"");
	check_string(STR("\xff\xc3"), "\"\\ufffd\\ufffd\"");
	check_string(STR("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
	check_string(STR("\xc0\x80x"), "\"\\ufffd\\ufffdx\"");
	check_string(STR("\xe2\x80\xa8\xe2\x80\xa9"), "\"\\u2028\\u2029\"");
}

#define SPAN_HEAD "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":["
#define SPAN_TAIL "]}]}]}"
#define IDS	  "\"traceId\":\"00000000000000000000000000000001\",\"spanId\":\"0000000000000001\""

static void test_bad_json(void **state)
{
	static const char *const bad[] = {
	    "",
	    "{",
	    "[]",
	    "nonsense",
	    "{\"resourceSpans\":{}}",
	    "{\"resourceSpans\":[3]}",
	    SPAN_HEAD "3" SPAN_TAIL,
	    SPAN_HEAD "{\"traceId\":\"xyz\"}" SPAN_TAIL,
	    SPAN_HEAD "{\"traceId\":\"00\"}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"name\":3}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"kind\":\"SPAN_KIND_X\"}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"startTimeUnixNano\":\"-1\"}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"startTimeUnixNano\":\"99999999999999999999\"}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"startTimeUnixNano\":1.5}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"flags\":4294967296}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"attributes\":[{\"value\":{\"bytesValue\":\"A\"}}]}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"attributes\":[{\"value\":{\"intValue\":\"x\"}}]}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"attributes\":[{\"value\":{\"boolValue\":1}}]}" SPAN_TAIL,
	    SPAN_HEAD "{" IDS ",\"attributes\":[{\"value\":{\"arrayValue\":[]}}]}" SPAN_TAIL,
	};
	struct otlp_spans spans;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(decode_json(&a, bad[i], &spans), -EBADMSG);
	arena_fini(&a);
}

static void test_rejected(void **state)
{
	struct otlp_spans spans;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_int_equal(
	    decode_json(&a, SPAN_HEAD "{},{" IDS "},{\"traceId\":\"\"}" SPAN_TAIL, &spans), 0);
	assert_int_equal(spans.cnt, 1);
	assert_int_equal(spans.rejected, 2);
	assert_int_equal(decode_json(&a, "{}", &spans), 0);
	assert_int_equal(spans.cnt, 0);
	arena_fini(&a);
}

/* A span whose one attribute is `levels` arrays around a boolean. */
static void deep_json(struct strbuf *out, int levels)
{
	strbuf_adds(out, SPAN_HEAD "{" IDS ",\"attributes\":[{\"key\":\"k\",\"value\":");
	for (int i = 1; i < levels; i++)
		strbuf_adds(out, "{\"arrayValue\":{\"values\":[");
	strbuf_adds(out, "{\"boolValue\":true}");
	for (int i = 1; i < levels; i++)
		strbuf_adds(out, "]}}");
	strbuf_adds(out, "}]}" SPAN_TAIL);
}

static void test_depth(void **state)
{
	struct otlp_spans spans;
	struct strbuf text, pb;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&text);
	strbuf_init(&pb);
	deep_json(&text, 32);
	assert_int_equal(decode_json(&a, text.p, &spans), 0);
	otlp_encode_pb(&pb, spans.at, spans.cnt);
	assert_int_equal(otlp_decode_pb(&a, pb.p, pb.len, &spans, NULL), 0);
	strbuf_clear(&text);
	deep_json(&text, 33);
	assert_int_equal(decode_json(&a, text.p, &spans), -EBADMSG);
	strbuf_clear(&text);
	deep_json(&text, 100000);
	assert_int_equal(decode_json(&a, text.p, &spans), -EBADMSG);
	strbuf_fini(&text);
	strbuf_fini(&pb);
	arena_fini(&a);
}

/* Puts the message so far into field 1 of another one. */
static void wrap(struct strbuf *b, uint8_t tag)
{
	struct strbuf out;
	size_t len = b->len;

	strbuf_init(&out);
	strbuf_addc(&out, (char)tag);
	for (; len > 0x7f; len >>= 7)
		strbuf_addc(&out, (char)(0x80 | (len & 0x7f)));
	strbuf_addc(&out, (char)len);
	strbuf_add(&out, b->p, b->len);
	strbuf_fini(b);
	*b = out;
}

static void test_deep_pb(void **state)
{
	struct otlp_spans spans;
	struct strbuf b, why;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&b);
	strbuf_init(&why);
	for (int i = 0; i < 20000; i++)
		wrap(&b, i % 2 ? 0x2a : 0x0a); /* AnyValue.array_value, ArrayValue.values */
	wrap(&b, 0x12);			       /* KeyValue.value */
	wrap(&b, 0x4a);			       /* Span.attributes */
	wrap(&b, 0x12);
	wrap(&b, 0x12);
	wrap(&b, 0x0a);
	assert_int_equal(otlp_decode_pb(&a, b.p, b.len, &spans, &why), -EBADMSG);
	assert_true(why.len > 0);
	strbuf_fini(&why);
	strbuf_fini(&b);
	arena_fini(&a);
}

/* len bytes that end where an unmapped page begins. */
static char *against_the_wall(const void *p, size_t len, char **ret_map)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (len + page - 1) / page * page;
	char *map =
	    mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	mprotect(map + whole, page, PROT_NONE);
	memcpy(map + whole - len, p, len);
	*ret_map = map;
	return map + whole - len;
}

static void test_truncations(void **state)
{
	struct otlp_spans spans;
	struct strbuf pb;
	struct arena a;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *map, *p;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&pb);
	assert_int_equal(decode_json(&a, full_json, &spans), 0);
	otlp_encode_pb(&pb, spans.at, spans.cnt);
	for (size_t len = 0; len < pb.len; len++) {
		p = against_the_wall(pb.p, len, &map);
		if (otlp_decode_pb(&a, p, len, &spans, NULL) == 0)
			assert_int_equal(len, 0); /* one outer message: no shorter form is whole */
		munmap(map, (len + page - 1) / page * page + page);
	}
	for (size_t len = 0; len < sizeof(full_json) - 1; len++) {
		p = against_the_wall(full_json, len, &map);
		assert_int_equal(otlp_decode_json(&a, p, len, &spans, NULL), -EBADMSG);
		munmap(map, (len + page - 1) / page * page + page);
	}
	strbuf_fini(&pb);
	arena_fini(&a);
}

/* Whatever a flipped byte makes of it: no crash, and what decodes can be encoded. */
static void test_flips(void **state)
{
	struct otlp_spans spans;
	struct strbuf pb, out;
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&pb);
	strbuf_init(&out);
	assert_int_equal(decode_json(&a, full_json, &spans), 0);
	otlp_encode_pb(&pb, spans.at, spans.cnt);
	for (size_t i = 0; i < pb.len * 8; i++) {
		pb.p[i / 8] ^= (char)(1 << i % 8);
		arena_reset(&a);
		strbuf_clear(&out);
		if (otlp_decode_pb(&a, pb.p, pb.len, &spans, NULL) == 0)
			otlp_encode_json(&out, spans.at, spans.cnt);
		pb.p[i / 8] ^= (char)(1 << i % 8);
	}
	strbuf_fini(&pb);
	strbuf_fini(&out);
	arena_fini(&a);
}

static void test_small_arenas(void **state)
{
	struct otlp_spans spans;
	struct strbuf pb;
	struct arena a;
	int err, full = 0;

	(void)state;
	arena_init(&a, 0);
	strbuf_init(&pb);
	assert_int_equal(decode_json(&a, full_json, &spans), 0);
	otlp_encode_pb(&pb, spans.at, spans.cnt);
	arena_fini(&a);
	for (size_t limit = 8; limit < 8192; limit += 8) {
		arena_init(&a, limit);
		err = otlp_decode_pb(&a, pb.p, pb.len, &spans, NULL);
		assert_true(err == 0 || err == -ENOMEM);
		arena_fini(&a);
		arena_init(&a, limit);
		err = decode_json(&a, full_json, &spans);
		assert_true(err == 0 || err == -ENOMEM);
		full += err == 0;
		arena_fini(&a);
	}
	assert_true(full > 0);
	strbuf_fini(&pb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json_and_back),  cmocka_unit_test(test_pb_and_back),
	    cmocka_unit_test(test_empty_messages), cmocka_unit_test(test_attr_bytes),
	    cmocka_unit_test(test_grouping),	   cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_bad_json),	   cmocka_unit_test(test_rejected),
	    cmocka_unit_test(test_depth),	   cmocka_unit_test(test_deep_pb),
	    cmocka_unit_test(test_truncations),	   cmocka_unit_test(test_flips),
	    cmocka_unit_test(test_small_arenas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

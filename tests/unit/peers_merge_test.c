/* SPDX-License-Identifier: Apache-2.0 */
/* peers_merge_test.c - what other nodes say, added to what we know: spans once, traces once, newest first; and
 * answers that are cut anywhere, or damaged in any byte. */
#include "web/peers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/otlp.h"

static const char ANSWER[] =
	"{\"traces\":[{\"traceID\":\"a1\",\"rootServiceName\":\"web\",\"rootTraceName\":\"GET /\","
	"\"startTimeUnixNano\":\"3000000\",\"durationMs\":2,\"spanSet\":{},\"spanSets\":[{\"spans\":[{"
	"\"spanID\":\"00000000000000b1\",\"name\":\"n\",\"startTimeUnixNano\":\"3000000\",\"durationNanos\":\"7\","
	"\"attributes\":[{\"key\":\"k\",\"value\":{\"stringValue\":\"v\"}},{\"key\":\"i\",\"value\":{\"intValue\":\"-4\"}},"
	"{\"key\":\"d\",\"value\":{\"doubleValue\":1.5}},{\"key\":\"b\",\"value\":{\"boolValue\":true}}]}],\"matched\":3}],"
	"\"serviceStats\":{\"web\":{\"spanCount\":2,\"errorCount\":1}}},"
	"{\"traceID\":\"a2\",\"rootServiceName\":\"<root span not yet received>\",\"startTimeUnixNano\":\"5000000\"}],"
	"\"metrics\":{}}";

static struct arena arena;

static int begin(void **state)
{
	(void)state;
	arena_init(&arena, 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void test_search(void **state)
{
	struct search_service api = {STR("api"), 1, 0};
	struct search_set set = {.matched = 1};
	struct search_trace ours = {.trace_id = {[15] = 0xa1}, .start_ns = 2000000, .end_ns = 3000000,
				    .sets = &set, .set_cnt = 1, .services = &api, .service_cnt = 1};
	struct search_result res = {.traces = &ours, .cnt = 1};

	(void)state;
	assert_int_equal(peers_merge_search(&arena, STR(ANSWER), 10, 3, &res), 0);
	assert_int_equal(res.cnt, 2);
	assert_int_equal(res.traces[0].trace_id[15], 0xa2);
	assert_false(res.traces[0].has_root);
	struct search_trace *t = &res.traces[1];

	assert_true(t->has_root && str_eq(t->root_service, STR("web")) && str_eq(t->root_name, STR("GET /")));
	assert_int_equal(t->start_ns, 2000000);
	assert_int_equal(t->end_ns, 5000000);
	assert_int_equal(t->service_cnt, 2);
	assert_int_equal(t->services[1].errors, 1);
	assert_int_equal(t->sets[0].matched, 4);
	assert_int_equal(t->sets[0].cnt, 1);
	assert_int_equal(t->sets[0].spans[0].attrs.cnt, 4);
	assert_int_equal(t->sets[0].spans[0].attrs.at[1].val.i, -4);
	assert_int_equal(peers_merge_search(&arena, STR(ANSWER), 1, 3, &res), 0);
	assert_int_equal(res.cnt, 1);
}

/* Ours has no root and began after (before) theirs, which took 2 ms from 3 ms on, by a clock that is off. */
static void test_search_clocks(void **state)
{
	static const struct {
		uint64_t start_ms, end_ms, want_start_ms, want_end_ms;
	} cases[] = {
		{4, 6, 3, 6},	    /* they touch: one clock */
		{6, 7, 3, 7},	    /* … within what was rounded */
		{7000, 7001, 3, 5}, /* apart: when the root began, as long as the longest */
		{7000, 7009, 3, 12},
		{0, 1, 3, 5},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct search_trace ours = {.trace_id = {[15] = 0xa1},
					    .start_ns = cases[i].start_ms * NS_PER_MS,
					    .end_ns = cases[i].end_ms * NS_PER_MS};
		struct search_result res = {.traces = &ours, .cnt = 1};

		assert_int_equal(peers_merge_search(&arena, STR(ANSWER), 10, 3, &res), 0);
		assert_int_equal(res.traces[1].start_ns, cases[i].want_start_ms * NS_PER_MS);
		assert_int_equal(res.traces[1].end_ns, cases[i].want_end_ms * NS_PER_MS);
		arena_reset(&arena);
	}
}

static void test_search_damaged(void **state)
{
	static const char bytes[] = {'"', '{', ']', '9', '\0', (char)0xff};
	char text[sizeof(ANSWER)];

	(void)state;
	for (size_t len = 0; len < sizeof(ANSWER) - 1; len++) {
		struct search_result res = {0};

		assert_int_equal(peers_merge_search(&arena, (struct str){ANSWER, len}, 10, 3, &res), -EBADMSG);
	}
	for (size_t i = 0; i < sizeof(ANSWER) - 1; i++)
		for (size_t k = 0; k < sizeof(bytes); k++) {
			struct search_result res = {0};

			memcpy(text, ANSWER, sizeof(text));
			text[i] = bytes[k];
			peers_merge_search(&arena, (struct str){text, sizeof(text) - 1}, 10, 3, &res);
			arena_reset(&arena);
		}
}

static void test_trace(void **state)
{
	struct resource res = {0};
	struct scope scope = {0};
	struct span spans[3] = {0};
	struct strbuf body;
	struct query_trace t;

	(void)state;
	for (uint8_t i = 0; i < 3; i++) {
		spans[i].res = &res;
		spans[i].scope = &scope;
		spans[i].trace_id[0] = 7;
		spans[i].span_id[0] = (uint8_t)(i + 1);
	}
	strbuf_init(&body);
	otlp_encode_pb(&body, spans + 1, 2);
	t = (struct query_trace){spans, 2};
	assert_int_equal(peers_merge_trace(&arena, (struct str){body.p, body.len}, &t), 0);
	assert_int_equal(t.cnt, 3);
	assert_int_equal(t.spans[2].span_id[0], 3);
	assert_int_equal(peers_merge_trace(&arena, (struct str){body.p, body.len - 1}, &t), -EBADMSG);
	assert_int_equal(t.cnt, 3);
	strbuf_fini(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_search, begin, end),
		cmocka_unit_test_setup_teardown(test_search_clocks, begin, end),
		cmocka_unit_test_setup_teardown(test_search_damaged, begin, end),
		cmocka_unit_test_setup_teardown(test_trace, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

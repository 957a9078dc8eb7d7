/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_out_test.c - answers of metrics queries byte by byte: the JSON leaves out defaults, the
 * protobuf has Tempo's field numbers (written by hand from the contract). */
#include "web/metrics_out.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double values[] = {0, NAN, 1.5, INFINITY};
static struct metrics_exemplar exemplar = {
	.trace_id = {[14] = 0x0a, [15] = 0xbc}, .t_ns = 2999999999, .value = 1.5};
static struct attr labels[] = {
	{{"p", 1}, {.type = VAL_DOUBLE, .d = 0.5}},
	{{"name", 4}, {.type = VAL_STR, .str = {"a<b", 3}}},
};
static struct metrics_series series = {.labels = {.at = labels, .cnt = 2},
				       .values = values,
				       .exemplars = &exemplar,
				       .exemplar_cnt = 1};
static const struct metrics_result range = {.start_ns = 1000000000,
					    .step_ns = 1000000000,
					    .interval_cnt = 4,
					    .series = &series,
					    .cnt = 1,
					    .message = "",
					    .jobs = 1,
					    .jobs_done = 1,
					    .inspected_bytes = 300};
static const struct metrics_result instant = {
	.interval_cnt = 1, .series = &series, .cnt = 1, .partial = true, .message = "why", .jobs = 2, .jobs_done = 1};

static void hex_is(const struct strbuf *got, const char *want)
{
	char *text = malloc(2 * got->len + 1);

	hex_encode(text, (const uint8_t *)got->p, got->len);
	assert_string_equal(text, want);
	free(text);
}

static void json(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	metrics_range_json(&range, &out);
	assert_string_equal(
		out.p,
		"{\"series\":[{\"labels\":[{\"key\":\"p\",\"value\":{\"doubleValue\":0.5}},"
		"{\"key\":\"name\",\"value\":{\"stringValue\":\"a\\u003cb\"}}],"
		"\"samples\":[{\"timestampMs\":\"1000\"},{\"timestampMs\":\"3000\",\"value\":1.5},"
		"{\"timestampMs\":\"4000\",\"value\":\"Infinity\"}],"
		"\"exemplars\":[{\"labels\":[{\"key\":\"trace:id\",\"value\":{\"stringValue\":"
		"\"abc\"}}"
		"],\"value\":1.5,\"timestampMs\":\"2999\"}]}],"
		"\"metrics\":{\"inspectedBytes\":\"300\",\"completedJobs\":1,\"totalJobs\":1}}");
	strbuf_clear(&out);
	metrics_instant_json(&instant, &out);
	assert_string_equal(
		out.p, "{\"series\":[{\"labels\":[{\"key\":\"p\",\"value\":{\"doubleValue\":0.5}},"
		       "{\"key\":\"name\",\"value\":{\"stringValue\":\"a\\u003cb\"}}]}],"
		       "\"metrics\":{\"completedJobs\":1,\"totalJobs\":2},"
		       "\"status\":\"PARTIAL\",\"message\":\"why\"}");
	strbuf_fini(&out);
}

/* KeyValue p = 0.5 and name = a<b, as field 1. */
#define LABELS                                                                                     \
	"0a0e"                                                                                     \
	"0a0170"                                                                                   \
	"1209"                                                                                     \
	"21000000000000e03f"                                                                       \
	"0a0d"                                                                                     \
	"0a046e616d65"                                                                             \
	"1205"                                                                                     \
	"0a03613c62"

static void protobuf(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	metrics_range_protobuf(&range, &out);
	hex_is(&out, "0a61" LABELS "1203"
		     "10e807"
		     "120c"
		     "09000000000000f83f"
		     "10b817"
		     "120c"
		     "09000000000000f07f"
		     "10a01f"
		     "221f"
		     "0a11"
		     "0a0874726163653a6964"
		     "1205"
		     "0a03616263"
		     "11000000000000f83f"
		     "18b717"
		     "1207"
		     "10ac02"
		     "2001"
		     "2801");
	strbuf_clear(&out);
	metrics_instant_protobuf(&instant, &out);
	hex_is(&out, "0a1f" LABELS "1204"
		     "2001"
		     "2802"
		     "1801"
		     "2203776879");
	strbuf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(json), cmocka_unit_test(protobuf)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

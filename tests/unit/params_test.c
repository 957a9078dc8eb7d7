/* SPDX-License-Identifier: Apache-2.0 */
/* params_test.c - parameters of the API: decoding, times, durations, ids, limits, and the exact
 * texts of the 400 answers, which are those recorded from Tempo. */
#include "web/params.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "web/access.h"
#include "web/legacy.h"
#include "web/numbers.h"
#include "web/routes.h"

#define NOW (1795342500ull * NS_PER_S)

struct fixture {
	struct arena a;
	struct strbuf why;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	arena_init(&f->a, 0);
	strbuf_init(&f->why);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	arena_fini(&f->a);
	strbuf_fini(&f->why);
	free(f);
	return 0;
}

static void test_parse(void **state)
{
	struct fixture *f = *state;
	struct params p = params_parse(
	    &f->a, STR("q=%7B+a%3d%22%C3%A9%22+%7D&&x&y=&q=2&bad=%zz&cut=%4&n=%00b&=v"));

	assert_true(str_eq(params_get(&p, "q"), STR("{ a=\"\xc3\xa9\" }")));
	assert_int_equal(params_get(&p, "x").len, 0);
	assert_int_equal(params_get(&p, "y").len, 0);
	assert_int_equal(params_get(&p, "bad").len, 0);
	assert_int_equal(params_get(&p, "cut").len, 0);
	assert_true(str_eq(params_get(&p, "n"), STR("\0b")));
	p = params_parse(&f->a, STR(""));
	assert_int_equal(p.cnt, 0);
}

static void id_ok(struct fixture *f, struct str text, const char *want)
{
	uint8_t id[16];
	char hex[33];

	assert_int_equal(params_trace_id(text, id, &f->why), 0);
	hex_encode(hex, id, sizeof(id));
	assert_string_equal(hex, want);
}

static void id_bad(struct fixture *f, struct str text, const char *want)
{
	uint8_t id[16];

	strbuf_clear(&f->why);
	assert_int_equal(params_trace_id(text, id, &f->why), -EINVAL);
	assert_string_equal(f->why.p, want);
}

static void test_trace_id(void **state)
{
	struct fixture *f = *state;

	id_ok(f, STR("abcd"), "0000000000000000000000000000abcd");
	id_ok(f, STR("abc"), "00000000000000000000000000000abc");
	id_ok(f, STR("8DA608A2C202E8B2E650F5699AEABB5E"), "8da608a2c202e8b2e650f5699aeabb5e");
	id_bad(f, STR("xyz"),
	       "trace IDs can only contain hex characters: invalid character 'x' at position 1");
	id_bad(f, STR("12 34"),
	       "trace IDs can only contain hex characters: invalid character ' ' at position 3");
	id_bad(f, STR("-1"),
	       "trace IDs can only contain hex characters: invalid character '-' at position 1");
	id_bad(f, STR("ffffffffffffffffffffffffffffffff00"),
	       "trace IDs can't be larger than 128 bits");
}

static void search_bad(struct fixture *f, const char *query, const char *want)
{
	struct params p = params_parse(&f->a, str_of(query));
	struct search_params s;

	strbuf_clear(&f->why);
	assert_int_equal(params_search(&p, NOW, &s, &f->why), -EINVAL);
	assert_string_equal(f->why.p, want);
}

static struct search_params search_ok(struct fixture *f, const char *query)
{
	struct params p = params_parse(&f->a, str_of(query));
	struct search_params s;

	strbuf_clear(&f->why);
	assert_int_equal(params_search(&p, NOW, &s, &f->why), 0);
	assert_int_equal(f->why.len, 0);
	return s;
}

static void test_metrics(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *query;
		uint64_t from_ns, to_ns, step_ns;
	} rows[] = {
	    {"", NOW - 3600ull * NS_PER_S, NOW, 15ull * NS_PER_S},
	    {"since=2m&step=0.5", NOW - 120ull * NS_PER_S, NOW, NS_PER_S / 2},
	    {"start=100&end=200&step=1m", 100ull * NS_PER_S, 200ull * NS_PER_S, 60ull * NS_PER_S},
	    {"end=4000&step=1d", 400ull * NS_PER_S, 4000ull * NS_PER_S, 86400ull * NS_PER_S},
	    {"start=100.5&end=200&step=1.5s", 100500ull * NS_PER_MS, 200ull * NS_PER_S,
	     1500ull * NS_PER_MS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct params p = params_parse(&f->a, str_of(rows[i].query));
		struct metrics_params m;

		strbuf_clear(&f->why);
		assert_int_equal(params_metrics(&p, NOW, true, &m, &f->why), 0);
		assert_int_equal(m.from_ns, rows[i].from_ns);
		assert_int_equal(m.to_ns, rows[i].to_ns);
		assert_int_equal(m.step_ns, rows[i].step_ns);
	}
}

static void test_search_defaults(void **state)
{
	struct search_params s = search_ok(*state, "limit=&spss=0&start=&end=");

	assert_int_equal(s.limit, 20);
	assert_int_equal(s.spss, 3);
	assert_int_equal(s.from_ns, NOW - 900ull * NS_PER_S);
	assert_int_equal(s.to_ns, NOW);
	s = search_ok(*state,
		      "q={}&limit=5&spss=100&start=10&end=20&minDuration=1500us&maxDuration=1m2s");
	assert_true(str_eq(s.q, STR("{}")));
	assert_int_equal(s.limit, 5);
	assert_int_equal(s.spss, 100);
	assert_int_equal(s.from_ns, 10ull * NS_PER_S);
	assert_int_equal(s.to_ns, 20ull * NS_PER_S);
	assert_int_equal(s.min_ns, NS_PER_MS);
	assert_int_equal(s.max_ns, 62ull * NS_PER_S);
}

static void test_search_errors(void **state)
{
	struct fixture *f = *state;

	search_bad(f, "spss=-1", "invalid spss: strconv.ParseUint: parsing \"-1\": invalid syntax");
	search_bad(f, "limit=0", "invalid limit: must be a positive number");
	search_bad(f, "limit=x", "invalid limit: strconv.ParseUint: parsing \"x\": invalid syntax");
	search_bad(f, "start=1795342560000000000&end=2",
		   "invalid start: strconv.ParseUint: parsing \"1795342560000000000\": value out "
		   "of range");
	search_bad(f, "start=1795342500",
		   "http parameter start must be before end. received start=1795342500 end=0");
	search_bad(f, "start=1794542500&end=1795342830",
		   "range specified by start and end exceeds 168h0m0s. "
		   "received start=1794542500 end=1795342830");
	search_bad(f, "q={}&tags=a=b",
		   "invalid request: can't specify tags and q in the same query");
	search_bad(f, "minDuration=2s&maxDuration=1s",
		   "invalid maxDuration: must be greater than minDuration");
	search_bad(f, "minDuration=10seconds",
		   "invalid minDuration: time: unknown unit \"seconds\" in duration \"10seconds\"");
	search_bad(f, "minDuration=10",
		   "invalid minDuration: time: missing unit in duration \"10\"");
	search_bad(f, "maxDuration=-1s", "invalid maxDuration: time: invalid duration \"-1s\"");
	search_bad(f, "limit=262145", "limit 262145 exceeds max limit 262144");
	search_bad(f, "spss=101", "spans per span set exceeds 100. received 101");
}

static void test_trace_range(void **state)
{
	struct fixture *f = *state;
	struct params p = params_parse(&f->a, STR("start=1795342520&end=1795342510"));

	assert_int_equal(params_trace_range(&p, &f->why), -EINVAL);
	assert_string_equal(f->why.p, "http parameter start must be before end. "
				      "received start=1795342520 end=1795342510");
	strbuf_clear(&f->why);
	p = params_parse(&f->a, STR("start=17"));
	assert_int_equal(params_trace_range(&p, &f->why), 0);
	p = params_parse(&f->a, STR("end=x"));
	assert_int_equal(params_trace_range(&p, &f->why), -EINVAL);
	assert_string_equal(f->why.p,
			    "invalid end: strconv.ParseInt: parsing \"x\": invalid syntax");
}

static void tags_are(struct fixture *f, const char *query, uint64_t from, uint64_t to)
{
	struct params p = params_parse(&f->a, str_of(query));
	struct tag_params t;

	assert_int_equal(params_tags(&p, NOW, &t, &f->why), 0);
	assert_int_equal(t.from_ns, from);
	assert_int_equal(t.to_ns, to);
}

static void tags_bad(struct fixture *f, const char *query, const char *want)
{
	struct params p = params_parse(&f->a, str_of(query));
	struct tag_params t;

	strbuf_clear(&f->why);
	assert_int_equal(params_tags(&p, NOW, &t, &f->why), -EINVAL);
	assert_string_equal(f->why.p, want);
}

static void test_tag_times(void **state)
{
	struct fixture *f = *state;

	tags_are(f, "", NOW - 900ull * NS_PER_S, NOW);
	tags_are(f, "since=1h30m", NOW - 5400ull * NS_PER_S, NOW);
	tags_are(f, "since=1d", NOW - 86400ull * NS_PER_S, NOW);
	tags_are(f, "start=1795342500&end=1795342501", NOW, NOW + NS_PER_S);
	tags_are(f, "start=1795342500000000001&end=1795342501.25", NOW + 1,
		 NOW + 1250ull * NS_PER_MS);
	tags_are(f, "start=2026-11-22T10:15:00Z&end=2026-11-22T12:15:00.5%2B02:00", NOW,
		 NOW + 500ull * NS_PER_MS);
	tags_bad(f, "start=x",
		 "error parsing date range: only one of start and end provided: "
		 "must provide both or neither");
	tags_bad(f, "start=x&end=y",
		 "error parsing date range: could not parse 'start' parameter: "
		 "strconv.ParseInt: parsing \"x\": invalid syntax");
	tags_bad(f, "since=5",
		 "error parsing date range: could not parse 'since' parameter: "
		 "not a valid duration string: \"5\"");
	tags_bad(f, "since=1m1h",
		 "error parsing date range: could not parse 'since' parameter: "
		 "not a valid duration string: \"1m1h\"");
	tags_bad(f, "start=20&end=10",
		 "http parameter start must be before end. received start=20 end=10");
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
	    {"0", 0},
	    {"1ns", 1},
	    {"1.5h", 5400ull * NS_PER_S},
	    {".5s", NS_PER_S / 2},
	    {"1h2m3s4ms5us6ns", 3723004005006ull},
	    {"2\xc2\xb5s", 2000},
	    {"+1s", NS_PER_S},
	};
	static const char *const bad[] = {"",	    ".",	   "s",	  "1",	 "1x",
					  "1.2.3s", "9999999999h", "1s ", "-1s", ".s"};
	struct fixture *f = *state;
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(number_duration(str_of(good[i].text), &ns, &f->why), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(number_duration(str_of(bad[i]), &ns, &f->why), -EINVAL);
}

static void tags_become(struct fixture *f, struct str tags, const char *want)
{
	struct str q;

	assert_int_equal(legacy_query(&f->a, tags, &q, &f->why), 0);
	assert_true(str_eq(q, str_of(want)));
}

static void legacy_bad(struct fixture *f, struct str tags, const char *want)
{
	struct str q;

	strbuf_clear(&f->why);
	assert_int_equal(legacy_query(&f->a, tags, &q, &f->why), -EINVAL);
	assert_string_equal(f->why.p, want);
}

static void test_legacy(void **state)
{
	struct fixture *f = *state;

	tags_become(f, STR("edge.case=hops"), "{ span.\"edge.case\" =~ \".*hops.*\" || "
					      "resource.\"edge.case\" =~ \".*hops.*\" }");
	tags_become(f, STR(" k=42\tservice.name=\"a b\" "),
		    "{ span.\"k\" =~ \".*42.*\" || span.\"k\" = 42 || resource.\"k\" =~ "
		    "\".*42.*\" || resource.\"k\" = 42 } && { resource.service.name =~ \".*a "
		    "b.*\" }");
	tags_become(f, STR("x=\"q\\\"(\""), "{ span.\"x\" =~ \".*q\\\"\\\\(.*\" || "
					    "resource.\"x\" =~ \".*q\\\"\\\\(.*\" }");
	tags_become(f, STR("flag"),
		    "{ span.\"flag\" =~ \".*.*\" || resource.\"flag\" =~ \".*.*\" }");
	tags_become(f, STR("status.code=error"), "{ status = error }");
	legacy_bad(f, STR("a=b a=c"), "invalid tags: tag a has been set twice");
	legacy_bad(f, STR("=b"), "invalid tags: unexpected '=' at pos 1");
	legacy_bad(f, STR("a=b=c"), "invalid tags: unexpected '=' at pos 4");
	legacy_bad(f, STR("a=\"b"), "invalid tags: unterminated quoted value at pos 5");
}

static void route_is(struct fixture *f, const char *path, const char *pattern, const char *segment)
{
	struct str got = {NULL, 0};
	const struct route *r = route_find(str_of(path), &f->a, &got);

	if (!pattern) {
		assert_null(r);
		return;
	}
	assert_non_null(r);
	assert_string_equal(r->pattern, pattern);
	assert_true(str_eq(got, str_of(segment)));
}

static void test_routes(void **state)
{
	struct fixture *f = *state;

	route_is(f, "/ready", "/ready", "");
	route_is(f, "/ready/", NULL, "");
	route_is(f, "/api/nope", NULL, "");
	route_is(f, "", NULL, "");
	route_is(f, "/api/traces/12%2034", "/api/traces/{}", "12 34");
	route_is(f, "/api/traces/", NULL, "");
	route_is(f, "/api/traces/a/b", NULL, "");
	route_is(f, "/api/traces/%zz", NULL, "");
	route_is(f, "/api/v2/search/tag/span.slash%2Fed/values", "/api/v2/search/tag/{}/values",
		 "span.slash/ed");
	route_is(f, "/api/v2/search/tag/a+b/values", "/api/v2/search/tag/{}/values", "a+b");
	route_is(f, "/api/v2/search/tag//values", NULL, "");
	route_is(f, "/api/v2/search/tag/values", NULL, "");
}

static void test_hosts(void **state)
{
	static const char *const hosts[] = {"traces.example.org", NULL};
	static const char *const ours[] = {
	    "localhost",	 "LocalHost:3200", "127.0.0.1",
	    "127.3.4.5:80",	 "[::1]",	   "[::1]:3200",
	    "10.1.2.3",		 "10.1.2.3:99",	   "traces.example.org:1",
	    "[::ffff:127.0.0.1]"};
	static const char *const others[] = {"",
					     "evil.example.org",
					     "localhost.evil.org",
					     "10.1.2.4",
					     "[::2]:1",
					     "[::1",
					     "[::1]x",
					     ":80",
					     "127.0.0.1.evil.org",
					     "0x7f000001"};
	struct sockaddr_storage local;

	(void)state;
	assert_int_equal(access_parse_listen("10.1.2.3:3200", &local), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		assert_true(access_host_ok(ours[i], (struct sockaddr *)&local, hosts));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(access_host_ok(others[i], (struct sockaddr *)&local, hosts));
	assert_false(access_host_ok("traces.example.org", (struct sockaddr *)&local, NULL));
}

static void test_listen(void **state)
{
	static const char *const bad[] = {
	    "",		  "3200",	 ":3200",	    "127.0.0.1",
	    "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "example.org:80",
	    "::1:80",	  "[::1]",	 "[::1]:80x"};
	struct sockaddr_storage sa;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(access_parse_listen(bad[i], &sa), -EINVAL);
	assert_int_equal(access_parse_listen("0.0.0.0:3200", &sa), 0);
	assert_false(access_is_loopback((struct sockaddr *)&sa));
	assert_int_equal(access_parse_listen("[::]:0", &sa), 0);
	assert_false(access_is_loopback((struct sockaddr *)&sa));
	assert_int_equal(access_parse_listen("[::1]:0", &sa), 0);
	assert_true(access_is_loopback((struct sockaddr *)&sa));
	assert_int_equal(access_parse_listen("localhost:0", &sa), 0);
	assert_true(access_is_loopback((struct sockaddr *)&sa));
}

static void test_token(void **state)
{
	struct str token = STR("s3cret");

	(void)state;
	assert_true(access_token_ok("Bearer s3cret", token));
	assert_true(access_token_ok("bearer s3cret", token));
	assert_false(access_token_ok("", token));
	assert_false(access_token_ok("Bearer ", token));
	assert_false(access_token_ok("Bearer s3cre", token));
	assert_false(access_token_ok("Bearer s3cretX", token));
	assert_false(access_token_ok("Bearer s3crets3cret", token));
	assert_false(access_token_ok("Basic s3cret", token));
}

static void test_gzip_header(void **state)
{
	(void)state;
	assert_true(accepts_gzip("gzip"));
	assert_true(accepts_gzip("deflate, GZIP;q=0.5"));
	assert_false(accepts_gzip(""));
	assert_false(accepts_gzip("gzip;q=0"));
	assert_false(accepts_gzip("gzip; q=0.0, br"));
	assert_false(accepts_gzip("xgzip, gzipx"));
}

static void test_gzip_body(void **state)
{
	struct fixture *f = *state;
	struct reply r = {0};
	struct strbuf plain;

	strbuf_init(&r.body);
	strbuf_init(&plain);
	assert_false(reply_gzip(&r));
	for (int i = 0; i < 100000; i++)
		strbuf_adds(&r.body, "0123456789");
	assert_true(reply_gzip(&r));
	assert_true(r.body.len < 20000);
	assert_int_equal(body_gunzip((struct str){r.body.p, r.body.len}, 1000000, &plain), 0);
	assert_int_equal(plain.len, 1000000);
	strbuf_clear(&plain);
	assert_int_equal(body_gunzip((struct str){r.body.p, r.body.len}, 999999, &plain), -EFBIG);
	strbuf_clear(&plain);
	assert_int_equal(body_gunzip((struct str){r.body.p, r.body.len / 2}, 1000000, &plain),
			 -EBADMSG);
	assert_int_equal(body_gunzip(STR("hello"), 1000, &f->why), -EBADMSG);
	assert_int_equal(body_gunzip(STR(""), 1000, &f->why), -EBADMSG);
	strbuf_fini(&r.body);
	strbuf_fini(&plain);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_metrics),	      TEST(test_parse),	      TEST(test_trace_id),    TEST(test_search_defaults),
	    TEST(test_search_errors), TEST(test_trace_range), TEST(test_tag_times),
	    TEST(test_durations),     TEST(test_routes),      TEST(test_hosts),
	    TEST(test_listen),	      TEST(test_token),	      TEST(test_gzip_header),
	    TEST(test_gzip_body),     TEST(test_legacy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

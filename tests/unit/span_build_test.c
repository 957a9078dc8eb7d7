/* SPDX-License-Identifier: Apache-2.0 */
/* span_build_test.c - records become spans: what is said about each kind of exchange, with which
 * names, and what is not; records that contradict themselves; hostile text. */
#include "agent/span_build.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Everything that span_build wants, and the record that a test edits. */
struct bench {
	struct config conf;
	struct span_builder b;
	struct proc_info pi;
	struct arena arena;
	struct rec_span rs;
	struct span sp;
	char shown[8192];
};

static void address_v4(uint8_t out[16], uint8_t last)
{
	static const uint8_t base[16] = {[10] = 0xff, 0xff, 10, 0, 0};

	memcpy(out, base, sizeof(base));
	out[15] = last;
}

static void record_default(struct rec_span *rs, enum protocol proto, enum rec_role role)
{
	static const uint8_t trace_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

	*rs = (struct rec_span){.head = {.type = REC_SPAN, .version = RECORD_VERSION}};
	memcpy(rs->trace_id, trace_id, sizeof(trace_id));
	memcpy(&rs->span_id, "abcdefgh", 8);
	memcpy(&rs->parent_id, "ABCDEFGH", 8);
	rs->start_ns = 1000;
	rs->first_ns = 1500;
	rs->end_ns = 3000;
	rs->conn = 77;
	rs->proto = proto;
	rs->role = role;
	rs->op = proto == PROTO_HTTP1 ? 1 : PG_EXECUTE;
	rs->parent = PARENT_PEER;
	rs->head.len = offsetof(struct rec_span, text);
	address_v4(rs->local_addr, 1);
	address_v4(rs->remote_addr, 2);
	rs->local_port = 8080;
	rs->remote_port = 41000;
}

static int setup(void **state)
{
	struct bench *t = calloc(1, sizeof(*t));

	t->conf.redact_query = t->conf.sanitize_sql = true;
	t->b = (struct span_builder){.conf = &t->conf, .boot_to_real_ns = 1000000};
	assert_int_equal(routes_new(&t->b.routes, 100), 0);
	assert_int_equal(stmts_new(&t->b.stmts, 100, true), 0);
	t->pi.service = STR("api");
	arena_init(&t->arena, 0);
	record_default(&t->rs, PROTO_HTTP1, ROLE_SERVER);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct bench *t = *state;

	arena_fini(&t->arena);
	routes_free(t->b.routes);
	stmts_free(t->b.stmts);
	free(t);
	return 0;
}

static void set_texts(struct rec_span *rs, const char *method, const char *target, const char *host,
		      const char *agent)
{
	const char *texts[TEXT_COUNT] = {method, target, host, agent};
	size_t at = 0;

	for (int i = 0; i < TEXT_COUNT; i++) {
		rs->text_len[i] = strlen(texts[i]);
		memcpy(rs->text + at, texts[i], rs->text_len[i]);
		at += rs->text_len[i];
	}
	rs->head.len = offsetof(struct rec_span, text) + at;
}

/* Builds from a copy of exactly the record's length. */
static int build_len(struct bench *t, size_t len)
{
	char *exact = malloc(len ? len : 1);
	int err;

	memcpy(exact, &t->rs, len);
	err = span_build(&t->b, &t->arena, (struct rec_span *)exact, len, &t->pi, &t->sp);
	free(exact);
	return err;
}

static void show_attr(char **at, const struct attr *a)
{
	switch (a->val.type) {
	case VAL_STR:
		*at +=
		    sprintf(*at, STR_FMT "='" STR_FMT "'\n", STR_ARG(a->key), STR_ARG(a->val.str));
		return;
	case VAL_INT:
		*at += sprintf(*at, STR_FMT "=%lld\n", STR_ARG(a->key), (long long)a->val.i);
		return;
	default:
		assert_int_equal(a->val.type, VAL_BOOL);
		*at += sprintf(*at, STR_FMT "=%s\n", STR_ARG(a->key), a->val.b ? "true" : "false");
	}
}

/* Name, status and attributes, one per line. */
static const char *build(struct bench *t)
{
	char *at = t->shown;

	assert_int_equal(build_len(t, t->rs.head.len), 0);
	at += sprintf(at, STR_FMT "%s\n", STR_ARG(t->sp.name),
		      t->sp.status == STATUS_ERROR ? " ERROR" : "");
	for (uint32_t i = 0; i < t->sp.attrs.cnt; i++)
		show_attr(&at, &t->sp.attrs.at[i]);
	return t->shown;
}

static void has(struct bench *t, const char *line)
{
	char want[512];

	snprintf(want, sizeof(want), "\n%s\n", line);
	if (!strstr(t->shown, want))
		fail_msg("no line %s in\n%s", line, t->shown);
}

static void lacks(struct bench *t, const char *part)
{
	if (strstr(t->shown, part))
		fail_msg("%s in\n%s", part, t->shown);
}

static void test_http_server(void **state)
{
	struct bench *t = *state;

	set_texts(&t->rs, "GET", "/api/todos/42?q=secret&x=1", "shop.example:8080", "curl/8");
	t->rs.status = 200;
	t->rs.req_bytes = 3;
	t->rs.resp_bytes = 1234;
	assert_string_equal(build(t), "GET /api/todos/{id}\n"
				      "http.request.method='GET'\n"
				      "url.scheme='http'\n"
				      "url.path='/api/todos/42'\n"
				      "url.query='q=REDACTED&x=REDACTED'\n"
				      "http.route='/api/todos/{id}'\n"
				      "http.response.status_code=200\n"
				      "http.request.body.size=3\n"
				      "http.response.body.size=1234\n"
				      "server.address='shop.example'\n"
				      "server.port=8080\n"
				      "client.address='10.0.0.2'\n"
				      "network.protocol.version='1.1'\n"
				      "user_agent.original='curl/8'\n"
				      "network.peer.address='10.0.0.2'\n"
				      "network.peer.port=41000\n"
				      "wirespan.first_byte_ns=500\n"
				      "wirespan.parent='peer'\n");
	assert_int_equal(t->sp.kind, KIND_SERVER);
	assert_int_equal(t->sp.start_ns, 1001000);
	assert_int_equal(t->sp.end_ns, 1003000);
	assert_memory_equal(t->sp.trace_id, t->rs.trace_id, 16);
	assert_memory_equal(t->sp.span_id, "abcdefgh", 8);
	assert_memory_equal(t->sp.parent_id, "ABCDEFGH", 8);
	assert_int_equal(t->sp.flags, 0x101);
	assert_ptr_equal(t->sp.res, &t->pi.res);
	assert_true(str_eq(t->sp.scope->name, STR("wirespan")));
	assert_true(str_eq(t->sp.scope->version, STR(VERSION)));
	assert_true(str_eq(t->sp.scope->schema_url, STR(SEMCONV_SCHEMA_URL)));
	assert_int_equal(t->sp.link_cnt, 0);
}

/* A call of work that an answered request left behind. */
static void test_left_behind(void **state)
{
	struct bench *t = *state;

	record_default(&t->rs, PROTO_HTTP1, ROLE_CLIENT);
	set_texts(&t->rs, "GET", "/", "", "");
	memcpy(t->rs.left_trace, "0123456789abcdef", 16);
	memcpy(&t->rs.left_span, "STUVWXYZ", 8);
	build(t);
	assert_int_equal(t->sp.link_cnt, 1);
	assert_memory_equal(t->sp.links[0].trace_id, "0123456789abcdef", 16);
	assert_memory_equal(t->sp.links[0].span_id, "STUVWXYZ", 8);
}

static void test_http_client(void **state)
{
	struct bench *t = *state;

	record_default(&t->rs, PROTO_HTTP1, ROLE_CLIENT);
	set_texts(&t->rs, "POST", "/api/todos?token=secret", "", "");
	t->rs.remote_port = 9000;
	t->rs.status = 404;
	t->rs.op = 0;
	t->rs.flags = SPAN_CUT | SPAN_PARENT_REMOTE;
	t->rs.parent = PARENT_NONE;
	build(t);
	assert_int_equal(strncmp(t->shown, "POST /api/todos ERROR\n", 22), 0);
	has(t, "url.full='http://10.0.0.2:9000/api/todos?token=REDACTED'");
	has(t, "url.template='/api/todos'");
	has(t, "server.address='10.0.0.2'");
	has(t, "server.port=9000");
	has(t, "error.type='404'");
	has(t, "network.protocol.version='1.0'");
	has(t, "wirespan.parent='none'");
	has(t, "wirespan.cut=true");
	lacks(t, "http.route");
	lacks(t, "client.address");
	lacks(t, "user_agent");
	lacks(t, "secret");
	assert_int_equal(t->sp.kind, KIND_CLIENT);
	assert_int_equal(t->sp.flags, 0x301);
}

static void test_http_errors(void **state)
{
	struct bench *t = *state;

	set_texts(&t->rs, "GET", "/", "h", "");
	t->rs.status = 404;
	build(t);
	assert_int_equal(t->sp.status, STATUS_UNSET);
	lacks(t, "error.type");
	t->rs.status = 503;
	build(t);
	assert_int_equal(t->sp.status, STATUS_ERROR);
	has(t, "error.type='503'");
	t->rs.status = 200;
	t->rs.flags = SPAN_ABORTED;
	build(t);
	has(t, "error.type='connection_closed'");
	has(t, "http.response.status_code=200");
	t->rs.flags = SPAN_ABORTED | SPAN_NOT_RESPONSE;
	t->rs.first_ns = 0;
	build(t);
	assert_int_equal(t->sp.status, STATUS_ERROR);
	has(t, "error.type='connection_closed'");
	lacks(t, "http.response");
	lacks(t, "first_byte");
}

static void test_http_method(void **state)
{
	struct bench *t = *state;

	set_texts(&t->rs, "get", "/a", "h", "");
	build(t);
	assert_true(str_eq(t->sp.name, STR("HTTP /a")));
	has(t, "http.request.method='_OTHER'");
	has(t, "http.request.method_original='get'");
}

static void test_agent_first(void **state)
{
	struct bench *t = *state;

	set_texts(&t->rs, "GET", "/", "h1", "agent");
	memcpy(t->rs.text + 4, "agenth1", 7);
	t->rs.flags = SPAN_AGENT_FIRST;
	build(t);
	has(t, "user_agent.original='agent'");
	has(t, "server.address='h1'");
}

static const struct {
	const char *method, *target, *host;
	const char *name, *lines; /* lines: what must be there, each ends with \n */
} targets[] = {
    {"GET", "http://u:pw@example.com/a?b=1#frag", "other", "GET /a",
     "url.path='/a'\nurl.query='b=REDACTED'\nurl.full='http://example.com/"
     "a?b=REDACTED'\nserver.address='example.com'\nserver.port=8000\n"},
    {"GET", "https://example.com:444", "", "GET /",
     "url.scheme='https'\nurl.path='/'\nurl.full='https://example.com:444/'\nserver.port=444\n"},
    {"OPTIONS", "*", "h:81", "OPTIONS", "url.path='*'\nurl.full='http://h:81'\n"},
    {"CONNECT", "example.com:443", "x", "CONNECT",
     "url.full='http://example.com:443'\nserver.address='example.com'\nserver.port=443\n"},
    {"GET", "/a?", "h", "GET /a", "url.path='/a'\nurl.full='http://h/a'\n"},
    {"GET", "/a?tok&=x&k=&&k=a=b", "h", "GET /a",
     "url.query='REDACTED&=REDACTED&k=REDACTED&&k=REDACTED'\n"},
    {"GET", "/a#f?x=1", "h", "GET /a", "url.path='/a'\nurl.full='http://h/a'\n"},
    {"GET", "/", "[::1]:8080", "GET /",
     "server.address='::1'\nserver.port=8080\nurl.full='http://[::1]:8080/'\n"},
    {"GET", "/", "[fe80::1]", "GET /", "server.address='fe80::1'\nserver.port=8000\n"},
    {"GET", "/", "user:pw@h:80x", "GET /", "server.address='h'\nserver.port=8000\n"},
    {"GET", "/", "h:99999", "GET /", "server.address='h'\nserver.port=8000\n"},
    {"GET", "/", "h/x?pw=1", "GET /", "server.address='h'\nurl.full='http://h/'\n"},
    {"GET", "/r?to=http://u:secret@x/", "h", "GET /r", "url.full='http://h/r?to=REDACTED'\n"},
    {"GET", "", "h", "GET", "url.full='http://h'\n"},
    {"GET", "nonsense", "h", "GET", "url.path='nonsense'\n"},
    {"GET", "/\xff\x01", "\xfe", "GET /\xef\xbf\xbd\x01",
     "url.path='/\xef\xbf\xbd\x01'\nserver.address='\xef\xbf\xbd'\n"},
};

static void test_targets(void **state)
{
	struct bench *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		const char *line = targets[i].lines, *end;

		record_default(&t->rs, PROTO_HTTP1, ROLE_CLIENT);
		t->rs.remote_port = 8000;
		set_texts(&t->rs, targets[i].method, targets[i].target, targets[i].host, "");
		build(t);
		if (!str_eq(t->sp.name, str_of(targets[i].name)))
			fail_msg("%s: name " STR_FMT, targets[i].target, STR_ARG(t->sp.name));
		for (; (end = strchr(line, '\n')); line = end + 1) {
			char one[256];

			snprintf(one, sizeof(one), "%.*s", (int)(end - line), line);
			has(t, one);
		}
		lacks(t, "pw");
		lacks(t, "secret");
		lacks(t, "frag");
	}
}

static void test_unredacted(void **state)
{
	struct bench *t = *state;

	t->conf.redact_query = false;
	set_texts(&t->rs, "GET", "/a?b=c&d", "h", "");
	build(t);
	has(t, "url.query='b=c&d'");
}

static void learn(struct bench *t, uint64_t stmt, const char *text)
{
	struct rec_stmt st = {.conn = 77, .stmt = stmt, .total = strlen(text)};

	memcpy(st.text, text, st.total);
	stmts_add(t->b.stmts, &st, st.total);
}

static void test_pgsql_client(void **state)
{
	struct bench *t = *state;

	record_default(&t->rs, PROTO_PGSQL, ROLE_CLIENT);
	t->rs.remote_port = 5432;
	t->rs.flags = SPAN_STMT | SPAN_ROWS;
	t->rs.stmt = 5;
	t->rs.rows = 3;
	learn(t, STMT_DATABASE, "shop");
	learn(t, 5, "SELECT * FROM todos WHERE note = 'secret'");
	assert_string_equal(build(t), "SELECT todos\n"
				      "db.system.name='postgresql'\n"
				      "db.namespace='shop'\n"
				      "db.operation.name='SELECT'\n"
				      "db.collection.name='todos'\n"
				      "db.query.text='SELECT * FROM todos WHERE note = ?'\n"
				      "db.query.summary='SELECT todos'\n"
				      "db.response.returned_rows=3\n"
				      "server.address='10.0.0.2'\n"
				      "server.port=5432\n"
				      "network.peer.address='10.0.0.2'\n"
				      "network.peer.port=5432\n"
				      "wirespan.first_byte_ns=500\n"
				      "wirespan.parent='peer'\n");
	learn(t, 5, "COMMIT"); /* the span keeps its own copy */
	assert_true(str_eq(t->sp.name, STR("SELECT todos")));
	assert_int_equal(t->sp.kind, KIND_CLIENT);
}

static void test_pgsql_errors(void **state)
{
	struct bench *t = *state;

	record_default(&t->rs, PROTO_PGSQL, ROLE_SERVER);
	t->rs.op = PG_PARSE;
	t->rs.flags = SPAN_STMT;
	t->rs.stmt = 5;
	strcpy(t->rs.sqlstate, "42P01");
	learn(t, 5, "SELECT * FROM missing");
	build(t);
	assert_int_equal(strncmp(t->shown, "SELECT missing ERROR\n", 21), 0);
	has(t, "db.response.status_code='42P01'");
	has(t, "error.type='42P01'");
	has(t, "server.address='10.0.0.1'");
	has(t, "server.port=8080");
	lacks(t, "returned_rows");
	lacks(t, "wirespan.statement");
	t->rs.flags |= SPAN_SKIPPED;
	build(t);
	has(t, "wirespan.skipped=true");
	lacks(t, "error.type");
	lacks(t, "status_code");
	assert_int_equal(t->sp.status, STATUS_UNSET);
	t->rs.flags = SPAN_STMT | SPAN_ABORTED;
	build(t);
	has(t, "error.type='42P01'");
	t->rs.sqlstate[0] = '\0';
	build(t);
	has(t, "error.type='connection_closed'");
	memcpy(t->rs.sqlstate, "123456", 6);
	build(t);
	lacks(t, "123456");
}

static void test_pgsql_unknown(void **state)
{
	struct bench *t = *state;

	record_default(&t->rs, PROTO_PGSQL, ROLE_CLIENT);
	t->rs.flags = SPAN_STMT;
	learn(t, STMT_DATABASE, "shop");
	build(t);
	assert_true(str_eq(t->sp.name, STR("postgresql")));
	has(t, "wirespan.statement='unknown'");
	lacks(t, "db.query");
	t->rs.flags = SPAN_STMT;
	t->rs.stmt = 99;
	build(t);
	has(t, "wirespan.statement='unknown'");
	t->rs.op = PG_FUNCTION;
	build(t);
	lacks(t, "wirespan.statement");
}

static void test_addresses(void **state)
{
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	struct bench *t = *state;

	record_default(&t->rs, PROTO_HTTP1, ROLE_CLIENT);
	memcpy(t->rs.remote_addr, v6, sizeof(v6));
	set_texts(&t->rs, "GET", "/", "", "");
	build(t);
	has(t, "network.peer.address='2001:db8::1'");
	has(t, "url.full='http://[2001:db8::1]:41000/'");
	memset(t->rs.remote_addr, 0, 16);
	t->rs.remote_port = 0;
	build(t);
	lacks(t, "network.peer");
	lacks(t, "server.");
	lacks(t, "url.full");
}

#define BAD(field, value)                                                                          \
	do {                                                                                       \
		struct rec_span before = t->rs;                                                    \
		t->rs.field = value;                                                               \
		assert_int_equal(build_len(t, before.head.len), -EBADMSG);                         \
		t->rs = before;                                                                    \
	} while (0)

static void test_refused(void **state)
{
	struct bench *t = *state;
	struct span untouched;

	set_texts(&t->rs, "GET", "/", "h", "");
	memset(&t->sp, 0x5a, sizeof(t->sp));
	untouched = t->sp;
	for (size_t len = 0; len < t->rs.head.len; len++)
		assert_int_equal(build_len(t, len), -EBADMSG);
	BAD(head.type, REC_STMT);
	BAD(head.version, RECORD_VERSION + 1);
	BAD(head.len, t->rs.head.len + 1);
	BAD(head.len, 8);
	BAD(proto, PROTO_UNKNOWN);
	BAD(proto, PROTO_COUNT);
	BAD(role, 0);
	BAD(role, 3);
	BAD(end_ns, 999);
	BAD(span_id, 0);
	BAD(text_len[0], 600);
	BAD(text_len[3], 1);
	BAD(text_len[1], UINT16_MAX);
	t->rs.trace_id[0] = t->rs.trace_id[1] = 0;
	assert_int_equal(build_len(t, t->rs.head.len), -EBADMSG);
	assert_memory_equal(&t->sp, &untouched, sizeof(untouched));
}

static void test_odd_but_whole(void **state)
{
	struct bench *t = *state;

	set_texts(&t->rs, "GET", "/", "h", "");
	t->rs.parent = 200;
	t->rs.flags = UINT16_MAX;
	t->rs.op = 255;
	t->rs.first_ns = UINT64_MAX;
	t->rs.req_bytes = UINT64_MAX;
	build(t);
	lacks(t, "wirespan.parent");
	lacks(t, "first_byte");
	/* the ring may round the length up */
	assert_int_equal(build_len(t, t->rs.head.len + 7), 0);
}

static void test_arena_limit(void **state)
{
	struct bench *t = *state;
	struct arena whole = t->arena;

	set_texts(&t->rs, "GET", "/a/b?c=d", "h", "agent");
	for (size_t limit = 1; limit < 4000; limit += 40) {
		arena_init(&t->arena, limit);
		build_len(t, t->rs.head.len);
		arena_fini(&t->arena);
	}
	t->arena = whole;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_http_server),  TEST(test_left_behind), TEST(test_http_client),  TEST(test_http_errors),
	    TEST(test_http_method),  TEST(test_targets),      TEST(test_unredacted),
	    TEST(test_pgsql_client), TEST(test_pgsql_errors), TEST(test_pgsql_unknown),
	    TEST(test_addresses),    TEST(test_refused),      TEST(test_odd_but_whole),
	    TEST(test_arena_limit),  TEST(test_agent_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

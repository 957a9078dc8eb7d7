/* SPDX-License-Identifier: Apache-2.0 */
/* store_fix.h - what the tests of the store share: a temporary folder and a store in it for each
 * test, spans that are easy to know again, and the questions that every test asks. Included once,
 * by a test's only file. */
#ifndef WIRESPAN_TEST_STORE_FIX_H
#define WIRESPAN_TEST_STORE_FIX_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/stats.h"
#include "store/store.h"
#include "tests/lib/span_gen.h"

static const uint64_t HOUR_NS = 3600ull * NS_PER_S;

static char dir[64];
static struct arena mem;
static struct gen gen;

static inline int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/wirespan-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	arena_init(&mem, 0);
	gen = (struct gen){&mem, 11};
	log_set_level(LOG_ERROR);
	return 0;
}

static inline int teardown(void **state)
{
	char cmd[128];

	(void)state;
	arena_fini(&mem);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

static inline struct store *open_conf(const struct store_conf *conf)
{
	struct store *s = NULL;
	struct strbuf why;

	strbuf_init(&why);
	if (store_open(&s, conf, &why))
		fail_msg("store_open: %s", why.p);
	strbuf_fini(&why);
	return s;
}

static inline struct store *open_plain(void)
{
	return open_conf(&(struct store_conf){.dir = dir});
}

/* A plain span: trace by number, start, and a name to know it by. */
static inline struct span simple(uint32_t trace, uint64_t start_ns, const char *name)
{
	static const struct resource res;
	static const struct scope scope;
	struct span sp = {.start_ns = start_ns, .end_ns = start_ns + 1000, .name = str_of(name)};

	memcpy(sp.trace_id, &trace, sizeof(trace));
	sp.trace_id[15] = 1;
	gen_bytes(&gen, sp.span_id, 8);
	sp.res = &res;
	sp.scope = &scope;
	return sp;
}

static inline void put_one(struct store *s, struct span sp)
{
	assert_int_equal(store_append(s, &sp, 1), 0);
	assert_int_equal(store_flush(s), 0);
}

static inline int add_name(void *arg, const struct span *sp)
{
	strbuf_add(arg, sp->name.p, sp->name.len);
	strbuf_addc(arg, ' ');
	return 0;
}

/* The names that a walk over the time gives. */
static inline void assert_walk(struct store *s, uint64_t from_ns, uint64_t to_ns, const char *want)
{
	struct store_read *r;
	struct strbuf names;

	strbuf_init(&names);
	assert_int_equal(store_read_begin(&r, s, from_ns, to_ns), 0);
	assert_int_equal(store_walk(r, add_name, &names), 0);
	store_read_end(r);
	assert_string_equal(names.p, want);
	strbuf_fini(&names);
}

static inline size_t trace_cnt(struct store *s, uint32_t trace)
{
	struct span *spans, sp = simple(trace, 0, "");
	struct store_read *r;
	struct arena a;
	size_t cnt;

	arena_init(&a, 0);
	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_trace(r, &a, sp.trace_id, &spans, &cnt), 0);
	store_read_end(r);
	arena_fini(&a);
	return cnt;
}

static inline uint64_t stat_of(const char *name)
{
	return *stats_cell(STAT_COUNTER, name, "", "");
}

static inline int count_span(void *arg, const struct span *sp)
{
	(void)sp;
	++*(size_t *)arg;
	return 0;
}

static inline size_t walk_cnt(struct store *s)
{
	struct store_read *r;
	size_t cnt = 0;

	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_walk(r, count_span, &cnt), 0);
	store_read_end(r);
	return cnt;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif

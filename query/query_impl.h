/* SPDX-License-Identifier: Apache-2.0 */
/* query_impl.h - struct query, for this folder alone: memory, limits and the sentence of the error.
 */
#ifndef WIRESPAN_QUERY_IMPL_H
#define WIRESPAN_QUERY_IMPL_H

#include "query/ast.h"
#include "query/query.h"

struct query {
	struct store *store;
	struct store_read *read;
	struct arena arena;   /* the plan and the results: until query_end */
	struct arena scratch; /* of one trace: reset for the next */
	struct query_limits limits;
	uint64_t deadline_ns; /* clock_mono_ns */
	uint32_t steps;
	void (*beat)(void *arg); /* NULL: nobody */
	void *beat_arg;
	uint64_t beat_ns; /* clock_mono_ns: not before */
	struct re *regexes;
	struct strbuf why;
};

/* Sets the sentence, returns err. */
int query_fail(struct query *q, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The memory limit is reached. */
int query_fail_memory(struct query *q);
/* Called per span: now and then asks the clock and the asker. 0, -ETIMEDOUT, -ECANCELED. */
int query_poll(struct query *q);
/* The same at once: for longer pieces of work. */
int query_poll_now(struct query *q);
/* From now on fn is called by polls, in the middle of whatever polls; but not so often that it would be much of
 * the work, and never within itself. NULL: no more. */
void query_beat(struct query *q, void (*fn)(void *arg), void *arg);
/* Parses into the query's arena. Metrics are refused unless asked for. */
int query_parse(struct query *q, struct str text, struct tql *ret);
/* The same with other words before the sentence: of the syntax, of what cannot mean anything. */
int query_parse_as(struct query *q, struct str text, struct tql *ret, const char *syntax,
		   const char *sense);
/* Opens the one read of the query; the other one for a trace by its id. */
int query_read(struct query *q, uint64_t from_ns, uint64_t to_ns);
int query_read_trace(struct query *q, const uint8_t trace_id[16]);

#endif

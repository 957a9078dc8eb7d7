/* SPDX-License-Identifier: Apache-2.0 */
/* query.h - questions to the store: a trace by id, TraceQL searches, tag names and values. Knows
 * nothing of HTTP. Every question lives in a struct query: one arena, one store read, limits, and
 * a sentence when it fails. Results are plain structs in that arena, valid until query_end.
 *
 * Errors: 0; -EINVAL the question is wrong (the sentence says where; HTTP 400); -ERANGE a limit was
 * reached (the sentence says which; HTTP 400); -ETIMEDOUT it ran too long; -ECANCELED the asker has
 * gone; -EDOM it divides an integer by zero (HTTP 500, as Tempo); others: the store failed. A struct
 * query answers one question. */
#ifndef WIRESPAN_QUERY_H
#define WIRESPAN_QUERY_H

#include "store/base.h"
#include "store/span.h"
#include "store/store.h"

struct query;

struct query_limits {
	size_t memory;       /* bytes of each of three arenas; 0: 256 MiB, 64 while more than four run */
	uint32_t timeout_ms; /* 0: 30 s */
	bool (*gone)(void *arg); /* asked now and then: true ends the query; may be NULL */
	void *gone_arg;
	uint64_t part_ns; /* parts of an answer come at most so often; 0: 200 ms */
};

int query_begin(struct query **ret, struct store *s, const struct query_limits *limits);
void query_end(struct query *q);
/* The sentence of the last failure; "" when there was none. Borrowed until query_end. */
const char *query_error(const struct query *q);
/* For encoders that need memory of the same lifetime. */
struct arena *query_arena(struct query *q);

/* --- a trace by id --- */
struct query_trace {
	struct span *spans;
	size_t cnt; /* 0: not found */
};
int query_trace(struct query *q, const uint8_t trace_id[16], struct query_trace *ret);

/* Which spans of a trace to keep: those for which the one filter { .. } in q is true, and from each
 * of them so many levels up and down; UINT32_MAX: all. */
struct trace_filter {
	struct str q; /* empty: all spans */
	uint32_t up, down;
};
/* Leaves the others out, in place. -EINVAL: q is not one filter. */
int query_trace_filter(struct query *q, const struct trace_filter *f, struct query_trace *t);

/* --- search --- */
struct search_result;

struct search_params {
	struct str q;            /* TraceQL; empty: {} */
	uint64_t from_ns, to_ns; /* a trace qualifies when [its start, its end] overlaps, inclusive */
	uint64_t min_ns, max_ns; /* legacy: trace duration; 0: no bound */
	uint32_t limit;          /* traces */
	uint32_t spss;           /* spans per span set */
	/* Not NULL: called while the search goes on, now and then, with the traces that were found since.
	 * They are as the result has them. False: not now, they are kept for later. With most_recent it is
	 * not called: any trace may be pushed out of the result until the last one is found. */
	bool (*found)(void *arg, const struct search_result *some);
	void *found_arg;
};

struct search_span {
	const struct span *span; /* without attributes, events, links, resource and scope */
	bool show_name;     /* the query names it, and the name is what it asks for */
	struct attrs attrs; /* what the query names and this span has; keys without scope */
};

struct search_set {
	struct search_span *spans; /* at most spss */
	uint32_t cnt;
	uint32_t matched; /* all of them */
	struct attrs attrs; /* of the set: by(), aggregates */
};

struct search_service {
	struct str name;
	uint32_t spans, errors;
};

struct search_trace {
	uint8_t trace_id[16];
	struct str root_service, root_name; /* empty: no root received */
	bool has_root;
	uint64_t start_ns, end_ns;
	struct search_set *sets;
	uint32_t set_cnt; /* 0 only for searches without q */
	struct search_service *services; /* every service of the trace */
	uint32_t service_cnt;
	bool is_known; /* found() has taken it */
};

struct search_result {
	struct search_trace *traces; /* newest start first */
	uint32_t cnt;
	uint64_t inspected_spans, inspected_bytes;
};
int query_search(struct query *q, const struct search_params *p, struct search_result *ret);

/* --- tags --- */
struct tag_scope_names {
	const char *scope; /* "span", "resource", "event", "link", "instrumentation", "intrinsic" */
	struct str *names; /* sorted */
	uint32_t cnt;
};

struct tag_names {
	struct tag_scope_names scopes[6];
	uint32_t cnt;
};

struct tag_params {
	struct str name;  /* values: a TraceQL identifier; names: the scope, empty or "none": all */
	struct str q;     /* filter; one that does not parse is no filter */
	uint64_t from_ns, to_ns;
	uint32_t limit;   /* names: per scope; values: in all; 0: none */
};
int query_tag_names(struct query *q, const struct tag_params *p, struct tag_names *ret);

struct tag_value {
	const char *type; /* "string" "int" "float" "bool" "keyword" "duration" */
	struct str text;
};

struct tag_values {
	struct tag_value *at; /* sorted by type, then text */
	uint32_t cnt;
};
int query_tag_values(struct query *q, const struct tag_params *p, struct tag_values *ret);

/* --- metrics --- */
struct metrics_result;

struct metrics_params {
	struct str q;		 /* TraceQL */
	uint64_t from_ns, to_ns; /* spans count by their start */
	uint64_t step_ns;	 /* range alone; query_metrics_step has a good one */
	uint32_t exemplars;	 /* per series; 0: 100, which is the most */
	struct strbuf *parts;	 /* not NULL: the answer is not made, but what it would be made of goes here … */
	const struct str *others; /* … and this is what other nodes said to the same question then */
	uint32_t other_cnt;
	/* Not NULL: called while the question goes on, now and then, with the answer to what was read so far, without
	 * exemplars; it lives until found returns. The result has all its samples again, most of them with other
	 * values, so whoever lets the later value win ends up with the result (of one that is partial: with some
	 * series more). Where a sample may vanish again (topk(), comparisons, arithmetic, compare()) it is not
	 * called. */
	void (*found)(void *arg, const struct metrics_result *some);
	void *found_arg;
};

struct metrics_exemplar {
	uint8_t trace_id[16];
	uint64_t t_ns; /* the span's start */
	double value;  /* never NaN */
};

struct metrics_series {
	struct attrs labels;		    /* strings, integers, doubles, booleans */
	double *values;			    /* one per interval; NaN: no sample */
	struct metrics_exemplar *exemplars; /* by time */
	uint32_t exemplar_cnt;
};

/* Value i is of what started in (t - step, t], where t is start_ns + i * step_ns. An instant query
 * has one interval, (from, to]. */
struct metrics_result {
	uint64_t start_ns, step_ns;
	uint32_t interval_cnt;
	struct metrics_series *series; /* sorted by labels; every one has a sample */
	uint32_t cnt;
	bool partial; /* a limit was reached: message says which, and what to do */
	const char *message;
	uint64_t inspected_spans, inspected_bytes;
	uint32_t jobs, jobs_done; /* ours, and those of other nodes: done when what they said could be used */
};

/* Nanoseconds. */
uint64_t query_metrics_step(uint64_t from_ns, uint64_t to_ns);
int query_metrics_range(struct query *q, const struct metrics_params *p,
			struct metrics_result *ret);
int query_metrics_instant(struct query *q, const struct metrics_params *p,
			  struct metrics_result *ret);

/* --- the language alone: is it TraceQL? 0, or -EINVAL and the sentence in why --- */
int query_check(struct str text, struct strbuf *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* search.c - query_search: candidate traces from plan.c, the answer for each from eval and show,
 * the best `limit` of them kept. Any traces will do unless the query wants the most recent ones:
 * then a heap holds the newest so far. What is kept is copied to the query's arena, as the trace it
 * comes from is gone with the next one; of a span its own fields stay, its attributes, events and
 * links do not. */
#include "query/search.h"
#include "query/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_LIMIT = 20, DEFAULT_SPSS = 3 };

/* --- one trace --- */
static int service_cmp(const void *a, const void *b)
{
	const struct search_service *x = a, *y = b;

	return str_cmp(x->name, y->name);
}

/* Sorts the list by name and adds up what has the same one; returns how many are left. */
static uint32_t services_merge(struct search_service *at, uint32_t cnt)
{
	uint32_t to = 0;

	qsort(at, cnt, sizeof(*at), service_cmp);
	for (uint32_t i = 1; i < cnt; i++) {
		if (str_eq(at[i].name, at[to].name)) {
			at[to].spans += at[i].spans;
			at[to].errors += at[i].errors;
		} else {
			at[++to] = at[i];
		}
	}
	return cnt ? to + 1 : 0;
}

static int services(struct eval *e, struct search_trace *ret)
{
	const struct trace *t = &e->trace;
	struct search_service *all = arena_array(&e->q->scratch, struct search_service, t->cnt);

	if (!all)
		return query_fail_memory(e->q);
	for (uint32_t i = 0; i < t->cnt; i++)
		all[i] = (struct search_service){.name = span_service(&t->spans[i]),
						 .spans = 1,
						 .errors = t->spans[i].status == STATUS_ERROR};
	ret->service_cnt = services_merge(all, t->cnt);
	ret->services = arena_array(&e->q->arena, struct search_service, ret->service_cnt);
	if (!ret->services)
		return query_fail_memory(e->q);
	memcpy(ret->services, all, ret->service_cnt * sizeof(*all));
	return 0;
}

static const struct span *span_copy(struct arena *a, const struct span *sp)
{
	static const struct resource no_resource;
	static const struct scope no_scope;
	struct span *copy = arena_new(a, struct span);

	if (!copy)
		return NULL;
	*copy = *sp;
	copy->attrs = (struct attrs){0};
	copy->event_cnt = copy->link_cnt = 0;
	copy->events = NULL;
	copy->links = NULL;
	copy->res = &no_resource;
	copy->scope = &no_scope;
	return copy;
}

static int set_attrs(struct eval *e, const struct attrs *from, struct attrs *ret)
{
	struct arena *a = &e->q->arena;
	int err = 0;

	ret->at = arena_array(a, struct attr, from->cnt + 1);
	if (!ret->at)
		return query_fail_memory(e->q);
	for (uint32_t i = 0; i < from->cnt && !err; i++) {
		ret->at[i].key = from->at[i].key;
		err = show_val(a, &from->at[i].val, &ret->at[i].val);
	}
	ret->cnt = from->cnt;
	return err ? query_fail_memory(e->q) : 0;
}

static int set_copy(struct eval *e, const struct show *show, const struct span_set *s,
		    uint32_t spss, struct search_set *ret)
{
	uint32_t cnt = s->cnt < spss ? s->cnt : spss;
	int err = set_attrs(e, &s->attrs, &ret->attrs);

	ret->matched = s->cnt;
	ret->spans = arena_array(&e->q->arena, struct search_span, cnt);
	for (; !err && ret->spans && ret->cnt < cnt; ret->cnt++) {
		struct search_span *sp = &ret->spans[ret->cnt];

		sp->span = span_copy(&e->q->arena, &e->trace.spans[s->at[ret->cnt]]);
		err = sp->span ? show_span(show, e, s->at[ret->cnt], sp) : query_fail_memory(e->q);
	}
	return ret->spans || err ? err : query_fail_memory(e->q);
}

static int sets(struct eval *e, const struct show *show, const struct span_set *list, uint32_t spss,
		struct search_trace *ret)
{
	uint32_t cnt = 0;
	int err = 0;

	for (const struct span_set *s = list; s; s = s->next)
		cnt++;
	ret->sets = arena_array(&e->q->arena, struct search_set, cnt);
	if (!ret->sets)
		return query_fail_memory(e->q);
	for (; list && !err; list = list->next)
		err = set_copy(e, show, list, spss, &ret->sets[ret->set_cnt++]);
	return err;
}

static void head(const struct trace *t, struct search_trace *ret)
{
	*ret = (struct search_trace){.root_service = t->root_service,
				     .root_name = t->root_name,
				     .has_root = t->root,
				     .start_ns = t->start_ns,
				     .end_ns = t->end_ns};
	memcpy(ret->trace_id, t->spans[0].trace_id, sizeof(ret->trace_id));
}

int search_trace(struct eval *e, const struct show *show, const struct span *spans, uint32_t cnt,
		 uint32_t spss, struct search_trace *ret)
{
	struct span_set *found = NULL;
	int err = eval_begin(e, spans, cnt);

	err = err ?: eval_trace(e, &found);
	if (err || !found)
		return err;
	head(&e->trace, ret);
	if (show)
		err = services(e, ret) ?: sets(e, show, found, spss, ret);
	return err ?: 1;
}

/* --- all traces --- */
struct search {
	const struct search_params *p;
	struct plan *plan;
	struct eval eval;
	const struct show *show;
	bool most_recent;
	struct search_trace *at; /* with most_recent: a heap, the oldest on top */
	uint32_t cnt, room, limit, spss;
	bool has_news; /* something was found since found was called */
};

static void sift_down(struct search *s, uint32_t i)
{
	for (;;) {
		uint32_t least = i;

		for (uint32_t c = 2 * i + 1; c <= 2 * i + 2 && c < s->cnt; c++)
			if (s->at[c].start_ns < s->at[least].start_ns)
				least = c;
		if (least == i)
			return;
		struct search_trace swap = s->at[i];
		s->at[i] = s->at[least];
		s->at[least] = swap;
		i = least;
	}
}

static int grow(struct search *s)
{
	uint32_t room = s->room ? s->room * 2 : 64;
	struct search_trace *at = arena_array(&s->eval.q->arena, struct search_trace, room);

	if (!at)
		return query_fail_memory(s->eval.q);
	if (s->cnt)
		memcpy(at, s->at, s->cnt * sizeof(*at));
	s->at = at;
	s->room = room;
	return 0;
}

/* Adds t; when full (only with most_recent) the oldest goes. > 0: that was all. */
static int keep(struct search *s, const struct search_trace *t)
{
	if (s->cnt == s->limit) {
		s->at[0] = *t;
		sift_down(s, 0);
		return 0;
	}
	if (s->cnt == s->room && grow(s))
		return -ERANGE;
	s->at[s->cnt++] = *t;
	if (s->cnt < s->limit)
		return 0;
	for (uint32_t i = s->cnt / 2; s->most_recent && i-- > 0;)
		sift_down(s, i);
	return !s->most_recent;
}

static int newest_first(const void *a, const void *b)
{
	const struct search_trace *x = a, *y = b;

	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? 1 : -1;
	return memcmp(x->trace_id, y->trace_id, sizeof(x->trace_id));
}

/* What found has not taken yet, in an array of its own. */
static struct search_trace *news(const struct search *s, uint32_t *ret_cnt)
{
	struct search_trace *list = malloc((s->cnt + 1) * sizeof(*list));

	must(list);
	*ret_cnt = 0;
	for (uint32_t i = 0; i < s->cnt; i++)
		if (!s->at[i].is_known)
			list[(*ret_cnt)++] = s->at[i];
	return list;
}

/* Between two traces, or in the middle of one: nothing is half kept. */
static void say_news(void *arg)
{
	struct search *s = arg;
	struct search_result some = {.inspected_spans = s->plan->inspected_spans,
				     .inspected_bytes = s->plan->inspected_bytes};

	if (!s->has_news)
		return;
	some.traces = news(s, &some.cnt);
	if (some.cnt)
		qsort(some.traces, some.cnt, sizeof(*some.traces), newest_first);
	s->has_news = some.cnt && !s->p->found(s->p->found_arg, &some);
	for (uint32_t i = 0; i < s->cnt && !s->has_news; i++)
		s->at[i].is_known = true;
	free(some.traces);
}

static bool wanted(const struct search *s, const struct span *spans, uint32_t cnt)
{
	uint64_t start = UINT64_MAX, end = 0, duration;

	for (uint32_t i = 0; i < cnt; i++) {
		start = spans[i].start_ns < start ? spans[i].start_ns : start;
		end = spans[i].end_ns > end ? spans[i].end_ns : end;
	}
	duration = end > start ? end - start : 0;
	if (duration < s->p->min_ns || (s->p->max_ns && duration > s->p->max_ns))
		return false;
	return s->cnt < s->limit || start > s->at[0].start_ns;
}

static int on_trace(void *arg, const struct span *spans, uint32_t cnt)
{
	struct search *s = arg;
	struct search_trace t;
	int rc;

	if (!wanted(s, spans, cnt))
		return 0;
	rc = search_trace(&s->eval, s->show, spans, cnt, s->spss, &t);
	if (rc > 0) {
		rc = keep(s, &t);
		s->has_news = true;
	}
	if (s->most_recent && s->cnt == s->limit)
		s->plan->floor_ns = s->at[0].start_ns;
	return rc;
}

static int begin(struct query *q, const struct search_params *p, struct tql *t, struct search *s)
{
	int err = query_parse(q, p->q.len ? p->q : STR("{}"), t);

	if (err)
		return err;
	if (t->metrics)
		return query_fail(q, -EINVAL,
				  "this is a metrics query: ask /api/metrics/query_range");
	*s = (struct search){.p = p,
			     .most_recent = t->most_recent,
			     .limit = p->limit ?: DEFAULT_LIMIT,
			     .spss = p->spss ?: DEFAULT_SPSS};
	if (p->q.len) {
		s->show = show_new(&q->arena, t);
		err = s->show ? 0 : query_fail_memory(q);
	}
	eval_init(&s->eval, q, t);
	return err;
}

int query_search(struct query *q, const struct search_params *p, struct search_result *ret)
{
	struct plan plan = {.q = q, .from_ns = p->from_ns, .to_ns = p->to_ns};
	struct search s;
	struct tql t;
	int err = begin(q, p, &t, &s);

	s.plan = &plan;
	plan.tql = &t;
	if (!err && p->found && !s.most_recent)
		query_beat(q, say_news, &s);
	err = err ?: plan_traces(&plan, on_trace, &s);
	query_beat(q, NULL, NULL);
	if (err)
		return err;
	if (s.cnt)
		qsort(s.at, s.cnt, sizeof(*s.at), newest_first);
	*ret = (struct search_result){.traces = s.at,
				      .cnt = s.cnt,
				      .inspected_spans = plan.inspected_spans,
				      .inspected_bytes = plan.inspected_bytes};
	return 0;
}

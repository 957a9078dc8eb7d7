/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - one trace by its id, from all partitions, and what of it a filter leaves. The spans are
 * the store's answer as it is; grouping by resource is the encoder's. */
#include "query/eval.h"
#include "query/tree.h"

#include <errno.h>
#include <string.h>

int query_trace(struct query *q, const uint8_t trace_id[16], struct query_trace *ret)
{
	struct query_trace t = {0};
	int err = query_read_trace(q, trace_id);

	if (err)
		return err;
	err = store_trace(q->read, &q->arena, trace_id, &t.spans, &t.cnt);
	if (err == -ENOMEM)
		return query_fail_memory(q);
	if (err)
		return query_fail(q, err, "the store cannot be read: %s", strerror(-err));
	*ret = t;
	return 0;
}

/* --- the filter --- */

/* How many levels to go on from each span, + 1; 0: the span is not kept. */
struct reach {
	uint32_t *at;
	uint32_t matched; /* of a span for which the filter is true */
};

static uint32_t levels(uint32_t depth)
{
	return depth < UINT32_MAX ? depth + 1 : depth;
}

static uint32_t one_less(uint32_t reach)
{
	return reach < UINT32_MAX ? reach - 1 : reach;
}

static void spread(struct reach *r, uint32_t from, uint32_t to)
{
	uint32_t left = r->at[from] > 1 ? one_less(r->at[from]) : 0;

	if (to != TREE_NONE && left > r->at[to])
		r->at[to] = left;
}

/* Children stand behind their parents in the tree's order. */
static void spread_up(struct reach *r, const struct tree *t)
{
	for (uint32_t n = t->order_cnt; n-- > 0;)
		spread(r, t->order[n], t->nodes[t->order[n]].parent);
}

static void spread_down(struct reach *r, const struct tree *t)
{
	for (uint32_t n = 0; n < t->order_cnt; n++)
		if (t->nodes[t->order[n]].parent != TREE_NONE)
			spread(r, t->nodes[t->order[n]].parent, t->order[n]);
}

static int reach_init(struct reach *r, struct eval *e, const struct expr *x, uint32_t depth)
{
	uint32_t cnt = e->trace.cnt;

	r->matched = levels(depth);
	r->at = arena_array(&e->q->arena, uint32_t, cnt + 1);
	if (!r->at)
		return query_fail_memory(e->q);
	for (uint32_t i = 0; i < cnt && !e->err; i++) {
		e->err = query_poll(e->q);
		if (eval_true(e, x, i))
			r->at[i] = r->matched;
	}
	return e->err;
}

static int filter_parse(struct query *q, struct str text, struct tql *ret)
{
	int err = query_parse(q, text, ret);

	if (err)
		return err;
	if (ret->pipe->kind != STAGE_FILTER || ret->pipe->next)
		return query_fail(q, -EINVAL,
				  "a trace can be filtered by one span set filter only: { .. }");
	return 0;
}

int query_trace_filter(struct query *q, const struct trace_filter *f, struct query_trace *t)
{
	struct reach up, down;
	struct eval e;
	struct tql tql;
	size_t kept = 0;
	int err = f->q.len ? filter_parse(q, f->q, &tql) : 0;

	if (err || !f->q.len || !t->cnt)
		return err;
	tql.tree = true;
	eval_init(&e, q, &tql);
	err = eval_begin(&e, t->spans, (uint32_t)t->cnt);
	err = err ?: reach_init(&up, &e, tql.pipe->expr, f->up);
	err = err ?: reach_init(&down, &e, tql.pipe->expr, f->down);
	if (err)
		return err;
	spread_up(&up, e.trace.tree);
	spread_down(&down, e.trace.tree);
	for (size_t i = 0; i < t->cnt; i++)
		if (up.at[i] || down.at[i])
			t->spans[kept++] = t->spans[i];
	t->cnt = kept;
	return 0;
}

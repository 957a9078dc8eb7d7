/* SPDX-License-Identifier: Apache-2.0 */
/* eval_sets.c - stages: sets of spans of one trace in, sets out. Every operator costs at most one
 * or two passes over the trace, whatever its shape; sets are ascending arrays of indices in the
 * scratch arena. Empty sets do not exist between stages. */
#include "query/eval_impl.h"
#include "query/text.h"
#include "query/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_L = 1, MARK_R = 2, MARK_FROM_L = 4, MARK_FROM_R = 8 };

void eval_init(struct eval *e, struct query *q, const struct tql *t)
{
	*e = (struct eval){.q = q, .tql = t};
}

int eval_begin(struct eval *e, const struct span *spans, uint32_t cnt)
{
	trace_init(&e->trace, spans, cnt);
	e->marks = NULL;
	e->families = NULL;
	if (e->tql && e->tql->tree) {
		e->trace.tree = tree_new(&e->q->scratch, spans, cnt);
		if (!e->trace.tree)
			e->err = e->err ?: query_fail_memory(e->q);
	}
	return e->err;
}

static struct span_set *set_new(struct eval *e, uint32_t room, const struct attrs *attrs)
{
	struct span_set *s = eval_alloc(e, sizeof(*s));

	if (!s)
		return NULL;
	s->at = eval_alloc(e, room * sizeof(*s->at));
	if (attrs)
		s->attrs = *attrs;
	return s->at ? s : NULL;
}

/* Adds s at the end of a list unless it is empty; returns the new end. */
static struct span_set **append(struct span_set **end, struct span_set *s)
{
	if (!s || !s->cnt)
		return end;
	*end = s;
	return &s->next;
}

static void set_attr(struct eval *e, struct span_set *s, struct str key, const struct tval *v)
{
	struct attr *at = eval_alloc(e, (s->attrs.cnt + 1) * sizeof(*at));

	if (!at)
		return;
	if (s->attrs.cnt)
		memcpy(at, s->attrs.at, s->attrs.cnt * sizeof(*at));
	at[s->attrs.cnt] = (struct attr){.key = key, .val = text_val(&e->q->scratch, v)};
	s->attrs.at = at;
	s->attrs.cnt++;
}

/* --- { expr } --- */
static struct span_set *filter(struct eval *e, const struct stage *st, const struct span_set *in)
{
	struct span_set *out = set_new(e, in->cnt, &in->attrs);

	for (uint32_t n = 0; out && n < in->cnt && !e->err; n++) {
		e->err = query_poll(e->q);
		if (eval_true(e, st->expr, in->at[n]))
			out->at[out->cnt++] = in->at[n];
	}
	return out;
}

/* --- l op r --- */
static struct span_set *pipeline(struct eval *e, const struct stage *st, struct span_set *in);

static bool marks_clear(struct eval *e)
{
	if (!e->marks)
		e->marks = eval_alloc(e, e->trace.cnt);
	if (!e->marks)
		return false;
	memset(e->marks, 0, e->trace.cnt);
	return true;
}

static void mark_sets(struct eval *e, const struct span_set *s, uint8_t mark)
{
	for (; s; s = s->next)
		for (uint32_t n = 0; n < s->cnt; n++)
			e->marks[s->at[n]] |= mark;
}

static void spread_siblings(struct eval *e, uint8_t from, uint8_t to)
{
	const struct tree_node *nodes = e->trace.tree->nodes;

	if (!e->families)
		e->families = eval_alloc(e, 2 * sizeof(*e->families) * e->trace.cnt);
	if (!e->families)
		return;
	memset(e->families, 0, 2 * sizeof(*e->families) * e->trace.cnt);
	for (uint32_t i = 0; i < e->trace.cnt; i++)
		e->families[nodes[i].family] += (e->marks[i] & from) != 0;
	for (uint32_t i = 0; i < e->trace.cnt; i++)
		if (e->families[nodes[i].family] > ((e->marks[i] & from) != 0))
			e->marks[i] |= to;
}

static void spread_down(struct eval *e, uint8_t from, uint8_t to, bool far)
{
	const struct tree *t = e->trace.tree;

	for (uint32_t n = 0; n < t->order_cnt; n++) {
		uint32_t i = t->order[n], p = t->nodes[i].parent;

		if (p != TREE_NONE && (e->marks[p] & (far ? from | to : from)))
			e->marks[i] |= to;
	}
}

static void spread_up(struct eval *e, uint8_t from, uint8_t to, bool far)
{
	const struct tree *t = e->trace.tree;

	for (uint32_t n = t->order_cnt; n-- > 0;) {
		uint32_t i = t->order[n], p = t->nodes[i].parent;

		if (p != TREE_NONE && (e->marks[i] & (far ? from | to : from)))
			e->marks[p] |= to;
	}
}

/* Marks every span that stands in this relation to one that is marked `from`. */
static void spread(struct eval *e, enum relation rel, uint8_t from, uint8_t to)
{
	switch (rel) {
	case REL_CHILD:
	case REL_DESCENDANT:
		spread_down(e, from, to, rel == REL_DESCENDANT);
		break;
	case REL_PARENT:
	case REL_ANCESTOR:
		spread_up(e, from, to, rel == REL_ANCESTOR);
		break;
	default:
		spread_siblings(e, from, to);
	}
}

static enum relation inverse(enum relation rel)
{
	static const enum relation inverses[] = {
	    [REL_CHILD] = REL_PARENT,	     [REL_PARENT] = REL_CHILD,
	    [REL_ANCESTOR] = REL_DESCENDANT, [REL_DESCENDANT] = REL_ANCESTOR,
	    [REL_SIBLING] = REL_SIBLING,
	};

	return inverses[rel];
}

static bool takes_part(const struct op_row *row, uint8_t mark)
{
	if (row->rel == REL_UNION)
		return mark;
	if ((mark & MARK_R) && !(mark & MARK_FROM_L) == row->negated)
		return true;
	return row->both && (mark & MARK_L) && (mark & MARK_FROM_R);
}

static struct span_set *setop(struct eval *e, const struct stage *st, const struct span_set *in)
{
	const struct op_row *row = &ops_table[st->op];
	struct span_set one = *in, *l, *r, *out = NULL;

	one.next = NULL;
	l = pipeline(e, st->l, &one);
	r = pipeline(e, st->r, &one);
	if (e->err || (st->op == OP_AND && (!l || !r)) || !marks_clear(e))
		return NULL;
	mark_sets(e, l, MARK_L);
	mark_sets(e, r, MARK_R);
	if (row->rel != REL_UNION) {
		spread(e, row->rel, MARK_L, MARK_FROM_L);
		spread(e, inverse(row->rel), MARK_R, MARK_FROM_R);
	}
	e->err = e->err ?: query_poll(e->q);
	out = set_new(e, in->cnt, &in->attrs);
	for (uint32_t n = 0; out && n < in->cnt; n++)
		if (takes_part(row, e->marks[in->at[n]]))
			out->at[out->cnt++] = in->at[n];
	return out;
}

/* --- count() > 1 --- */
static void add(struct tval *sum, const struct tval *v)
{
	struct tval s = *sum;

	if (s.type == TYPE_NIL)
		*sum = *v;
	else
		ops_binary(OP_ADD, &s, v, sum);
}

static void keep_extreme(struct tval *best, const struct tval *v, enum op op)
{
	struct tval better = TVAL_BOOL(true);

	if (best->type != TYPE_NIL)
		ops_binary(op, v, best, &better);
	if (better.b)
		*best = *v;
}

/* The mean of durations is a duration, of all else a float. */
static struct tval mean(const struct tval *sum, uint32_t cnt)
{
	double d = cnt ? tval_number(sum) / cnt : 0;

	if (!cnt)
		return TVAL_NIL;
	if (sum->type == TYPE_DURATION)
		return (struct tval){.type = TYPE_DURATION, .i = (int64_t)d};
	return (struct tval){.type = TYPE_FLOAT, .d = d};
}

static struct tval aggregate(struct eval *e, const struct stage *st, const struct span_set *s)
{
	struct tval acc = TVAL_NIL, v;
	uint32_t cnt = 0;

	if (st->func->id == FN_COUNT)
		return TVAL_INT(s->cnt);
	for (uint32_t n = 0; n < s->cnt && !e->err; n++) {
		e->err = query_poll(e->q);
		eval_value(e, st->expr, s->at[n], &v);
		if (!tval_is_number(&v))
			continue;
		cnt++;
		if (st->func->id == FN_MIN || st->func->id == FN_MAX)
			keep_extreme(&acc, &v, st->func->id == FN_MIN ? OP_LT : OP_GT);
		else
			add(&acc, &v);
	}
	return st->func->id == FN_AVG ? mean(&acc, cnt) : acc;
}

static struct span_set *scalar(struct eval *e, const struct stage *st, const struct span_set *in)
{
	struct tval v = aggregate(e, st, in), pass = TVAL_BOOL(false);
	struct span_set *out = eval_alloc(e, sizeof(*out));

	ops_binary(st->op, &v, &st->num, &pass);
	if (!out || !pass.b)
		return NULL;
	*out = *in;
	out->next = NULL;
	set_attr(e, out, st->label, &v);
	return out;
}

/* --- by(expr) --- */
struct keyed {
	struct tval key;
	uint32_t at;
};

static int keyed_cmp(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;
	int c = tval_cmp(&x->key, &y->key);

	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static struct keyed *keys_of(struct eval *e, const struct stage *st, const struct span_set *in)
{
	struct keyed *keys = eval_alloc(e, in->cnt * sizeof(*keys));

	for (uint32_t n = 0; keys && n < in->cnt && !e->err; n++) {
		struct tval v;

		e->err = query_poll(e->q);
		eval_value(e, st->expr, in->at[n], &v);
		keys[n].key = v.type == TYPE_ARRAY ? TVAL_NIL : eval_keep(e, &v);
		keys[n].at = in->at[n];
	}
	if (!keys || e->err)
		return NULL;
	qsort(keys, in->cnt, sizeof(*keys), keyed_cmp);
	return keys;
}

static struct span_set **by(struct eval *e, const struct stage *st, const struct span_set *in,
			    struct span_set **end)
{
	struct keyed *keys = keys_of(e, st, in);
	uint32_t to;

	for (uint32_t from = 0; keys && from < in->cnt && !e->err; from = to) {
		struct span_set *s;

		for (to = from; to < in->cnt && !tval_cmp(&keys[to].key, &keys[from].key); to++)
			;
		s = set_new(e, to - from, &in->attrs);
		if (!s)
			break;
		for (uint32_t n = from; n < to; n++)
			s->at[s->cnt++] = keys[n].at;
		set_attr(e, s, st->label, &keys[from].key);
		end = append(end, s);
	}
	return end;
}

/* --- coalesce() --- */
static struct span_set *coalesce(struct eval *e, const struct span_set *in)
{
	struct span_set *out = set_new(e, e->trace.cnt, NULL);

	if (!out || !marks_clear(e))
		return NULL;
	mark_sets(e, in, MARK_L);
	for (uint32_t i = 0; i < e->trace.cnt; i++)
		if (e->marks[i])
			out->at[out->cnt++] = i;
	return out;
}

/* --- pipelines --- */
static struct span_set **stage_one(struct eval *e, const struct stage *st, struct span_set *in,
				   struct span_set **end)
{
	switch (st->kind) {
	case STAGE_FILTER:
		return append(end, filter(e, st, in));
	case STAGE_SETOP:
		return append(end, setop(e, st, in));
	case STAGE_SCALAR:
		return append(end, scalar(e, st, in));
	default:
		return by(e, st, in, end);
	}
}

static struct span_set *stage(struct eval *e, const struct stage *st, struct span_set *in)
{
	struct span_set *out = NULL, **end = &out;

	if (st->kind == STAGE_SELECT || !in)
		return in;
	if (st->kind == STAGE_COALESCE)
		return coalesce(e, in);
	for (; in && !e->err; in = in->next)
		end = stage_one(e, st, in, end);
	return out;
}

static struct span_set *pipeline(struct eval *e, const struct stage *st, struct span_set *in)
{
	for (; st && in && !e->err; st = st->next)
		in = stage(e, st, in);
	return e->err ? NULL : in;
}

int eval_trace(struct eval *e, struct span_set **ret)
{
	struct span_set *all = set_new(e, e->trace.cnt, NULL);

	if (!all)
		return e->err;
	for (; all->cnt < e->trace.cnt; all->cnt++)
		all->at[all->cnt] = all->cnt;
	*ret = all->cnt ? pipeline(e, e->tql->pipe, all) : NULL;
	return e->err;
}

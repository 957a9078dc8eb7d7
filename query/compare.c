/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - compare({selection}): how often each value of each attribute is in the selection, and
 * how often in the rest. The one metric where a span counts in many series: one per value, and one
 * per attribute for the total. Values that differ on nearly every span (ids, durations, places in
 * the tree) are left out by kind; of all others an attribute has at most VALUES_MAX, and is marked
 * when it has more than the answer shows. */
#include "query/metrics.h"
#include "query/text.h"

#include <errno.h>
#include <stdlib.h>

enum { VALUES_MAX = 2000, TOP_DEFAULT = 10 };

/* The labels of a series. A total has no value. */
enum { BY_SIDE, BY_SCOPE, BY_KEY, BY_VALUE, BY_CNT };
enum { BASELINE, SELECTION };

/* The intrinsics, apart from ATTR_* that count as scopes. */
static const int INTRINSIC = ATTR_SCOPE_COUNT;

static const char *const intrinsics[] = {
	"name",
	"status",
	"statusMessage",
	"kind",
	"rootName",
	"rootServiceName",
	"event:name",
	"instrumentation:name",
	"instrumentation:version",
};

/* --- counting --- */
struct counting {
	struct metric *m;
	uint32_t at;
	struct tval labels[BY_CNT];
};

static struct series *counted(struct series *s, const struct counting *c)
{
	if (!s || s->seen == c->m->spans)
		return s;
	s->seen = c->m->spans;
	series_count(s, c->at);
	return s;
}

/* A span counts once for a value, however often it has it. */
static void count(struct counting *c, int scope, struct str key, const struct tval *v)
{
	struct series *total, *s;

	c->labels[BY_SCOPE] = TVAL_INT(scope);
	c->labels[BY_KEY] = TVAL_STR(key);
	c->labels[BY_VALUE] = TVAL_NIL;
	total = counted(series_of(&c->m->set, c->labels), c);
	if (!total)
		return;
	c->labels[BY_VALUE] = *v;
	s = series_find(&c->m->set, c->labels);
	if (!s && total->values < VALUES_MAX) {
		s = series_of(&c->m->set, c->labels);
		total->values++;
	} else if (!s) {
		total->values = VALUES_MAX + 1;
	}
	counted(s, c);
}

static void count_attrs(struct counting *c, int scope, const struct attrs *as)
{
	for (uint32_t i = 0; i < as->cnt; i++) {
		struct tval v = tval_of(&as->at[i].val);

		if (v.type != TYPE_NIL && v.type != TYPE_ARRAY)
			count(c, scope, as->at[i].key, &v);
	}
}

/* Empty text is said only where a client counts on it. */
static bool says_something(const struct field *f, const struct tval *v)
{
	return v->type != TYPE_STR || v->str.len || (f->flags & FIELD_TRACE) ||
	       str_eq(str_of(f->name), STR("name"));
}

static void count_intrinsic(struct counting *c, const char *name, uint32_t i)
{
	const struct field *f = fields_find(str_of(name));
	struct field_ref ref = {.intrinsic = f};
	struct trace *t = &c->m->eval.trace;
	uint32_t cnt = field_cnt(&ref, t, i);

	for (uint32_t n = 0; n < cnt; n++) {
		struct tval v = field_get(&ref, t, i, n);

		if (v.type != TYPE_NIL && says_something(f, &v))
			count(c, INTRINSIC, str_of(name), &v);
	}
}

static bool is_selected(struct metric *m, uint32_t i)
{
	uint64_t start = m->eval.trace.spans[i].start_ns;

	if (m->stage->num_cnt == 3 &&
	    (start < (uint64_t)m->stage->nums[1].i || start >= (uint64_t)m->stage->nums[2].i))
		return false;
	return eval_true(&m->eval, m->stage->l->expr, i);
}

void compare_add(struct metric *m, uint32_t i, uint32_t at)
{
	const struct span *sp = &m->eval.trace.spans[i];
	struct counting c = {.m = m, .at = at};

	m->spans++;
	c.labels[BY_SIDE] = TVAL_INT(is_selected(m, i) ? SELECTION : BASELINE);
	for (size_t n = 0; n < ARRAY_SIZE(intrinsics); n++)
		count_intrinsic(&c, intrinsics[n], i);
	count_attrs(&c, ATTR_SPAN, &sp->attrs);
	count_attrs(&c, ATTR_RESOURCE, &sp->res->attrs);
	count_attrs(&c, ATTR_SCOPE, &sp->scope->attrs);
	for (uint32_t n = 0; n < sp->event_cnt; n++)
		count_attrs(&c, ATTR_EVENT, &sp->events[n].attrs);
	for (uint32_t n = 0; n < sp->link_cnt; n++)
		count_attrs(&c, ATTR_LINK, &sp->links[n].attrs);
}

bool compare_labels_ok(const struct tval *labels)
{
	const struct tval *side = &labels[BY_SIDE], *scope = &labels[BY_SCOPE];

	return side->type == TYPE_INT && (side->i == BASELINE || side->i == SELECTION) && scope->type == TYPE_INT &&
	       scope->i > ATTR_ANY && scope->i <= INTRINSIC && labels[BY_KEY].type == TYPE_STR;
}

/* --- the answer --- */
struct counted_value {
	const struct series *s;
	uint64_t total;
};

static struct str attr_name(struct arena *a, const struct series *s)
{
	int scope = (int)s->labels[BY_SCOPE].i;
	struct field_ref f = {.scope = scope, .key = s->labels[BY_KEY].str};

	return scope == INTRINSIC ? f.key : text_field(a, &f);
}

static int put(struct metrics *ms, const char *key, const char *text, struct str name,
	       const struct val *v, const double *values, struct series_list *to)
{
	struct metrics_series *out = &to->at[to->cnt++];

	out->labels.at = arena_array(&ms->q->arena, struct attr, 2);
	out->values = (double *)values;
	if (!out->labels.at || !name.p || !values || (v->type == VAL_STR && !v->str.p))
		return query_fail_memory(ms->q);
	out->labels.at[0] = (struct attr){str_of(key), {.type = VAL_STR, .str = str_of(text)}};
	out->labels.at[1] = (struct attr){name, *v};
	out->labels.cnt = 2;
	return 0;
}

static const double *doubles(const struct metrics *ms, const struct series *s)
{
	double *to = (double *)(void *)s->cnt; /* in place */

	for (uint32_t i = 0; i < ms->grid.cnt; i++)
		to[i] = (double)s->cnt[i];
	return to;
}

static int put_counts(struct metrics *ms, const struct series *s, bool total,
		      struct series_list *to)
{
	static const char *const types[2][2] = {{"baseline", "selection"},
						{"baseline_total", "selection_total"}};
	struct val v = text_val(&ms->q->arena, &s->labels[BY_VALUE]);

	return put(ms, "__meta_type", types[total][s->labels[BY_SIDE].i],
		   attr_name(&ms->q->arena, s), &v, doubles(ms, s), to);
}

static int put_error(struct metrics *ms, const struct series *total, struct series_list *to)
{
	struct val nil = {.type = VAL_STR, .str = STR("nil")};

	return put(ms, "__meta_error", "__too_many_values__", attr_name(&ms->q->arena, total), &nil,
		   arena_array(&ms->q->arena, double, ms->grid.cnt), to);
}

static int most_first(const void *a, const void *b)
{
	const struct counted_value *x = a, *y = b;

	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	return series_labels_cmp(x->s->labels, y->s->labels, BY_CNT);
}

static uint64_t total_of(const struct metrics *ms, const struct series *s)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < ms->grid.cnt; i++)
		total += s->cnt[i];
	return total;
}

/* One attribute on one side: all[from] is its total, what follows are its values. */
static int put_attr(struct metrics *ms, struct metric *m, struct series **all, uint32_t cnt,
		    struct series_list *to)
{
	uint64_t top = m->stage->num_cnt ? (uint64_t)m->stage->nums[0].i : TOP_DEFAULT;
	struct counted_value *v = arena_array(&ms->q->arena, struct counted_value, cnt);
	int err = v ? 0 : query_fail_memory(ms->q);

	for (uint32_t i = 1; i < cnt && !err; i++)
		v[i - 1] = (struct counted_value){all[i], total_of(ms, all[i])};
	if (!err)
		qsort(v, cnt - 1, sizeof(*v), most_first);
	for (uint32_t i = 0; i < cnt - 1 && i < top && !err; i++)
		err = put_counts(ms, v[i].s, false, to);
	err = err ?: put_counts(ms, all[0], true, to);
	if (!err && (cnt - 1 > top || all[0]->values > VALUES_MAX))
		err = put_error(ms, all[0], to);
	return err;
}

/* An attribute is marked once, though both sides may have too many values. */
static void drop_doubles(struct series_list *l)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < l->cnt; i++)
		if (!to || labels_cmp(&l->at[to - 1].labels, &l->at[i].labels))
			l->at[to++] = l->at[i];
	l->cnt = to;
}

int compare_finish(struct metrics *ms, struct metric *m, struct series_list *ret)
{
	struct series **all = series_sorted(&m->set);
	uint32_t to;
	int err = 0;

	*ret = (struct series_list){
		.at = arena_array(&ms->q->arena, struct metrics_series, 2ull * m->set.cnt + 1)};
	if (!all || !ret->at)
		return query_fail_memory(ms->q);
	for (uint32_t from = 0; from < m->set.cnt && !err; from = to) {
		for (to = from + 1; to < m->set.cnt; to++)
			if (series_labels_cmp(all[from]->labels, all[to]->labels, BY_VALUE))
				break;
		err = query_poll(ms->q) ?: put_attr(ms, m, &all[from], to - from, ret);
	}
	series_list_sort(ret);
	drop_doubles(ret);
	return err;
}

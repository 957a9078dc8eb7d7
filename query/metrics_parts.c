/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_parts.c - what several nodes have added up for the same text, added up once more: counts, sums,
 * extremes and histograms, before anything is made of them, so the answer is that of one store with all
 * spans. What a node says is checked like any input: all of it before any of it is added. */
#include "query/metrics.h"

#include <errno.h>

#include "proto/parts.pb-c.h"

enum { PARTS_VERSION = 1 };

/* --- ours, to be sent --- */

struct append {
	ProtobufCBuffer base;
	struct strbuf *to;
};

static void append_bytes(ProtobufCBuffer *b, size_t len, const uint8_t *data)
{
	strbuf_add(((struct append *)b)->to, data, len);
}

static ProtobufCBinaryData bytes_of(const void *p, size_t len)
{
	return (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)p};
}

static Parts__Label **put_labels(struct arena *a, const struct series *s, uint32_t cnt)
{
	Parts__Label **list = arena_array(a, Parts__Label *, cnt + 1), *at = arena_array(a, Parts__Label, cnt + 1);

	for (uint32_t i = 0; list && at && i < cnt; i++) {
		const struct tval *v = &s->labels[i];

		list[i] = &at[i];
		parts__label__init(&at[i]);
		at[i].type = v->type;
		if (v->type == TYPE_STR)
			at[i].text = bytes_of(v->str.p, v->str.len);
		else if (v->type == TYPE_FLOAT)
			at[i].real = v->d;
		else if (v->type != TYPE_NIL)
			at[i].number = v->type == TYPE_BOOL ? v->b : v->i;
	}
	return at ? list : NULL;
}

static Parts__Exemplar **put_exemplars(struct arena *a, const struct series *s)
{
	Parts__Exemplar **list = arena_array(a, Parts__Exemplar *, s->exemplar_cnt + 1);
	Parts__Exemplar *at = arena_array(a, Parts__Exemplar, s->exemplar_cnt + 1);
	uint32_t n = 0;

	for (const struct exemplar *x = s->exemplars; list && at && x; x = x->next, n++) {
		list[n] = &at[n];
		parts__exemplar__init(&at[n]);
		at[n].trace_id = bytes_of(x->trace_id, sizeof(x->trace_id));
		at[n].t_ns = x->t_ns;
		at[n].value = x->value;
	}
	return at ? list : NULL;
}

static bool has_something(const struct series *s, uint32_t i)
{
	return s->cnt ? s->cnt[i] > 0 : !isnan(s->num[i]);
}

/* The intervals that have something. False: the arena is full. */
static bool put_numbers(struct arena *a, const struct series *s, uint32_t interval_cnt, Parts__Series *to)
{
	to->at = arena_array(a, uint32_t, interval_cnt);
	to->cnt = s->cnt ? arena_array(a, uint64_t, interval_cnt) : NULL;
	to->num = s->num ? arena_array(a, double, interval_cnt) : NULL;
	if (!to->at || (s->cnt && !to->cnt) || (s->num && !to->num))
		return false;
	for (uint32_t i = 0; i < interval_cnt; i++) {
		if (!has_something(s, i))
			continue;
		to->at[to->n_at++] = i;
		if (s->cnt)
			to->cnt[to->n_cnt++] = s->cnt[i];
		if (s->num)
			to->num[to->n_num++] = s->num[i];
	}
	return true;
}

static bool put_bucket(struct arena *a, const uint32_t *cnt, uint32_t interval_cnt, Parts__Bucket *to)
{
	to->at = arena_array(a, uint32_t, interval_cnt);
	to->cnt = arena_array(a, uint32_t, interval_cnt);
	for (uint32_t i = 0; to->at && to->cnt && i < interval_cnt; i++) {
		if (!cnt[i])
			continue;
		to->at[to->n_at++] = i;
		to->cnt[to->n_cnt++] = cnt[i];
	}
	return to->at && to->cnt;
}

static bool put_buckets(struct arena *a, const struct series *s, uint32_t interval_cnt, Parts__Series *to)
{
	Parts__Bucket *at = arena_array(a, Parts__Bucket, SERIES_BUCKETS);

	to->buckets = arena_array(a, Parts__Bucket *, SERIES_BUCKETS);
	for (uint32_t b = 0; at && to->buckets && b < SERIES_BUCKETS; b++) {
		if (!s->hist[b])
			continue;
		parts__bucket__init(&at[b]);
		at[b].bucket = b;
		to->buckets[to->n_buckets++] = &at[b];
		if (!put_bucket(a, s->hist[b], interval_cnt, &at[b]))
			return false;
	}
	return at && to->buckets;
}

/* Each series is packed on its own, so that the tree of a large answer is small. */
static int put_series(struct metrics *ms, uint32_t metric, const struct series *s, struct append *out)
{
	struct arena *a = &ms->q->scratch;
	Parts__Series x = PARTS__SERIES__INIT, *one = &x;
	Parts__Parts m = PARTS__PARTS__INIT;
	bool ok;

	arena_reset(a);
	x.metric = metric;
	x.n_labels = ms->at[metric].set.conf.label_cnt;
	x.labels = put_labels(a, s, (uint32_t)x.n_labels);
	x.n_exemplars = s->exemplar_cnt;
	x.exemplars = put_exemplars(a, s);
	x.values = s->values;
	ok = x.labels && x.exemplars;
	ok = ok && (s->hist ? put_buckets(a, s, ms->grid.cnt, &x) : put_numbers(a, s, ms->grid.cnt, &x));
	if (!ok)
		return query_fail_memory(ms->q);
	m.n_series = 1;
	m.series = &one;
	protobuf_c_message_pack_to_buffer(&m.base, &out->base);
	return query_poll(ms->q);
}

int metrics_parts_put(struct metrics *ms, const struct plan *plan, struct strbuf *to)
{
	struct append out = {{append_bytes}, to};
	Parts__Parts m = PARTS__PARTS__INIT;
	int err = 0;

	m.version = PARTS_VERSION;
	m.base_ns = ms->grid.base_ns;
	m.step_ns = ms->grid.step_ns;
	m.interval_cnt = ms->grid.cnt;
	m.metric_cnt = ms->cnt;
	m.inspected_spans = plan->inspected_spans;
	m.inspected_bytes = plan->inspected_bytes;
	for (uint32_t i = 0; i < ms->cnt; i++)
		m.full |= ms->at[i].set.full;
	protobuf_c_message_pack_to_buffer(&m.base, &out.base);
	for (uint32_t i = 0; i < ms->cnt && !err; i++) {
		const struct series_set *set = &ms->at[i].set;

		for (uint32_t k = 0; k < set->cap && !err; k++)
			if (set->slots[k])
				err = put_series(ms, i, set->slots[k], &out);
	}
	return err;
}

/* --- theirs: is it what we would say? --- */

static bool at_ok(const struct metrics *ms, const uint32_t *at, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		if (at[i] >= ms->grid.cnt)
			return false;
	return true;
}

static bool label_of(const Parts__Label *l, struct tval *ret)
{
	*ret = (struct tval){.type = l->type};
	switch (l->type) {
	case TYPE_NIL:
		return true;
	case TYPE_STR:
		ret->str = (struct str){l->text.len ? (const char *)l->text.data : "", l->text.len};
		return true;
	case TYPE_FLOAT:
		ret->d = l->real;
		return true;
	case TYPE_BOOL:
		ret->b = l->number != 0;
		return true;
	case TYPE_INT:
	case TYPE_DURATION:
	case TYPE_STATUS:
	case TYPE_KIND:
		ret->i = l->number;
		return true;
	default:
		return false;
	}
}

static bool labels_of(const struct metric *m, const Parts__Series *x, struct tval ret[SERIES_LABELS])
{
	if (x->n_labels != m->set.conf.label_cnt)
		return false;
	for (size_t i = 0; i < x->n_labels; i++)
		if (!label_of(x->labels[i], &ret[i]))
			return false;
	return m->stage->func->id != FN_COMPARE || compare_labels_ok(ret);
}

static bool buckets_ok(const struct metrics *ms, const Parts__Series *x)
{
	for (size_t i = 0; i < x->n_buckets; i++) {
		const Parts__Bucket *b = x->buckets[i];

		if (!b->bucket || b->bucket >= SERIES_BUCKETS || b->n_at != b->n_cnt || !at_ok(ms, b->at, b->n_at))
			return false;
	}
	return true;
}

static bool series_ok(const struct metrics *ms, const Parts__Series *x)
{
	struct tval labels[SERIES_LABELS];
	bool cnt, num;

	if (x->metric >= ms->cnt || !labels_of(&ms->at[x->metric], x, labels))
		return false;
	cnt = ms->at[x->metric].set.conf.acc == ACC_COUNT || ms->at[x->metric].set.conf.acc == ACC_SUM;
	num = !cnt || ms->at[x->metric].set.conf.acc == ACC_SUM;
	if (ms->at[x->metric].set.conf.acc == ACC_HIST)
		return buckets_ok(ms, x);
	return x->n_cnt == (cnt ? x->n_at : 0) && x->n_num == (num ? x->n_at : 0) && at_ok(ms, x->at, x->n_at);
}

static bool parts_ok(const struct metrics *ms, const Parts__Parts *m)
{
	if (m->version != PARTS_VERSION || m->base_ns != ms->grid.base_ns || m->step_ns != ms->grid.step_ns ||
	    m->interval_cnt != ms->grid.cnt || m->metric_cnt != ms->cnt)
		return false;
	for (size_t i = 0; i < m->n_series; i++)
		if (!series_ok(ms, m->series[i]))
			return false;
	return true;
}

/* --- theirs, added to ours --- */

static void add_number(const struct metric *m, struct series *s, uint32_t at, uint64_t cnt, double num)
{
	switch (m->set.conf.acc) {
	case ACC_COUNT:
		s->cnt[at] += cnt;
		break;
	case ACC_MIN:
		series_min(s, at, isnan(num) ? s->num[at] : num);
		break;
	case ACC_MAX:
		series_max(s, at, isnan(num) ? s->num[at] : num);
		break;
	default:
		s->cnt[at] += cnt;
		s->num[at] += num;
	}
}

static void add_bucket(struct metric *m, struct series *s, const Parts__Bucket *b)
{
	uint32_t *cnt = s->hist[b->bucket] ?: series_hist_new(&m->set, s, b->bucket);

	for (size_t i = 0; cnt && i < b->n_at; i++)
		cnt[b->at[i]] += b->cnt[i];
}

static void add_exemplars(struct metric *m, struct series *s, const Parts__Series *x)
{
	for (size_t i = 0; i < x->n_exemplars && series_wants_exemplar(&m->set, s); i++) {
		const Parts__Exemplar *from = x->exemplars[i];
		struct exemplar e = {.t_ns = from->t_ns,
				     .value = m->set.conf.acc == ACC_COUNT ? NAN : from->value,
				     .at = grid_at(&m->set.conf.grid, from->t_ns)};

		if (e.at == GRID_OUT || from->trace_id.len != sizeof(e.trace_id) ||
		    isnan(e.value) != (m->set.conf.acc == ACC_COUNT))
			continue;
		memcpy(e.trace_id, from->trace_id.data, sizeof(e.trace_id));
		series_exemplar_new(&m->set, s, &e);
	}
}

static void add_series(struct metrics *ms, const Parts__Series *x)
{
	struct metric *m = &ms->at[x->metric];
	struct tval labels[SERIES_LABELS];
	struct series *s = labels_of(m, x, labels) ? series_of(&m->set, labels) : NULL;

	if (!s)
		return; /* the set is full, and says so */
	if (s->values < x->values)
		s->values = x->values;
	for (size_t i = 0; i < x->n_at && !s->hist; i++)
		add_number(m, s, x->at[i], s->cnt ? x->cnt[i] : 0, s->num ? x->num[i] : 0);
	for (size_t i = 0; i < x->n_buckets && s->hist; i++)
		add_bucket(m, s, x->buckets[i]);
	add_exemplars(m, s, x);
}

static void *scratch_alloc(void *arg, size_t len)
{
	return arena_alloc(arg, len);
}

static void scratch_free(void *arg, void *p)
{
	(void)arg;
	(void)p;
}

int metrics_parts_add(struct metrics *ms, struct plan *plan, struct str body)
{
	ProtobufCAllocator alloc = {scratch_alloc, scratch_free, &ms->q->scratch};
	Parts__Parts *m;
	int err = 0;

	arena_reset(&ms->q->scratch);
	m = parts__parts__unpack(&alloc, body.len, (const uint8_t *)body.p);
	if (!m || !parts_ok(ms, m))
		return -EBADMSG;
	for (size_t i = 0; i < m->n_series && !err; i++) {
		add_series(ms, m->series[i]);
		err = query_poll(ms->q);
	}
	for (uint32_t i = 0; i < ms->cnt; i++)
		ms->at[i].set.full |= m->full;
	plan->inspected_spans += m->inspected_spans;
	plan->inspected_bytes += m->inspected_bytes;
	return err;
}

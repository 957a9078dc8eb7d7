/* SPDX-License-Identifier: Apache-2.0 */
/* tags.c - the names of attributes and the values of one field, for editors and drop-down lists.
 * Both are sets of (type, text) that are collected, sorted and cut; for names the type is the
 * scope. Where a list is the same for every store (intrinsics, statuses, kinds) nothing is read. A
 * filter that cannot be understood is no filter: it comes from an editor in which somebody is
 * typing. */
#include "query/parse.h"
#include "query/plan.h"
#include "query/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char INTRINSIC[] = "intrinsic";

/* --- a set of (type, text) --- */
struct pairs {
	struct query *q;
	struct tag_value *slots; /* type NULL: free */
	uint32_t cap, cnt;	 /* cap: a power of two */
	uint32_t limit;		 /* 0: none */
	uint64_t seed;		 /* so that nobody can choose texts that collide */
};

static uint32_t pair_hash(const struct pairs *p, const char *type, struct str text)
{
	uint64_t h = p->seed ^ (uintptr_t)type;

	for (size_t i = 0; i < text.len; i++)
		h = (h ^ (uint8_t)text.p[i]) * 0x100000001b3ull + p->seed;
	return (uint32_t)((h * 0xff51afd7ed558ccdull) >> 32);
}

/* type is one of few constant strings, so its address is enough. */
static struct tag_value *pair_slot(const struct pairs *p, const char *type, struct str text)
{
	for (uint32_t h = pair_hash(p, type, text);; h++) {
		struct tag_value *v = &p->slots[h & (p->cap - 1)];

		if (!v->type || (v->type == type && str_eq(v->text, text)))
			return v;
	}
}

static int pairs_grow(struct pairs *p)
{
	struct pairs old = *p;

	p->cap = old.cap ? old.cap * 2 : 64;
	p->slots = arena_array(&p->q->arena, struct tag_value, p->cap);
	if (!p->slots)
		return query_fail_memory(p->q);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.slots[i].type)
			*pair_slot(p, old.slots[i].type, old.slots[i].text) = old.slots[i];
	return 0;
}

/* Adds a copy. 0, > 0 when the limit is reached, or -errno. */
static int pairs_add(struct pairs *p, const char *type, struct str text)
{
	struct tag_value *v;

	if (p->cnt * 2 >= p->cap && pairs_grow(p))
		return -ERANGE;
	v = pair_slot(p, type, text);
	if (v->type)
		return 0;
	v->text = arena_str(&p->q->arena, text.p, text.len);
	if (!v->text.p)
		return query_fail_memory(p->q);
	v->type = type;
	p->cnt++;
	return p->limit && p->cnt >= p->limit;
}

static int pair_cmp(const void *a, const void *b)
{
	const struct tag_value *x = a, *y = b;
	int c = strcmp(x->type, y->type);

	return c ? c : str_cmp(x->text, y->text);
}

/* Moves all to the front, in order. */
static void pairs_sort(struct pairs *p)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < p->cap; i++)
		if (p->slots[i].type)
			p->slots[to++] = p->slots[i];
	if (to)
		qsort(p->slots, to, sizeof(*p->slots), pair_cmp);
}

static void pairs_init(struct pairs *p, struct query *q)
{
	*p = (struct pairs){.q = q, .seed = clock_mono_ns() | 1};
}

/* --- the spans to look at --- */
struct look {
	struct query *q;
	const struct tag_params *params;
	struct tql tql;
	const struct expr *filter; /* NULL: every span */
	bool whole;		   /* has to load traces */
	struct eval eval;
	int (*fn)(struct look *l, uint32_t i); /* span i of eval.trace */
	plan_rows_fn *rows_fn;		       /* the same for rows; NULL: only spans */
	struct pairs pairs;
	struct field_ref field; /* values */
	enum attr_scope scope;	/* names; ATTR_ANY: all */
};

static void look_begin(struct look *l, struct query *q, const struct tag_params *p)
{
	*l = (struct look){.q = q, .params = p};
	pairs_init(&l->pairs, q);
	if (p->q.len && query_parse(q, p->q, &l->tql)) {
		query_fail(q, 0, "%s", "");
		l->tql = (struct tql){0};
	}
	if (l->tql.pipe && l->tql.pipe->kind == STAGE_FILTER && !l->tql.pipe->next)
		l->filter = l->tql.pipe->expr;
	l->whole = !plan_is_local(l->filter);
	l->tql.tree = l->tql.tree && l->filter;
}

static bool span_in_range(const struct look *l, const struct span *sp)
{
	return sp->start_ns <= l->params->to_ns && sp->end_ns >= l->params->from_ns;
}

static int look_at(struct look *l, uint32_t i)
{
	bool yes = eval_true(&l->eval, l->filter, i);

	return l->eval.err || !yes ? l->eval.err : l->fn(l, i);
}

static int on_trace(void *arg, const struct span *spans, uint32_t cnt)
{
	struct look *l = arg;
	int rc = eval_begin(&l->eval, spans, cnt);

	for (uint32_t i = 0; i < cnt && !rc; i++) {
		rc = query_poll(l->q);
		if (!rc && span_in_range(l, &spans[i]))
			rc = look_at(l, i);
	}
	return rc;
}

static int on_span(void *arg, const struct span *sp)
{
	struct look *l = arg;
	int err = 0;

	if (l->tql.tree) {
		arena_reset(&l->q->scratch);
		err = eval_begin(&l->eval, sp, 1);
	} else {
		trace_init(&l->eval.trace, sp, 1);
	}
	return err ?: look_at(l, 0);
}

/* fields: what rows_fn needs of each row; NULL: it takes only whole spans. */
static int look(struct look *l, const struct field_ref *const *fields, uint32_t field_cnt)
{
	struct plan p = {.q = l->q, .from_ns = l->params->from_ns, .to_ns = l->params->to_ns};
	struct plan_rows pr = {l->filter, fields, field_cnt, l->rows_fn, on_span, l};

	eval_init(&l->eval, l->q, &l->tql);
	p.tql = l->filter ? &l->tql : NULL;
	if (l->whole)
		return plan_traces(&p, on_trace, l);
	return l->rows_fn ? plan_rows(&p, &pr) : plan_spans(&p, on_span, l);
}

/* --- names --- */
static int add_keys(struct look *l, enum attr_scope scope, const struct attrs *as)
{
	int rc = 0;

	if (l->scope != ATTR_ANY && l->scope != scope)
		return 0;
	for (uint32_t i = 0; i < as->cnt && !rc; i++)
		rc = pairs_add(&l->pairs, fields_scope_name(scope), as->at[i].key);
	return rc;
}

static int names_of_span(struct look *l, uint32_t i)
{
	const struct span *sp = &l->eval.trace.spans[i];
	int rc = add_keys(l, ATTR_SPAN, &sp->attrs);

	rc = rc ?: add_keys(l, ATTR_RESOURCE, &sp->res->attrs);
	rc = rc ?: add_keys(l, ATTR_SCOPE, &sp->scope->attrs);
	for (uint32_t n = 0; n < sp->event_cnt && !rc; n++)
		rc = add_keys(l, ATTR_EVENT, &sp->events[n].attrs);
	for (uint32_t n = 0; n < sp->link_cnt && !rc; n++)
		rc = add_keys(l, ATTR_LINK, &sp->links[n].attrs);
	return rc;
}

static int one_is_enough(struct look *l, uint32_t i)
{
	(void)i;
	l->pairs.cnt = 1;
	return 1;
}

static int row_is_enough(void *arg, struct columnar *c, const struct rows *rows,
			 const struct columnar_field *fields)
{
	struct look *l = arg;

	(void)c;
	(void)fields;
	return rows_next(rows, 0) < rows->cnt ? one_is_enough(l, 0) : 0;
}

static int on_key(void *arg, enum tag_scope scope, struct str key)
{
	static const enum attr_scope scopes[TAG_SCOPE_COUNT] = {
		[TAG_SPAN] = ATTR_SPAN, [TAG_RESOURCE] = ATTR_RESOURCE, [TAG_EVENT] = ATTR_EVENT,
		[TAG_LINK] = ATTR_LINK, [TAG_SCOPE] = ATTR_SCOPE,
	};
	struct attr attr = {.key = key};
	struct attrs one = {.at = &attr, .cnt = 1};

	return add_keys(arg, scopes[scope], &one);
}

/* Without a filter the store knows the keys of its partitions, which are coarser than the range: so
 * first there must be a span in it. */
static int names_of_store(struct look *l)
{
	int err;

	l->fn = one_is_enough;
	l->rows_fn = row_is_enough;
	err = look(l, NULL, 0);
	if (err || !l->pairs.cnt)
		return err;
	l->pairs.cnt = 0;
	err = store_tag_keys(l->q->read, on_key, l);
	if (err && !*query_error(l->q))
		return query_fail(l->q, err, "the store cannot be read: %s", strerror(-err));
	return err;
}

static int add_intrinsics(struct look *l)
{
	const struct field *f;
	int err = 0;

	for (size_t n = 0; (f = fields_at(n)) && !err; n++)
		if (f->flags & FIELD_TAG)
			err = pairs_add(&l->pairs, INTRINSIC, str_of(f->name));
	return err;
}

/* Cuts the sorted pairs into scopes. */
static int scopes_of(struct look *l, struct tag_names *ret)
{
	const struct pairs *p = &l->pairs;
	uint32_t limit = l->params->limit ?: UINT32_MAX;

	*ret = (struct tag_names){0};
	for (uint32_t i = 0; i < p->cnt; i++) {
		struct tag_scope_names *s = ret->cnt ? &ret->scopes[ret->cnt - 1] : NULL;

		if (!s || s->scope != p->slots[i].type) {
			s = &ret->scopes[ret->cnt++];
			s->scope = p->slots[i].type;
			s->names = arena_array(&l->q->arena, struct str, p->cnt - i);
			if (!s->names)
				return query_fail_memory(l->q);
		}
		if (s->cnt < limit)
			s->names[s->cnt++] = p->slots[i].text;
	}
	return 0;
}

/* The scopes to list: of attributes, *ret_scope, and whether intrinsics. */
static int scope_param(struct query *q, struct str name, bool *ret_attrs, bool *ret_intrinsics,
		       enum attr_scope *ret_scope)
{
	bool all = !name.len || str_eq(name, STR("none"));

	*ret_scope = ATTR_ANY;
	*ret_intrinsics = all || str_eq(name, str_of(INTRINSIC));
	*ret_attrs = all || !*ret_intrinsics;
	if (all || *ret_intrinsics || !fields_scope(name, ret_scope))
		return 0;
	return query_fail(q, -EINVAL, "invalid scope: " STR_FMT, STR_ARG(name));
}

int query_tag_names(struct query *q, const struct tag_params *p, struct tag_names *ret)
{
	bool attrs, intrinsics;
	struct look l;
	int err;

	look_begin(&l, q, p);
	err = scope_param(q, p->name, &attrs, &intrinsics, &l.scope);
	if (!err && attrs && l.filter) {
		l.fn = names_of_span;
		err = look(&l, NULL, 0);
	} else if (!err && attrs) {
		err = names_of_store(&l);
	}
	if (!err && intrinsics)
		err = add_intrinsics(&l);
	if (err)
		return err;
	pairs_sort(&l.pairs);
	return scopes_of(&l, ret);
}

/* --- values --- */
static int add_value(struct look *l, const struct tval *v)
{
	static const char *const types[] = {
		[TYPE_STR] = "string",	 [TYPE_INT] = "int",	       [TYPE_FLOAT] = "float",
		[TYPE_BOOL] = "bool",	 [TYPE_DURATION] = "duration", [TYPE_STATUS] = "keyword",
		[TYPE_KIND] = "keyword",
	};
	int rc = 0;

	if (v->type == TYPE_NIL)
		return 0;
	if (v->type != TYPE_ARRAY) {
		char text[TEXT_NUMBER];

		return pairs_add(&l->pairs, types[v->type], text_short(text, v));
	}
	for (uint32_t i = 0; i < v->arr->cnt && !rc; i++) {
		struct tval e = tval_of(&v->arr->elems[i]);

		rc = add_value(l, &e);
	}
	return rc;
}

static int values_of_field(struct look *l, const struct field_ref *f, uint32_t i)
{
	uint32_t cnt = field_cnt(f, &l->eval.trace, i);
	int rc = 0;

	for (uint32_t n = 0; n < cnt && !rc; n++) {
		struct tval v = field_get(f, &l->eval.trace, i, n);

		rc = add_value(l, &v);
	}
	return rc;
}

/* An attribute without scope: of the span and of the resource, even where one hides the other. */
static int values_of_span(struct look *l, uint32_t i)
{
	struct field_ref span = l->field, resource = l->field;

	if (l->field.intrinsic || l->field.scope != ATTR_ANY)
		return values_of_field(l, &l->field, i);
	span.scope = ATTR_SPAN;
	resource.scope = ATTR_RESOURCE;
	return values_of_field(l, &span, i) ?: values_of_field(l, &resource, i);
}

/* The entries of the table that some row has. */
static int values_of_column(struct look *l, const struct rows *rows, const struct columnar_field *f,
			    bool *has)
{
	uint64_t codes[COLUMN_RUN];
	uint32_t from = 0, to = 0;
	int rc = 0;

	if (!rows->bits) /* every entry is some row's */
		memset(has, 1, f->cnt);
	for (uint32_t row = rows->bits ? rows_next(rows, 0) : rows->cnt; row < rows->cnt;
	     row = rows_next(rows, row + 1)) {
		if (row >= to) {
			from = row;
			to = rows->cnt - from < COLUMN_RUN ? rows->cnt : from + COLUMN_RUN;
			column_read(f->column, from, to - from, codes);
		}
		has[codes[row - from]] = true;
	}
	for (uint32_t i = 0; i < f->cnt && !rc; i++)
		if (has[i])
			rc = add_value(l, &f->table[i]);
	return rc;
}

static int values_of_rows(void *arg, struct columnar *c, const struct rows *rows,
			  const struct columnar_field *fields)
{
	struct look *l = arg;
	uint32_t cnt = l->field.intrinsic || l->field.scope != ATTR_ANY ? 1 : 2;
	int rc = 0;

	if (rows_next(rows, 0) == rows->cnt)
		return 0;
	for (uint32_t i = 0; i < cnt && !rc; i++) {
		const struct columnar_field *f = &fields[i];
		bool *has;

		if (!f->column) {
			rc = add_value(l, &f->table[0]);
			continue;
		}
		has = arena_array(c->mem, bool, (size_t)1 << f->column->width);
		rc = has ? values_of_column(l, rows, f, has) : query_fail_memory(l->q);
	}
	return rc;
}

/* Statuses and kinds: all there are. */
static int add_keywords(struct look *l, enum tql_type type)
{
	struct tval v = {.type = type};
	int err = 0;

	for (; !err && *(type == TYPE_STATUS ? text_status(v.i) : text_kind(v.i)); v.i++)
		err = add_value(l, &v);
	return err;
}

static int field_param(struct look *l)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = parse_field(&l->q->arena, l->params->name, &l->field, &why);
	if (err)
		query_fail(l->q, -EINVAL, "please provide a valid tagName: %s", why.p);
	strbuf_fini(&why);
	return err ? -EINVAL : 0;
}

static int collect_values(struct look *l)
{
	struct field_ref span = l->field, resource = l->field;
	const struct field_ref *const both[] = {&span, &resource}, *field = &l->field;
	uint32_t flags = field_flags(&l->field);
	enum tql_type type = field_type(&l->field);

	if (type == TYPE_STATUS || type == TYPE_KIND)
		return add_keywords(l, type);
	if (flags & FIELD_OPAQUE)
		return 0;
	l->whole = l->whole || (flags & (FIELD_TRACE | FIELD_TREE));
	l->tql.tree = l->tql.tree || (flags & FIELD_TREE);
	l->pairs.limit = l->params->limit;
	l->fn = values_of_span;
	l->rows_fn = values_of_rows;
	span.scope = ATTR_SPAN;
	resource.scope = ATTR_RESOURCE;
	if (l->field.intrinsic || l->field.scope != ATTR_ANY)
		return look(l, &field, 1);
	return look(l, both, 2);
}

int query_tag_values(struct query *q, const struct tag_params *p, struct tag_values *ret)
{
	struct look l;
	int err;

	look_begin(&l, q, p);
	err = field_param(&l) ?: collect_values(&l);
	if (err)
		return err;
	pairs_sort(&l.pairs);
	*ret = (struct tag_values){.at = l.pairs.slots, .cnt = l.pairs.cnt};
	return 0;
}

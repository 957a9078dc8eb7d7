/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_rows.c - a metric fed from columns: of a group of rows, the series are looked up once for
 * each combination of the labels' codes, and each row costs reading its columns and one addition.
 * For one metric over one filter that a span alone decides, with plain fields for labels and
 * value; metrics.c has the way for all others. */
#include "query/metrics.h"

#include <errno.h>

enum { COMBINATIONS_MAX = 1 << 16 };

/* --- does it fit? --- */

static bool is_plain(const struct expr *x)
{
	return !x || (x->kind == EXPR_FIELD && !x->whole);
}

bool metrics_fits_rows(const struct metrics *ms)
{
	const struct metric *m = &ms->at[0];
	const struct stage *filter = m->tql.pipe;

	if (ms->cnt != 1 || m->stage->func->id == FN_COMPARE || filter->kind != STAGE_FILTER ||
	    filter->next || !plan_is_local(filter->expr) || !is_plain(m->stage->expr))
		return false;
	for (uint32_t i = 0; i < m->stage->field_cnt; i++)
		if (!is_plain(m->stage->fields[i]) ||
		    m->stage->fields[i]->type == TYPE_DURATION) /* has no table */
			return false;
	return true;
}

/* --- the rows of a group --- */

struct feed {
	struct metric *m;
	struct columnar *c;
	const struct columnar_field *labels, *value; /* value: NULL for counts */
	struct series **series; /* by combination of codes; NULL: not looked up yet */
	uint64_t lo_ns, hi_ns;	/* (lo, hi] is interval at */
	uint32_t at;
};

struct run {
	uint64_t start[COLUMN_RUN], value[COLUMN_RUN], codes[SERIES_LABELS][COLUMN_RUN],
		index[COLUMN_RUN];
};

/* Stands for "the set is full" where NULL stands for "not looked up yet". */
static struct series no_series;

static struct series *series_look_up(struct feed *f, const uint64_t *codes)
{
	struct tval labels[SERIES_LABELS];
	struct series *s;

	for (uint32_t i = 0; i < f->m->stage->field_cnt; i++)
		labels[i] = metrics_label(&f->labels[i].table[codes[i]]);
	s = series_of(&f->m->set, labels);
	return s ? s : &no_series;
}

/* The rows' combinations of codes, each as one number. */
static void indices_of(const struct feed *f, uint32_t cnt, struct run *run)
{
	memset(run->index, 0, sizeof(run->index));
	for (uint32_t k = f->m->stage->field_cnt; k-- > 0;) {
		const struct column *c = f->labels[k].column;

		for (uint32_t i = 0; c && i < cnt; i++)
			run->index[i] = run->index[i] << c->width | run->codes[k][i];
	}
}

static struct series *series_new_of_row(struct feed *f, const struct run *run, uint32_t i)
{
	uint64_t codes[SERIES_LABELS];
	struct series *s;

	for (uint32_t k = 0; k < f->m->stage->field_cnt; k++)
		codes[k] = run->codes[k][i];
	s = series_look_up(f, codes);
	if (f->series)
		f->series[run->index[i]] = s;
	return s;
}

static inline struct series *series_of_row(struct feed *f, const struct run *run, uint32_t i)
{
	struct series *s = f->series ? f->series[run->index[i]] : NULL;

	return s ? s : series_new_of_row(f, run, i);
}

/* NULL stays when there are too many combinations to have a table. */
static int series_table(struct feed *f)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < f->m->stage->field_cnt; i++)
		bits += f->labels[i].column ? f->labels[i].column->width : 0;
	if ((1ull << (bits < 32 ? bits : 32)) > COMBINATIONS_MAX)
		return 0;
	f->series = arena_array(f->c->mem, struct series *, (size_t)1 << bits);
	return f->series ? 0 : query_fail_memory(f->m->eval.q);
}

/* Rows that follow each other are mostly in the same interval. */
static inline uint32_t interval_of(struct feed *f, uint64_t t_ns)
{
	const struct grid *g = &f->m->set.conf.grid;
	uint32_t at;

	if (t_ns > f->lo_ns && t_ns <= f->hi_ns)
		return f->at;
	at = grid_at(g, t_ns);
	if (at != GRID_OUT) { /* else the last interval stays: rows are not in order */
		f->at = at;
		f->lo_ns = g->base_ns + at * g->step_ns;
		f->hi_ns = f->lo_ns + g->step_ns;
	}
	return at;
}

static inline struct tval value_of(const struct feed *f, uint64_t at)
{
	if (f->value->form == COLUMNAR_TABLE)
		return f->value->table[at];
	return (struct tval){.type = TYPE_DURATION, .i = (int64_t)at};
}

static void exemplar_add(struct feed *f, struct series *s, uint64_t t_ns, uint64_t chunk,
			 double value)
{
	struct exemplar x = {.t_ns = t_ns, .value = value, .at = f->at};

	if (series_slot_is_free(&f->m->set, s, t_ns) &&
	    store_block_trace_id(f->c->block, chunk, x.trace_id) == 0)
		series_exemplar_new(&f->m->set, s, &x);
}

static void run_read(const struct feed *f, uint32_t row, uint32_t cnt, struct run *ret)
{
	column_read(&f->c->group->columns[COLUMN_START], row, cnt, ret->start);
	for (uint32_t i = 0; i < f->m->stage->field_cnt; i++)
		if (f->labels[i].column)
			column_read(f->labels[i].column, row, cnt, ret->codes[i]);
		else
			memset(ret->codes[i], 0, sizeof(ret->codes[i]));
	if (f->value && f->value->column)
		column_read(f->value->column, row, cnt, ret->value);
	else
		memset(ret->value, 0, sizeof(ret->value));
	indices_of(f, cnt, ret);
}

/* Adds row i of the run; true when it counted. */
static inline bool row_add(struct feed *f, const struct run *run, uint32_t i, struct series **ret_s,
			   double *ret_value)
{
	uint64_t t_ns = f->c->block->min_start_ns + run->start[i];
	uint32_t at = interval_of(f, t_ns);
	struct tval v = TVAL_NIL;

	if (at == GRID_OUT)
		return false;
	if (f->value) {
		v = value_of(f, run->value[i]);
		if (!metrics_counts(f->m, &v))
			return false;
	}
	*ret_s = series_of_row(f, run, i);
	if (*ret_s == &no_series)
		return false;
	*ret_value = metrics_add_value(f->m, *ret_s, at, &v);
	return true;
}

/* Of a run, one row is offered as an exemplar: looking up its trace costs more than adding it. */
static void run_add(struct feed *f, const struct run *run, const struct rows *rows, uint32_t from,
		    uint32_t to)
{
	bool wanted = true;

	for (uint32_t row = rows_next(rows, from); row < to; row = rows_next(rows, row + 1)) {
		struct series *s;
		uint64_t chunk;
		double value;

		if (!row_add(f, run, row - from, &s, &value) || !(wanted || s->exemplar_cnt == 0) ||
		    !series_wants_exemplar(&f->m->set, s))
			continue;
		wanted = false;
		column_read(&f->c->group->columns[COLUMN_CHUNK], row, 1, &chunk);
		exemplar_add(f, s, f->c->block->min_start_ns + run->start[row - from], chunk,
			     value);
	}
}

static int on_rows(void *arg, struct columnar *c, const struct rows *rows,
		   const struct columnar_field *fields)
{
	struct metrics *ms = arg;
	struct metric *m = &ms->at[0];
	struct feed f = {.m = m, .c = c, .labels = fields};
	struct run run;
	int err;

	if (m->stage->expr)
		f.value = &fields[m->stage->field_cnt];
	err = series_table(&f);
	for (uint32_t from = rows_next(rows, 0) / COLUMN_RUN * COLUMN_RUN; from < rows->cnt && !err;
	     from += COLUMN_RUN) {
		uint32_t n = rows->cnt - from < COLUMN_RUN ? rows->cnt - from : COLUMN_RUN;

		if (rows_next(rows, from) >= from + n)
			continue;
		run_read(&f, from, n, &run);
		run_add(&f, &run, rows, from, from + n);
	}
	return err;
}

int metrics_feed_rows(struct metrics *ms, struct plan *plan, plan_span_fn *span_fn)
{
	const struct metric *m = &ms->at[0];
	const struct field_ref *fields[SERIES_LABELS + 1];
	struct plan_rows pr = {
		.filter = m->tql.pipe->expr,
		.fields = fields,
		.field_cnt = m->stage->field_cnt,
		.rows_fn = on_rows,
		.span_fn = span_fn,
		.arg = ms,
	};

	for (uint32_t i = 0; i < m->stage->field_cnt; i++)
		fields[i] = &m->stage->fields[i]->field;
	if (m->stage->expr)
		fields[pr.field_cnt++] = &m->stage->expr->field;
	return plan_rows(plan, &pr);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_answer.c - what the server says to the messages that pgsql.c has asked, and when: each answer, what is
 * skipped after an error, and the truth about what was executed. */
#include "pgsql.h"

#include <stdio.h>
#include <string.h>

const char *sqlstate_any(struct pg *g)
{
	static const char *const some[] = { "42601", "42P01", "23505", "22P02", "22012",
					    "40001", "57014", "P0001", "XX000", "0A000",
					    "53300", "25P02", "08P01", "HV00N", "2201E" };

	return RNG_PICK(g->r, some);
}

/* --- the truth --- */

static void truth_side(struct pg *g, const struct outcome *o, const char *side)
{
	struct text *t = &g->s->truth;

	text_fmt(t, "{\"protocol\":\"pgsql\",\"side\":\"%s\",\"round\":%u,\"conn\":%u,\"order\":%u", side,
		 g->s->round, g->s->conn, g->order);
	if (o->text) {
		text_str(t, ",\"text\":");
		text_json(t, o->text->p ? o->text->p : "", o->text->len);
	}
	if (o->sql && o->text)
		text_fmt(t, ",\"operation\":\"%s\",\"table\":\"%s\"", o->sql->operation, o->sql->table);
	if (o->rows >= 0)
		text_fmt(t, ",\"rows\":%lld", (long long)o->rows);
	if (o->sqlstate)
		text_fmt(t, ",\"sqlstate\":\"%s\"", o->sqlstate);
	text_str(t, o->rows_maybe ? ",\"rows_maybe\":true" : "");
	text_str(t, o->skipped ? ",\"skipped\":true" : "");
	text_str(t, o->aborted ? ",\"aborted\":true" : "");
	text_str(t, "}\n");
}

static void outcome_put(struct pg *g, const struct outcome *o)
{
	truth_side(g, o, "CLIENT");
	truth_side(g, o, "SERVER");
	g->order++;
	g->s->exchanges++;
}

void truth_put(struct pg *g, const struct sql *sql, struct outcome o)
{
	o.text = sql ? &sql->text : NULL;
	o.sql = sql;
	outcome_put(g, &o);
}

/* --- answers --- */

static uint32_t row_cnt(struct rng *r)
{
	uint32_t dice = rng_below(r, 100);

	return dice < 15 ? 0 : dice < 98 ? rng_between(r, 1, 15) : rng_between(r, 100, 900);
}

static void rows_answer(struct pg *g, uint32_t cnt)
{
	while (cnt--)
		answer_row(g);
}

static bool shape_has_rows(enum sql_shape shape)
{
	return shape == SQL_ROWS || shape == SQL_RETURNING || shape == SQL_SHOW;
}

static void execute_answer(struct pg *g, const struct op *op)
{
	const struct sql *sql = op->sql;
	uint32_t rows = sql->shape == SQL_SHOW ? 1 : row_cnt(g->r), limit = op->limit & ~(1u << 31);
	bool suspended = op->limit >> 31;
	struct outcome o = { .rows = -1 };

	if (sql->shape == SQL_EMPTY) {
		answer_plain(g, 'I');
		truth_put(g, sql, o);
		return;
	}
	if (limit && (suspended || rows > limit)) {
		rows = limit;
		suspended = true;
	}
	if (shape_has_rows(sql->shape)) {
		rows_answer(g, rows);
		o.rows = rows;
		o.rows_maybe = !rows && sql->shape == SQL_RETURNING; /* its tag does not tell */
	}
	if (suspended)
		answer_plain(g, 's');
	else
		answer_tag(g, sql->tag, rows);
	truth_put(g, sql, o);
}

static void refuse(struct pg *g, const struct op *op)
{
	const char *state = sqlstate_any(g);
	struct outcome o = { .rows = -1, .sqlstate = state };

	if (op->kind == OP_EXECUTE && shape_has_rows(op->sql->shape) && rng_chance(g->r, 30)) {
		o.rows = rng_between(g->r, 1, 9);
		o.rows_maybe = true;
		rows_answer(g, (uint32_t)o.rows);
	}
	answer_error(g, state);
	truth_put(g, op->sql, o);
}

static void query_part(struct pg *g, const struct sql *sql, bool bad, struct outcome *o)
{
	uint32_t rows = sql->shape == SQL_SHOW ? 1 : row_cnt(g->r);

	if (bad && rng_chance(g->r, 60)) {
		answer_error(g, o->sqlstate);
		return;
	}
	if (shape_has_rows(sql->shape)) {
		answer_columns(g);
		rows_answer(g, rows);
		o->rows = (o->rows < 0 ? 0 : o->rows) + rows;
	}
	if (bad)
		answer_error(g, o->sqlstate);
	else if (sql->shape == SQL_EMPTY)
		answer_plain(g, 'I');
	else
		answer_tag(g, sql->tag, rows);
}

static void query_skipped(struct pg *g, const struct op *op)
{
	struct text text = { 0 };
	struct outcome o = { .rows = -1, .text = &text, .skipped = true };

	query_text(&text, op->parts, op->part_cnt);
	outcome_put(g, &o);
	free(text.p);
}

static void query_answer(struct pg *g, const struct op *op)
{
	struct text text = { 0 };
	struct outcome o = { .rows = -1, .text = &text, .sql = op->part_cnt == 1 ? op->parts[0] : NULL };
	uint32_t i;

	query_text(&text, op->parts, op->part_cnt);
	if (op->bad_part < op->part_cnt)
		o.sqlstate = sqlstate_any(g);
	for (i = 0; i < op->part_cnt && i <= op->bad_part; i++)
		query_part(g, op->parts[i], i == op->bad_part, &o);
	answer_ready(g);
	outcome_put(g, &o);
	free(text.p);
}

static void function_answer(struct pg *g, const struct op *op)
{
	struct outcome o = { .rows = -1, .sqlstate = op->fails ? sqlstate_any(g) : NULL };

	if (op->fails)
		answer_error(g, o.sqlstate);
	else
		answer_function(g);
	answer_ready(g);
	outcome_put(g, &o);
}

static void describe_answer(struct pg *g, const struct op *op)
{
	if (op->kind == OP_DESCRIBE_S)
		answer_params(g);
	if (shape_has_rows(op->sql->shape))
		answer_columns(g);
	else
		answer_plain(g, 'n');
}

static void op_answer(struct pg *g, const struct op *op)
{
	switch (op->kind) {
	case OP_PARSE:
		answer_plain(g, '1');
		break;
	case OP_BIND:
		answer_plain(g, '2');
		break;
	case OP_DESCRIBE_S:
	case OP_DESCRIBE_P:
		describe_answer(g, op);
		break;
	case OP_EXECUTE:
		execute_answer(g, op);
		break;
	case OP_CLOSE:
		answer_plain(g, '3');
		break;
	case OP_SYNC:
		if (op->fails)
			answer_error(g, sqlstate_any(g));
		answer_ready(g);
		break;
	case OP_QUERY:
		query_answer(g, op);
		break;
	case OP_FUNCTION:
		function_answer(g, op);
		break;
	}
}

/* Place in the client's stream that the answer to message i waits for. */
static uint32_t awaited(const struct pg *g, size_t i, enum patience p)
{
	if (p == BY_FLIGHT)
		return g->ops[g->op_cnt - 1].end;
	while (p == BY_ROUND && g->ops[i].kind < OP_SYNC && i + 1 < g->op_cnt)
		i++;
	return g->ops[i].end;
}

void flight_answer(struct pg *g, enum patience p)
{
	bool failed = false;
	uint32_t failed_unit = 0;

	for (size_t i = 0; i < g->op_cnt; i++) {
		struct op *op = &g->ops[i];

		if (i == 0 || p != BY_FLIGHT)
			flow_gate(g->b, flow_at(g->b), awaited(g, i, p));
		if (failed && op->kind != OP_SYNC) {
			if (op->kind == OP_EXECUTE && op->unit != failed_unit)
				truth_put(g, op->sql, (struct outcome){ .rows = -1, .skipped = true });
			if (op->kind == OP_QUERY)
				query_skipped(g, op);
			continue;
		}
		if (op->fails && op->kind < OP_SYNC) {
			refuse(g, op);
			failed = true;
			failed_unit = op->unit;
			continue;
		}
		op_answer(g, op);
		failed = false;
	}
	g->op_cnt = 0;
}

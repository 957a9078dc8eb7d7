/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql.c - writes the script of a PostgreSQL connection: startup, then flights of messages that are
 * sent without waiting for answers, the answers that a server would give, and the truth about each
 * execution. A span is one Query, one FunctionCall, or one Execute with the Parse, Bind and Describe
 * before it; what only prepares gives one when it is refused; behind an error everything up to Sync
 * is skipped. */
#include "pgsql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64, UNITS_MAX = 60, OPS_MAX = 480, FLIGHTS_MAX = 6 };

/* --- messages that will be answered --- */

static struct op *op_add(struct pg *g, enum op_kind kind, struct prepared st)
{
	struct op *op;

	if (!(g->op_cnt & (g->op_cnt - 1))) {
		g->ops = realloc(g->ops, (g->op_cnt ? 2 * g->op_cnt : 1) * sizeof(*g->ops));
		must(g->ops);
	}
	if (kind == OP_PARSE || kind == OP_BIND || kind == OP_DESCRIBE_S) {
		if (g->unit_about && (kind == OP_PARSE || st.name != g->unit_about)) {
			g->unit++;
			g->unit_about = 0;
		}
		g->unit_portal = g->unit_about ? g->unit_portal : NULL;
		g->unit_about = st.name;
	}
	op = &g->ops[g->op_cnt++];
	*op = (struct op){ .kind = kind, .end = flow_at(g->c), .unit = g->unit, .sql = st.sql };
	if (kind == OP_EXECUTE || kind == OP_SYNC || kind == OP_QUERY || kind == OP_FUNCTION) {
		g->unit++;
		g->unit_about = 0;
	}
	return op;
}

static struct op *op_plain(struct pg *g, enum op_kind kind)
{
	return op_add(g, kind, (struct prepared){ 0 });
}

static struct prepared do_parse(struct pg *g, const char *name, struct sql *sql)
{
	struct prepared st = { sql, *name ? ++g->names + 1 : 1 };

	send_parse(g, name, &sql->text);
	op_add(g, OP_PARSE, st);
	return st;
}

static void do_bind(struct pg *g, const char *portal, const char *name, struct prepared st)
{
	send_bind(g, portal, name);
	op_add(g, OP_BIND, st);
	g->unit_portal = portal;
}

static void do_describe(struct pg *g, const char *name, struct prepared st)
{
	send_named(g, 'D', 'S', name);
	op_add(g, OP_DESCRIBE_S, st);
}

static void do_describe_portal(struct pg *g, const char *name, struct prepared st)
{
	send_named(g, 'D', 'P', name);
	op_add(g, OP_DESCRIBE_P, st);
}

static void do_execute(struct pg *g, const char *portal, uint32_t limit, struct prepared st)
{
	if (g->unit_about && (!g->unit_portal || strcmp(g->unit_portal, portal)))
		g->unit++;
	send_execute(g, portal, limit);
	op_add(g, OP_EXECUTE, st)->limit = limit;
	if (rng_chance(g->r, 8))
		send_plain(g, 'H');
}

static void do_sync(struct pg *g)
{
	send_plain(g, 'S');
	op_plain(g, OP_SYNC);
}

/* --- units --- */

static void stmt_name(struct pg *g, uint32_t i, char name[24])
{
	snprintf(name, 24, "stmt%u_%u", i, g->name_gen[i]);
}

/* Prepares a statement with a name that was not used yet; its place. */
static uint32_t parse_named(struct pg *g)
{
	uint32_t i = rng_below(g->r, NAMED_MAX);
	char name[24];

	g->name_gen[i]++;
	stmt_name(g, i, name);
	g->named[i] = do_parse(g, name, sql_any(g, true));
	return i;
}

static uint32_t limit_of(struct pg *g, const struct sql *sql)
{
	return sql->shape == SQL_ROWS && rng_chance(g->r, 20) ? rng_between(g->r, 1, 20) : 0;
}

static void unit_unnamed(struct pg *g)
{
	if (!g->unnamed.sql || rng_chance(g->r, 75)) {
		g->unnamed = do_parse(g, "", sql_any(g, true));
		if (rng_chance(g->r, 20))
			do_describe(g, "", g->unnamed);
	}
	do_bind(g, "", "", g->unnamed);
	if (rng_chance(g->r, 50))
		do_describe_portal(g, "", g->unnamed);
	do_execute(g, "", limit_of(g, g->unnamed.sql), g->unnamed);
}

static void unit_named(struct pg *g)
{
	uint32_t i = rng_below(g->r, NAMED_MAX);
	char name[24];

	if (!g->named[i].sql || rng_chance(g->r, 20))
		i = parse_named(g);
	stmt_name(g, i, name);
	do_bind(g, "", name, g->named[i]);
	if (rng_chance(g->r, 30))
		do_describe_portal(g, "", g->named[i]);
	do_execute(g, "", 0, g->named[i]);
}

/* Statements are prepared, perhaps several in a row, and not executed yet. */
static void unit_prepare(struct pg *g)
{
	char name[24];

	do {
		uint32_t i = parse_named(g);

		stmt_name(g, i, name);
		if (rng_chance(g->r, 60))
			do_describe(g, name, g->named[i]);
	} while (rng_chance(g->r, 40));
}

/* A portal that is fetched from in steps. */
static void unit_portal(struct pg *g)
{
	struct prepared st = g->unnamed = do_parse(g, "", sql_make(g, SQL_ROWS));
	static const char *const portals[] = { "p0", "p1", "p2" };
	const char *portal = RNG_PICK(g->r, portals);

	do_bind(g, portal, "", st);
	if (rng_chance(g->r, 50))
		do_describe_portal(g, portal, st);
	for (uint32_t n = rng_between(g->r, 1, 3); n; n--) {
		do_execute(g, portal, rng_between(g->r, 1, 30), st);
		g->ops[g->op_cnt - 1].limit |= 1u << 31; /* it is suspended */
	}
	if (rng_chance(g->r, 70))
		do_execute(g, portal, 0, st);
	if (rng_chance(g->r, 50)) {
		send_named(g, 'C', 'P', portal);
		op_plain(g, OP_CLOSE);
	}
}

/* Two portals are bound before either is executed. */
static void unit_portals(struct pg *g)
{
	struct prepared one = do_parse(g, "", sql_any(g, true)), two;

	do_bind(g, "p0", "", one);
	two = g->unnamed = do_parse(g, "", sql_any(g, true));
	do_bind(g, "p1", "", two);
	do_execute(g, "p0", 0, one);
	do_execute(g, "p1", 0, two);
}

static void unit_close(struct pg *g)
{
	uint32_t i = rng_below(g->r, NAMED_MAX);
	char name[24];

	stmt_name(g, i, name);
	g->named[i].sql = NULL;
	send_named(g, 'C', 'S', name);
	op_plain(g, OP_CLOSE);
}

static void unit_describe(struct pg *g)
{
	uint32_t i = rng_below(g->r, NAMED_MAX);
	char name[24];

	if (!g->named[i].sql)
		return;
	stmt_name(g, i, name);
	do_describe(g, name, g->named[i]);
}

static void unit_any(struct pg *g)
{
	static void (*const units[])(struct pg *g) = {
		unit_unnamed, unit_unnamed, unit_unnamed, unit_unnamed, unit_named,  unit_named,   unit_named,
		unit_prepare, unit_portal,  unit_close,	  unit_describe, unit_portals,
	};

	RNG_PICK(g->r, units)(g);
}

/* --- rounds: what one ReadyForQuery ends --- */

/* What a refused batch has left behind is not known for sure, so it is not used again. */
static void forget(struct pg *g)
{
	memset(g->named, 0, sizeof(g->named));
	for (int i = 0; i < NAMED_MAX; i++)
		g->name_gen[i]++;
	g->unnamed.sql = NULL;
}

static void fail_some(struct pg *g, size_t first)
{
	struct op *op = &g->ops[first + rng_below(g->r, (uint32_t)(g->op_cnt - first))];

	if (op->kind == OP_CLOSE || op->kind == OP_QUERY)
		return;
	op->fails = true;
	forget(g);
}

void query_text(struct text *t, struct sql *const *parts, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		text_str(t, i ? "; " : "");
		text_put(t, parts[i]->text.p, parts[i]->text.len);
	}
}

static void round_query(struct pg *g)
{
	struct text text = { 0 };
	struct op *op;
	uint32_t cnt = rng_chance(g->r, 25) ? rng_between(g->r, 2, PARTS_MAX) : 1, i;
	struct sql *parts[PARTS_MAX];

	for (i = 0; i < cnt; i++) {
		parts[i] = sql_any(g, false);
		if (cnt > 1 && parts[i]->shape == SQL_EMPTY)
			parts[i] = sql_make(g, SQL_CHANGE);
	}
	query_text(&text, parts, cnt);
	send_query(g, &text);
	op = op_plain(g, OP_QUERY);
	op->part_cnt = cnt;
	memcpy(op->parts, parts, sizeof(parts));
	op->bad_part = rng_chance(g->r, 15) ? rng_below(g->r, cnt) : cnt;
	g->unnamed.sql = NULL;
	free(text.p);
}

static void round_extended(struct pg *g)
{
	size_t first = g->op_cnt;

	for (uint32_t n = rng_between(g->r, rng_chance(g->r, 3) ? 0 : 1, rng_chance(g->r, 15) ? 12 : 3); n; n--)
		unit_any(g);
	if (!g->unit_about && rng_chance(g->r, 3)) { /* no Sync before it: an error would take it along */
		round_query(g);
		g->ops[g->op_cnt - 1].bad_part = PARTS_MAX;
	}
	do_sync(g);
	if (rng_chance(g->r, 25))
		fail_some(g, first);
}

static void round_function(struct pg *g)
{
	send_function(g);
	op_plain(g, OP_FUNCTION)->fails = rng_chance(g->r, 20);
	g->unnamed.sql = NULL;
}

/* --- flights: what is sent without waiting --- */

void flight_begin(struct pg *g)
{
	flow_gate(g->c, flow_at(g->c), flow_at(g->b));
}

static void flight_usual(struct pg *g)
{
	uint32_t first = g->unit, rounds = rng_chance(g->r, 50) ? 1 : rng_between(g->r, 2, 8);

	flight_begin(g);
	while (rounds-- && g->unit - first < UNITS_MAX - 30 && g->op_cnt < OPS_MAX - 150) {
		uint32_t dice = rng_below(g->r, 100);

		if (dice < 38)
			round_query(g);
		else if (dice < 95)
			round_extended(g);
		else
			round_function(g);
	}
	g->s->pipelined = g->s->pipelined || g->unit - first > 2;
	flight_answer(g, rng_below(g->r, 3));
}

/* As deep as is kept exactly, or deeper: then what is over is counted and has no span. */
static void flight_deep(struct pg *g)
{
	uint32_t cnt = rng_chance(g->r, 50) ? DEPTH : rng_between(g->r, DEPTH + 1, DEPTH + 20), n;
	uint32_t spans, len;

	flight_begin(g);
	g->s->pipelined = true;
	g->unnamed = do_parse(g, "", sql_make(g, SQL_CHANGE));
	for (n = 0; n < cnt; n++) {
		do_bind(g, "", "", g->unnamed);
		do_execute(g, "", 0, g->unnamed);
	}
	do_sync(g);
	spans = g->order;
	flight_answer(g, BY_FLIGHT);
	for (; g->order > spans + DEPTH; g->order--) { /* the last two lines are of one that is not kept */
		for (n = 0; n < 2; n++) {
			for (len = (uint32_t)g->s->truth.len - 1; len && g->s->truth.p[len - 1] != '\n'; len--)
				;
			g->s->truth.len = len;
		}
		g->s->exchanges--;
		g->lost += 2;
	}
}

/* --- the whole --- */

void pgsql_make(struct script *s)
{
	struct pg g = { .s = s, .r = &s->rng, .c = &s->flow[CLIENT], .b = &s->flow[SERVER] };
	uint32_t flights = rng_between(g.r, 0, FLIGHTS_MAX);

	send_startup(&g);
	while (flights--) {
		if (rng_chance(g.r, 2))
			flight_deep(&g);
		else if (rng_chance(g.r, 12))
			flight_copy(&g);
		else
			flight_usual(&g);
	}
	connection_end(&g);
	if (g.lost)
		text_fmt(&s->truth, "{\"lost\":\"queue_full\",\"count\":%u,\"conn\":%u}\n", g.lost, s->conn);
	sql_free_all(&g);
	free(g.ops);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_copy.c - COPY in all its forms (asked for by Query or Execute, in and out, ended well, given
 * up, refused by the server in the middle), and the ends of a connection. */
#include "pgsql.h"

struct copy {
	struct sql *sql;
	bool in, extended;
	bool sync;  /* the Execute brings a Sync, which the server then ignores */
	bool waits; /* the client sends nothing before the server is ready for it */
	bool describe;
};

static void waits_for_client(struct pg *g)
{
	flow_gate(g->b, flow_at(g->b), flow_at(g->c));
}

static void waits_for_server(struct pg *g)
{
	flow_gate(g->c, flow_at(g->c), flow_at(g->b));
}

static void copy_begin(struct pg *g, const struct copy *c)
{
	flight_begin(g);
	if (!c->extended) {
		send_query(g, &c->sql->text);
	} else {
		send_parse(g, "", &c->sql->text);
		send_bind(g, "", "");
		if (c->describe)
			send_named(g, 'D', 'P', "");
		send_execute(g, "", 0);
		send_plain(g, c->sync ? 'S' : 'H');
	}
	waits_for_client(g);
	if (c->extended) {
		answer_plain(g, '1');
		answer_plain(g, '2');
		if (c->describe)
			answer_plain(g, 'n');
	}
	answer_copy(g, c->in ? 'G' : 'H');
}

static void copy_out(struct pg *g, const struct copy *c)
{
	struct outcome o = { .rows = -1 };
	uint32_t rows = rng_below(g->r, 30);

	answer_copy_data(g, rows);
	if (rng_chance(g->r, 20)) {
		o.sqlstate = sqlstate_any(g);
		answer_error(g, o.sqlstate);
	} else {
		answer_plain(g, 'c');
		answer_tag(g, "COPY %u", rows);
	}
	if (c->extended && !c->sync) {
		send_plain(g, 'S');
		waits_for_client(g);
	}
	answer_ready(g);
	truth_put(g, c->sql, o);
}

/* The server has had enough; what the client still sends is ignored. */
static void copy_refused(struct pg *g, const struct copy *c)
{
	struct outcome o = { .rows = -1, .sqlstate = sqlstate_any(g) };

	send_copy(g, rng_below(g->r, 10));
	waits_for_client(g);
	answer_error(g, o.sqlstate);
	if (!c->extended)
		answer_ready(g);
	if (rng_chance(g->r, 50))
		waits_for_server(g);
	send_copy(g, rng_below(g->r, 10));
	if (!g->s->exotic || rng_chance(g->r, 50))
		send_plain(g, 'c');
	if (c->extended) {
		send_plain(g, 'S');
		waits_for_client(g);
		answer_ready(g);
	}
	truth_put(g, c->sql, o);
}

static void copy_in(struct pg *g, const struct copy *c)
{
	struct outcome o = { .rows = -1 };
	uint32_t rows = rng_below(g->r, 30);
	bool gives_up = rng_chance(g->r, 25);

	if (c->waits)
		waits_for_server(g);
	if (rng_chance(g->r, 20)) {
		copy_refused(g, c);
		return;
	}
	send_copy(g, rows);
	if (gives_up)
		send_copy_fail(g);
	else
		send_plain(g, 'c');
	if (c->extended)
		send_plain(g, 'S');
	waits_for_client(g);
	if (gives_up) {
		o.sqlstate = "57014";
		answer_error(g, o.sqlstate);
	} else {
		answer_tag(g, "COPY %u", rows);
	}
	answer_ready(g);
	truth_put(g, c->sql, o);
}

void flight_copy(struct pg *g)
{
	struct copy c = { .in = rng_chance(g->r, 60), .extended = rng_chance(g->r, 40) };

	c.sync = rng_chance(g->r, 70);
	c.waits = rng_chance(g->r, 75);
	c.describe = rng_chance(g->r, 30);
	c.sql = sql_make(g, c.in ? SQL_COPY_IN : SQL_COPY_OUT);
	g->unnamed.sql = NULL;
	copy_begin(g, &c);
	if (c.in)
		copy_in(g, &c);
	else
		copy_out(g, &c);
}

/* --- the end --- */

/* The server ends in the middle of an answer, with a word or without. */
static void end_broken(struct pg *g)
{
	struct sql *sql = sql_make(g, SQL_ROWS);
	struct outcome o = { .rows = -1 };
	bool extended = rng_chance(g->r, 50);

	flight_begin(g);
	if (extended) {
		send_parse(g, "", &sql->text);
		send_bind(g, "", "");
		send_execute(g, "", 0);
		send_plain(g, 'S');
	} else {
		send_query(g, &sql->text);
	}
	waits_for_client(g);
	if (rng_chance(g->r, 50)) {
		o.rows = rng_below(g->r, 5);
		o.rows_maybe = extended;
		if (extended)
			answer_plain(g, '1');
		else
			answer_columns(g);
		for (int64_t n = 0; n < o.rows; n++)
			answer_row(g);
	}
	o.aborted = true;
	if (rng_chance(g->r, 50)) {
		o.sqlstate = "57P01";
		answer_error(g, o.sqlstate);
	}
	truth_put(g, sql, o);
	g->s->closer = SERVER;
	g->s->ending = rng_chance(g->r, 30) ? END_RESET : rng_below(g->r, 2);
}

void connection_end(struct pg *g)
{
	uint32_t dice = rng_below(g->r, 100);

	g->s->closer = CLIENT;
	g->s->ending = rng_below(g->r, 2);
	if (dice < 10) {
		end_broken(g);
		return;
	}
	if (dice < 16) { /* idle, and told to go */
		answer_error(g, "57P01");
		g->s->closer = SERVER;
		return;
	}
	if (dice < 90) {
		flight_begin(g);
		send_plain(g, 'X');
	}
}

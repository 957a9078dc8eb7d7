/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_wire.c - PostgreSQL's messages (protocol 3.0 and 3.2) as bytes. What Wirespan has no need to
 * look at (bind values, rows, copied data) is marked dark. */
#include "pgsql.h"

#include <stdio.h>
#include <string.h>

/* --- pieces --- */

void msg_begin(struct pg *g, struct flow *f, char type)
{
	flow_mark(f);
	if (type)
		text_put(&f->bytes, &type, 1);
	g->start = flow_at(f);
	put_int(f, 0, 4);
}

void msg_end(struct pg *g, struct flow *f)
{
	uint32_t len = flow_at(f) - g->start;

	for (int i = 0; i < 4; i++)
		f->bytes.p[g->start + i] = (char)(len >> (24 - 8 * i));
}

void put_int(struct flow *f, uint32_t v, int bytes)
{
	while (bytes--) {
		char c = (char)(v >> (8 * bytes));

		text_put(&f->bytes, &c, 1);
	}
}

void put_str(struct flow *f, const char *s)
{
	text_put(&f->bytes, s, strlen(s) + 1);
}

/* Random bytes, or some that look like messages. */
void put_noise(struct flow *f, struct rng *r, uint32_t len)
{
	static const char sly[] = "Q\0\0\0\015select 1;\0Z\0\0\0\005IC\0\0\0\015SELECT 1\0E\0\0\0\004X\0\0\0\004"
				  "GET / HTTP/1.1\r\n\r\n";
	bool plain = rng_chance(r, 70);

	for (uint32_t i = 0; i < len; i++) {
		char c = plain ? (char)rng_next(r) : sly[i % (sizeof(sly) - 1)];

		text_put(&f->bytes, &c, 1);
	}
}

static uint32_t size_of_value(struct rng *r)
{
	uint32_t dice = rng_below(r, 1000);

	return dice < 3 ? rng_below(r, 150000) : dice < 50 ? rng_below(r, 3000) : rng_below(r, 30);
}

/* --- the client --- */

static void put_startup_params(struct pg *g)
{
	char db[40];
	bool user_first = rng_chance(g->r, 50), database = rng_chance(g->r, 80);

	snprintf(db, sizeof(db), "g%u_%u", g->s->round, g->s->conn);
	if (rng_chance(g->r, 30)) {
		put_str(g->c, "application_name");
		put_str(g->c, rng_chance(g->r, 20) ? "" : "database");
	}
	if (user_first) {
		put_str(g->c, "user");
		put_str(g->c, database ? "bob" : db);
	}
	if (database) {
		put_str(g->c, "database");
		put_str(g->c, db);
	}
	if (rng_chance(g->r, 30)) {
		put_str(g->c, "client_encoding");
		put_str(g->c, "UTF8");
	}
	if (!user_first) {
		put_str(g->c, "user");
		put_str(g->c, database ? "bob" : db);
	}
	put_int(g->c, 0, 1);
}

static void ask(struct pg *g, uint32_t code)
{
	msg_begin(g, g->c, 0);
	put_int(g->c, code, 4);
	msg_end(g, g->c);
	flow_gate(g->b, flow_at(g->b), flow_at(g->c));
	text_str(&g->b->bytes, "N");
	flow_gate(g->c, flow_at(g->c), flow_at(g->b));
}

static void authenticate_more(struct pg *g, uint32_t code)
{
	msg_begin(g, g->b, 'R');
	put_int(g->b, code, 4);
	put_noise(g->b, g->r, code == 5 ? 4 : 30);
	msg_end(g, g->b);
	flow_gate(g->c, flow_at(g->c), flow_at(g->b));
	msg_begin(g, g->c, 'p');
	put_noise(g->c, g->r, rng_between(g->r, 1, 60));
	msg_end(g, g->c);
	flow_gate(g->b, flow_at(g->b), flow_at(g->c));
}

static void authenticate(struct pg *g)
{
	uint32_t how = rng_below(g->r, 3);

	flow_gate(g->b, flow_at(g->b), flow_at(g->c));
	if (how == 1)
		authenticate_more(g, 5);
	if (how == 2) {
		authenticate_more(g, 10);
		authenticate_more(g, 11);
	}
	msg_begin(g, g->b, 'R');
	put_int(g->b, 0, 4);
	msg_end(g, g->b);
}

static void answer_setting(struct pg *g)
{
	msg_begin(g, g->b, 'S');
	put_str(g->b, "TimeZone");
	put_str(g->b, rng_chance(g->r, 50) ? "UTC" : "Europe/Berlin");
	msg_end(g, g->b);
}

void send_startup(struct pg *g)
{
	uint32_t minor = rng_chance(g->r, 20) ? 2 : 0;

	if (rng_chance(g->r, 20))
		ask(g, 80877104); /* GSSENCRequest */
	if (rng_chance(g->r, 30))
		ask(g, 80877103); /* SSLRequest */
	msg_begin(g, g->c, 0);
	put_int(g->c, 3 << 16 | minor, 4);
	put_startup_params(g);
	msg_end(g, g->c);
	if (minor && rng_chance(g->r, 50)) {
		flow_gate(g->b, flow_at(g->b), flow_at(g->c));
		msg_begin(g, g->b, 'v');
		put_int(g->b, 3 << 16, 4);
		put_int(g->b, 0, 4);
		msg_end(g, g->b);
	}
	authenticate(g);
	for (uint32_t n = rng_below(g->r, 6); n; n--)
		answer_setting(g);
	msg_begin(g, g->b, 'K');
	put_noise(g->b, g->r, minor ? 36 : 8);
	msg_end(g, g->b);
	answer_ready(g);
	g->talks = true;
}

void send_query(struct pg *g, const struct text *sql)
{
	msg_begin(g, g->c, 'Q');
	put_str(g->c, sql->p ? sql->p : "");
	msg_end(g, g->c);
}

void send_parse(struct pg *g, const char *name, const struct text *sql)
{
	uint32_t types = rng_chance(g->r, 30) ? rng_below(g->r, 4) : 0;

	msg_begin(g, g->c, 'P');
	put_str(g->c, name);
	put_str(g->c, sql->p ? sql->p : "");
	put_int(g->c, types, 2);
	while (types--)
		put_int(g->c, 23, 4);
	msg_end(g, g->c);
}

void send_bind(struct pg *g, const char *portal, const char *name)
{
	uint32_t values = rng_below(g->r, 5), from;

	msg_begin(g, g->c, 'B');
	put_str(g->c, portal);
	put_str(g->c, name);
	from = flow_at(g->c);
	put_int(g->c, 0, 2);
	put_int(g->c, values, 2);
	while (values--) {
		uint32_t len = size_of_value(g->r);

		put_int(g->c, len, 4);
		put_noise(g->c, g->r, len);
	}
	put_int(g->c, 0, 2);
	flow_dark(g->c, from);
	msg_end(g, g->c);
}

void send_named(struct pg *g, char type, char kind, const char *name)
{
	msg_begin(g, g->c, type);
	text_put(&g->c->bytes, &kind, 1);
	put_str(g->c, name);
	msg_end(g, g->c);
}

void send_execute(struct pg *g, const char *portal, uint32_t limit)
{
	msg_begin(g, g->c, 'E');
	put_str(g->c, portal);
	put_int(g->c, limit, 4);
	msg_end(g, g->c);
}

void send_function(struct pg *g)
{
	msg_begin(g, g->c, 'F');
	put_int(g->c, rng_between(g->r, 1, 9999), 4);
	put_int(g->c, 0, 2);
	put_int(g->c, 1, 2);
	put_int(g->c, 8, 4);
	put_noise(g->c, g->r, 8);
	put_int(g->c, 1, 2);
	msg_end(g, g->c);
}

void send_plain(struct pg *g, char type)
{
	msg_begin(g, g->c, type);
	msg_end(g, g->c);
}

static void copy_data(struct pg *g, struct flow *f, uint32_t rows)
{
	while (rows--) {
		uint32_t from;

		msg_begin(g, f, 'd');
		from = flow_at(f);
		put_noise(f, g->r, rng_chance(g->r, 2) ? rng_below(g->r, 70000) : rng_below(g->r, 200));
		msg_end(g, f);
		flow_dark(f, from);
		if (f == g->b)
			answer_asides(g);
	}
}

void send_copy(struct pg *g, uint32_t rows)
{
	copy_data(g, g->c, rows);
}

void send_copy_fail(struct pg *g)
{
	msg_begin(g, g->c, 'f');
	put_str(g->c, "no more of it");
	msg_end(g, g->c);
}

/* --- the server --- */

void answer_plain(struct pg *g, char type)
{
	answer_asides(g);
	msg_begin(g, g->b, type);
	msg_end(g, g->b);
}

void answer_tag(struct pg *g, const char *tag, uint32_t rows)
{
	char text[40];

	answer_asides(g);
	snprintf(text, sizeof(text), tag, rows);
	msg_begin(g, g->b, 'C');
	put_str(g->b, text);
	msg_end(g, g->b);
}

void answer_columns(struct pg *g)
{
	uint32_t cnt = rng_between(g->r, 1, 5);

	answer_asides(g);
	msg_begin(g, g->b, 'T');
	put_int(g->b, cnt, 2);
	while (cnt--) {
		put_str(g->b, "column");
		put_noise(g->b, g->r, 18);
	}
	msg_end(g, g->b);
}

void answer_params(struct pg *g)
{
	answer_asides(g);
	msg_begin(g, g->b, 't');
	put_int(g->b, 1, 2);
	put_int(g->b, 23, 4);
	msg_end(g, g->b);
}

void answer_row(struct pg *g)
{
	uint32_t from, len = size_of_value(g->r);

	if (rng_chance(g->r, 2))
		answer_asides(g);
	msg_begin(g, g->b, 'D');
	from = flow_at(g->b);
	put_int(g->b, 1, 2);
	put_int(g->b, len, 4);
	put_noise(g->b, g->r, len);
	if (rng_chance(g->r, 3))
		flow_dark(g->b, from);
	msg_end(g, g->b);
}

static void field_put(struct pg *g, char field, const char *value)
{
	text_put(&g->b->bytes, &field, 1);
	put_str(g->b, value);
}

/* The fields of an error or a notice; C is not always the third. */
static void fields_put(struct pg *g, const char *sqlstate)
{
	static const char others[] = "HDpPqWstcdnFLR";
	static const char *const values[] = { "", "C22012", "CERROR", "a \"quoted\" text", "E", "0" };

	if (rng_chance(g->r, 20))
		field_put(g, 'M', "C00000: it comes first");
	field_put(g, 'S', "ERROR");
	if (rng_chance(g->r, 50))
		field_put(g, 'V', "ERROR");
	if (rng_chance(g->r, 30))
		field_put(g, 'c', RNG_PICK(g->r, values));
	field_put(g, 'C', sqlstate);
	while (rng_chance(g->r, 60)) {
		char f = others[rng_below(g->r, sizeof(others) - 1)];

		field_put(g, f, RNG_PICK(g->r, values));
	}
	put_int(g->b, 0, 1);
}

void answer_error(struct pg *g, const char *sqlstate)
{
	answer_asides(g);
	msg_begin(g, g->b, 'E');
	fields_put(g, sqlstate);
	msg_end(g, g->b);
}

void answer_ready(struct pg *g)
{
	answer_asides(g);
	msg_begin(g, g->b, 'Z');
	text_put(&g->b->bytes, &"ITE"[rng_below(g->r, 3)], 1);
	msg_end(g, g->b);
}

void answer_function(struct pg *g)
{
	answer_asides(g);
	msg_begin(g, g->b, 'V');
	put_int(g->b, 4, 4);
	put_int(g->b, 7, 4);
	msg_end(g, g->b);
}

void answer_copy(struct pg *g, char type)
{
	answer_asides(g);
	msg_begin(g, g->b, type);
	put_int(g->b, 0, 1);
	put_int(g->b, 1, 2);
	put_int(g->b, 0, 2);
	msg_end(g, g->b);
}

void answer_copy_data(struct pg *g, uint32_t rows)
{
	copy_data(g, g->b, rows);
}

/* What a server may say at any time. */
void answer_asides(struct pg *g)
{
	while (g->talks && rng_chance(g->r, 3)) {
		uint32_t what = rng_below(g->r, 3);

		if (what == 0) {
			answer_setting(g);
			continue;
		}
		msg_begin(g, g->b, what == 1 ? 'N' : 'A');
		if (what == 1) {
			fields_put(g, "01000");
		} else {
			put_int(g->b, 4711, 4);
			put_str(g->b, "channel");
			put_str(g->b, "payload");
		}
		msg_end(g, g->b);
	}
}

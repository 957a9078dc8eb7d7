/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_sql.c - statements: their text, what kind of answer they get, and what a reader of the text
 * must say of them (operation, table). A text carries its id in a comment, and some are sent again,
 * as programs do. */
#include "pgsql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct form {
	enum sql_shape shape;
	const char *operation, *tag;
	bool has_table;
	const char *text; /* %s: the table */
};

static const struct form forms[] = {
	{ SQL_ROWS, "SELECT", "SELECT %u", true, "select a, b from %s where c = 'O''Brien' and d = $1" },
	{ SQL_ROWS, "SELECT", "SELECT %u", true, "SELECT count(*)\n  FROM %s x" },
	{ SQL_ROWS, "SELECT", "SELECT %u", false, "select 1" },
	{ SQL_ROWS, "VALUES", "SELECT %u", false, "values (1), (2)" },
	{ SQL_ROWS, "FETCH", "FETCH %u", false, "fetch 5 from curs" },
	{ SQL_CHANGE, "INSERT", "INSERT 0 %u", true, "insert into %s values ($1, 'Grüße; nicht: ''x''')" },
	{ SQL_CHANGE, "UPDATE", "UPDATE %u", true, "update %s set a = 1" },
	{ SQL_CHANGE, "DELETE", "DELETE %u", true, "delete from %s where a = 2" },
	{ SQL_RETURNING, "INSERT", "INSERT 0 %u", true, "insert into %s values (1) returning id" },
	{ SQL_RETURNING, "UPDATE", "UPDATE %u", true, "update %s set a = 1 returning *" },
	{ SQL_PLAIN, "BEGIN", "BEGIN", false, "begin" },
	{ SQL_PLAIN, "COMMIT", "COMMIT", false, "commit" },
	{ SQL_PLAIN, "SET", "SET", false, "set statement_timeout = 0" },
	{ SQL_PLAIN, "TRUNCATE", "TRUNCATE TABLE", true, "truncate %s" },
	{ SQL_SHOW, "SHOW", "SHOW", false, "show server_version" },
	{ SQL_EMPTY, "", "", false, "" },
	{ SQL_COPY_IN, "COPY", "COPY %u", true, "copy %s from stdin" },
	{ SQL_COPY_OUT, "COPY", "COPY %u", true, "copy %s to stdout" },
};

enum { FORMS = sizeof(forms) / sizeof(*forms) };

/* Spaces and words behind the statement; some texts are longer than what Wirespan keeps. */
static void filler_put(struct pg *g, struct text *t)
{
	uint32_t dice = rng_below(g->r, 100), len;

	if (dice > 12)
		return;
	len = dice < 1 ? rng_between(g->r, 5000, 12000) : rng_between(g->r, 1, 3000);
	text_str(t, "\n/* ");
	while (t->len < len)
		text_str(t, dice % 2 ? "filler " : "'\"$x$ ;");
	text_str(t, " */");
}

static void id_put(struct text *t, const struct sql *q)
{
	text_fmt(t, "/* g=%s */", q->id);
}

static void text_make(struct pg *g, struct sql *q, const struct form *f)
{
	bool first = rng_chance(g->r, 50);

	if (first) {
		id_put(&q->text, q);
		text_str(&q->text, rng_chance(g->r, 50) ? " " : "\n");
	}
	if (f->has_table)
		text_fmt(&q->text, f->text, q->table_name);
	else
		text_str(&q->text, f->text);
	if (!first) {
		text_str(&q->text, " ");
		id_put(&q->text, q);
	}
	filler_put(g, &q->text);
}

static const struct form *form_of(struct pg *g, enum sql_shape shape)
{
	uint32_t i = rng_below(g->r, FORMS);

	while (forms[i].shape != shape)
		i = (i + 1) % FORMS;
	return &forms[i];
}

struct sql *sql_make(struct pg *g, enum sql_shape shape)
{
	const struct form *f = form_of(g, shape);
	struct sql *q = calloc(1, sizeof(*q));

	g->all = realloc(g->all, (g->all_cnt + 1) * sizeof(*g->all));
	must(q && g->all);
	g->all[g->all_cnt++] = q;
	q->shape = shape;
	q->operation = f->operation;
	q->tag = f->tag;
	if (f->has_table)
		snprintf(q->table_name, sizeof(q->table_name), "t%u", rng_below(g->r, 20));
	q->table = q->table_name;
	if (shape == SQL_EMPTY && rng_chance(g->r, 50))
		return q;
	snprintf(q->id, sizeof(q->id), "%u-%u-%u", g->s->round, g->s->conn, g->texts++);
	text_make(g, q, f);
	return q;
}

struct sql *sql_any(struct pg *g, bool extended)
{
	static const enum sql_shape shapes[] = { SQL_ROWS, SQL_ROWS, SQL_ROWS, SQL_ROWS, SQL_CHANGE, SQL_CHANGE,
						 SQL_RETURNING, SQL_PLAIN, SQL_SHOW };
	struct sql *q;

	if (g->sql_cnt && rng_chance(g->r, 35))
		return g->sql[rng_below(g->r, g->sql_cnt)];
	if (rng_chance(g->r, extended ? 1 : 3))
		return sql_make(g, SQL_EMPTY);
	q = sql_make(g, RNG_PICK(g->r, shapes));
	if (g->sql_cnt < SQL_MAX)
		g->sql[g->sql_cnt++] = q;
	else
		g->sql[rng_below(g->r, SQL_MAX)] = q;
	return q;
}

void sql_free_all(struct pg *g)
{
	for (size_t i = 0; i < g->all_cnt; i++) {
		free(g->all[i]->text.p);
		free(g->all[i]);
	}
	free(g->all);
}

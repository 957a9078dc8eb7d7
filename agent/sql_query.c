/* SPDX-License-Identifier: Apache-2.0 */
/* sql_query.c - finds the operations and tables of a query for sql_describe.c: it knows where table
 * names stand (behind FROM, JOIN, INTO, UPDATE, …) and which FROM is none (EXTRACT(x FROM y), IS
 * DISTINCT FROM). No parser: it keeps a few flags per level of parentheses. Names of WITH queries,
 * functions, aliases and literals are no tables. The invariant: depth may be anything, levels past
 * DEPTH_MAX share one entry, so hostile nesting costs nothing but accuracy. */
#include "agent/sql_describe.h"

#include <string.h>
#include <strings.h>

static bool name_is_cte(const struct describe *d, struct str name)
{
	for (uint32_t i = 0; i < d->cte_cnt; i++) {
		if (d->ctes[i].len == name.len && !strncasecmp(d->ctes[i].p, name.p, name.len))
			return true;
	}
	return false;
}

static void cte_add(struct describe *d, enum sql_tok tok, struct str name)
{
	if (tok == SQL_QUOTED)
		name = (struct str){name.p + 1, name.len - 2};
	if (d->cte_cnt < CTE_MAX)
		d->ctes[d->cte_cnt++] = name;
}

static void table_read(struct describe *d, enum sql_tok tok, struct str first)
{
	struct str name = describe_name(d, tok, first);

	d->expect_table = false;
	if (!d->into && describe_peek_is(d, '('))
		return; /* a function: FROM generate_series(1, 9) */
	if (name.len && !name_is_cte(d, name))
		describe_table(d, name);
}

static struct level *level(struct describe *d)
{
	return &d->levels[d->depth < DEPTH_MAX ? d->depth : DEPTH_MAX];
}

static void open_paren(struct describe *d)
{
	d->depth++;
	*level(d) = (struct level){0};
	d->prev = PREV_OPEN;
}

static void close_paren(struct describe *d)
{
	d->depth -= d->depth > 0;
	d->expect_table = false;
	d->prev = PREV_CLOSE;
}

static void on_punct(struct describe *d, char c)
{
	if (c == '(') {
		open_paren(d);
	} else if (c == ')') {
		close_paren(d);
	} else {
		d->prev = PREV_OTHER;
		d->expect_table = c == ',' && level(d)->from;
		d->expect_cte = c == ',' && level(d)->with;
		d->into = false;
	}
}

/* May an operation begin here? GRANT SELECT, FOR UPDATE, ON DELETE and DO UPDATE are none. */
static bool starts_op(const struct describe *d, struct str word)
{
	if (sql_word_is(word, "SELECT"))
		return d->prev != PREV_FOR;
	if (sql_word_is(word, "VALUES"))
		return d->prev == PREV_START;
	return d->prev == PREV_START || d->prev == PREV_OPEN || d->prev == PREV_CLOSE ||
	       d->prev == PREV_AS;
}

static void op_begin(struct describe *d, const char *op)
{
	*level(d) = (struct level){.op = op};
	describe_op(d, op);
	d->expect_table = !strcmp(op, "UPDATE");
	d->into = false;
	d->prev = PREV_OTHER;
}

static bool on_op(struct describe *d, struct str word)
{
	const struct command *c = describe_command(word);

	if (!c || c->shape != SHAPE_QUERY || !starts_op(d, word))
		return false;
	op_begin(d, c->word);
	return true;
}

static bool starts_with(struct describe *d, struct str word)
{
	const char *op = level(d)->op;

	if (!sql_word_is(word, "WITH"))
		return false;
	return d->prev == PREV_START || d->prev == PREV_OPEN || d->prev == PREV_AS ||
	       (d->prev == PREV_CLOSE && op && !strcmp(op, "INSERT"));
}

static void on_from(struct describe *d)
{
	if (!level(d)->op || d->prev == PREV_DISTINCT)
		return;
	d->expect_table = true;
	level(d)->from = true;
}

static void on_using(struct describe *d)
{
	struct level *l = level(d);

	if (!l->op || l->used || (strcmp(l->op, "DELETE") && strcmp(l->op, "MERGE")))
		return;
	d->expect_table = true;
	l->from = l->used = true;
}

/* Words that lead to a table. */
static bool on_table_word(struct describe *d, struct str word)
{
	if (sql_word_is(word, "FROM"))
		on_from(d);
	else if (sql_word_is(word, "JOIN"))
		d->expect_table = true;
	else if (sql_word_is(word, "INTO"))
		d->expect_table = d->into = level(d)->op != NULL;
	else if (sql_word_is(word, "USING"))
		on_using(d);
	else
		return false;
	return true;
}

/* Words behind which a comma separates no tables any more. */
static bool ends_from(struct str word)
{
	static const char *const words[] = {"WHERE",  "GROUP", "ORDER",	    "HAVING", "LIMIT",
					    "OFFSET", "FETCH", "WINDOW",    "UNION",  "INTERSECT",
					    "EXCEPT", "SET",   "RETURNING", "VALUES", "FOR",
					    "WHEN",   NULL};

	return describe_word_in(word, words);
}

static enum prev prev_of(struct str word)
{
	if (sql_word_is(word, "AS") || sql_word_is(word, "MATERIALIZED"))
		return PREV_AS;
	if (sql_word_is(word, "FOR"))
		return PREV_FOR;
	return sql_word_is(word, "DISTINCT") ? PREV_DISTINCT : PREV_OTHER;
}

/* A word that is none of the language's, or one that we do not care for. */
static void on_name(struct describe *d, enum sql_tok tok, struct str name)
{
	static const char *const fillers[] = {"ONLY", "LATERAL", "TABLE", NULL};

	if (tok == SQL_WORD && d->expect_table && describe_word_in(name, fillers))
		return;
	if (d->expect_cte && !(tok == SQL_WORD && sql_word_is(name, "RECURSIVE"))) {
		cte_add(d, tok, name);
		d->expect_cte = false;
	} else if (d->expect_table) {
		table_read(d, tok, name);
	}
	d->prev = tok == SQL_WORD ? prev_of(name) : PREV_OTHER;
}

static void on_word(struct describe *d, struct str word)
{
	if (on_op(d, word))
		return;
	if (starts_with(d, word)) {
		level(d)->with = d->expect_cte = true;
		d->prev = PREV_OTHER;
	} else if (on_table_word(d, word)) {
		d->prev = PREV_OTHER;
	} else if (ends_from(word)) {
		level(d)->from = d->expect_table = false;
		d->prev = prev_of(word);
	} else {
		on_name(d, SQL_WORD, word);
	}
}

void describe_query(struct describe *d)
{
	struct sql_lex start = d->lx;
	struct str text;
	enum sql_tok tok;

	while (tok = sql_lex_solid(&d->lx, &text), !describe_ends(tok, text)) {
		if (tok == SQL_WORD) {
			on_word(d, text);
		} else if (tok == SQL_QUOTED) {
			on_name(d, tok, text);
		} else if (tok == SQL_PUNCT) {
			on_punct(d, *text.p);
		} else {
			d->expect_table = false;
			d->prev = PREV_OTHER;
		}
		start = d->lx;
	}
	d->lx = start; /* the end is the caller's to read */
}

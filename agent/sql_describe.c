/* SPDX-License-Identifier: Apache-2.0 */
/* sql_describe.c - says in a few words what a statement does: sql_describe of sql.h. One table of
 * commands says what is behind the first word; queries are left to sql_query.c. It is no parser and
 * needs no catalogue. Called by stmt.c with text that is already sanitised. The invariant: only
 * words and quoted identifiers reach the summary, so that its cardinality is that of the schema;
 * names that drivers number (cursors, savepoints, prepared statements) stay out. */
#include "agent/sql.h"
#include "agent/sql_describe.h"
#include "agent/utf8.h"

#include <string.h>

enum { WORD_MAX = 24 };

static const struct command commands[] = {
    {"SELECT", SHAPE_QUERY},   {"INSERT", SHAPE_QUERY},	  {"UPDATE", SHAPE_QUERY},
    {"DELETE", SHAPE_QUERY},   {"MERGE", SHAPE_QUERY},	  {"VALUES", SHAPE_QUERY},
    {"EXPLAIN", SHAPE_WRAP},   {"PREPARE", SHAPE_WRAP},	  {"DECLARE", SHAPE_WRAP},
    {"TABLE", SHAPE_TABLE},    {"TRUNCATE", SHAPE_TABLE}, {"LOCK", SHAPE_TABLE},
    {"VACUUM", SHAPE_TABLE},   {"ANALYZE", SHAPE_TABLE},  {"ANALYSE", SHAPE_TABLE},
    {"CLUSTER", SHAPE_TABLE},  {"COPY", SHAPE_COPY},	  {"CALL", SHAPE_NAME},
    {"SET", SHAPE_NAME},       {"SHOW", SHAPE_NAME},	  {"RESET", SHAPE_NAME},
    {"CREATE", SHAPE_DDL},     {"ALTER", SHAPE_DDL},	  {"DROP", SHAPE_DDL},
    {"REFRESH", SHAPE_DDL},    {"REINDEX", SHAPE_DDL},	  {"BEGIN", SHAPE_PLAIN},
    {"START", SHAPE_PLAIN},    {"COMMIT", SHAPE_PLAIN},	  {"END", SHAPE_PLAIN},
    {"ROLLBACK", SHAPE_PLAIN}, {"ABORT", SHAPE_PLAIN},	  {"SAVEPOINT", SHAPE_PLAIN},
    {"RELEASE", SHAPE_PLAIN},  {"EXECUTE", SHAPE_PLAIN},  {"DEALLOCATE", SHAPE_PLAIN},
    {"FETCH", SHAPE_PLAIN},    {"MOVE", SHAPE_PLAIN},	  {"CLOSE", SHAPE_PLAIN},
    {"LISTEN", SHAPE_PLAIN},   {"UNLISTEN", SHAPE_PLAIN}, {"NOTIFY", SHAPE_PLAIN},
    {"GRANT", SHAPE_PLAIN},    {"REVOKE", SHAPE_PLAIN},	  {"DO", SHAPE_PLAIN},
    {"COMMENT", SHAPE_PLAIN},  {"DISCARD", SHAPE_PLAIN},  {"CHECKPOINT", SHAPE_PLAIN},
    {"LOAD", SHAPE_PLAIN},     {"SECURITY", SHAPE_PLAIN}, {"IMPORT", SHAPE_PLAIN},
    {"REASSIGN", SHAPE_PLAIN},
};

const struct command *describe_command(struct str word)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (sql_word_is(word, commands[i].word))
			return &commands[i];
	}
	return NULL;
}

bool describe_word_in(struct str word, const char *const *list)
{
	for (; *list; list++) {
		if (sql_word_is(word, *list))
			return true;
	}
	return false;
}

/* --- the summary --- */

void describe_part(struct describe *d, struct str part)
{
	size_t gap = d->summary_len ? 1 + d->next_statement : 0;

	if (d->full || d->summary_len + gap + part.len > SUMMARY_MAX) {
		d->full = true;
		return;
	}
	memcpy(d->summary + d->summary_len, d->next_statement ? "; " : " ", gap);
	memcpy(d->summary + d->summary_len + gap, part.p, part.len);
	d->summary_len += gap + part.len;
	d->next_statement = false;
}

void describe_op(struct describe *d, const char *op)
{
	if (!d->first_op)
		d->first_op = op;
	if (!d->main_op && d->depth == 0)
		d->main_op = op;
	describe_part(d, str_of(op));
}

void describe_table(struct describe *d, struct str name)
{
	describe_part(d, name);
	if (!d->collection.p) {
		memcpy(d->first_name, name.p, name.len);
		d->collection = (struct str){d->first_name, name.len};
	} else if (!str_eq(d->collection, name)) {
		d->several = true;
	}
}

/* --- names --- */

static size_t name_part(char *out, size_t room, enum sql_tok tok, struct str part)
{
	if (tok == SQL_QUOTED)
		part = (struct str){part.p + 1, part.len - 2};
	if (part.len > room)
		return 0;
	memcpy(out, part.p, part.len);
	return part.len;
}

enum sql_tok describe_peek(const struct describe *d, struct str *ret)
{
	struct sql_lex ahead = d->lx;

	return sql_lex_solid(&ahead, ret);
}

bool describe_peek_is(const struct describe *d, char c)
{
	struct str text;

	return describe_peek(d, &text) == SQL_PUNCT && *text.p == c;
}

struct str describe_name(struct describe *d, enum sql_tok tok, struct str part)
{
	size_t len = name_part(d->name, sizeof(d->name), tok, part);
	bool ok = len > 0;

	while (describe_peek_is(d, '.')) {
		sql_lex_solid(&d->lx, &part);
		tok = describe_peek(d, &part);
		if (tok != SQL_WORD && tok != SQL_QUOTED)
			break;
		sql_lex_solid(&d->lx, &part);
		ok = ok && len + 1 + part.len <= sizeof(d->name);
		if (!ok)
			continue;
		d->name[len++] = '.';
		len += name_part(d->name + len, sizeof(d->name) - len, tok, part);
	}
	return (struct str){d->name, ok ? len : 0};
}

bool describe_ends(enum sql_tok tok, struct str text)
{
	return tok == SQL_END || tok == SQL_DOUBT || (tok == SQL_PUNCT && *text.p == ';');
}

/* --- the other shapes; each begins behind the first word --- */

/* Reads words of the list away. */
static void skip_words(struct describe *d, const char *const *list)
{
	struct str text;

	while (describe_peek(d, &text) == SQL_WORD && describe_word_in(text, list))
		sql_lex_solid(&d->lx, &text);
}

static void skip_parens(struct describe *d)
{
	uint32_t depth = 0;
	struct str text;

	if (!describe_peek_is(d, '('))
		return;
	do {
		enum sql_tok tok = describe_peek(d, &text);

		if (describe_ends(tok, text))
			return;
		sql_lex_solid(&d->lx, &text);
		depth += tok == SQL_PUNCT && *text.p == '(';
		depth -= tok == SQL_PUNCT && *text.p == ')';
	} while (depth);
}

/* The next name, if one is next. */
static struct str name_next(struct describe *d)
{
	struct str text;
	enum sql_tok tok = describe_peek(d, &text);

	if (tok != SQL_WORD && tok != SQL_QUOTED)
		return STR("");
	sql_lex_solid(&d->lx, &text);
	return describe_name(d, tok, text);
}

static void scan_tables(struct describe *d)
{
	static const char *const fillers[] = {"TABLE",	"ONLY",	   "VERBOSE", "FULL",
					      "FREEZE", "ANALYZE", "ANALYSE", NULL};
	struct str name, comma;

	skip_words(d, fillers);
	skip_parens(d);
	skip_words(d, fillers);
	while (name = name_next(d), name.len) {
		describe_table(d, name);
		skip_parens(d);
		if (!describe_peek_is(d, ','))
			return;
		sql_lex_solid(&d->lx, &comma);
		skip_words(d, fillers);
	}
}

static void scan_copy(struct describe *d)
{
	struct str name;

	if (describe_peek_is(d, '(')) {
		d->prev = PREV_START;
		describe_query(d);
		return;
	}
	name = name_next(d);
	if (name.len)
		describe_table(d, name);
}

/* EXPLAIN (…) query, PREPARE name (…) AS query, DECLARE name … FOR query. */
static void scan_wrap(struct describe *d, const char *op)
{
	static const char *const explain[] = {"ANALYZE", "ANALYSE", "VERBOSE", NULL};
	const char *until = !strcmp(op, "PREPARE") ? "AS" : "FOR";
	struct str text;

	if (!strcmp(op, "EXPLAIN")) {
		skip_words(d, explain);
		skip_parens(d);
	} else {
		enum sql_tok tok;

		while (tok = describe_peek(d, &text), !describe_ends(tok, text)) {
			sql_lex_solid(&d->lx, &text);
			if (tok == SQL_WORD && sql_word_is(text, until))
				break;
		}
	}
	d->prev = PREV_START;
	describe_query(d);
}

static void scan_name(struct describe *d)
{
	static const char *const fillers[] = {"LOCAL", "SESSION", NULL};
	struct str name;

	skip_words(d, fillers);
	name = name_next(d);
	if (name.len)
		describe_part(d, name);
}

/* TABLE, MATERIALIZED VIEW, …: one or two words. Returns whether such a thing holds rows. */
static bool kind_read(struct describe *d)
{
	static const char *const first[] = {"MATERIALIZED", "FOREIGN", "EVENT", "ACCESS", NULL};
	static const char *const rows[] = {"TABLE", "VIEW", NULL};
	struct str text;
	enum sql_tok tok = describe_peek(d, &text);
	char upper[WORD_MAX];

	while (tok == SQL_WORD && text.len < sizeof(upper)) {
		bool more = describe_word_in(text, first);

		sql_lex_solid(&d->lx, &text);
		for (size_t i = 0; i < text.len; i++)
			upper[i] =
			    text.p[i] >= 'a' && text.p[i] <= 'z' ? text.p[i] - 32 : text.p[i];
		describe_part(d, (struct str){upper, text.len});
		if (!more)
			return describe_word_in(text, rows);
		tok = describe_peek(d, &text);
	}
	return false;
}

static void scan_ddl(struct describe *d)
{
	static const char *const before[] = {"OR",     "REPLACE", "TEMP",   "TEMPORARY", "UNLOGGED",
					     "GLOBAL", "LOCAL",	  "UNIQUE", NULL};
	static const char *const behind[] = {"CONCURRENTLY", "IF", "NOT", "EXISTS",
					     "ONLY",	     "ON", NULL};
	bool has_rows;
	struct str name;

	skip_words(d, before);
	has_rows = kind_read(d);
	skip_words(d, behind);
	while (name = name_next(d), name.len) {
		if (has_rows)
			describe_table(d, name);
		else
			describe_part(d, name);
		if (!describe_peek_is(d, ','))
			break;
		sql_lex_solid(&d->lx, &name);
	}
	d->prev = PREV_OTHER;
	if (has_rows)
		describe_query(d);
}

/* --- statements --- */

static void statement_reset(struct describe *d)
{
	memset(d->levels, 0, sizeof(d->levels));
	d->depth = 0;
	d->prev = PREV_START;
	d->expect_table = d->into = d->expect_cte = false;
	d->cte_cnt = 0;
	d->next_statement = d->summary_len > 0;
}

static void scan(struct describe *d, const struct command *c)
{
	describe_op(d, c->word);
	switch (c->shape) {
	case SHAPE_WRAP:
		return scan_wrap(d, c->word);
	case SHAPE_TABLE:
		return scan_tables(d);
	case SHAPE_COPY:
		return scan_copy(d);
	case SHAPE_NAME:
		return scan_name(d);
	case SHAPE_DDL:
		return scan_ddl(d);
	default:
		return;
	}
}

/* Up to the statement's end, whatever was left of it. False: it was the last one. */
static bool statement_skip(struct describe *d)
{
	struct str text;
	enum sql_tok tok;

	while (tok = sql_lex_solid(&d->lx, &text), !describe_ends(tok, text))
		;
	return tok == SQL_PUNCT;
}

static void statement(struct describe *d)
{
	const struct command *c = NULL;
	struct str text;
	enum sql_tok tok = describe_peek(d, &text);

	statement_reset(d);
	if (tok == SQL_WORD)
		c = describe_command(text);
	if (describe_peek_is(d, '(') || (c && c->shape == SHAPE_QUERY) ||
	    sql_word_is(text, "WITH")) {
		describe_query(d);
	} else if (c) {
		sql_lex_solid(&d->lx, &text);
		scan(d, c);
	}
}

void sql_describe(struct arena *a, struct str text, struct str *ret_operation,
		  struct str *ret_collection, struct str *ret_summary)
{
	struct describe d = {0};
	const char *op;

	sql_lex_init(&d.lx, text);
	do
		statement(&d);
	while (statement_skip(&d));
	op = d.main_op ? d.main_op : d.first_op;
	*ret_operation = utf8_copy(a, op ? str_of(op) : STR(""));
	*ret_collection = utf8_copy(a, d.several || !d.collection.p ? STR("") : d.collection);
	*ret_summary = utf8_copy(a, (struct str){d.summary, d.summary_len});
}

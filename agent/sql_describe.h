/* SPDX-License-Identifier: Apache-2.0 */
/* sql_describe.h - what the two halves of sql_describe share: sql_query.c finds the tables of a
 * query, sql_describe.c knows the commands. Private to them. */
#ifndef WIRESPAN_SQL_DESCRIBE_H
#define WIRESPAN_SQL_DESCRIBE_H

#include "agent/sql_lex.h"

enum { DEPTH_MAX = 32, CTE_MAX = 16, SUMMARY_MAX = 255 };

/* What is behind the first word of a statement. */
enum shape {
	SHAPE_NONE,  /* an unknown command */
	SHAPE_PLAIN, /* nothing worth naming */
	SHAPE_QUERY, /* tables, sub-queries */
	SHAPE_WRAP,  /* options, then a query */
	SHAPE_TABLE, /* one table, or several with commas, after words like TABLE or ONLY */
	SHAPE_COPY,  /* one table, or a query in parentheses */
	SHAPE_NAME,  /* one name that is no table */
	SHAPE_DDL,   /* kind of object, its name, perhaps AS and a query */
};

struct command {
	const char *word;
	enum shape shape;
};

/* What the query scanner must know of the token before. */
enum prev { PREV_OTHER, PREV_START, PREV_OPEN, PREV_CLOSE, PREV_AS, PREV_FOR, PREV_DISTINCT };

/* One level of parentheses. */
struct level {
	const char *op; /* the last operation at this level; NULL: it is no query */
	bool from;	/* a comma separates tables */
	bool with;	/* a comma separates queries of WITH */
	bool used;	/* the USING of DELETE or MERGE is behind us */
};

struct describe {
	struct sql_lex lx;
	char summary[SUMMARY_MAX];
	size_t summary_len;
	bool full; /* the summary has no room for the next part: nothing is added behind a gap */
	bool next_statement;

	const char *first_op, *main_op;
	struct str collection; /* in names; p NULL: none so far */
	bool several;
	char name[SUMMARY_MAX], first_name[SUMMARY_MAX];

	struct level levels[DEPTH_MAX + 1]; /* all that is deeper shares the last */
	uint32_t depth;
	enum prev prev;
	bool expect_table, into, expect_cte;
	struct str ctes[CTE_MAX];
	uint32_t cte_cnt;
};

/* --- sql_describe.c --- */
const struct command *describe_command(struct str word); /* NULL: unknown */
bool describe_word_in(struct str word, const char *const *list);
void describe_part(struct describe *d, struct str part);
void describe_op(struct describe *d, const char *op);
void describe_table(struct describe *d, struct str name);
enum sql_tok describe_peek(const struct describe *d, struct str *ret);
bool describe_peek_is(const struct describe *d, char c);
/* The rest of a name like a.b."c" whose first part was just read. One that is too long is empty. */
struct str describe_name(struct describe *d, enum sql_tok tok, struct str part);
bool describe_ends(enum sql_tok tok, struct str text);

/* --- sql_query.c --- */
/* The rest of the statement is a query, or has one in it. Stops before its end. */
void describe_query(struct describe *d);

#endif

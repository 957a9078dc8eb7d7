/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql.h - what pgsql.c (what is asked), pgsql_answer.c (what is answered, what is true) and pgsql_wire.c (how
 * a message is written) share. */
#ifndef GEN_PGSQL_H
#define GEN_PGSQL_H

#include "script.h"

enum { SQL_MAX = 24, NAMED_MAX = 4, PARTS_MAX = 4 };

enum sql_shape { SQL_ROWS, SQL_CHANGE, SQL_RETURNING, SQL_PLAIN, SQL_SHOW, SQL_EMPTY, SQL_COPY_IN, SQL_COPY_OUT };

/* A text that is sent, perhaps several times. */
struct sql {
	char id[40];   /* in a comment; "": it has none */
	struct text text;
	enum sql_shape shape;
	const char *operation, *table, *tag;
	char table_name[16];
};

/* A statement that was prepared. */
struct prepared {
	struct sql *sql;
	uint32_t name; /* a number for it; 1: unnamed */
};

enum op_kind {
	OP_PARSE, OP_BIND, OP_DESCRIBE_S, OP_DESCRIBE_P, OP_EXECUTE, OP_CLOSE, OP_SYNC, OP_QUERY, OP_FUNCTION,
};

/* A message that will be answered. */
struct op {
	enum op_kind kind;
	uint32_t end;  /* place behind it in the client's stream */
	uint32_t unit; /* what it belongs to, up to an Execute, Sync or another statement */
	struct sql *sql;
	bool fails;
	uint32_t limit; /* of an Execute; UINT32_MAX: it is suspended in any case */
	struct sql *parts[PARTS_MAX]; /* of a Query */
	uint32_t part_cnt, bad_part;
};

/* What became of an execution. */
struct outcome {
	const struct text *text; /* NULL: there is none (FunctionCall) */
	const struct sql *sql;   /* one statement, whose operation is known */
	int64_t rows;            /* -1: it returns none */
	bool rows_maybe, skipped, aborted;
	const char *sqlstate;
};

struct pg {
	struct script *s;
	struct rng *r;
	struct flow *c, *b; /* what the client and the backend send */
	uint32_t order;     /* spans so far */
	uint32_t texts;
	struct sql *sql[SQL_MAX]; /* texts that may be sent again */
	uint32_t sql_cnt;
	struct sql **all;         /* to be freed */
	size_t all_cnt;
	struct prepared named[NAMED_MAX], unnamed;
	uint32_t name_gen[NAMED_MAX];
	uint32_t names;     /* statements with a name so far */
	struct op *ops; /* of this flight */
	size_t op_cnt;
	uint32_t unit, unit_about; /* prepared.name; 0: nothing yet */
	const char *unit_portal;   /* that it has bound; NULL: none */
	uint32_t start; /* place of the message being written */
	bool over;      /* the batch is deeper than Wirespan keeps */
	uint32_t lost;
	bool talks;     /* startup is over: anything may come at any time */
};

/* --- pgsql_wire.c --- */
void msg_begin(struct pg *g, struct flow *f, char type); /* 0: a packet without type */
void msg_end(struct pg *g, struct flow *f);
void put_int(struct flow *f, uint32_t v, int bytes);
void put_str(struct flow *f, const char *s);
void put_noise(struct flow *f, struct rng *r, uint32_t len);

void send_startup(struct pg *g);
void send_query(struct pg *g, const struct text *sql);
void send_parse(struct pg *g, const char *name, const struct text *sql);
void send_bind(struct pg *g, const char *portal, const char *name);
void send_named(struct pg *g, char type, char kind, const char *name); /* D, C */
void send_execute(struct pg *g, const char *portal, uint32_t limit);
void send_function(struct pg *g);
void send_plain(struct pg *g, char type); /* S, H, X, c */
void send_copy(struct pg *g, uint32_t rows);
void send_copy_fail(struct pg *g);

void answer_plain(struct pg *g, char type); /* 1, 2, 3, n, I, s, c */
void answer_tag(struct pg *g, const char *tag, uint32_t rows);
void answer_columns(struct pg *g);
void answer_params(struct pg *g);
void answer_row(struct pg *g);
void answer_error(struct pg *g, const char *sqlstate);
void answer_ready(struct pg *g);
void answer_function(struct pg *g);
void answer_copy(struct pg *g, char type); /* G, H */
void answer_copy_data(struct pg *g, uint32_t rows);
void answer_asides(struct pg *g);

/* --- pgsql_sql.c --- */
struct sql *sql_make(struct pg *g, enum sql_shape shape);
/* A new text, or one that was sent before. */
struct sql *sql_any(struct pg *g, bool extended);
void sql_free_all(struct pg *g);

/* --- pgsql_answer.c --- */
const char *sqlstate_any(struct pg *g);
/* sql: NULL for a FunctionCall. */
void truth_put(struct pg *g, const struct sql *sql, struct outcome o);
/* When the server speaks: after each message, after a round, or when all of the flight is there. */
enum patience { EAGER, BY_ROUND, BY_FLIGHT };
/* All that this flight has asked. */
void flight_answer(struct pg *g, enum patience p);

/* --- pgsql.c --- */
/* Of a Query with these statements. */
void query_text(struct text *t, struct sql *const *parts, uint32_t cnt);
/* From here on nothing is sent before all that came before is answered. */
void flight_begin(struct pg *g);

/* --- pgsql_copy.c --- */
void flight_copy(struct pg *g);
void connection_end(struct pg *g);

#endif

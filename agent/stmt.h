/* SPDX-License-Identifier: Apache-2.0 */
/* stmt.h - SQL texts that the kernel sends once and spans refer to later: (connection, statement) →
 * text, pieced together, sanitised, summarised; least recently used ones go first: statements when
 * there are too many, texts (with all statements that share them) when they are too long together.
 * Both are counted, as is what was asked for and not known. The raw text is not kept when sanitising
 * is on. Used by the drain thread alone. */
#ifndef WIRESPAN_STMT_H
#define WIRESPAN_STMT_H

#include "kern/record.h"
#include "store/base.h"

struct stmts;

struct stmt {
	struct str text;       /* as it is stored: sanitised unless that is off */
	struct str operation;  /* db.operation.name: "SELECT", "INSERT", …; empty when unclear */
	struct str collection; /* db.collection.name when there is exactly one; else empty */
	struct str summary;    /* db.query.summary: "SELECT todos" */
	bool cut;              /* the kernel sent less than the whole text */
};

/* max: statements kept; memory is taken as they come. */
int stmts_new(struct stmts **ret, uint32_t max, bool sanitize);
void stmts_free(struct stmts *s);
/* A piece; pieces of one text come in order. len is that of the text in the record. */
void stmts_add(struct stmts *s, const struct rec_stmt *rs, uint32_t len);
/* Empty: not known. The database that the connection's startup message named. */
struct str stmts_database(struct stmts *s, uint64_t conn);
/* NULL: not known (lost, evicted, or prepared before we came). Borrowed until the next _add. */
const struct stmt *stmts_find(struct stmts *s, uint64_t conn, uint64_t stmt);

#endif

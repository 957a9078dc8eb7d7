/* SPDX-License-Identifier: Apache-2.0 */
/* sql.h - a PostgreSQL lexer that is just good enough to take the secrets out of a statement and to
 * say in two words what it does. It is total: any bytes in, valid text out, never more than the
 * input's length + 1. On doubt it hides more, not less (a cut text in the middle of a literal, an
 * unknown quote, ALTER ROLE … PASSWORD). */
#ifndef WIRESPAN_SQL_H
#define WIRESPAN_SQL_H

#include "store/base.h"

/* Literals → ?, IN lists and VALUES rows of literals folded to one (?), comments dropped, white
 * space folded. Appends to out. */
void sql_sanitize(struct strbuf *out, struct str text);
/* operation: first keyword in upper case ("SELECT"; "WITH … SELECT" → SELECT); collection: the one
 * table it touches, empty when none or several; summary: "SELECT todos", "INSERT a SELECT b", at
 * most 255 bytes. All appended to the arena. */
void sql_describe(struct arena *a, struct str text, struct str *ret_operation,
		  struct str *ret_collection, struct str *ret_summary);

#endif

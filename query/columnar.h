/* SPDX-License-Identifier: Apache-2.0 */
/* columnar.h - conditions and fields on a whole group of rows at once (store/columns.h has the
 * picture), so that a query looks only at spans that it may find. A condition on one field is
 * decided once per value and not once per row; whatever has no columns (events, links, what needs
 * the whole trace, opaque columns) is said to be possible, and the answer not exact.
 *
 * The invariant: a row that is not in the answer does not fulfil the condition; when the answer is
 * exact, one that is in it does. What is true of a value is asked of eval.c, so that columns and
 * spans can never disagree. */
#ifndef WIRESPAN_QUERY_COLUMNAR_H
#define WIRESPAN_QUERY_COLUMNAR_H

#include "query/eval.h"
#include "store/columns.h"

struct columnar {
	struct eval *e;
	const struct column_block *block;
	const struct column_group *group;
	struct arena *mem; /* of the block */
};

/* --- conditions --- */
struct rows {
	uint64_t *bits; /* NULL: all of them, or none */
	uint32_t cnt;	/* rows of the group */
	bool all;	/* when bits is NULL */
	bool exact;
};

/* The rows for which x (NULL: true) may be true. 0 or -errno, as e->err. */
int columnar_rows(struct columnar *c, const struct expr *x, struct rows *ret);
/* Of those only the rows that overlap [from, to] (ns since 1970, inclusive). */
int columnar_overlap(struct columnar *c, uint64_t from_ns, uint64_t to_ns, struct rows *rows);
/* The first row at or behind `row`; rows.cnt: none. */
uint32_t rows_next(const struct rows *rows, uint32_t row);
uint32_t rows_count(const struct rows *rows);
/* Does a comparison of nestedSetParent with this literal ask only whether it is negative? */
bool columnar_is_root_test(const struct expr *x, const struct expr *literal);

/* --- the values of a field --- */
enum columnar_form {
	COLUMNAR_UNKNOWN, /* not in the columns */
	COLUMNAR_TABLE,	  /* table[code of the row] */
	COLUMNAR_NUMBERS, /* a duration in ns; no table */
};

struct columnar_field {
	enum columnar_form form;
	const struct column *column; /* NULL: table[0] for all rows */
	const struct tval *table;    /* with room for every code that the column can have */
	uint32_t cnt;
};

/* 0 or -errno, as e->err. */
int columnar_field(struct columnar *c, const struct field_ref *f, struct columnar_field *ret);

#endif

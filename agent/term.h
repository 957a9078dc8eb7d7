/* SPDX-License-Identifier: Apache-2.0 */
/* term.h - texts of strangers on a terminal: nothing that moves the cursor, changes the colour or
 * turns the reading direction gets through. For the sub-commands. */
#ifndef WIRESPAN_TERM_H
#define WIRESPAN_TERM_H

#include "store/base.h"

/* Appends s, escaped, in at most max columns (0: no limit); what is cut ends in an ellipsis.
 * Returns the columns that it takes, each character counted as one. */
size_t term_add(struct strbuf *out, struct str s, size_t max);
/* "12.3ms" */
void term_add_duration(struct strbuf *out, uint64_t ns);
/* "2026-01-31T12:00:00.123Z" */
void term_add_time(struct strbuf *out, uint64_t real_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - values and expressions as text, the way TraceQL and its answers write them: durations as
 * Go does ("1m30s"), statuses and kinds by name, `by(span.depth % 3)` in normal form. */
#ifndef WIRESPAN_QUERY_TEXT_H
#define WIRESPAN_QUERY_TEXT_H

#include "query/ast.h"

enum { TEXT_NUMBER = 40 };

/* The literal that a bare word is: true, nil, error, server, maxInt, ... -EINVAL: none. */
int text_word(struct str word, struct tval *ret);
/* "server", "error"; "" for a number that has no name. */
const char *text_kind(int64_t kind);
const char *text_status(int64_t status);
void text_duration(char out[TEXT_NUMBER], int64_t ns);
/* Shortest text that reads back the same; always with a point or an exponent: "1.0". */
void text_float(char out[TEXT_NUMBER], double d);

/* A field in normal form; empty when the arena is full. */
struct str text_field(struct arena *a, const struct field_ref *f);
/* name(expr) in normal form; empty when the arena is full. */
struct str text_call(struct arena *a, const char *name, const struct expr *arg);
/* A value without quotes; strings are borrowed, all else is made in the arena. */
struct str text_value(struct arena *a, const struct tval *v);
/* The same for all but arrays, in out where it is not borrowed. */
struct str text_short(char out[TEXT_NUMBER], const struct tval *v);
/* As an attribute's value in an answer: statuses, kinds and durations become strings, nil "nil". */
struct val text_val(struct arena *a, const struct tval *v);

#endif

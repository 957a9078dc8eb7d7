/* SPDX-License-Identifier: Apache-2.0 */
/* parse.h - text to a checked struct tql, in one arena. The sentence of an error says where:
 * "line 1, col 12: unexpected ...". */
#ifndef WIRESPAN_QUERY_PARSE_H
#define WIRESPAN_QUERY_PARSE_H

#include "query/ast.h"

/* 0; -EINVAL with a sentence in why; -ERANGE: the arena's limit. Either way re_free(ret->regexes).
 */
int parse_query(struct arena *a, struct str text, struct tql *ret, struct strbuf *why);
/* One field alone, as the tag endpoints have it. */
int parse_field(struct arena *a, struct str text, struct field_ref *ret, struct strbuf *why);
/* "line 1, col 12: " for an offset. */
void parse_where(struct strbuf *out, struct str text, uint32_t at);

#endif

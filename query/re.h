/* SPDX-License-Identifier: Apache-2.0 */
/* re.h - regular expressions as TraceQL means them: RE2's language, matching the whole text, dot
 * matches newline. By PCRE2 with limits, so that no pattern and no subject can hang a query. */
#ifndef WIRESPAN_QUERY_RE_H
#define WIRESPAN_QUERY_RE_H

#include "store/base.h"

struct re;

/* 0, or -EINVAL: not RE2, or too large. Chained in front of *list, which re_free takes. */
int re_compile(struct re **ret, struct str pattern, struct re **list);
/* 1 matches, 0 does not, -ERANGE: gave up at a limit. */
int re_match(struct re *re, struct str subject);
void re_free(struct re *list);

#endif

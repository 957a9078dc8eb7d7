/* SPDX-License-Identifier: Apache-2.0 */
/* legacy.h - the search of before TraceQL: tags=k=v k2="v 2". */
#ifndef WIRESPAN_LEGACY_H
#define WIRESPAN_LEGACY_H

#include "store/base.h"

/* The TraceQL that finds what the tags (logfmt) describe; lives in the arena. -EINVAL: the body of
 * the 400 answer is in why. */
int legacy_query(struct arena *a, struct str tags, struct str *ret, struct strbuf *why);

#endif

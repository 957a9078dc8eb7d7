/* SPDX-License-Identifier: Apache-2.0 */
/* spans.h - the records of a replay as lines of text, one a span, the way tests/wire/README writes
 * them: what was seen in `text`, whose child it is in `parent`. SQL texts are pieced together as
 * the agent does it. Times and ids are numbers beside the text, since they differ from run to run.
 */
#ifndef WIRESPAN_SPANS_H
#define WIRESPAN_SPANS_H

#include "kern/record.h"

#include <stddef.h>

struct span_line {
	char *text, *parent;
	struct rec_span rec; /* without its text */
};

struct spans {
	struct span_line *at;
	size_t cnt;
};

/* All spans since shadow_reset, oldest first. */
void spans_read(struct spans *ret);
void spans_free(struct spans *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the one way in which the program says no: a sentence on standard error. It decides
 * nothing; main.c and the sub-commands call it. The invariant: the sentence may quote a path, an
 * argument or an answer, and still is one line that a terminal can bear. */
#include "agent/commands.h"
#include "agent/term.h"

#include <stdio.h>

int command_complain(int exit_status, const char *fmt, ...)
{
	struct strbuf text, line;
	va_list ap;

	strbuf_init(&text);
	strbuf_init(&line);
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	term_add(&line, (struct str){text.p, text.len}, 0);
	fprintf(stderr, "wirespan: %s\n", line.p);
	strbuf_fini(&text);
	strbuf_fini(&line);
	return exit_status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* commands.h - the sub-commands that ask a running Wirespan. Each prints its answer to standard
 * output, or one sentence to standard error, and returns the exit status of the program. */
#ifndef WIRESPAN_COMMANDS_H
#define WIRESPAN_COMMANDS_H

#include "agent/config.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_REFUSED = 2 };

/* Says "wirespan: …" on standard error; returns exit_status. */
int command_complain(int exit_status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* id NULL: the trace that began last. */
int trace_cmd(const struct config *c, const char *id);
int status_cmd(const struct config *c);
/* What status_cmd prints, from the answer of GET /status; -EBADMSG: it is not one. */
int status_cmd_format(struct strbuf *out, struct str json, const char *listen);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* commands.h - the sub-commands that ask a running Wirespan, or a store's folder. Each prints its answer to standard
 * output, or one sentence to standard error, and returns the exit status of the program. */
#ifndef WIRESPAN_COMMANDS_H
#define WIRESPAN_COMMANDS_H

#include "agent/config.h"
#include "store/span.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_REFUSED = 2 };

/* Says "wirespan: …" on standard error; returns exit_status. */
int command_complain(int exit_status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Takes "NAME VALUE" or "NAME=VALUE" out of the arguments; false: it is not there. */
bool command_take_flag(int *argc, char **argv, const char *name, const char **ret);
/* The same with a time: seconds since 1970, or as in 2026-01-31T12:00:00Z. 0, also when it is not
 * there; -EINVAL, complained. */
int command_take_time(int *argc, char **argv, const char *name, uint64_t *ret_ns);

/* `wirespan store`: argv from the verb on. */
int store_cmd(int argc, char **argv);
/* id NULL: the trace that began last. */
int trace_cmd(const struct config *c, const char *id);
/* Draws the spans of a trace, as trace_cmd does. */
int trace_print(const struct span *spans, size_t cnt, const char *id);
int status_cmd(const struct config *c);
/* What status_cmd prints, from the answer of GET /status; -EBADMSG: it is not one. */
int status_cmd_format(struct strbuf *out, struct str json, const char *listen);

#endif

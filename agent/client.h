/* SPDX-License-Identifier: Apache-2.0 */
/* client.h - asks the running Wirespan over HTTP, for `wirespan trace` and `wirespan status`. */
#ifndef WIRESPAN_CLIENT_H
#define WIRESPAN_CLIENT_H

#include "agent/config.h"

enum { CLIENT_BODY_MAX = 64 << 20 };

/* GET target ("/status") from where the configuration says that Wirespan listens, with its token.
 * 0: *ret_status is the HTTP status and body has the answer. -errno: why has a sentence. */
int client_get(const struct config *c, const char *target, int *ret_status, struct strbuf *body,
	       struct strbuf *why);
/* Appends text as one value of a query string. */
void client_escape(struct strbuf *out, const char *text);
/* Splits an HTTP/1 answer: status and the body, de-chunked. -EBADMSG: not an answer, or cut. */
int client_parse(struct str answer, int *ret_status, struct strbuf *body);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* routes.h - which path leads to which handler. server.c asks; nobody else. */
#ifndef WIRESPAN_ROUTES_H
#define WIRESPAN_ROUTES_H

#include "web/handler.h"

struct route {
	const char *pattern; /* {} stands for one segment */
	handler_fn *handler;
	bool open; /* also without the token */
	bool body; /* takes a request body; elsewhere bodies are thrown away */
	bool ingest; /* also where nothing but ingest is served */
};

/* Matches the path as it was sent, so that %2F never splits a segment; NULL: no such path, or a
 * broken percent sequence. ret_segment is decoded into a. */
const struct route *route_find(struct str path, struct arena *a, struct str *ret_segment);

#endif

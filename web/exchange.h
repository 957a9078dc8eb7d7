/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.h - one request and its answer on a libmicrohttpd connection: the callbacks that
 * mhd.c gives to the daemon, and what they need to know of the server. */
#ifndef WIRESPAN_EXCHANGE_H
#define WIRESPAN_EXCHANGE_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "web/pool.h"
#include "web/web.h"

struct web {
	struct mhd *mhd;
	struct front *front; /* NULL: libmicrohttpd listens itself */
	struct store *store;
	struct strbuf token;   /* empty: none asked */
	char **hosts;	       /* NULL-terminated copies */
	struct peers *peers;   /* NULL: none */
	struct pool *handlers; /* of HTTP/1, by exchange_run */
	uint16_t port;
	bool ingest_only, ingest_commits;
	atomic_bool ready, stopping;
};

/* The first argument of the callbacks is a struct mhd_worker.
 * MHD_OPTION_URI_LOG_CALLBACK: makes the exchange out of the URI, before MHD parses it. */
void *exchange_new(void *worker, const char *uri, struct MHD_Connection *conn);
/* The access handler: headers, then body in pieces, then the answer. */
enum MHD_Result exchange_step(void *worker, struct MHD_Connection *conn, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *len, void **exchange);
/* MHD_OPTION_NOTIFY_COMPLETED. */
void exchange_free(void *worker, struct MHD_Connection *conn, void **exchange,
		   enum MHD_RequestTerminationCode why);

/* A pool's function. */
void exchange_run(struct job *job);

#endif

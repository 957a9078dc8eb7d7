/* SPDX-License-Identifier: Apache-2.0 */
/* mhd.h - the HTTP/1 half of the server: libmicrohttpd, its threads and limits. Connections are
 * given to it by front.c; with TLS it listens itself. */
#ifndef WIRESPAN_MHD_H
#define WIRESPAN_MHD_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "store/base.h"

struct web;
struct mhd;

/* What the callbacks of exchange.c get: one thread with its connections. */
struct mhd_worker {
	struct web *web;
	struct MHD_Daemon *daemon;
	atomic_uint connections;
};

/* Key and certificate in PEM. */
struct mhd_tls {
	const char *cert, *key;
};

/* tls NULL: listens to nothing, connections come by mhd_take. Otherwise fd is the listening
 * socket, and ours, whether it starts or not. -EINVAL, -EIO with a sentence. */
int mhd_start(struct mhd **ret, struct web *w, unsigned int threads, const struct mhd_tls *tls,
	      int fd, struct strbuf *why);
/* Gives a connection to the thread that has the fewest. False: there is none that has room; fd is
 * still the caller's, and front_kick is called when that changes. */
bool mhd_take(struct mhd *h, int fd, const struct sockaddr *peer, socklen_t len);
void mhd_stop(struct mhd *h); /* NULL is fine */

#endif

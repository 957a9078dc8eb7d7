/* SPDX-License-Identifier: Apache-2.0 */
/* h2.h - one HTTP/2 connection of a client: a session of nghttp2 on a non-blocking socket, whose
 * streams are gRPC calls. Everything here is the loop's. */
#ifndef WIRESPAN_H2_H
#define WIRESPAN_H2_H

#include "web/call.h"

struct h2;

/* What all connections have together. */
struct h2_shared {
	struct web *web;
	size_t body_bytes; /* of requests that are being read or wait for a worker */
	uint32_t calls;	   /* also of closed streams, until the worker has given them back */
};

/* fd is the session's from here on; NULL: no memory, fd is closed. */
struct h2 *h2_new(struct h2_shared *sh, int fd, uint64_t now_ns);
/* Closes; calls that a worker has are told that nobody waits. NULL is fine. */
void h2_free(struct h2 *c);

/* Reads if it says so, then writes what can be written. False: the connection is over. */
bool h2_run(struct h2 *c, bool readable, uint64_t now_ns);
/* Streams that did not move for too long are reset. False: so is the connection. */
bool h2_tick(struct h2 *c, uint64_t now_ns);
/* There is something to send and the socket did not take it. */
bool h2_is_blocked(const struct h2 *c);
/* h2_run has something to do, by h2_resume. */
bool h2_is_due(const struct h2 *c);
int h2_fd(const struct h2 *c);
/* Since when there is no stream; 0: there is one. */
uint64_t h2_idle_since(const struct h2 *c);

/* A worker gave something to the call, whose stream is open. */
void h2_resume(struct call *c);
/* The call's bodies no longer count, and it is freed. */
void h2_call_free(struct h2_shared *sh, struct call *c);

#endif

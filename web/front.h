/* SPDX-License-Identifier: Apache-2.0 */
/* front.h - who comes in at the one port: accepts, looks at the first bytes, and gives HTTP/1 to
 * mhd.c; HTTP/2 it keeps, in one loop on one thread. */
#ifndef WIRESPAN_FRONT_H
#define WIRESPAN_FRONT_H

#include "web/call.h"

struct front;

/* fd: the listening socket, non-blocking; the front's, whether it starts or not. threads: how many
 * questions by gRPC are answered at a time. */
int front_start(struct front **ret, struct web *w, int fd, unsigned int threads,
		struct strbuf *why);
/* From any thread: have the loop look at what waits. */
void front_kick(struct front *f);

/* The worker's answer to a call. Takes what is in bytes (framed messages, may be empty); done:
 * status and message of the call are set, and the call is not the worker's any more. */
void front_give(struct call *c, struct strbuf *bytes, bool done);
/* The loop's: gives the call to a worker. */
void front_submit(struct call *c);
/* The loop's: up to len bytes of the answer into to; *ret_done: that is all there is or will be. */
size_t front_take(struct call *c, void *to, size_t len, bool *ret_done);
/* The loop's: what the answer has that is not sent. */
enum front_has { FRONT_NOTHING, FRONT_END, FRONT_MESSAGES };
enum front_has front_has(struct call *c);

/* Ends the loop, closes its connections and cancels their calls. After that front_kick does
 * nothing; front_free frees the rest. NULL is fine. */
void front_stop(struct front *f);
void front_free(struct front *f);

#endif

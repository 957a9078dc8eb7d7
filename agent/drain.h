/* SPDX-License-Identifier: Apache-2.0 */
/* drain.h - the thread that empties the ring buffer: process events go to discover, SQL texts to
 * stmt, spans through span_build into the store, a batch at a time. All that names things (procs,
 * stmt, route) is used by this thread alone. */
#ifndef WIRESPAN_DRAIN_H
#define WIRESPAN_DRAIN_H

#include "agent/config.h"
#include "agent/load.h"
#include "store/store.h"

struct drain;

int drain_start(struct drain **ret, struct loader *l, const struct config *c, struct store *s,
		struct strbuf *why);
/* Takes what is in the ring, hands it to the store, ends the thread. NULL is fine. */
void drain_stop(struct drain *d);

#endif

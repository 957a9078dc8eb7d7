/* SPDX-License-Identifier: Apache-2.0 */
/* privileges.h - the capabilities that loading the kernel half and reading /proc need, and giving
 * them up. Capabilities belong to a thread and to the threads that it makes: what makes threads is
 * run through privileges_run, with the few that these threads need. */
#ifndef WIRESPAN_PRIVILEGES_H
#define WIRESPAN_PRIVILEGES_H

#include "store/base.h"

enum privileges {
	PRIVILEGES_NONE,
	PRIVILEGES_FILES,     /* other users' files, if root: the store's folder may be a user's */
	PRIVILEGES_READ_PROC, /* these, and other users' processes under /proc */
};

/* net_admin: what is switched on needs CAP_NET_ADMIN too. -EPERM: why names what is missing, in a
 * sentence. */
int privileges_check(bool net_admin, struct strbuf *why);
/* Gives up all but `keep`, for good, in this thread and all that it makes later, programs included.
 * 0, or -errno with a sentence. */
int privileges_drop(enum privileges keep, struct strbuf *why);
/* fn in a thread of its own that has dropped all but `keep`; returns what fn returns. */
int privileges_run(enum privileges keep, int (*fn)(void *arg), void *arg, struct strbuf *why);

#endif

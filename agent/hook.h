/* SPDX-License-Identifier: Apache-2.0 */
/* hook.h - the functions of traced programs at whose entry the kernel half looks: one line per program of
 * kern/handover.h. runtimes.c finds them, load.c attaches. */
#ifndef WIRESPAN_HOOK_H
#define WIRESPAN_HOOK_H

#define HOOKS(X)                                                                                   \
	X(GO_STARTS, go_starts, "runtime.newproc1")                                                \
	X(GO_STARTED, go_started, "runtime.gostartcallfn")                                         \
	X(GO_ROUND_TRIP, go_round_trip, "net/http.(*persistConn).roundTrip")                       \
	X(SCOPE_ENTERED, scope_entered, "Context.run, PyContext_Enter")                            \
	X(SCOPE_COPIED, scope_copied, "PyContext_CopyCurrent")

enum hook {
#define X(id, program, function) HOOK_##id,
	HOOKS(X)
#undef X
	HOOK_COUNT,
};

/* One attachment; whoever asked for it ends it. */
struct hook_link;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* program.h - what a program is, from its executable's path and its command line: a name for the
 * service that it runs, its language, and whether it is the machinery of a login session. Pure, but
 * for the executable that gobin.h reads through `exe_fd`. */
#ifndef WIRESPAN_PROGRAM_H
#define WIRESPAN_PROGRAM_H

#include "store/base.h"

struct program {
	struct str base;      /* the executable's name without its folders; points into exe */
	struct str name;      /* of the service: a script's own; points into the input */
	const char *language; /* telemetry.sdk.language, or NULL */
	bool is_go;	      /* with goroutines that can be told apart */
	bool is_login;	      /* shells, sshd, getty and their like */
};

/* exe_fd -1: not readable. cmdline: arguments with a NUL behind each, as in /proc. */
void program_describe(struct program *ret, struct str exe, int exe_fd, struct str cmdline);

#endif

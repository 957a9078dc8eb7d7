/* SPDX-License-Identifier: Apache-2.0 */
/* must.h - what cannot fail in a sane test run: says where it did, and ends the program. */
#ifndef GEN_MUST_H
#define GEN_MUST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "gen: %s:%d: %s: %s\n", __FILE__, __LINE__, #x,            \
				strerror(errno));                                                  \
			exit(2);                                                                   \
		}                                                                                  \
	} while (0)

#endif

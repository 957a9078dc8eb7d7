/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - drives a parser of kern/ by itself, the way feed.h does, and writes down what it
 * said: marks, texts, facts. Two ways to feed the same bytes must give the same line. What must
 * hold at every step (the cursor inside the window, progress) is checked here and ends the test. */
#ifndef WIRESPAN_MACHINE_H
#define WIRESPAN_MACHINE_H

#include "tests/shadow/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "kern/http1.h"
#include "kern/pgsql.h"

#include <stdio.h>

enum machine_kind {
	MACHINE_REQUEST,
	MACHINE_RESPONSE,
	MACHINE_RESPONSE_TO_HEAD,
	MACHINE_RESPONSE_TO_CONNECT,
	MACHINE_FRONTEND,
	MACHINE_FRONTEND_STARTUP,
	MACHINE_BACKEND,
	MACHINE_KINDS,
};

struct machine {
	enum machine_kind kind;
	union {
		struct http1 http;
		struct pgsql pg;
	};
	struct window *w;
	FILE *out;
	char *line, *text; /* what is said; the text that is being captured */
	size_t line_len, text_len;
	bool skips; /* passes over what need not be looked at, as feed.h does between windows */
	bool over;  /* nonsense was seen */
};

void machine_init(struct machine *m, enum machine_kind kind);
/* More of the stream, in windows. */
void machine_feed(struct machine *m, const void *bytes, size_t len);
/* All that was said; to be freed. The machine is gone. */
char *machine_end(struct machine *m);

/* Bytes and what is to be said of them. */
struct machine_case {
	enum machine_kind kind;
	const char *bytes;
	size_t len;
	const char *says;
};

/* All that is said when the bytes are fed up to cut, then the rest; cut CUT_ALL: byte by byte. */
enum { CUT_ALL = -1 };
char *machine_says(const struct machine_case *c, size_t len, long cut, bool skips);
/* Whole, split at every byte, byte by byte, with and without passing over: the same. NULL, or how
 * it is not (to be freed). */
char *machine_splits(const struct machine_case *c);
/* Every truncation says a beginning of it. */
char *machine_truncations(const struct machine_case *c);

/* Steps from any state over any window: nothing may be touched outside of it. */
void machine_shake(enum machine_kind kind, const void *state, size_t state_len, const void *bytes,
		   size_t len, __u32 at);

/* What a fuzzer does with a machine of the cnt kinds from first on: the first byte says which kind,
 * the second where to split; split or whole, it must say the same, and it is shaken. */
void machine_fuzz(enum machine_kind first, int cnt, const __u8 *data, size_t len);

#endif

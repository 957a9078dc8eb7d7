/* SPDX-License-Identifier: Apache-2.0 */
/* scenario.h - reads a .wire file: what goes over a connection, and what is expected of it.
 * tests/wire/README.md says how such a file is written. */
#ifndef WIRESPAN_SCENARIO_H
#define WIRESPAN_SCENARIO_H

#include "tests/shadow/pair.h"

enum step_kind { STEP_BYTES, STEP_ATTACH, STEP_FIN, STEP_CLOSE, STEP_RESET }; /* FIN on: an end */

struct step {
	enum step_kind kind;
	int who; /* CLIENT, SERVER: who sends, or ends */
	enum pair_how how;
	char *bytes;
	size_t len;
};

struct expected_span {
	unsigned ends; /* a bit per end */
	char *text;
};

struct scenario {
	struct step *steps;
	size_t step_cnt;
	struct expected_span *spans;
	size_t span_cnt;
	__u64 lost[ENDS][LOST_COUNT];
	__u64 undecoded[ENDS][UNDECODED_COUNT];
	bool attaches; /* has a STEP_ATTACH */
	unsigned ends; /* from which the scenario can be told; a bit per end */
};

/* 0; -1 with a sentence on stderr. */
int scenario_read(struct scenario *ret, const char *path);
void scenario_free(struct scenario *s);

#endif

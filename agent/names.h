/* SPDX-License-Identifier: Apache-2.0 */
/* names.h - what a process says of itself in its environment (OTEL_SERVICE_NAME and
 * OTEL_RESOURCE_ATTRIBUTES), and the washing of every text that a process gives us. Pure. */
#ifndef WIRESPAN_NAMES_H
#define WIRESPAN_NAMES_H

#include "store/base.h"

enum { NAMES_ATTRS_MAX = 32 };

struct names {
	struct str service; /* empty: not said */
	bool has_instance_id;
	struct {
		struct str key, value;
	} at[NAMES_ATTRS_MAX]; /* without those that only we can know */
	uint32_t cnt;
};

/* Valid UTF-8 without control characters, at most 255 bytes, in the arena. */
struct str names_clean(struct arena *a, struct str s);
/* environ_text: NAME=VALUE with a NUL behind each, as in /proc. */
void names_of_environ(struct names *ret, struct arena *a, struct str environ_text);

#endif

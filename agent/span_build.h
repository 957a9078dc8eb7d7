/* SPDX-License-Identifier: Apache-2.0 */
/* span_build.h - a record of the kernel and the process it belongs to become a span with the names
 * of OpenTelemetry's semantic conventions (the release is pinned by SEMCONV_SCHEMA_URL). One small
 * table of attribute makers per protocol. The record is hostile: its text came from the wire. */
#ifndef WIRESPAN_SPAN_BUILD_H
#define WIRESPAN_SPAN_BUILD_H

#include "agent/config.h"
#include "agent/procs.h"
#include "agent/route.h"
#include "agent/stmt.h"
#include "kern/record.h"
#include "store/span.h"

#define SEMCONV_SCHEMA_URL "https://opentelemetry.io/schemas/1.37.0"

/* An address that was written out lately: nearly all spans of a node have the same few. */
struct address_name {
	uint8_t addr[16];
	uint8_t len; /* of text; 0: free */
	char text[46];
};

enum { ADDRESS_NAMES = 64 };

struct span_builder {
	const struct config *conf;
	struct routes *routes;
	struct stmts *stmts;
	struct kube *kube; /* NULL: none */
	int64_t boot_to_real_ns; /* added to CLOCK_BOOTTIME gives time since 1970 */
	struct address_name addresses[ADDRESS_NAMES];
};

/* Fills *ret; everything it needs lives in the arena, in the builder or in *pi. 0, or -EBADMSG for
 * a record that contradicts itself. len is the record's length as the ring gave it. */
int span_build(struct span_builder *b, struct arena *a, const struct rec_span *rs, size_t len,
	       const struct proc_info *pi, struct span *ret);

#endif

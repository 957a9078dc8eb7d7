/* SPDX-License-Identifier: Apache-2.0 */
/* otlp_impl.h - what otlp.c, otlp_pb.c and otlp_json.c share and nobody else sees: the depth limit,
 * the rule for legal ids and the grouping of spans by resource and scope. */
#ifndef WIRESPAN_OTLP_IMPL_H
#define WIRESPAN_OTLP_IMPL_H

#include "store/otlp.h"

enum { OTLP_DEPTH_MAX = 32 };

/* A span's place in the output: numbers of its resource and scope in order of first appearance. */
struct otlp_place {
	uint32_t res, scope;
	const struct span *span;
};

/* The spans ordered by resource, then scope, then as given. Lives in the arena (no limit set). */
const struct otlp_place *otlp_group(struct arena *a, const struct span *spans, size_t cnt);

/* One past the last place that shares at[from]'s resource (and scope). */
size_t otlp_same_res(const struct otlp_place *at, size_t from, size_t cnt);
size_t otlp_same_scope(const struct otlp_place *at, size_t from, size_t cnt);

/* Neither trace nor span id is all zero. */
bool otlp_ids_legal(const struct span *sp);

/* The sentence of a decode error; returns -EBADMSG. */
int otlp_bad(struct strbuf *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Numbers that OTLP does not know become "unspecified" and "unset". */
enum span_kind otlp_kind(int64_t number);
enum span_status otlp_status(int64_t number);

#endif

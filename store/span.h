/* SPDX-License-Identifier: Apache-2.0 */
/* span.h - the span in memory, the form that everybody between the ring buffer and the HTTP answer
 * uses. It holds all that OTLP can say and nothing that only one protocol knows. All pointers are
 * borrowed: from an arena, from constant strings, or from a store read (until store_read_end). */
#ifndef WIRESPAN_SPAN_H
#define WIRESPAN_SPAN_H

#include "store/base.h"

enum val_type {
	VAL_EMPTY, /* an AnyValue without a value */
	VAL_STR,
	VAL_BOOL,
	VAL_INT,
	VAL_DOUBLE,
	VAL_ARRAY,
	VAL_KVLIST,
	VAL_BYTES,
};

struct attr;

struct val {
	enum val_type type;
	uint32_t cnt; /* VAL_ARRAY, VAL_KVLIST: elements */
	union {
		struct str str; /* VAL_STR, VAL_BYTES */
		bool b;
		int64_t i;
		double d;
		struct val *elems;   /* VAL_ARRAY */
		struct attr *entries; /* VAL_KVLIST */
	};
};

struct attr {
	struct str key;
	struct val val;
};

struct attrs {
	struct attr *at;
	uint32_t cnt;
	uint32_t dropped;
};

/* Many spans share one resource and one scope: compare by content, not by pointer. */
struct resource {
	struct attrs attrs;
	struct str schema_url;
};

struct scope {
	struct str name, version, schema_url;
	struct attrs attrs;
};

struct event {
	uint64_t time_ns;
	struct str name;
	struct attrs attrs;
};

struct link {
	uint8_t trace_id[16], span_id[8];
	uint32_t flags;
	struct str trace_state;
	struct attrs attrs;
};

/* The numbers are OTLP's. */
enum span_kind { KIND_UNSPECIFIED, KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER };
enum span_status { STATUS_UNSET, STATUS_OK, STATUS_ERROR };

struct span {
	uint8_t trace_id[16], span_id[8];
	uint8_t parent_id[8]; /* all zero: root */
	uint64_t start_ns, end_ns; /* since 1970 */
	enum span_kind kind;
	enum span_status status;
	uint32_t flags;
	uint32_t event_cnt, link_cnt, events_dropped, links_dropped;
	struct str name, status_message, trace_state;
	struct attrs attrs;
	struct event *events;
	struct link *links;
	const struct resource *res; /* never NULL */
	const struct scope *scope;  /* never NULL */
};

bool span_is_root(const struct span *sp);
/* The same content, in the same order? Doubles bit by bit. */
bool attrs_are(const struct attrs *a, const struct attrs *b);
bool resource_is(const struct resource *a, const struct resource *b);
bool scope_is(const struct scope *a, const struct scope *b);
/* The value of key, or NULL. */
const struct val *attrs_find(const struct attrs *as, struct str key);
/* resource service.name as a string, or the empty string. */
struct str span_service(const struct span *sp);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* span_attrs.h - between span_build.c and the protocols: what a protocol must say about a record,
 * as one table of attribute makers, and what it may ask. Private to span_build.c, http1_attrs.c and
 * pgsql_attrs.c. Makers run in the table's order, which is the order of the attributes; each may
 * rely on what the protocol's prepare() found. */
#ifndef WIRESPAN_SPAN_ATTRS_H
#define WIRESPAN_SPAN_ATTRS_H

#include "agent/span_build.h"

/* One span in the making. All text is valid UTF-8 and lives in the arena. */
struct build {
	struct span_builder *b;
	struct arena *arena;
	const struct rec_span *rs;
	const struct proc_info *pi;
	struct str text[TEXT_COUNT];
	struct str local, remote; /* addresses; empty: none */
	struct str service; /* the Kubernetes service that a client asks; empty: none */
	struct str name;	  /* of the span */
	struct str error;	  /* error.type; empty: none */
	bool cut;

	struct http {
		struct str method; /* one of the known ones, or _OTHER */
		struct str scheme, authority, path, query;
		struct str host; /* the name in authority */
		uint16_t port;	 /* behind it; 0: none */
		struct str route;
	} http;
	struct pgsql {
		struct stmt stmt; /* zeroed when it is not known */
		bool known;
		struct str database;
	} pgsql;
};

/* False: the attribute does not apply. A string or array that is empty is left out, too. */
typedef bool attr_make_fn(const struct build *bd, struct val *ret);

struct attr_maker {
	struct str key;
	attr_make_fn *make;
};

struct proto_maker {
	void (*prepare)(struct build *bd); /* fills name, error and the protocol's part */
	const struct attr_maker *makers;
	uint32_t maker_cnt;
};

/* One per line of PROTOCOLS. */
#define X(id, name) extern const struct proto_maker name##_maker;
PROTOCOLS(X)
#undef X

/* --- for makers --- */
bool val_str(struct val *ret, struct str s);
bool val_int(struct val *ret, int64_t i);
bool build_is_server(const struct build *bd);
bool build_has(const struct build *bd, uint16_t flag);
/* The address and port that the server listens on. */
struct str build_server_address(const struct build *bd);
uint16_t build_server_port(const struct build *bd);

#endif

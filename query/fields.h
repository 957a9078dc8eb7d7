/* SPDX-License-Identifier: Apache-2.0 */
/* fields.h - what of a span a query can name: the intrinsics, one row each with name, static type
 * and getter, and the scopes of attributes. Everything that is to know about a field stands in its
 * row: the parser, the check, the evaluator, search results and the tag endpoints read it there. */
#ifndef WIRESPAN_QUERY_FIELDS_H
#define WIRESPAN_QUERY_FIELDS_H

#include "query/ops.h"
#include "store/columns.h"

/* Where a query is evaluated: the spans of one trace, or only one of them when the query needs no
 * more (tql.trace is false). */
struct trace {
	const struct span *spans;
	uint32_t cnt;
	uint64_t start_ns, end_ns;	    /* of all spans */
	const struct span *root;	    /* NULL: not received */
	struct str root_service, root_name; /* empty: not received */
	const struct tree *tree;	    /* NULL unless the query needs it */
	char hex[4][33];		    /* ids as text, see fields.c */
};

void trace_init(struct trace *t, const struct span *spans, uint32_t cnt);

enum {
	FIELD_TRACE = 1,    /* needs the whole trace */
	FIELD_TREE = 2,	    /* needs the tree */
	FIELD_EVENT = 4,    /* one value per event */
	FIELD_LINK = 8,	    /* one value per link */
	FIELD_HEX = 16,	    /* the value is text in trace.hex: copy what you keep */
	FIELD_SILENT = 32,  /* search results do not list it: they have it elsewhere */
	FIELD_TAG = 64,	    /* listed among the intrinsic tag names */
	FIELD_OPAQUE = 128, /* has no list of values: too many of them */
	FIELD_SCOPED = 256, /* the name is a whole: "span:id" */
	FIELD_ID = 512,	    /* compares without leading zeros */
};

struct field {
	const char *name;  /* as written */
	const char *shown; /* as listed in results: the name without scope where it has one */
	enum tql_type type;
	uint32_t flags;
	/* nth: which event or link. */
	struct tval (*get)(struct trace *t, uint32_t i, uint32_t nth);
	/* Where a block has it; 0: nowhere. COLUMN_ROOT: tells only whether it is -1. */
	enum column_id column;
};

enum attr_scope {
	ATTR_ANY,
	ATTR_SPAN,
	ATTR_RESOURCE,
	ATTR_EVENT,
	ATTR_LINK,
	ATTR_SCOPE,
	ATTR_SCOPE_COUNT
};

/* A field as a query names it: an intrinsic, or an attribute. */
struct field_ref {
	const struct field *intrinsic; /* NULL: attribute */
	enum attr_scope scope;
	struct str key;
	bool parent; /* parent.x */
};

const struct field *fields_find(struct str name);
/* The nth intrinsic; NULL behind the last. */
const struct field *fields_at(size_t n);
/* "span", "resource", ..., "" for ATTR_ANY. */
const char *fields_scope_name(enum attr_scope scope);
/* The scope of this name; -EINVAL: none. */
int fields_scope(struct str name, enum attr_scope *ret);

uint32_t field_flags(const struct field_ref *f);
enum tql_type field_type(const struct field_ref *f);
bool field_eq(const struct field_ref *a, const struct field_ref *b);
/* resource.service.name, which is never nil. */
bool field_is_service(const struct field_ref *f);
/* How many values the field can have on span i: 1, or one per event or link. */
uint32_t field_cnt(const struct field_ref *f, const struct trace *t, uint32_t i);
struct tval field_get(const struct field_ref *f, struct trace *t, uint32_t i, uint32_t nth);
/* The stored value of an attribute, of any type; NULL: none. */
const struct val *field_val(const struct field_ref *f, const struct span *sp, uint32_t nth);

#endif

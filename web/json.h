/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - a writer for the JSON of the answers: keeps track of commas, nothing else. Keys are our
 * own constants; values may be anything. */
#ifndef WIRESPAN_JSON_H
#define WIRESPAN_JSON_H

#include "store/base.h"
#include "store/span.h"

struct json {
	struct strbuf *out;
	bool comma; /* one is due before the next element */
};

/* `key` is NULL inside arrays and at the top; bracket is '{' or '[' and its pair. */
void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);

void json_str(struct json *j, const char *key, struct str s);
void json_num(struct json *j, const char *key, uint64_t n); /* as a number */
void json_num_str(struct json *j, const char *key,
		  uint64_t n); /* as a string: 64-bit in proto3 JSON */
void json_double(struct json *j, const char *key, double d);
/* A key that somebody else chose; json_num(j, NULL, ..) or json_open(j, NULL, ..) writes its value.
 */
void json_key(struct json *j, struct str key);

/* proto3 JSON: nothing when it is the default. */
void json_opt_str(struct json *j, const char *key, struct str s);
void json_opt_num(struct json *j, const char *key, uint64_t n);
void json_opt_num_str(struct json *j, const char *key, uint64_t n);
void json_opt_double(struct json *j, const char *key, double d);
void json_opt_attrs(struct json *j, const char *key, const struct attrs *as);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* numbers.h - numbers, durations and times in the spellings that Go's libraries accept, with Go's
 * error texts, because clients of Tempo see them verbatim. Used by params.c alone. Functions return
 * 0, or -EINVAL with the text in why. */
#ifndef WIRESPAN_NUMBERS_H
#define WIRESPAN_NUMBERS_H

#include "store/base.h"

int number_uint32(struct str text, uint32_t *ret, struct strbuf *why);
int number_int64(struct str text, int64_t *ret, struct strbuf *why);
/* 1h2m3.5s; negative ones are refused. */
int number_duration(struct str text, uint64_t *ret_ns, struct strbuf *why);
/* 1w2d, 90m: Prometheus's form. */
int number_prom_duration(struct str text, uint64_t *ret_ns, struct strbuf *why);
/* Seconds, maybe with a fraction, or a duration of either form. */
int number_step(struct str text, uint64_t *ret_ns);
/* Seconds, nanoseconds (more than 10 characters), fractional seconds or RFC 3339. */
int number_time(struct str text, uint64_t *ret_ns, struct strbuf *why);
/* The text in double quotes, as Go prints it. */
void number_quote(struct strbuf *out, struct str text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - what came from the wire becomes valid UTF-8 before it is stored. Private to the agent.
 * It judges bytes only: control characters stay, whoever shows a text escapes them. */
#ifndef WIRESPAN_UTF8_H
#define WIRESPAN_UTF8_H

#include "store/base.h"

/* Bytes of the valid sequence at p (left >= 1 bytes); 0: none begins here. */
size_t utf8_len(const char *p, size_t left);
/* s in the arena, each byte that belongs to no valid sequence as U+FFFD. Empty when s is, or when
 * the arena is full. */
struct str utf8_copy(struct arena *a, struct str s);

#endif

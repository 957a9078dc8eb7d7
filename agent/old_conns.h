/* SPDX-License-Identifier: Apache-2.0 */
/* old_conns.h - TCP options for connections that a process had before it was traced. The kernel
 * half hears of a connection when it is made; of an older one when somebody sets an option of its
 * socket. So the agent borrows each socket of the process for a moment and sets one that nobody
 * else has. */
#ifndef WIRESPAN_OLD_CONNS_H
#define WIRESPAN_OLD_CONNS_H

#include <bpf/libbpf.h>
#include <stdint.h>

struct old_conns;

/* p: loaded, and not attached: it is, while there is need (each setsockopt of the machine runs it). NULL:
 * this kernel cannot load it. */
struct old_conns *old_conns_new(struct bpf_program *p);
/* NULL is fine. */
void old_conns_free(struct old_conns *o);
/* All connections of a process (its number in our pid namespace). What cannot be adopted is said in
 * the log; its requests are counted where those are that did not fit (lost_total, tcp_option). */
void old_conns_adopt(struct old_conns *o, uint32_t pid);
/* Often: takes the program off once nobody has needed it for a second. */
void old_conns_rest(struct old_conns *o);

#endif

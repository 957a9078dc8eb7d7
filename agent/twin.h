/* SPDX-License-Identifier: Apache-2.0 */
/* twin.h - the second programs of hooks (kern/twin.h): which program has one here, and what neither of two did. */
#ifndef WIRESPAN_TWIN_AGENT_H
#define WIRESPAN_TWIN_AGENT_H

#include <stdbool.h>
#include <stdint.h>

struct bpf_object;
struct bpf_program;

/* Of the program of that name. NULL: it has none, or needs none on a kernel that does not preempt programs on
 * tracepoints; those twins are not loaded unasked. */
struct bpf_program *twin_of(const struct bpf_object *o, const char *program, bool preempts);
bool is_twin(const struct bpf_program *p);

/* How often the kernel passed over a program of the object, and over its twin. preempts: as above; where it does
 * not, one of two always runs. */
uint64_t twins_missed(const struct bpf_object *o, bool preempts);

#endif

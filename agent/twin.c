/* SPDX-License-Identifier: Apache-2.0 */
/* twin.c - see twin.h. Two are known by their names: "send_tp" and "send_tp_twin". */
#include "agent/twin.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static const char TWIN[] = "_twin";

struct bpf_program *twin_of(const struct bpf_object *o, const char *program, bool preempts)
{
	struct bpf_program *p;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", program, TWIN);
	p = bpf_object__find_program_by_name(o, name);
	return p && (preempts || bpf_program__autoload(p)) ? p : NULL;
}

bool is_twin(const struct bpf_program *p)
{
	return strstr(bpf_program__name(p), TWIN) != NULL;
}

static uint64_t missed_by(const struct bpf_program *p)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	if (bpf_program__fd(p) < 0 || bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len))
		return 0;
	return info.recursion_misses;
}

/* No more than what either of two was not run for. */
static uint64_t missed_by_both(const struct bpf_program *p, const struct bpf_program *twin, bool preempts)
{
	uint64_t a = missed_by(p), b = twin ? missed_by(twin) : a;

	if (twin && !preempts)
		return 0;
	return a < b ? a : b;
}

uint64_t twins_missed(const struct bpf_object *o, bool preempts)
{
	struct bpf_program *p;
	uint64_t sum = 0;

	bpf_object__for_each_program(p, o)
	{
		if (!is_twin(p))
			sum += missed_by_both(p, twin_of(o, bpf_program__name(p), preempts), preempts);
	}
	return sum;
}

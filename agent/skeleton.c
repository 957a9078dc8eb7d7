/* SPDX-License-Identifier: Apache-2.0 */
/* skeleton.c - see skeleton.h. */
#include "agent/skeleton.h"

#include "wirespan.skel.h"

struct wirespan_bpf *skeleton_open(void)
{
	return wirespan_bpf__open();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - query_trace: one trace by its id, from all partitions. The spans are the store's answer
 * as it is; grouping by resource is the encoder's. */
#include "query/query_impl.h"

#include <errno.h>
#include <string.h>

int query_trace(struct query *q, const uint8_t trace_id[16], struct query_trace *ret)
{
	struct query_trace t = {0};
	int err = query_read(q, 0, UINT64_MAX);

	if (err)
		return err;
	err = store_trace(q->read, &q->arena, trace_id, &t.spans, &t.cnt);
	if (err == -ENOMEM)
		return query_fail_memory(q);
	if (err)
		return query_fail(q, err, "the store cannot be read: %s", strerror(-err));
	*ret = t;
	return 0;
}

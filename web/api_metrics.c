/* SPDX-License-Identifier: Apache-2.0 */
/* api_metrics.c - /api/metrics/query_range and /api/metrics/query: parameters to a metrics query,
 * its result to JSON. Tempo answers these two in JSON whatever is asked for; the protobuf form of
 * the same answers is gRPC's. */
#include "web/handler.h"
#include "web/metrics_out.h"

typedef int metrics_query_fn(struct query *q, const struct metrics_params *p,
			     struct metrics_result *ret);
typedef void metrics_write_fn(const struct metrics_result *r, struct strbuf *out);

static void run(const struct request *rq, const struct metrics_params *p, metrics_query_fn *ask,
		metrics_write_fn *write, struct reply *out)
{
	struct metrics_result res;
	struct query *q = NULL;
	int err;

	if (reply_query_begin(rq, &q, out))
		return;
	err = ask(q, p, &res);
	if (err) {
		reply_query_error(out, q, err);
	} else {
		out->status = 200;
		out->type = rq->grpc ? TYPE_PROTOBUF : TYPE_JSON;
		write(&res, &out->body);
	}
	query_end(q);
}

static void answer(const struct request *rq, bool range, struct reply *out)
{
	struct metrics_params p;
	struct strbuf why;

	strbuf_init(&why);
	if (params_metrics(&rq->params, clock_real_ns(), range, &p, &why))
		reply_bad(out, &why);
	else if (range)
		run(rq, &p, query_metrics_range,
		    rq->grpc ? metrics_range_protobuf : metrics_range_json, out);
	else
		run(rq, &p, query_metrics_instant,
		    rq->grpc ? metrics_instant_protobuf : metrics_instant_json, out);
	strbuf_fini(&why);
}

void api_metrics_range(const struct request *rq, struct reply *out)
{
	answer(rq, true, out);
}

void api_metrics_instant(const struct request *rq, struct reply *out)
{
	answer(rq, false, out);
}

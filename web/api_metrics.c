/* SPDX-License-Identifier: Apache-2.0 */
/* api_metrics.c - /api/metrics/query_range and /api/metrics/query: parameters to a metrics query,
 * its result to JSON. Tempo answers these two in JSON whatever is asked for; the protobuf form of
 * the same answers is gRPC's. Other nodes are asked first, for what they have added up, and for the very same
 * intervals; the answer is made here, of all. */
#include <inttypes.h>
#include <string.h>

#include "web/handler.h"
#include "web/metrics_out.h"

typedef int metrics_query_fn(struct query *q, const struct metrics_params *p,
			     struct metrics_result *ret);
typedef void metrics_write_fn(const struct metrics_result *r, struct strbuf *out);

/* One of the two questions. */
struct question {
	const char *path;
	metrics_query_fn *ask;
	metrics_write_fn *json, *protobuf;
	bool range;
};

/* --- other nodes --- */

static void ask_peers(const struct request *rq, const struct question *what, struct metrics_params *p,
		      struct arena *a, struct peers_said *said)
{
	struct strbuf target;

	strbuf_init(&target);
	strbuf_printf(&target, "%s?q=", what->path);
	peers_escape(&target, p->q);
	strbuf_printf(&target, "&start=%" PRIu64 "&end=%" PRIu64 "&exemplars=%" PRIu32, p->from_ns, p->to_ns,
		      p->exemplars);
	if (what->range)
		strbuf_printf(&target, "&step=%" PRIu64 "ns", p->step_ns);
	peers_ask(rq->peers, a, (struct str){target.p, target.len}, TYPE_PARTS, said);
	p->others = said->bodies;
	p->other_cnt = said->cnt;
	strbuf_fini(&target);
}

/* What is missing makes the answer partial. */
static void count_peers(const struct peers_said *said, struct arena *a, struct metrics_result *r)
{
	uint32_t useless = r->jobs - r->jobs_done;

	r->jobs += said->asked - said->cnt;
	r->jobs_done += said->answered - said->cnt;
	if (r->jobs == r->jobs_done)
		return;
	r->message = arena_printf(a, "%s%s%s%s", r->message, *r->message ? "; " : "", said->missing.p,
				  !useless ? "" : said->missing.len ? ", and other versions of Wirespan answer"
								    : "a node has another version of Wirespan") ?: "";
	r->partial = true;
}

/* --- ours --- */

static void write(const struct request *rq, const struct question *what, const struct metrics_result *res,
		  struct reply *out)
{
	out->status = 200;
	out->type = rq->grpc ? TYPE_PROTOBUF : TYPE_JSON;
	(rq->grpc ? what->protobuf : what->json)(res, &out->body);
}

/* One message of a stream. */
struct stream {
	const struct request *rq;
	const struct question *what;
};

static void send_some(void *arg, const struct metrics_result *some)
{
	const struct stream *st = arg;
	struct reply part = {0};

	strbuf_init(&part.body);
	write(st->rq, st->what, some, &part);
	st->rq->part(st->rq->part_arg, &part);
	strbuf_fini(&part.body);
}

static void run(const struct request *rq, const struct question *what, struct metrics_params *p,
		struct reply *out)
{
	struct stream st = {rq, what};
	struct peers_said said = {0};
	struct metrics_result res;
	struct query *q = NULL;
	int err;

	if (reply_query_begin(rq, &q, out))
		return;
	if (rq->peers) {
		ask_peers(rq, what, p, query_arena(q), &said);
	} else if (rq->part) {
		p->found = send_some;
		p->found_arg = &st;
	}
	err = what->ask(q, p, &res);
	if (!err && rq->peers)
		count_peers(&said, query_arena(q), &res);
	if (err)
		reply_query_error(out, q, err);
	else
		write(rq, what, &res, out);
	strbuf_fini(&said.missing);
	query_end(q);
}

/* Another node goes on with it. */
static void run_parts(const struct request *rq, const struct question *what, struct metrics_params *p,
		      struct reply *out)
{
	struct query *q = NULL;
	int err;

	if (reply_query_begin(rq, &q, out))
		return;
	out->status = 200;
	out->type = TYPE_PARTS;
	p->parts = &out->body;
	err = what->ask(q, p, NULL);
	if (err)
		reply_query_error(out, q, err);
	query_end(q);
}

static void answer(const struct request *rq, const struct question *what, struct reply *out)
{
	struct metrics_params p;
	struct strbuf why;

	strbuf_init(&why);
	if (params_metrics(&rq->params, clock_real_ns(), what->range, &p, &why))
		reply_bad(out, &why);
	else if (!strcmp(rq->accept, TYPE_PARTS))
		run_parts(rq, what, &p, out);
	else
		run(rq, what, &p, out);
	strbuf_fini(&why);
}

void api_metrics_range(const struct request *rq, struct reply *out)
{
	static const struct question range = {"/api/metrics/query_range", query_metrics_range, metrics_range_json,
					      metrics_range_protobuf, true};

	answer(rq, &range, out);
}

void api_metrics_instant(const struct request *rq, struct reply *out)
{
	static const struct question instant = {"/api/metrics/query", query_metrics_instant, metrics_instant_json,
						metrics_instant_protobuf, false};

	answer(rq, &instant, out);
}

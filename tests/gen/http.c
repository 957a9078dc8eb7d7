/* SPDX-License-Identifier: Apache-2.0 */
/* http.c - writes the script of an HTTP/1.x connection: exchanges, how deep they are pipelined, and
 * the truth about each. Messages are written in http_message.c, their bodies in http_body.c. All that is written is legal by RFC
 * 9110 and 9112, or is what they tell a recipient to accept (bare line feeds, folded headers, equal
 * Content-Lengths twice, an empty line before a request). */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 16, EXCHANGES_MAX = 40, TARGET_SEEN = 256, TEXT_SEEN = 448 };

/* --- what an exchange is --- */

static int status_make(struct rng *r)
{
	static const int some[] = { 200, 200, 200, 201, 202, 203, 206, 204, 304, 301, 302, 307, 400,
				    401, 403, 404, 409, 416, 418, 429, 500, 502, 503, 504, 599 };

	return rng_chance(r, 40) ? 200 : RNG_PICK(r, some);
}

static bool method_has_body(const char *method)
{
	return !strcmp(method, "POST") || !strcmp(method, "PUT") || !strcmp(method, "PATCH") ||
	       !strcmp(method, "PROPFIND");
}

static void request_plan(struct maker *m, struct exchange *x)
{
	struct rng *r = &m->s->rng;

	body_plan(&x->req, r, x->minor);
	if (!rng_chance(r, method_has_body(x->method) ? 90 : 5))
		x->req.framing = FRAME_NONE;
	if (x->req.framing == FRAME_NONE)
		x->req.size = 0;
}

static void response_plan(struct maker *m, struct exchange *x, bool last)
{
	struct rng *r = &m->s->rng;

	x->status = status_make(r);
	body_plan(&x->resp, r, x->minor);
	if (last && rng_chance(r, 30))
		x->resp.framing = FRAME_CLOSE;
	x->resp.unsent = !strcmp(x->method, "HEAD") || x->status == 304 || x->status == 204;
	if (x->status == 204)
		x->resp.framing = FRAME_NONE;
}

/* What makes this exchange unlike others, where it can. */
static void kind_plan(struct maker *m, struct exchange *x)
{
	struct rng *r = &m->s->rng;
	uint32_t dice = rng_below(r, 100);

	if (x->req.size < 2)
		return;
	if (dice < 8 && x->minor)
		x->kind = KIND_CONTINUE;
	else if (dice < 16)
		x->kind = KIND_EARLY;
	else if (dice < 22 && x->resp.framing != FRAME_CLOSE)
		x->kind = KIND_LATE;
	if (x->kind == KIND_LATE)
		x->req.part = rng_between(r, 1, x->req.size - 1);
}

static void switch_plan(struct maker *m, struct exchange *x)
{
	struct rng *r = &m->s->rng;

	x->minor = 1;
	x->kind = rng_chance(r, 60) ? KIND_TUNNEL : KIND_UPGRADE;
	x->method = x->kind == KIND_TUNNEL ? "CONNECT" : "GET";
	x->req = (struct body){ 0 };
	if (x->kind == KIND_TUNNEL && rng_chance(r, 30)) { /* refused, like any other request */
		x->status = 407;
		x->resp.unsent = false;
		x->resp.framing = x->resp.framing == FRAME_NONE ? FRAME_LENGTH : x->resp.framing;
		return;
	}
	x->status = x->kind == KIND_TUNNEL ? 200 : 101;
	x->resp = (struct body){ .unsent = true };
}

static void cut_plan(struct maker *m, struct exchange *x)
{
	x->kind = x->req.size > 1 ? KIND_CUT : KIND_CUT_HEAD;
	x->req.part = x->kind == KIND_CUT ? rng_between(&m->s->rng, 1, x->req.size - 1) : 0;
	x->aborted = true;
}

static void exchange_plan(struct maker *m, uint32_t n, bool last)
{
	struct exchange *x = &m->x[n];
	struct rng *r = &m->s->rng;

	x->n = n;
	snprintf(x->id, sizeof(x->id), "%u-%u-%u", m->s->round, m->s->conn, n);
	x->minor = !rng_chance(r, 10);
	x->method = method_make(r, !n);
	request_plan(m, x);
	response_plan(m, x, last);
	if (last && !m->over && rng_chance(r, 5))
		switch_plan(m, x);
	else if (last && !m->over && rng_chance(r, 6))
		cut_plan(m, x);
	else
		kind_plan(m, x);
}

/* --- who waits for whom --- */

/* The last request, from n on and at most ahead further, that is whole before response n is sent. */
static uint32_t awaited(const struct maker *m, uint32_t n, uint32_t ahead)
{
	uint32_t last = n;

	while (ahead-- && last + 1 < m->cnt) {
		enum kind kind = m->x[last + 1].kind;

		if (kind == KIND_LATE || kind == KIND_CONTINUE || kind >= KIND_CUT)
			break;
		last++;
	}
	return last;
}

/* Request n goes out when no more than depth - 1 before it are unanswered; response n when some of
 * those that may come meanwhile are there. */
static void gates_put(struct maker *m, uint32_t n)
{
	struct flow *c = &m->s->flow[CLIENT], *s = &m->s->flow[SERVER];
	struct exchange *x = &m->x[n];
	uint32_t ahead = m->over ? 0 : rng_below(&m->s->rng, m->depth);

	if (n >= m->depth)
		flow_gate(c, x->req_at, m->x[n - m->depth].resp_end);
	if (m->over && n >= m->depth)
		flow_gate(c, x->req_at, m->x[n - 1].resp_end);
	if (m->over && n < m->depth)
		ahead = m->depth - 1 - n;
	switch (x->kind) {
	case KIND_CONTINUE:
		flow_gate(s, x->resp_at, x->req_head);
		flow_gate(c, x->req_head, x->interim_end);
		flow_gate(s, x->interim_end, x->req_end);
		break;
	case KIND_EARLY:
		flow_gate(s, x->resp_at, x->req_head);
		flow_gate(s, x->resp_end - 1, x->req_end);
		break;
	case KIND_LATE:
		flow_gate(s, x->resp_at, x->req.part_at);
		flow_gate(c, x->req.part_at, x->resp_end);
		break;
	default:
		flow_gate(s, x->resp_at, m->x[awaited(m, n, ahead)].req_end);
	}
}

/* --- the truth --- */

static void truth_string(struct text *t, const char *key, const struct text *value)
{
	text_fmt(t, ",\"%s\":", key);
	text_json(t, value->p ? value->p : "", value->len);
}

static void truth_put(struct maker *m, struct exchange *x, enum side side)
{
	struct text *t = &m->s->truth;
	uint32_t req = x->kind == KIND_LATE || x->kind == KIND_CUT ? x->req.part : x->req.size;

	text_fmt(t, "{\"protocol\":\"http\",\"side\":\"%s\",\"round\":%u,\"conn\":%u,\"order\":%u,\"id\":\"%s\"",
		 side == CLIENT ? "CLIENT" : "SERVER", m->s->round, m->s->conn, x->n, x->id);
	text_fmt(t, ",\"method\":\"%s\",\"version\":\"1.%u\",\"status\":%d", x->method, x->minor,
		 x->answered ? x->status : 0);
	text_fmt(t, ",\"request_size\":%u,\"response_size\":%u", req,
		 x->resp.unsent ? 0 : x->aborted ? x->resp_seen : x->resp.size);
	truth_string(t, "target", &x->target);
	truth_string(t, "host", &x->host);
	truth_string(t, "agent", &x->agent);
	if (*x->trace)
		text_fmt(t, ",\"trace\":\"%s\",\"parent\":\"%s\"", x->trace, x->parent);
	if (x->aborted)
		text_str(t, ",\"aborted\":true");
	text_str(t, "}\n");
}

static void truth_all(struct maker *m)
{
	uint32_t lost = 0;

	for (uint32_t n = 0; n < m->cnt; n++) {
		struct exchange *x = &m->x[n];

		if (m->over && n >= DEPTH && n < m->depth) {
			lost += 2;
			continue;
		}
		if (x->kind == KIND_CUT_HEAD)
			continue;
		truth_put(m, x, CLIENT);
		truth_put(m, x, SERVER);
		m->s->exchanges++;
	}
	if (lost)
		text_fmt(&m->s->truth, "{\"lost\":\"queue_full\",\"count\":%u,\"conn\":%u}\n", lost,
			 m->s->conn);
}

/* --- the end --- */

/* The stream ends here. */
static void flow_end(struct flow *f, uint32_t at)
{
	f->bytes.len = at;
	while (f->mark_cnt && f->marks[f->mark_cnt - 1] >= at)
		f->mark_cnt--;
	while (f->head_cnt && f->heads[f->head_cnt - 1].from >= at)
		f->head_cnt--;
	while (f->dark_cnt && f->dark[f->dark_cnt - 1].from >= at)
		f->dark_cnt--;
	if (f->dark_cnt && f->dark[f->dark_cnt - 1].to > at)
		f->dark[f->dark_cnt - 1].to = at;
	if (f->head_cnt && f->heads[f->head_cnt - 1].to > at)
		f->heads[f->head_cnt - 1].to = at;
}

/* The server goes away in the middle of the last response, or before it. */
static void abort_plan(struct maker *m)
{
	struct exchange *x = &m->x[m->cnt - 1];
	struct rng *r = &m->s->rng;
	bool begun = rng_chance(r, 50) && x->resp_end > x->resp_head + 1 &&
		     x->resp.framing == FRAME_LENGTH && !x->resp.unsent;

	if (x->kind != KIND_PLAIN || x->resp.framing == FRAME_CLOSE)
		return;
	x->aborted = true;
	x->answered = begun;
	x->resp_seen = begun ? rng_between(r, 1, x->resp.size - 1) : 0;
	flow_end(&m->s->flow[SERVER], begun ? x->resp_head + x->resp_seen : x->resp_at);
	m->s->closer = SERVER;
	m->s->ending = rng_chance(r, 40) ? END_RESET : END_CLOSE;
}

/* The client goes away in the middle of the last request. */
static void cut_end(struct maker *m)
{
	struct exchange *x = &m->x[m->cnt - 1];
	struct rng *r = &m->s->rng;

	x->answered = false;
	flow_end(&m->s->flow[CLIENT],
		 x->kind == KIND_CUT ? x->req.part_at : rng_between(r, x->req_at + 1, x->req_head - 1));
	flow_end(&m->s->flow[SERVER], x->resp_at);
	m->s->closer = CLIENT;
}

static void noise_put(struct maker *m, struct flow *f)
{
	for (uint32_t n = rng_below(&m->s->rng, 400); n; n--) {
		char c = (char)rng_next(&m->s->rng);

		text_put(&f->bytes, &c, 1);
	}
}

static void end_plan(struct maker *m)
{
	struct exchange *x = &m->x[m->cnt - 1];
	struct script *s = m->s;

	s->closer = x->resp.framing == FRAME_CLOSE && !x->resp.unsent ? SERVER : rng_below(&s->rng, 2);
	s->ending = rng_below(&s->rng, 2);
	s->half = rng_chance(&s->rng, 5);
	if (x->kind >= KIND_CUT) {
		cut_end(m);
		return;
	}
	if ((x->kind == KIND_UPGRADE || x->kind == KIND_TUNNEL) && x->resp.unsent) {
		flow_gate(&s->flow[CLIENT], x->req_end, x->resp_end);
		noise_put(m, &s->flow[CLIENT]);
		noise_put(m, &s->flow[SERVER]);
		return;
	}
	if (!m->over && rng_chance(&s->rng, 8))
		abort_plan(m);
}

/* At least every third connection is pipelined. */
static void depth_plan(struct maker *m)
{
	struct rng *r = &m->s->rng;

	m->cnt = rng_between(r, 1, rng_chance(r, 20) ? EXCHANGES_MAX : 12);
	m->depth = 1;
	m->over = rng_chance(r, 1);
	if (m->over) {
		m->depth = rng_between(r, DEPTH + 1, DEPTH + 8);
		m->cnt = m->depth + rng_below(r, 5);
	} else if (rng_chance(r, 45)) {
		m->depth = rng_chance(r, 30) ? DEPTH : rng_between(r, 2, DEPTH);
		m->cnt = m->cnt < 2 ? 2 : m->cnt;
	}
}

void http_make(struct script *s)
{
	struct maker m = { .s = s };

	depth_plan(&m);
	s->pipelined = m.depth > 1;
	m.x = calloc(m.cnt, sizeof(*m.x));
	must(m.x);
	for (uint32_t n = 0; n < m.cnt; n++) {
		exchange_plan(&m, n, n == m.cnt - 1);
		if (m.over && m.x[n].kind < KIND_UPGRADE)
			m.x[n].kind = KIND_PLAIN;
		m.x[n].answered = true;
		m.late = m.late || m.x[n].kind == KIND_LATE;
		request_put(&m, &m.x[n]);
		response_put(&m, &m.x[n]);
	}
	for (uint32_t n = 0; n < m.cnt; n++)
		gates_put(&m, n);
	end_plan(&m);
	s->flow[CLIENT].tails = true;
	s->flow[SERVER].tails = !m.late;
	truth_all(&m);
	for (uint32_t n = 0; n < m.cnt; n++) {
		free(m.x[n].target.p);
		free(m.x[n].host.p);
		free(m.x[n].agent.p);
	}
	free(m.x);
}

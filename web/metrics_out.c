/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_out.c - what metrics_out.h promises. An instant answer has the one value of each series
 * where a range has samples and exemplars; all else is the same. The invariant: the JSON is
 * proto3's, so defaults are left out, and clients of the instant form refuse keys that they do not
 * know. */
#include "web/metrics_out.h"

#include <math.h>
#include <string.h>

#include "proto/tempopb.pb-c.h"
#include "store/otlp.h"
#include "web/handler.h"
#include "web/json.h"

enum { PARTIAL = 1 };

/* --- what both forms share --- */

static uint64_t time_ms(const struct metrics_result *r, uint32_t i)
{
	return (r->start_ns + i * r->step_ns) / NS_PER_MS;
}

/* Hex without leading zeros. */
static struct attr trace_id_label(const struct metrics_exemplar *x, char text[33])
{
	size_t zeros;

	hex_encode(text, x->trace_id, sizeof(x->trace_id));
	zeros = strspn(text, "0");
	return (struct attr){STR("trace:id"), {.type = VAL_STR, .str = {text + zeros, 32 - zeros}}};
}

static uint32_t sample_cnt(const struct metrics_result *r, const struct metrics_series *s)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < r->interval_cnt; i++)
		cnt += !isnan(s->values[i]);
	return cnt;
}

/* --- JSON --- */

static void json_samples(struct json *j, const struct metrics_result *r,
			 const struct metrics_series *s)
{
	json_open(j, "samples", '[');
	for (uint32_t i = 0; i < r->interval_cnt; i++) {
		if (isnan(s->values[i]))
			continue;
		json_open(j, NULL, '{');
		json_opt_num_str(j, "timestampMs", time_ms(r, i));
		json_opt_double(j, "value", s->values[i]);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void json_exemplars(struct json *j, const struct metrics_series *s)
{
	json_open(j, "exemplars", '[');
	for (uint32_t i = 0; i < s->exemplar_cnt; i++) {
		const struct metrics_exemplar *x = &s->exemplars[i];
		char text[33];
		struct attr id = trace_id_label(x, text);
		struct attrs labels = {.at = &id, .cnt = 1};

		json_open(j, NULL, '{');
		json_opt_attrs(j, "labels", &labels);
		json_opt_double(j, "value", x->value);
		json_opt_num_str(j, "timestampMs", x->t_ns / NS_PER_MS);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void json_series(struct json *j, const struct metrics_result *r,
			const struct metrics_series *s, bool instant)
{
	json_open(j, NULL, '{');
	json_opt_attrs(j, "labels", &s->labels);
	if (instant)
		json_opt_double(j, "value", s->values[0]);
	else
		json_samples(j, r, s);
	if (!instant && s->exemplar_cnt)
		json_exemplars(j, s);
	json_close(j, '}');
}

static void write_json(const struct metrics_result *r, bool instant, struct strbuf *out)
{
	struct json j = {out, false};

	json_open(&j, NULL, '{');
	json_open(&j, "series", '[');
	for (uint32_t i = 0; i < r->cnt; i++)
		json_series(&j, r, &r->series[i], instant);
	json_close(&j, ']');
	json_open(&j, "metrics", '{');
	json_opt_num_str(&j, "inspectedBytes", r->inspected_bytes);
	json_num(&j, "completedJobs", r->jobs_done);
	json_num(&j, "totalJobs", r->jobs);
	json_close(&j, '}');
	if (r->partial) {
		json_str(&j, "status", STR("PARTIAL"));
		json_str(&j, "message", str_of(r->message));
	}
	json_close(&j, '}');
}

void metrics_range_json(const struct metrics_result *r, struct strbuf *out)
{
	write_json(r, false, out);
}

void metrics_instant_json(const struct metrics_result *r, struct strbuf *out)
{
	write_json(r, true, out);
}

/* --- protobuf: each series is packed on its own, so that the tree of a large answer is small ---
 */

static Tempopb__Sample **pb_samples(struct arena *a, const struct metrics_result *r,
				    const struct metrics_series *s, uint32_t cnt)
{
	Tempopb__Sample **list = arena_array(a, Tempopb__Sample *, cnt);
	Tempopb__Sample *at = arena_array(a, Tempopb__Sample, cnt);
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->interval_cnt; i++) {
		if (isnan(s->values[i]))
			continue;
		tempopb__sample__init(&at[n]);
		at[n].value = s->values[i];
		at[n].timestamp_ms = (int64_t)time_ms(r, i);
		list[n] = &at[n];
		n++;
	}
	return list;
}

static Tempopb__Exemplar *pb_exemplar(struct arena *a, const struct metrics_exemplar *x)
{
	Tempopb__Exemplar *to = arena_new(a, Tempopb__Exemplar);
	char text[33];
	struct attr id = trace_id_label(x, text);
	struct attrs labels = {.at = &id, .cnt = 1};

	tempopb__exemplar__init(to);
	to->n_labels = 1;
	to->labels = pb_attrs(a, &labels);
	to->value = x->value;
	to->timestamp_ms = (int64_t)(x->t_ns / NS_PER_MS);
	return to;
}

static Tempopb__TimeSeries *pb_series(struct arena *a, const struct metrics_result *r,
				      const struct metrics_series *s)
{
	Tempopb__TimeSeries *to = arena_new(a, Tempopb__TimeSeries);

	tempopb__time_series__init(to);
	to->n_labels = s->labels.cnt;
	to->labels = pb_attrs(a, &s->labels);
	to->n_samples = sample_cnt(r, s);
	to->samples = pb_samples(a, r, s, (uint32_t)to->n_samples);
	to->n_exemplars = s->exemplar_cnt;
	to->exemplars = arena_array(a, Tempopb__Exemplar *, s->exemplar_cnt);
	for (uint32_t i = 0; i < s->exemplar_cnt; i++)
		to->exemplars[i] = pb_exemplar(a, &s->exemplars[i]);
	return to;
}

static Tempopb__InstantSeries *pb_instant(struct arena *a, const struct metrics_series *s)
{
	Tempopb__InstantSeries *to = arena_new(a, Tempopb__InstantSeries);

	tempopb__instant_series__init(to);
	to->n_labels = s->labels.cnt;
	to->labels = pb_attrs(a, &s->labels);
	to->value = s->values[0];
	return to;
}

static Tempopb__SearchMetrics *pb_metrics(struct arena *a, const struct metrics_result *r)
{
	Tempopb__SearchMetrics *to = arena_new(a, Tempopb__SearchMetrics);

	tempopb__search_metrics__init(to);
	to->inspected_bytes = r->inspected_bytes;
	to->completed_jobs = r->jobs_done;
	to->total_jobs = r->jobs;
	return to;
}

void metrics_range_protobuf(const struct metrics_result *r, struct strbuf *out)
{
	Tempopb__QueryRangeResponse m;
	struct arena a;

	arena_init(&a, 0);
	for (uint32_t i = 0; i < r->cnt; i++) {
		Tempopb__TimeSeries *one = pb_series(&a, r, &r->series[i]);

		tempopb__query_range_response__init(&m);
		m.n_series = 1;
		m.series = &one;
		pb_append(out, &m.base);
		arena_reset(&a);
	}
	tempopb__query_range_response__init(&m);
	m.metrics = pb_metrics(&a, r);
	m.status = r->partial ? PARTIAL : 0;
	m.message = pb_bytes(str_of(r->message));
	pb_append(out, &m.base);
	arena_fini(&a);
}

void metrics_instant_protobuf(const struct metrics_result *r, struct strbuf *out)
{
	Tempopb__QueryInstantResponse m;
	struct arena a;

	arena_init(&a, 0);
	tempopb__query_instant_response__init(&m);
	m.n_series = r->cnt;
	m.series = arena_array(&a, Tempopb__InstantSeries *, r->cnt);
	for (uint32_t i = 0; i < r->cnt; i++)
		m.series[i] = pb_instant(&a, &r->series[i]);
	m.metrics = pb_metrics(&a, r);
	m.status = r->partial ? PARTIAL : 0;
	m.message = pb_bytes(str_of(r->message));
	pb_append(out, &m.base);
	arena_fini(&a);
}

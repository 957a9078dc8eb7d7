/* SPDX-License-Identifier: Apache-2.0 */
/* api_status.c - what the program says of itself: /ready, /api/echo, build information, /metrics in
 * Prometheus text, /status as JSON. Everything shown comes from store/stats.h and store_stat; this
 * file only escapes and writes it. The invariant: notes may hold anything, so they leave only
 * through the JSON writer. */
#include <inttypes.h>
#include <string.h>

#include "store/stats.h"
#include "store/store.h"
#include "web/handler.h"
#include "web/json.h"

void api_ready(const struct request *rq, struct reply *out)
{
	if (rq->ready)
		reply_text(out, 200, "ready\n");
	else
		reply_text(out, 503, "not ready\n");
}

void api_echo(const struct request *rq, struct reply *out)
{
	(void)rq;
	reply_text(out, 200, "echo");
}

/* The keys of Tempo; those that mean nothing here are empty. */
void api_buildinfo(const struct request *rq, struct reply *out)
{
	static const char *const empty[] = {"branch", "buildUser", "buildDate", "goVersion"};
	struct json j = {&out->body, false};

	(void)rq;
	out->status = 200;
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_str(&j, "version", str_of(VERSION));
	json_str(&j, "revision", str_of(VERSION));
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
		json_str(&j, empty[i], STR(""));
	json_close(&j, '}');
}

/* --- /metrics --- */

struct metrics {
	struct strbuf *out;
	const char *last; /* the name whose HELP and TYPE were written */
};

static void metric_help(struct strbuf *out, const char *help)
{
	for (; *help; help++) {
		if (*help == '\n')
			strbuf_adds(out, "\\n");
		else if (*help == '\\')
			strbuf_adds(out, "\\\\");
		else
			strbuf_addc(out, *help);
	}
}

static void metric_row(void *arg, const struct stat_row *row)
{
	struct metrics *m = arg;

	if (!m->last || strcmp(m->last, row->name) != 0) {
		strbuf_printf(m->out, "# HELP wirespan_%s ", row->name);
		metric_help(m->out, row->help);
		strbuf_printf(m->out, "\n# TYPE wirespan_%s %s\n", row->name,
			      row->kind == STAT_COUNTER ? "counter" : "gauge");
		m->last = row->name;
	}
	strbuf_printf(m->out, "wirespan_%s", row->name);
	if (*row->labels)
		strbuf_printf(m->out, "{%s}", row->labels);
	strbuf_printf(m->out, " %" PRIu64 "\n", row->value);
}

void api_metrics(const struct request *rq, struct reply *out)
{
	struct metrics m = {&out->body, NULL};

	(void)rq;
	out->status = 200;
	out->type = "text/plain; version=0.0.4; charset=utf-8";
	strbuf_printf(&out->body,
		      "# HELP wirespan_build_info The running version.\n"
		      "# TYPE wirespan_build_info gauge\n"
		      "wirespan_build_info{version=\"%s\"} 1\n",
		      VERSION);
	stats_walk(metric_row, &m);
}

/* --- /status --- */

struct notes {
	struct json *j;
	const char *section; /* whose object is open; NULL: none */
};

static void note_row(void *arg, const char *section, const char *key, const char *text)
{
	struct notes *n = arg;

	if (!n->section || strcmp(n->section, section) != 0) {
		if (n->section)
			json_close(n->j, '}');
		json_key(n->j, str_of(section));
		json_open(n->j, NULL, '{');
		n->section = section;
	}
	json_key(n->j, str_of(key));
	json_str(n->j, NULL, str_of(text));
}

static void status_notes(struct json *j)
{
	struct notes n = {j, NULL};

	json_open(j, "notes", '{');
	stats_notes_walk(note_row, &n);
	if (n.section)
		json_close(j, '}');
	json_close(j, '}');
}

/* Keys are as in /metrics without the prefix: lost_total{reason="ring"}. */
static void counter_row(void *arg, const struct stat_row *row)
{
	struct strbuf key;

	strbuf_init(&key);
	strbuf_adds(&key, row->name);
	if (*row->labels)
		strbuf_printf(&key, "{%s}", row->labels);
	json_key(arg, (struct str){key.p, key.len});
	json_num(arg, NULL, row->value);
	strbuf_fini(&key);
}

static void status_store(struct json *j, struct store *s)
{
	struct store_stat st = {0};

	store_stat(s, &st);
	json_open(j, "store", '{');
	json_num(j, "spans", st.spans);
	json_num(j, "bytes", st.bytes);
	json_num(j, "partitions", st.partitions);
	json_num(j, "oldest_ns", st.oldest_ns);
	json_num(j, "newest_ns", st.newest_ns);
	json_close(j, '}');
}

void api_status(const struct request *rq, struct reply *out)
{
	struct json j = {&out->body, false};

	out->status = 200;
	out->type = TYPE_JSON;
	json_open(&j, NULL, '{');
	json_str(&j, "version", str_of(VERSION));
	status_notes(&j);
	json_open(&j, "counters", '{');
	stats_walk(counter_row, &j);
	json_close(&j, '}');
	status_store(&j, rq->store);
	json_close(&j, '}');
}

/* SPDX-License-Identifier: Apache-2.0 */
/* trace_cmd.c - `wirespan trace`: asks for one trace and prints what trace_tree.c draws. It reads
 * no store; the running program is asked, so that there is one reader of the format. Called by
 * main.c. The invariant: an id goes into the URL only when it is hexadecimal. */
#include "agent/client.h"
#include "agent/commands.h"
#include "agent/term.h"
#include "agent/trace_tree.h"
#include "store/otlp.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { ID_MAX = 32, SEARCH_HOURS = 167 }; /* Tempo's API searches at most 168 h at once */

static bool is_trace_id(const char *id)
{
	size_t len = strlen(id);

	return len > 0 && len <= ID_MAX && strspn(id, "0123456789abcdefABCDEF") == len;
}

/* The answer's body with status 200, or a sentence and -errno. */
static int ask(const struct config *c, const char *target, struct strbuf *body)
{
	struct strbuf why;
	int status = 0, err;

	strbuf_init(&why);
	err = client_get(c, target, &status, body, &why);
	if (!err && status != 200) {
		strbuf_printf(&why, "%s answers with status %d: ", c->listen, status);
		term_add(&why, (struct str){body->p, body->len}, 200);
		err = -EPROTO;
	}
	if (err)
		command_complain(EXIT_FAILED, "%s", why.p);
	strbuf_fini(&why);
	return err;
}

/* --- the last one --- */

static void search_target(struct strbuf *out)
{
	uint64_t now = clock_real_ns() / NS_PER_S;

	strbuf_adds(out, "/api/search?limit=1&q=");
	client_escape(out, "{} with(most_recent=true)");
	strbuf_printf(out, "&start=%llu&end=%llu", (unsigned long long)(now - SEARCH_HOURS * 3600),
		      (unsigned long long)(now + 60));
}

/* 0 and the id of the first trace of the answer, or -ENOENT. */
static int first_id(struct str json, char id[ID_MAX + 1])
{
	json_t *root = json_loadb(json.p, json.len, JSON_ALLOW_NUL, NULL);
	const json_t *first = json_array_get(json_object_get(root, "traces"), 0);
	const char *text = json_string_value(json_object_get(first, "traceID"));
	int err = text && is_trace_id(text) ? 0 : -ENOENT;

	if (!err)
		strcpy(id, text);
	json_decref(root);
	return err;
}

static int find_last(const struct config *c, char id[ID_MAX + 1])
{
	struct strbuf target, body;
	int err;

	strbuf_init(&target);
	strbuf_init(&body);
	search_target(&target);
	err = ask(c, target.p, &body);
	if (!err) {
		err = first_id((struct str){body.p, body.len}, id);
		if (err)
			command_complain(EXIT_FAILED, "no trace is stored yet");
	}
	strbuf_fini(&target);
	strbuf_fini(&body);
	return err;
}

/* --- one by its id --- */

static int print_trace(const struct config *c, const char *id)
{
	struct strbuf target, body, out;
	int err;

	strbuf_init(&target);
	strbuf_init(&body);
	strbuf_init(&out);
	strbuf_printf(&target, "/api/v2/traces/%s", id);
	err = ask(c, target.p, &body);
	if (!err) {
		err = trace_tree_format(&out, (struct str){body.p, body.len}, str_of(id));
		if (err == -ENOENT)
			command_complain(EXIT_FAILED, "there is no trace %s", id);
		else if (err)
			command_complain(EXIT_FAILED, "%s does not answer as Wirespan does",
					 c->listen);
	}
	if (!err)
		fwrite(out.p, 1, out.len, stdout);
	strbuf_fini(&target);
	strbuf_fini(&body);
	strbuf_fini(&out);
	return err ? EXIT_FAILED : EXIT_OK;
}

int trace_cmd(const struct config *c, const char *id)
{
	char last[ID_MAX + 1];

	if (id && !is_trace_id(id))
		return command_complain(EXIT_REFUSED,
					"\"%.80s\" is not a trace id; it has 1 to 32 "
					"hexadecimal digits",
					id);
	if (!id && find_last(c, last))
		return EXIT_FAILED;
	return print_trace(c, id ? id : last);
}

int trace_print(const struct span *spans, size_t cnt, const char *id)
{
	struct strbuf json, out;
	int err;

	strbuf_init(&json);
	strbuf_init(&out);
	strbuf_adds(&json, "{\"trace\":{\"resourceSpans\":");
	otlp_encode_json(&json, spans, cnt);
	strbuf_adds(&json, "}}");
	err = trace_tree_format(&out, (struct str){json.p, json.len}, str_of(id));
	if (err)
		command_complain(EXIT_FAILED, "there is no trace %s", id);
	else
		fwrite(out.p, 1, out.len, stdout);
	strbuf_fini(&json);
	strbuf_fini(&out);
	return err ? EXIT_FAILED : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* status_cmd.c - `wirespan status`: what GET /status says, in sections for a person. It adds
 * nothing that the answer does not hold but the meanings of the kernel's counters, which stand in
 * kern/record.h. Called by main.c. The invariant: every text of the answer is escaped, since names
 * of processes and paths are strangers' words. */
#include "agent/client.h"
#include "agent/commands.h"
#include "agent/term.h"
#include "kern/record.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { KEY_COLS_MAX = 56, LABEL_COLS = 14 };

struct meaning {
	const char *label, *help;
};

/* clang-format off */
#define X(id, name, text) {#name, text},
static const struct meaning lost_help[] = {LOST(X)};
static const struct meaning undecoded_help[] = {UNDECODED(X)};
#undef X
/* clang-format on */

/* Notes that have a place and a title of their own. */
static const struct section {
	const char *name, *title;
} sections[] = {
	{"providers", "Hooks in use"},
	{"processes", "Traced processes"},
};

static struct str text_of(const json_t *j)
{
	return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)}
				 : STR("");
}

static void title(struct strbuf *out, const char *text)
{
	strbuf_adds(out, "\n");
	term_add(out, str_of(text), 0);
	strbuf_addc(out, '\n');
}

/* key_cols: how wide the keys of this section are. */
static void row(struct strbuf *out, struct str key, size_t key_cols, struct str text)
{
	size_t cols;

	strbuf_adds(out, "  ");
	cols = term_add(out, key, 0);
	do
		strbuf_addc(out, ' ');
	while (++cols < key_cols + 2);
	term_add(out, text, 0);
	strbuf_addc(out, '\n');
}

static size_t key_cols(const json_t *object)
{
	const char *key;
	json_t *value;
	size_t max = 0;

	json_object_foreach((json_t *)object, key, value)
		if (strlen(key) > max && strlen(key) <= KEY_COLS_MAX)
			max = strlen(key);
	return max;
}

static void number_row(struct strbuf *out, struct str key, size_t cols, json_int_t n,
		       const char *help)
{
	struct strbuf text;

	strbuf_init(&text);
	strbuf_printf(&text, "%llu%s%s", (unsigned long long)n, *help ? "  " : "", help);
	row(out, key, cols, (struct str){text.p, text.len});
	strbuf_fini(&text);
}

/* --- notes --- */

static void notes_section(struct strbuf *out, const char *name, const json_t *notes)
{
	size_t cols = key_cols(notes);
	const char *key;
	json_t *value;
	bool any = false;

	title(out, name);
	json_object_foreach((json_t *)notes, key, value) {
		row(out, str_of(key), cols, text_of(value));
		any = true;
	}
	if (!any)
		strbuf_adds(out, "  none\n");
}

static bool has_own_place(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		if (strcmp(sections[i].name, name) == 0)
			return true;
	return false;
}

static void all_notes(struct strbuf *out, const json_t *notes)
{
	const char *name;
	json_t *section;

	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		notes_section(out, sections[i].title, json_object_get(notes, sections[i].name));
	json_object_foreach((json_t *)notes, name, section)
		if (!has_own_place(name))
			notes_section(out, name, section);
}

/* --- counters: "lost_total{reason="gap"}" --- */

/* The value of the one label that these counters have; false: another counter. */
static bool label_of(const char *key, const char *counter, struct str *ret)
{
	size_t len = strlen(counter);
	const char *from, *end;

	if (strncmp(key, counter, len) != 0 || key[len] != '{')
		return false;
	from = strchr(key + len, '"');
	end = from ? strchr(from + 1, '"') : NULL;
	*ret = end ? (struct str){from + 1, (size_t)(end - from - 1)} : str_of(key + len);
	return true;
}

static const char *help_of(const struct meaning *table, size_t cnt, struct str label)
{
	for (size_t i = 0; i < cnt; i++)
		if (str_eq(label, str_of(table[i].label)))
			return table[i].help;
	return "";
}

static void labelled(struct strbuf *out, const char *heading, const json_t *counters,
		     const char *counter, const struct meaning *table, size_t cnt)
{
	struct str label;
	const char *key;
	json_t *value;
	bool any = false;

	title(out, heading);
	json_object_foreach((json_t *)counters, key, value) {
		if (!label_of(key, counter, &label) || !json_integer_value(value))
			continue;
		number_row(out, label, LABEL_COLS, json_integer_value(value),
			   help_of(table, cnt, label));
		any = true;
	}
	if (!any)
		strbuf_adds(out, "  none\n");
}

static void other_counters(struct strbuf *out, const json_t *counters)
{
	size_t cols = key_cols(counters);
	struct str label;
	const char *key;
	json_t *value;

	title(out, "Counters");
	json_object_foreach((json_t *)counters, key, value)
		if (!label_of(key, "lost_total", &label) &&
		    !label_of(key, "undecoded_total", &label) && json_integer_value(value))
			number_row(out, str_of(key), cols, json_integer_value(value), "");
}

/* --- the store --- */

static uint64_t store_number(const json_t *store, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(store, key));
}

static void store_section(struct strbuf *out, const json_t *store)
{
	uint64_t oldest = store_number(store, "oldest_ns"),
		 newest = store_number(store, "newest_ns");

	title(out, "Store");
	strbuf_printf(out, "  %llu spans, partitions: %llu, %.1f MiB on disk\n",
		      (unsigned long long)store_number(store, "spans"),
		      (unsigned long long)store_number(store, "partitions"),
		      (double)store_number(store, "bytes") / (1 << 20));
	if (!oldest)
		return;
	strbuf_adds(out, "  from ");
	term_add_time(out, oldest);
	strbuf_adds(out, " to ");
	term_add_time(out, newest);
	strbuf_addc(out, '\n');
}

/* --- all of it --- */

int status_cmd_format(struct strbuf *out, struct str json, const char *listen)
{
	json_t *root = json_loadb(json.p, json.len, JSON_ALLOW_NUL, NULL);
	const json_t *counters = json_object_get(root, "counters");

	if (!json_is_object(counters)) {
		json_decref(root);
		return -EBADMSG;
	}
	strbuf_adds(out, "Wirespan ");
	term_add(out, text_of(json_object_get(root, "version")), 80);
	strbuf_printf(out, " at %s\n", listen);
	all_notes(out, json_object_get(root, "notes"));
	labelled(out, "Connections seen but not decoded", counters, "undecoded_total",
		 undecoded_help, ARRAY_SIZE(undecoded_help));
	labelled(out, "Losses", counters, "lost_total", lost_help, ARRAY_SIZE(lost_help));
	other_counters(out, counters);
	store_section(out, json_object_get(root, "store"));
	json_decref(root);
	return 0;
}

int status_cmd(const struct config *c)
{
	struct strbuf body, out, why;
	int status = 0, err;

	strbuf_init(&body);
	strbuf_init(&out);
	strbuf_init(&why);
	err = client_get(c, "/status", &status, &body, &why);
	if (!err &&
	    (status != 200 || status_cmd_format(&out, (struct str){body.p, body.len}, c->listen))) {
		strbuf_printf(&why, "%s does not answer as Wirespan does (status %d): ", c->listen,
			      status);
		term_add(&why, (struct str){body.p, body.len}, 200);
		err = -EPROTO;
	}
	if (err)
		command_complain(EXIT_FAILED, "%s", why.p);
	else
		fwrite(out.p, 1, out.len, stdout);
	strbuf_fini(&body);
	strbuf_fini(&out);
	strbuf_fini(&why);
	return err ? EXIT_FAILED : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* config_file.c - reads a YAML file into the keys of config.c: a group of keys may be nested or
 * written with a dot, a list as a sequence or with commas. It knows no key and no kind of value.
 * The invariants: every complaint names file and line, a key stands once, and what the file can
 * make us read (size, depth, items) is bounded. */
#include "agent/config_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

enum { FILE_MAX = 1 << 20, DEPTH_MAX = 4, ITEMS_MAX = 512, KEYS_MAX = 64, PAIRS_MAX = 256 };

struct seen {
	const struct config_key *key;
	size_t line;
};

struct file {
	struct config_reader *reader;
	const char *path;
	yaml_parser_t parser;
	struct seen seen[KEYS_MAX];
	size_t seen_cnt;
};

static size_t line_of(const yaml_mark_t *mark)
{
	return mark->line + 1;
}

static int next_event(struct file *f, yaml_event_t *ret)
{
	if (yaml_parser_parse(&f->parser, ret))
		return 0;
	return config_refuse(f->reader, "%s:%zu: this is not valid YAML: %s; correct the line",
			     f->path, line_of(&f->parser.problem_mark),
			     f->parser.problem ? f->parser.problem : "unknown error");
}

static int refuse_event(struct file *f, const yaml_event_t *ev, const char *wanted)
{
	if (ev->type == YAML_ALIAS_EVENT)
		return config_refuse(f->reader,
				     "%s:%zu: put quotes around a value that begins with *",
				     f->path, line_of(&ev->start_mark));
	return config_refuse(f->reader, "%s:%zu: %s; see `wirespan config sample`", f->path,
			     line_of(&ev->start_mark), wanted);
}

/* A scalar as text; bytes that C text cannot hold are refused. */
static int scalar_text(struct file *f, const yaml_event_t *ev, const char **ret)
{
	const char *text = (const char *)ev->data.scalar.value;

	if (strlen(text) != ev->data.scalar.length)
		return refuse_event(f, ev, "a NUL character is not possible in a value");
	*ret = text;
	return 0;
}

/* --- values --- */

static int read_items(struct file *f, char **items, size_t *cnt)
{
	for (;;) {
		yaml_event_t ev;
		const char *text = NULL;
		int err = next_event(f, &ev);
		bool end;

		if (err)
			return err;
		end = ev.type == YAML_SEQUENCE_END_EVENT;
		if (!end && ev.type != YAML_SCALAR_EVENT)
			err = refuse_event(f, &ev, "an item of a list is one plain value");
		else if (!end && *cnt == ITEMS_MAX)
			err = refuse_event(f, &ev, "this list is too long");
		else if (!end)
			err = scalar_text(f, &ev, &text);
		if (!end && !err) {
			items[*cnt] = strdup(text);
			must(items[(*cnt)++]);
		}
		yaml_event_delete(&ev);
		if (err || end)
			return err;
	}
}

/* --- lists of records --- */

struct record {
	struct config_pair pairs[PAIRS_MAX];
	size_t cnt;
};

static int record_add(struct file *f, struct record *rec, const char *name, const yaml_event_t *ev)
{
	const char *text = NULL;
	int err = scalar_text(f, ev, &text);

	if (err)
		return err;
	if (rec->cnt == PAIRS_MAX)
		return refuse_event(f, ev, "this item asks for too much");
	rec->pairs[rec->cnt] = (struct config_pair){strdup(name), strdup(text)};
	must(rec->pairs[rec->cnt].name && rec->pairs[rec->cnt].text);
	rec->cnt++;
	return 0;
}

/* Whom the entries of a mapping go to: a key, its names so far joined with dots, and its value. */
typedef int entry_fn(struct file *f, void *arg, const char *name, size_t line,
		     const yaml_event_t *value, unsigned depth);

static int read_mapping(struct file *f, entry_fn *fn, void *arg, const char *group, unsigned depth);

/* A value, a list of values, or a group of keys. */
static int read_record_value(struct file *f, void *arg, const char *name, size_t line,
			     const yaml_event_t *ev, unsigned depth)
{
	struct record *rec = arg;
	bool end = false;
	int err = 0;

	(void)line;
	if (ev->type == YAML_SCALAR_EVENT)
		return record_add(f, rec, name, ev);
	if (ev->type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX)
		return read_mapping(f, read_record_value, rec, name, depth + 1);
	if (ev->type != YAML_SEQUENCE_START_EVENT)
		return refuse_event(f, ev, "this key wants a value");
	while (!err && !end) {
		yaml_event_t item;

		err = next_event(f, &item);
		if (err)
			break;
		end = item.type == YAML_SEQUENCE_END_EVENT;
		if (!end && item.type != YAML_SCALAR_EVENT)
			err = refuse_event(f, &item, "an item of this list is one plain value");
		else if (!end)
			err = record_add(f, rec, name, &item);
		yaml_event_delete(&item);
	}
	return err;
}

static int read_record(struct file *f, const struct config_key *key, size_t line)
{
	struct record rec = {.cnt = 0};
	int err = read_mapping(f, read_record_value, &rec, "", 0);
	struct strbuf where;

	strbuf_init(&where);
	strbuf_printf(&where, "%s:%zu: %s", f->path, line, key->name);
	err = err ?: config_put_record(f->reader, key, where.p, rec.pairs, rec.cnt);
	strbuf_fini(&where);
	while (rec.cnt) {
		free(rec.pairs[--rec.cnt].name);
		free(rec.pairs[rec.cnt].text);
	}
	return err;
}

static int read_records(struct file *f, const struct config_key *key, const char *where)
{
	int err = config_put_records(f->reader, key, where);
	bool end = false;

	while (!err && !end) {
		yaml_event_t ev;

		err = next_event(f, &ev);
		if (err)
			break;
		end = ev.type == YAML_SEQUENCE_END_EVENT;
		if (!end && ev.type != YAML_MAPPING_START_EVENT)
			err = refuse_event(f, &ev, "an item of this list is a group of keys");
		else if (!end)
			err = read_record(f, key, line_of(&ev.start_mark));
		yaml_event_delete(&ev);
	}
	return err;
}

/* --- values of keys --- */

static int read_list(struct file *f, const struct config_key *key, const char *where)
{
	char *items[ITEMS_MAX];
	size_t cnt = 0;
	int err = read_items(f, items, &cnt);

	err = err ?: config_put_list(f->reader, key, where, items, cnt);
	while (cnt)
		free(items[--cnt]);
	return err;
}

static int read_value(struct file *f, const struct config_key *key, const char *where,
		      const yaml_event_t *ev)
{
	const char *text = NULL;
	int err;

	if (ev->type == YAML_SEQUENCE_START_EVENT)
		return key->kind->parse_record ? read_records(f, key, where)
					       : read_list(f, key, where);
	if (ev->type != YAML_SCALAR_EVENT)
		return refuse_event(f, ev, "this key wants one value, not a group of keys");
	err = scalar_text(f, ev, &text);
	return err ?: config_put(f->reader, key, where, text);
}

/* --- keys --- */

static int key_once(struct file *f, const struct config_key *key, size_t line)
{
	for (size_t i = 0; i < f->seen_cnt; i++)
		if (f->seen[i].key == key)
			return config_refuse(f->reader,
					     "%s:%zu: %s was given in line %zu already; keep one",
					     f->path, line, key->name, f->seen[i].line);
	must(f->seen_cnt < KEYS_MAX);
	f->seen[f->seen_cnt++] = (struct seen){key, line};
	return 0;
}

/* The value of `name`, a key or a group of keys. A group without keys is an empty scalar. */
static int read_named(struct file *f, void *arg, const char *name, size_t line,
		      const yaml_event_t *ev, unsigned depth)
{
	const struct config_key *key = config_key_find(name);
	struct strbuf where;
	int err;

	if (!key && config_key_is_group(name)) {
		if (ev->type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX)
			return read_mapping(f, read_named, arg, name, depth + 1);
		if (ev->type == YAML_SCALAR_EVENT && !ev->data.scalar.length)
			return 0;
		return refuse_event(f, ev, "this is a group of keys and wants keys below it");
	}
	if (!key)
		return config_refuse(f->reader,
				     "%s:%zu: unknown key \"%.80s\"; `wirespan config sample` "
				     "shows all keys",
				     f->path, line, name);
	err = key_once(f, key, line);
	if (err)
		return err;
	strbuf_init(&where);
	strbuf_printf(&where, "%s:%zu: %s", f->path, line, key->name);
	err = read_value(f, key, where.p, ev);
	strbuf_fini(&where);
	return err;
}

static int read_entry(struct file *f, entry_fn *fn, void *arg, const char *group,
		      const yaml_event_t *key_ev, unsigned depth)
{
	yaml_event_t value;
	struct strbuf name;
	const char *text = NULL;
	int err;

	if (key_ev->type != YAML_SCALAR_EVENT)
		return refuse_event(f, key_ev, "a key is one word");
	err = scalar_text(f, key_ev, &text);
	err = err ?: next_event(f, &value);
	if (err)
		return err;
	strbuf_init(&name);
	strbuf_printf(&name, "%s%s%s", group, *group ? "." : "", text);
	err = fn(f, arg, name.p, line_of(&key_ev->start_mark), &value, depth);
	strbuf_fini(&name);
	yaml_event_delete(&value);
	return err;
}

static int read_mapping(struct file *f, entry_fn *fn, void *arg, const char *group, unsigned depth)
{
	for (;;) {
		yaml_event_t ev;
		int err = next_event(f, &ev);
		bool end;

		if (err)
			return err;
		end = ev.type == YAML_MAPPING_END_EVENT;
		if (!end)
			err = read_entry(f, fn, arg, group, &ev, depth);
		yaml_event_delete(&ev);
		if (err || end)
			return err;
	}
}

/* --- the document --- */

/* A file of comments alone has no document; an empty document is an empty scalar. */
static int read_root(struct file *f, const yaml_event_t *ev)
{
	if (ev->type == YAML_MAPPING_START_EVENT)
		return read_mapping(f, read_named, NULL, "", 0);
	if (ev->type == YAML_SCALAR_EVENT && !ev->data.scalar.length)
		return 0;
	return refuse_event(f, ev, "the file is not a list of `key: value` lines");
}

static int read_documents(struct file *f)
{
	unsigned docs = 0;
	int err = 0;

	while (!err) {
		yaml_event_t ev;
		bool end;

		err = next_event(f, &ev);
		if (err)
			break;
		end = ev.type == YAML_STREAM_END_EVENT;
		if (ev.type == YAML_DOCUMENT_START_EVENT && docs++)
			err = refuse_event(f, &ev, "a second document begins; one is enough");
		else if (!end && ev.type != YAML_STREAM_START_EVENT &&
			 ev.type != YAML_DOCUMENT_START_EVENT && ev.type != YAML_DOCUMENT_END_EVENT)
			err = read_root(f, &ev);
		yaml_event_delete(&ev);
		if (end)
			break;
	}
	return err;
}

static int read_all(int fd, struct strbuf *out)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		strbuf_add(out, buf, (size_t)n);
		if (out->len > FILE_MAX)
			return -EFBIG;
	}
	return n < 0 ? -errno : 0;
}

static int file_load(const char *path, struct strbuf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0)
		return -errno;
	err = read_all(fd, out);
	close(fd);
	return err;
}

int config_file_read(struct config_reader *r, const char *path)
{
	struct file f = {.reader = r, .path = path};
	struct strbuf text;
	int err;

	strbuf_init(&text);
	err = file_load(path, &text);
	if (err) {
		err = config_refuse(r, "%s: the settings cannot be read: %s; name a readable file",
				    path, strerror(-err));
		goto out;
	}
	must(yaml_parser_initialize(&f.parser));
	yaml_parser_set_input_string(&f.parser, (const unsigned char *)text.p, text.len);
	err = read_documents(&f);
	yaml_parser_delete(&f.parser);
out:
	strbuf_fini(&text);
	return err;
}

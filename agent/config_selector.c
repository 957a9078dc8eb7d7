/* SPDX-License-Identifier: Apache-2.0 */
/* config_selector.c - the kind of value that selects processes: a list of groups of keys in the
 * file, or on one line `k8s_namespace=app open_ports=80,8080; name=api-*`. Private to config*.c;
 * discover.c asks whether a process matches. The invariant: a selector that asks for nothing is
 * refused, since it would select everything. */
#include "agent/config_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const glob_names[SELECT_CNT] = {
#define X(name) [SELECT_##name] = #name,
	SELECTOR_GLOBS(X)
#undef X
};

static char *text_dup(const char *text, size_t len)
{
	char *p = strndup(text, len);

	must(p);
	return p;
}

static void pairs_clear(struct selector_pair *pairs, uint32_t *cnt)
{
	while (*cnt) {
		free(pairs[--*cnt].key);
		free(pairs[*cnt].glob);
	}
}

static void selector_clear(struct selector *s)
{
	for (size_t i = 0; i < SELECT_CNT; i++)
		free(s->globs[i]);
	pairs_clear(s->labels, &s->label_cnt);
	pairs_clear(s->annotations, &s->annotation_cnt);
}

static void selectors_clear(void *field)
{
	struct selectors *to = field;

	while (to->cnt)
		selector_clear(&to->at[--to->cnt]);
	free(to->at);
	to->at = NULL;
}

/* --- one key --- */

static int refuse(struct strbuf *why, const char *name, const char *what)
{
	strbuf_printf(why, "\"%.80s\" %s", name, what);
	return -EINVAL;
}

static int put_ports(struct selector *s, const char *text, struct strbuf *why)
{
	int err = 0;

	while (!err && text) {
		const char *end = strchrnul(text, ',');
		char *one = text_dup(text, (size_t)(end - text)), *at = one + strspn(one, " ");

		at[strcspn(at, " ")] = '\0';
		err = config_ports.parse(NULL, &s->open_ports, at, why);
		free(one);
		text = *end ? end + 1 : NULL;
	}
	return err;
}

static int put_pair(struct selector_pair *pairs, uint32_t *cnt, const char *key, const char *glob,
		    struct strbuf *why)
{
	if (*cnt == SELECTOR_PAIRS_MAX)
		return refuse(why, key, "is one label or annotation too many");
	pairs[(*cnt)++] = (struct selector_pair){text_dup(key, strlen(key)),
						 text_dup(glob, strlen(glob))};
	return 0;
}

static int put_glob(struct selector *s, const char *name, const char *text, struct strbuf *why)
{
	for (size_t i = 0; i < SELECT_CNT; i++) {
		if (strcmp(name, glob_names[i]) != 0)
			continue;
		if (s->globs[i] || !*text)
			return refuse(why, name, "wants one pattern");
		s->globs[i] = text_dup(text, strlen(text));
		return 0;
	}
	strbuf_printf(why, "\"%.80s\" is no key of a selector; there are open_ports", name);
	for (size_t i = 0; i < SELECT_CNT; i++)
		strbuf_printf(why, ", %s", glob_names[i]);
	strbuf_adds(why, ", k8s_pod_labels and k8s_pod_annotations");
	return -EINVAL;
}

static int put(struct selector *s, const struct config_pair *pair, struct strbuf *why)
{
	static const char labels[] = "k8s_pod_labels.", annotations[] = "k8s_pod_annotations.";

	if (strcmp(pair->name, "open_ports") == 0)
		return put_ports(s, pair->text, why);
	if (strncmp(pair->name, labels, sizeof(labels) - 1) == 0)
		return put_pair(s->labels, &s->label_cnt, pair->name + sizeof(labels) - 1,
				pair->text, why);
	if (strncmp(pair->name, annotations, sizeof(annotations) - 1) == 0)
		return put_pair(s->annotations, &s->annotation_cnt,
				pair->name + sizeof(annotations) - 1, pair->text, why);
	return put_glob(s, pair->name, pair->text, why);
}

/* --- one selector --- */

static int record_parse(void *field, const struct config_pair *pairs, size_t cnt,
			struct strbuf *why)
{
	struct selectors *to = field;
	struct selector s = {.label_cnt = 0};
	int err = 0;

	if (to->cnt == SELECTORS_MAX || !cnt) {
		strbuf_adds(why, cnt ? "there are too many selectors" : "a selector asks for nothing");
		return -EINVAL;
	}
	for (size_t i = 0; i < cnt && !err; i++)
		err = put(&s, &pairs[i], why);
	if (err) {
		selector_clear(&s);
		return err;
	}
	to->at = realloc(to->at, (to->cnt + 1) * sizeof(*to->at));
	must(to->at);
	to->at[to->cnt++] = s;
	return 0;
}

/* key=value words; moves nothing but cuts the text. */
static int words_parse(void *field, char *text, struct strbuf *why)
{
	struct config_pair pairs[2 * SELECT_CNT];
	size_t cnt = 0;
	char *word;

	while ((word = strsep(&text, " \t\n"))) {
		char *eq = strchr(word, '=');

		if (!*word)
			continue;
		if (!eq || cnt == ARRAY_SIZE(pairs))
			return refuse(why, word, "is not key=value");
		*eq = '\0';
		pairs[cnt++] = (struct config_pair){word, eq + 1};
	}
	return record_parse(field, pairs, cnt, why);
}

static int selectors_parse(const struct config_key *key, void *field, const char *text,
			   struct strbuf *why)
{
	char *copy, *rest, *one;
	int err = 0;

	(void)key;
	selectors_clear(field);
	if (!*text)
		return 0;
	copy = rest = text_dup(text, strlen(text));
	while (!err && (one = strsep(&rest, ";")))
		err = words_parse(field, one, why);
	free(copy);
	return err;
}

const struct config_kind config_selectors = {"SELECTORS", .parse = selectors_parse,
					     .parse_record = record_parse,
					     .clear = selectors_clear};

/* SPDX-License-Identifier: Apache-2.0 */
/* scenario.c - see scenario.h. Bytes are written in one small language: C escapes, and behind a
 * backslash a word with its arguments in braces, which may hold more of the same. */
#include "tests/shadow/scenario.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
	char *p;
	size_t len;
};

struct reader {
	const char *path, *at;
	int line;
};

static int bad(const struct reader *r, const char *why)
{
	fprintf(stderr, "%s:%d: %s near: %.40s\n", r->path, r->line, why, r->at);
	return -1;
}

static void bytes_add(struct bytes *b, const void *p, size_t n)
{
	b->p = realloc(b->p, b->len + n + 1);
	if (!b->p)
		abort();
	memcpy(b->p + b->len, p, n);
	b->len += n;
}

static void byte_add(struct bytes *b, int c)
{
	char ch = (char)c;

	bytes_add(b, &ch, 1);
}

static void number_add(struct bytes *b, unsigned long v, int width)
{
	while (width--)
		byte_add(b, v >> (8 * width) & 0xff);
}

/* --- the language of bytes --- */

static int text_read(struct reader *r, struct bytes *to, char end);

static int escape_read(struct reader *r, struct bytes *to)
{
	static const char from[] = "rnt0\\\"'}", as[] = "\r\n\t\0\\\"'}";
	const char *at = strchr(from, *r->at);
	unsigned v;

	if (*r->at == 'x' && sscanf(r->at + 1, "%2x", &v) == 1) {
		byte_add(to, v);
		r->at += 3;
		return 0;
	}
	if (!*r->at || !at)
		return bad(r, "unknown escape");
	byte_add(to, as[at - from]);
	r->at++;
	return 0;
}

static void blanks_skip(struct reader *r)
{
	while (*r->at == ' ')
		r->at++;
}

static unsigned long number_read(struct reader *r)
{
	char *end;
	unsigned long v = strtoul(r->at, &end, 10);

	r->at = end;
	return v;
}

/* {COUNT TEXT} */
static int repeat_read(struct reader *r, struct bytes *to)
{
	unsigned long n = number_read(r);
	struct bytes once = {0};

	if (*r->at++ != ' ' || text_read(r, &once, '}')) {
		free(once.p);
		return bad(r, "want \\rep{COUNT TEXT}");
	}
	while (n--)
		bytes_add(to, once.p, once.len);
	free(once.p);
	return 0;
}

/* "text" ends with a NUL, 'text' does not, i4=1 is a number in four bytes. */
static int argument_read(struct reader *r, struct bytes *to)
{
	char quote = *r->at;
	unsigned long width;

	if (quote == '"' || quote == '\'') {
		r->at++;
		if (text_read(r, to, quote))
			return -1;
		if (quote == '"')
			byte_add(to, 0);
		return 0;
	}
	if (quote != 'i')
		return bad(r, "want \"text\", 'text' or iN=VALUE");
	r->at++;
	width = number_read(r);
	if (*r->at++ != '=')
		return bad(r, "want iN=VALUE");
	number_add(to, number_read(r), width);
	return 0;
}

/* {LETTER ARGUMENT...}: a PostgreSQL message; the letter - stands for a packet without one. */
static int pg_read(struct reader *r, struct bytes *to)
{
	struct bytes body = {0};
	char type = *r->at++;
	int err = 0;

	for (blanks_skip(r); !err && *r->at && *r->at != '}'; blanks_skip(r))
		err = argument_read(r, &body);
	if (err || *r->at++ != '}') {
		free(body.p);
		return bad(r, "want \\pg{LETTER ARGUMENT...}");
	}
	if (type != '-')
		byte_add(to, type);
	number_add(to, body.len + 4, 4);
	if (body.len)
		bytes_add(to, body.p, body.len);
	free(body.p);
	return 0;
}

static int word_read(struct reader *r, struct bytes *to)
{
	if (!strncmp(r->at, "rep{", 4)) {
		r->at += 4;
		return repeat_read(r, to);
	}
	if (!strncmp(r->at, "pg{", 3)) {
		r->at += 3;
		return pg_read(r, to);
	}
	return escape_read(r, to);
}

/* Up to the character that ends it, which is passed over. */
static int text_read(struct reader *r, struct bytes *to, char end)
{
	while (*r->at && *r->at != end) {
		char c = *r->at++;

		if (c != '\\')
			byte_add(to, c);
		else if (word_read(r, to))
			return -1;
	}
	if (*r->at != end)
		return bad(r, "it does not end");
	if (end)
		r->at++;
	return 0;
}

/* --- lines --- */

static struct step *step_add(struct scenario *s, enum step_kind kind, int who)
{
	s->steps = realloc(s->steps, (s->step_cnt + 1) * sizeof(*s->steps));
	if (!s->steps)
		abort();
	s->steps[s->step_cnt] = (struct step){.kind = kind, .who = who};
	return &s->steps[s->step_cnt++];
}

static int bytes_line(struct scenario *s, struct reader *r)
{
	struct step *st = step_add(s, STEP_BYTES, *r->at == '>' ? CLIENT : SERVER);
	struct bytes b = {0};
	int err;

	r->at++;
	st->how = *r->at == '?' ? HOW_OPAQUE : *r->at == '-' ? HOW_MISSED : HOW_SEEN;
	if (st->how != HOW_SEEN)
		r->at++;
	if (*r->at++ != ' ')
		return bad(r, "want a blank");
	err = text_read(r, &b, 0);
	st->bytes = b.p;
	st->len = b.len;
	return err;
}

/* + bytes: more of the line before. */
static int more_line(struct scenario *s, struct reader *r)
{
	struct step *st = s->step_cnt ? &s->steps[s->step_cnt - 1] : NULL;
	struct bytes b = {0};
	int err;

	if (!st || st->kind != STEP_BYTES)
		return bad(r, "nothing to go on with");
	b = (struct bytes){st->bytes, st->len};
	r->at += 2;
	err = text_read(r, &b, 0);
	st->bytes = b.p;
	st->len = b.len;
	return err;
}

static int word_take(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(r->at, word, n) || (r->at[n] && r->at[n] != ' '))
		return 0;
	r->at += n;
	blanks_skip(r);
	return 1;
}

static unsigned ends_take(struct reader *r)
{
	if (word_take(r, "client"))
		return 1 << CLIENT;
	return word_take(r, "server") ? 1 << SERVER : 1 << CLIENT | 1 << SERVER;
}

/* NAME COUNT, both ends count it unless one is named. */
static int count_line(struct reader *r, const char *const *names, size_t cnt, __u64 *client,
		      __u64 *server, unsigned ends)
{
	for (size_t i = 0; i < cnt; i++) {
		if (!word_take(r, names[i]))
			continue;
		if (ends & 1 << CLIENT)
			client[i] = strtoul(r->at, NULL, 10);
		if (ends & 1 << SERVER)
			server[i] = strtoul(r->at, NULL, 10);
		return 0;
	}
	return bad(r, "no counter of that name");
}

static int expect_line(struct scenario *s, struct reader *r)
{
#define X(id, name, help) #name,
	static const char *const lost_names[] = {LOST(X)};
	static const char *const undecoded_names[] = {UNDECODED(X)};
#undef X
	unsigned ends = ends_take(r);

	if (word_take(r, "lost"))
		return count_line(r, lost_names, LOST_COUNT, s->lost[CLIENT], s->lost[SERVER],
				  ends);
	if (word_take(r, "undecoded"))
		return count_line(r, undecoded_names, UNDECODED_COUNT, s->undecoded[CLIENT],
				  s->undecoded[SERVER], ends);
	if (!word_take(r, "span"))
		return bad(r, "want span, lost or undecoded");
	s->spans = realloc(s->spans, (s->span_cnt + 1) * sizeof(*s->spans));
	if (!s->spans)
		abort();
	s->spans[s->span_cnt++] = (struct expected_span){ends, strdup(r->at)};
	return 0;
}

static int end_line(struct scenario *s, struct reader *r, enum step_kind kind)
{
	if (!word_take(r, "server")) {
		word_take(r, "client");
		step_add(s, kind, CLIENT);
	} else {
		step_add(s, kind, SERVER);
	}
	return *r->at ? bad(r, "want client or server") : 0;
}

static int line_read(struct scenario *s, struct reader *r)
{
	if (!*r->at || *r->at == '#')
		return 0;
	if (*r->at == '>' || *r->at == '<')
		return bytes_line(s, r);
	if (r->at[0] == '+' && r->at[1] == ' ')
		return more_line(s, r);
	if (word_take(r, "expect"))
		return expect_line(s, r);
	if (word_take(r, "attach"))
		return s->attaches = true, step_add(s, STEP_ATTACH, CLIENT), 0;
	if (word_take(r, "only"))
		return s->ends = ends_take(r), 0;
	if (word_take(r, "fin"))
		return end_line(s, r, STEP_FIN);
	if (word_take(r, "close"))
		return end_line(s, r, STEP_CLOSE);
	if (word_take(r, "reset"))
		return step_add(s, STEP_RESET, CLIENT), 0;
	return bad(r, "what is this?");
}

int scenario_read(struct scenario *ret, const char *path)
{
	struct scenario s = {.ends = 1 << CLIENT | 1 << SERVER};
	struct reader r = {.path = path};
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;
	int err = 0;

	if (!f) {
		perror(path);
		return -1;
	}
	while (!err && getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		r.at = line;
		r.line++;
		err = line_read(&s, &r);
	}
	free(line);
	fclose(f);
	if (err)
		scenario_free(&s);
	else
		*ret = s;
	return err;
}

void scenario_free(struct scenario *s)
{
	for (size_t i = 0; i < s->step_cnt; i++)
		free(s->steps[i].bytes);
	for (size_t i = 0; i < s->span_cnt; i++)
		free(s->spans[i].text);
	free(s->steps);
	free(s->spans);
}

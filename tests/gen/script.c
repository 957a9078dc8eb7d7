/* SPDX-License-Identifier: Apache-2.0 */
/* script.c - the parts of a script that do not depend on the protocol: bytes that grow, places in
 * them, and how a stream is cut into writes. Each connection has a habit (few writes, one for each
 * message, random places, byte by byte); beside it one head in five is cut inside. */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One more element at the end of a list; the lists are zeroed with the script. */
#define ADD(list, cnt, ...)                                                                        \
	do {                                                                                       \
		if (!((cnt) & ((cnt) - 1)))                                                        \
			(list) = realloc((list), ((cnt) ? 2 * (cnt) : 1) * sizeof(*(list)));       \
		must(list);                                                                        \
		(list)[(cnt)++] = __VA_ARGS__;                                                     \
	} while (0)

/* --- bytes --- */

void text_put(struct text *t, const void *p, size_t len)
{
	if (t->len + len + 1 > t->room) {
		t->room = 2 * (t->len + len) + 64;
		t->p = realloc(t->p, t->room);
		must(t->p);
	}
	if (len)
		memcpy(t->p + t->len, p, len);
	t->len += len;
	t->p[t->len] = 0;
}

void text_str(struct text *t, const char *s)
{
	text_put(t, s, strlen(s));
}

void text_fmt(struct text *t, const char *fmt, ...)
{
	char some[512];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(some, sizeof(some), fmt, args);
	va_end(args);
	must(n >= 0 && n < (int)sizeof(some));
	text_put(t, some, n);
}

void text_json(struct text *t, const char *s, size_t len)
{
	text_str(t, "\"");
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '"' || s[i] == '\\' || (unsigned char)s[i] < ' ')
			text_fmt(t, "\\u%04x", s[i]);
		else
			text_put(t, s + i, 1);
	}
	text_str(t, "\"");
}

/* --- places --- */

uint32_t flow_at(const struct flow *f)
{
	return (uint32_t)f->bytes.len;
}

void flow_gate(struct flow *f, uint32_t at, uint32_t wait)
{
	ADD(f->gates, f->gate_cnt, (struct gate){ at, wait });
}

void flow_mark(struct flow *f)
{
	ADD(f->marks, f->mark_cnt, flow_at(f));
}

void flow_head(struct flow *f, uint32_t from)
{
	ADD(f->heads, f->head_cnt, (struct range){ from, flow_at(f) });
}

void flow_dark(struct flow *f, uint32_t from)
{
	if (from < flow_at(f))
		ADD(f->dark, f->dark_cnt, (struct range){ from, flow_at(f) });
}

/* --- cutting --- */

enum habit { HABIT_WHOLE, HABIT_MESSAGES, HABIT_RANDOM, HABIT_BYTES };

enum { BYTES_MAX = 1500 }; /* a longer stream is not sent byte by byte */

struct cutter {
	struct flow *f;
	struct rng *rng;
	uint8_t *cut; /* a byte per place: 1: a write ends before it; 2: … and the next one is dark */
};

static void cut_at(struct cutter *c, uint32_t at)
{
	if (at && at < flow_at(c->f))
		c->cut[at] |= 1;
}

static void cut_inside(struct cutter *c, struct range r)
{
	if (r.to > r.from + 1)
		cut_at(c, rng_between(c->rng, r.from + 1, r.to - 1));
}

static void cut_heads(struct cutter *c)
{
	for (size_t i = 0; i < c->f->head_cnt; i++) {
		if (!rng_chance(c->rng, 22))
			continue;
		for (uint32_t n = rng_between(c->rng, 1, 4); n; n--)
			cut_inside(c, c->f->heads[i]);
	}
}

/* A piece that the program never has in its own memory. */
static void cut_dark(struct cutter *c)
{
	for (size_t i = 0; i < c->f->dark_cnt; i++) {
		struct range r = c->f->dark[i];

		if (!rng_chance(c->rng, 4))
			continue;
		if (r.to - r.from > 2 && rng_chance(c->rng, 50)) {
			r.from += rng_below(c->rng, (r.to - r.from) / 2);
			r.to -= rng_below(c->rng, (r.to - r.from) / 2);
		}
		cut_at(c, r.from);
		cut_at(c, r.to);
		c->cut[r.from] |= 2;
	}
}

static void cut_by_habit(struct cutter *c)
{
	uint32_t len = flow_at(c->f), n;
	enum habit habit = rng_below(c->rng, 10) < 8 ? rng_below(c->rng, 3) : HABIT_BYTES;

	if (habit == HABIT_BYTES && len > BYTES_MAX)
		habit = HABIT_RANDOM;
	if (habit == HABIT_MESSAGES)
		for (size_t i = 0; i < c->f->mark_cnt; i++)
			cut_at(c, c->f->marks[i]);
	if (habit == HABIT_BYTES)
		for (uint32_t i = 0; i < len; i++)
			cut_at(c, i);
	if (habit == HABIT_RANDOM)
		for (n = rng_below(c->rng, (uint32_t)c->f->mark_cnt * 2 + 3); n; n--)
			cut_inside(c, (struct range){ 0, len });
}

static enum how how_of(struct rng *r)
{
	static const enum how usual[] = { HOW_SEND, HOW_WRITE, HOW_WRITEV, HOW_SENDMSG };

	if (rng_chance(r, 3))
		return rng_chance(r, 50) ? HOW_SENDMMSG : HOW_ZEROCOPY;
	return RNG_PICK(r, usual);
}

/* The gates in the order of their places, with the greatest wait so far. */
static int gate_order(const void *a, const void *b)
{
	const struct gate *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static void pieces_make(struct cutter *c)
{
	struct flow *f = c->f;
	uint32_t len = flow_at(f), wait = 0, from = 0;
	size_t g = 0;

	for (uint32_t i = 1; i <= len; i++) {
		enum how how;

		if (i < len && !c->cut[i])
			continue;
		for (; g < f->gate_cnt && f->gates[g].at <= from; g++)
			wait = f->gates[g].wait > wait ? f->gates[g].wait : wait;
		how = c->cut[from] & 2 ? HOW_FILE : how_of(c->rng);
		ADD(f->pieces, f->piece_cnt, (struct piece){ i, wait, how });
		from = i;
	}
}

static void heads_count(struct script *s, const struct cutter *c)
{
	for (size_t i = 0; i < c->f->head_cnt; i++) {
		struct range r = c->f->heads[i];

		for (r.from++; r.from < r.to && !c->cut[r.from]; r.from++)
			;
		s->heads++;
		s->heads_split += r.from < r.to;
	}
}

static void flow_cut(struct script *s, struct flow *f, struct rng *r)
{
	struct cutter c = { f, r, calloc(1, f->bytes.len + 1) };
	uint32_t wait = 0;

	must(c.cut);
	if (f->gate_cnt)
		qsort(f->gates, f->gate_cnt, sizeof(*f->gates), gate_order);
	for (size_t i = 0; i < f->gate_cnt; i++) {
		if (f->gates[i].wait > wait)
			cut_at(&c, f->gates[i].at);
		wait = f->gates[i].wait > wait ? f->gates[i].wait : wait;
	}
	cut_by_habit(&c);
	cut_heads(&c);
	cut_dark(&c);
	heads_count(s, &c);
	pieces_make(&c);
	free(c.cut);
}

void script_cut(struct script *s)
{
	flow_cut(s, &s->flow[CLIENT], &s->rng);
	flow_cut(s, &s->flow[SERVER], &s->rng);
}

/* --- for a reader --- */

enum { SHOWN_MAX = 200 };

static void bytes_show(FILE *out, const char *p, uint32_t len)
{
	for (uint32_t i = 0; i < len && i < SHOWN_MAX; i++) {
		if (p[i] == '\n')
			fputs("\\n", out);
		else if (p[i] == '\r')
			fputs("\\r", out);
		else if (p[i] < ' ' || p[i] == 0x7f || p[i] == '\\')
			fprintf(out, "\\x%02x", (unsigned char)p[i]);
		else
			fputc(p[i], out);
	}
	fputs(len > SHOWN_MAX ? "...\n" : "\n", out);
}

void script_show(const struct script *s, FILE *out)
{
	static const char *const hows[HOWS] = { "send", "write", "writev", "sendmsg", "sendmmsg", "zerocopy", "file" };

	fprintf(out, "# conn %u: ended by the %s (%d)%s\n", s->conn, s->closer == CLIENT ? "client" : "server",
		s->ending, s->half ? ", the client half-closes" : "");
	for (int side = 0; side < SIDES; side++) {
		const struct flow *f = &s->flow[side];
		uint32_t from = 0;

		for (size_t i = 0; i < f->piece_cnt; i++) {
			fprintf(out, "%c %u-%u %s, has read %u: ", side == CLIENT ? '>' : '<', from,
				f->pieces[i].end, hows[f->pieces[i].how], f->pieces[i].wait);
			bytes_show(out, f->bytes.p + from, f->pieces[i].end - from);
			from = f->pieces[i].end;
		}
	}
}

void script_free(struct script *s)
{
	for (int i = 0; i < SIDES; i++) {
		struct flow *f = &s->flow[i];

		free(f->bytes.p);
		free(f->gates);
		free(f->marks);
		free(f->heads);
		free(f->dark);
		free(f->pieces);
	}
	free(s->truth.p);
	free(s);
}

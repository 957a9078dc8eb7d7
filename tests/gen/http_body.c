/* SPDX-License-Identifier: Apache-2.0 */
/* http_body.c - bodies: how long, how framed, and what is in them (random bytes, or what looks like
 * another message). The bytes of the body itself are dark: they may travel by sendfile or be thrown
 * away unread. */
#include "http.h"

#include <stdio.h>

void body_plan(struct body *b, struct rng *r, uint32_t minor)
{
	uint32_t dice = rng_below(r, 100);

	b->framing = minor && rng_chance(r, 40) ? FRAME_CHUNKED : FRAME_LENGTH;
	if (dice < 10)
		b->size = 0;
	else if (dice < 65)
		b->size = rng_between(r, 1, 200);
	else if (dice < 92)
		b->size = rng_between(r, 1, 5000);
	else
		b->size = rng_between(r, 1, dice < 99 ? 40000 : rng_chance(r, 90) ? 400000 : 3000000);
}

void body_fields(struct maker *m, struct body *b, struct field *f, uint32_t *cnt)
{
	static const char *const codings[] = { "chunked", "chunked", "Chunked", "CHUNKED",
					       "gzip, chunked", "gzip,chunked" };
	struct rng *r = &m->s->rng;

	if (b->framing == FRAME_LENGTH) {
		snprintf(b->length, sizeof(b->length), rng_chance(r, 5) ? "%06u" : "%u", b->size);
		if (rng_chance(r, 1))
			snprintf(b->length, sizeof(b->length), "%u, %u", b->size, b->size);
		f[(*cnt)++] = (struct field){ "Content-Length", b->length };
		if (rng_chance(r, 1))
			f[(*cnt)++] = (struct field){ "Content-Length", b->length };
	}
	if (b->framing == FRAME_CHUNKED)
		f[(*cnt)++] = (struct field){ "Transfer-Encoding", RNG_PICK(r, codings) };
}

/* --- content --- */

static void noise(struct text *t, struct rng *r, uint32_t len)
{
	for (; len >= 8; len -= 8) {
		uint64_t v = rng_next(r);

		text_put(t, &v, 8);
	}
	for (; len; len--) {
		char c = (char)rng_next(r);

		text_put(t, &c, 1);
	}
}

#define SLY(s) { (s), sizeof(s) - 1 }

static void content(struct text *t, struct rng *r, uint32_t len)
{
	static const struct {
		const char *p;
		uint32_t len;
	} sly[] = {
		SLY("GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"),
		SLY("HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nabc"),
		SLY("0\r\n\r\nPOST /evil HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"),
		SLY("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		SLY("Q\0\0\0\015select 1;"),
	};
	uint32_t i = rng_below(r, sizeof(sly) / sizeof(*sly));

	if (rng_chance(r, 70)) {
		noise(t, r, len);
		return;
	}
	for (; len > sly[i].len; len -= sly[i].len)
		text_put(t, sly[i].p, sly[i].len);
	text_put(t, sly[i].p, len);
}

/* Body bytes, with the place where the first part of them is over. */
static void bytes_put(struct maker *m, struct body *b, uint32_t before, uint32_t len)
{
	struct flow *f = m->to;
	uint32_t from = flow_at(f);

	if (b->part > before && b->part <= before + len)
		b->part_at = from + b->part - before;
	content(&f->bytes, &m->s->rng, len);
	flow_dark(f, from);
}

/* --- chunks --- */

static void extension_put(struct maker *m)
{
	static const char *const some[] = { ";a", ";a=b", ";name=\"va;lue\"", " ; a = 1", ";x=5;y=ffff",
					    ";\"\\\"", "\t;t" };

	if (rng_chance(&m->s->rng, 15))
		text_str(&m->to->bytes, RNG_PICK(&m->s->rng, some));
}

static const char *end_of_line(struct maker *m)
{
	return m->bare_lf && rng_chance(&m->s->rng, 50) ? "\n" : "\r\n";
}

static void chunk_put(struct maker *m, struct body *b, uint32_t before, uint32_t len)
{
	static const char *const forms[] = { "%x", "%x", "%X", "%04x", "%08X" };
	struct rng *r = &m->s->rng;
	char size[20];

	snprintf(size, sizeof(size), RNG_PICK(r, forms), len);
	text_str(&m->to->bytes, size);
	extension_put(m);
	text_str(&m->to->bytes, end_of_line(m));
	if (!len)
		return;
	bytes_put(m, b, before, len);
	text_str(&m->to->bytes, end_of_line(m));
}

static void chunked_put(struct maker *m, struct body *b)
{
	struct rng *r = &m->s->rng;
	uint32_t before = 0, most = rng_chance(r, 20) ? 3 : rng_chance(r, 50) ? 100 : 20000;

	if (b->size / most > 500)
		most = b->size / 500;
	while (before < b->size) {
		uint32_t left = b->size - before, n = rng_between(r, 1, most < left ? most : left);

		chunk_put(m, b, before, n);
		before += n;
	}
	chunk_put(m, b, before, 0);
	while (rng_chance(r, 15))
		header_put(m, "X-Trailer", rng_chance(r, 50) ? "Content-Length: 3" : "t");
	text_str(&m->to->bytes, end_of_line(m));
}

void body_put(struct maker *m, struct body *b)
{
	if (b->unsent || b->framing == FRAME_NONE) {
		if (b->framing == FRAME_NONE && !b->unsent)
			b->size = 0;
		return;
	}
	if (b->framing == FRAME_CHUNKED)
		chunked_put(m, b);
	else
		bytes_put(m, b, 0, b->size);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. The window is an allocation that ends where its buffer ends, and what
 * is behind the bytes of this turn is left over from another one, as in the kernel. */
#include "tests/shadow/machine.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_FILL = WINDOW - 12, STEPS_STILL = 2 };

static void broken(const struct machine *m, const char *what)
{
	fprintf(stderr, "machine %d: %s at %u of %u, state %u\n", m->kind, what, m->w->at, m->w->n,
		m->kind < MACHINE_FRONTEND ? m->http.state : m->pg.state);
	abort();
}

static bool is_http(const struct machine *m)
{
	return m->kind < MACHINE_FRONTEND;
}

static void machine_start(struct machine *m)
{
	m->w = malloc(sizeof(*m->w));
	if (!m->w)
		abort();
	memset(m->w, 'h', sizeof(*m->w));
	m->w->n = m->w->at = m->w->tok = m->w->from = m->w->to = 0;
}

void machine_init(struct machine *m, enum machine_kind kind)
{
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	machine_start(m);
	m->out = open_memstream(&m->line, &m->line_len);
	if (kind != MACHINE_REQUEST && is_http(m))
		m->http.flags = H1_IS_RESPONSE;
	if (kind == MACHINE_FRONTEND || kind == MACHINE_BACKEND)
		m->pg.state = PGS_TYPE;
	if (kind == MACHINE_BACKEND)
		m->pg.backend = 1;
}

/* --- what is said --- */

/* A carriage return that stands within a text is seen or not, by where the stream breaks. */
static void text_more(struct machine *m)
{
	const struct window *w = m->w;

	if (w->from > w->to || w->to > w->n)
		broken(m, "a piece outside of the window");
	m->text = realloc(m->text, m->text_len + (w->to - w->from) + 1);
	for (__u32 i = w->from; i < w->to; i++)
		if (w->b[i] != '\r')
			m->text[m->text_len++] = w->b[i];
}

static void text_say(struct machine *m, const char *what, int which)
{
	text_more(m);
	fprintf(m->out, "%s%d=", what, which);
	for (size_t i = 0; i < m->text_len; i++)
		fprintf(m->out, m->text[i] > ' ' && m->text[i] < 127 ? "%c" : "%%%02x",
			(unsigned char)m->text[i]);
	fputc(' ', m->out);
	m->text_len = 0;
}

static void http1_head_say(struct machine *m)
{
	const struct http1 *h = &m->http;

	fprintf(m->out, "head:%u,%u,%x,%llu", h->status, h->minor, h->flags, h->length);
	if (h->flags & H1_HAS_PARENT)
		fprintf(m->out, ",%llx%llx,%llx", h->parent_trace[0], h->parent_trace[1],
			h->parent_span);
	fputc(' ', m->out);
}

static void http1_say(struct machine *m, int mark)
{
	struct http1 *h = &m->http;

	switch (mark) {
	case H1_BEGIN:
		fputs("begin ", m->out);
		m->text_len = 0;
		break;
	case H1_TEXT:
		text_say(m, "text", h->text);
		break;
	case H1_HEAD_END:
		http1_head_say(m);
		mark = http1_body_begin(h, m->kind == MACHINE_RESPONSE_TO_HEAD,
					m->kind == MACHINE_RESPONSE_TO_CONNECT);
		if (mark == H1_MSG_END)
			http1_say(m, mark);
		break;
	case H1_MSG_END:
		fprintf(m->out, "end:%llu ", h->body);
		break;
	case H1_BAD:
		fputs("bad ", m->out);
		m->over = true;
		break;
	}
}

static void pgsql_msg_say(struct machine *m)
{
	struct pgsql *p = &m->pg;

	if (p->type == 'D' && p->backend)
		return; /* the others of its kind are not marked, but counted */
	fprintf(m->out, "msg:%02x", p->type);
	if (p->rows)
		fprintf(m->out, ",rows=%u", p->rows);
	if (p->type == 'C' && p->backend)
		fprintf(m->out, ",tag=%x", p->acc);
	if (p->type == 'E' && p->backend)
		fprintf(m->out, ",code=%.6s", p->sqlstate);
	if (!p->backend && strchr("PBE", p->type))
		fprintf(m->out, ",%llx,%llx", p->names[0], p->names[1]);
	fputc(' ', m->out);
	p->rows = 0;
}

static void pgsql_say(struct machine *m, int mark)
{
	static const char *const names[] = {[PGM_SSL] = "ssl",
					    [PGM_CANCEL] = "cancel",
					    [PGM_STARTUP] = "startup",
					    [PGM_BAD] = "bad"};

	switch (mark) {
	case PGM_HEAD:
		fprintf(m->out, "head:%02x ", m->pg.type);
		break;
	case PGM_TEXT:
		text_more(m);
		m->pg.text_off += m->w->to - m->w->from;
		break;
	case PGM_TEXT_END:
		text_say(m, "sql", 0);
		break;
	case PGM_DATABASE:
		text_say(m, "database", 0);
		break;
	case PGM_MSG:
		pgsql_msg_say(m);
		break;
	case PGM_ANSWER:
		fprintf(m->out, "answer:%02x ", m->pg.type);
		break;
	default:
		fprintf(m->out, "%s ", names[mark]);
		m->over |= mark == PGM_BAD;
	}
}

static void say(struct machine *m, int mark)
{
	if (!mark)
		return;
	if (is_http(m))
		http1_say(m, mark);
	else
		pgsql_say(m, mark);
}

/* --- steps --- */

/* The window is used up: a text that goes on is kept. */
static void flush(struct machine *m)
{
	struct window *w = m->w;

	if (m->over || w->tok >= w->n)
		return;
	if (is_http(m) ? !http1_capturing(&m->http) : !pgsql_capturing(&m->pg))
		return;
	w->from = w->tok;
	w->to = w->n;
	w->tok = w->n;
	text_more(m);
}

static int step(struct machine *m)
{
	return is_http(m) ? http1_step(&m->http, m->w) : pgsql_step(&m->pg, m->w);
}

static void window_run(struct machine *m)
{
	struct window *w = m->w;
	int still = 0;

	while (w->at < w->n && !m->over) {
		__u32 before = w->at;

		say(m, step(m));
		if (w->at > w->n || w->at < before)
			broken(m, "the cursor left the window");
		still = w->at == before ? still + 1 : 0;
		if (still == STEPS_STILL && !m->over)
			broken(m, "no progress");
	}
	flush(m);
}

static size_t skip(struct machine *m, size_t most)
{
	__u64 k = is_http(m) ? http1_skippable(&m->http) : pgsql_skippable(&m->pg);

	if (k > most)
		k = most;
	if (k)
		say(m, is_http(m) ? http1_skip(&m->http, k) : pgsql_skip(&m->pg, k));
	return k;
}

void machine_feed(struct machine *m, const void *bytes, size_t len)
{
	const char *p = bytes;

	while (len && !m->over) {
		size_t n = m->skips ? skip(m, len) : 0;

		if (!n) {
			n = len < WINDOW_FILL ? len : WINDOW_FILL;
			memcpy(m->w->b, p, n);
			m->w->n = n;
			m->w->at = m->w->tok = 0;
			window_run(m);
		}
		p += n;
		len -= n;
	}
}

char *machine_end(struct machine *m)
{
	fclose(m->out);
	free(m->text);
	free(m->w);
	return m->line;
}

/* --- cases --- */

char *machine_says(const struct machine_case *c, size_t len, long cut, bool skips)
{
	struct machine m;

	machine_init(&m, c->kind);
	m.skips = skips;
	if (cut == CUT_ALL) {
		for (size_t i = 0; i < len; i++)
			machine_feed(&m, c->bytes + i, 1);
	} else {
		machine_feed(&m, c->bytes, cut);
		machine_feed(&m, c->bytes + cut, len - cut);
	}
	return machine_end(&m);
}

static char *difference(const struct machine_case *c, long at, const char *got)
{
	char *why = NULL;

	if (asprintf(&why, "at %ld of: %s\nwant: %s\ngot:  %s", at, c->bytes, c->says, got) < 0)
		abort();
	return why;
}

char *machine_splits(const struct machine_case *c)
{
	char *why = NULL;

	for (long cut = CUT_ALL; cut <= (long)c->len && !why; cut++) {
		for (int skips = 0; skips < 2 && !why; skips++) {
			char *line = machine_says(c, c->len, cut, skips);

			if (strcmp(line, c->says))
				why = difference(c, cut, line);
			free(line);
		}
	}
	return why;
}

char *machine_truncations(const struct machine_case *c)
{
	char *why = NULL;

	for (size_t len = 0; len < c->len && !why; len++) {
		char *line = machine_says(c, len, 0, false);

		if (strncmp(line, c->says, strlen(line)))
			why = difference(c, len, line);
		free(line);
	}
	return why;
}

void machine_shake(enum machine_kind kind, const void *state, size_t state_len, const void *bytes,
		   size_t len, __u32 at)
{
	struct machine m = {.kind = kind};
	size_t size = is_http(&m) ? sizeof(m.http) : sizeof(m.pg);

	machine_start(&m);
	memcpy(&m.http, state, state_len < size ? state_len : size);
	if (!is_http(&m))
		m.pg.left |= 1; /* no state of a message is entered without bytes to come */
	len = len < WINDOW_FILL ? len : WINDOW_FILL;
	memcpy(m.w->b, bytes, len);
	m.w->n = len;
	m.w->at = m.w->tok = len ? at % len : 0;
	for (int i = 0; i < 64 && m.w->at < m.w->n; i++) {
		step(&m);
		if (m.w->at > m.w->n)
			broken(&m, "the cursor left the window");
	}
	free(m.w);
}

static void fuzz_cut(const struct machine_case *c, long cut, bool skips)
{
	char *split = machine_says(c, c->len, cut, skips);

	if (strcmp(c->says, split)) {
		fprintf(stderr, "cut at %ld\nwhole: %s\nsplit: %s\n", cut, c->says, split);
		abort();
	}
	free(split);
}

void machine_fuzz(enum machine_kind first, int cnt, const __u8 *data, size_t len)
{
	struct machine_case c = {.bytes = (const char *)data + 2, .len = len - 2};
	char *whole;

	if (len < 3)
		return;
	c.kind = first + data[0] % cnt;
	c.says = whole = machine_says(&c, c.len, 0, false);
	fuzz_cut(&c, CUT_ALL, data[0] & 64);
	fuzz_cut(&c, data[1] * 17u % c.len, data[0] & 64);
	free(whole);
	machine_shake(c.kind, data, len, c.bytes, c.len, data[1]);
}

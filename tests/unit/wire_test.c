/* SPDX-License-Identifier: Apache-2.0 */
/* wire_test.c - replays every tests/wire/<name>.wire through the real hooks and parsers, from the
 * client's end, from the server's, and from both with one link map. Each is replayed whole, split
 * in two at every byte, byte by byte, as vectors, with sends that are tried again, with chunks run
 * together, with the hooks' second programs in turn with the first, over a Unix-domain socket where it
 * does not matter how it ends: the spans must be the same each time and those of the two ends must
 * join, every loss must be one that the scenario names, and nothing may stay in a map when the
 * connection is gone. */
#include "tests/shadow/scenario.h"
#include "tests/shadow/spans.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "tests/wire"

enum {
	ENDS_CLIENT = 1 << CLIENT,
	ENDS_SERVER = 1 << SERVER,
	ENDS_BOTH = ENDS_CLIENT | ENDS_SERVER,
	WHOLE = -1,
	BYTES = -2,
	SPLITS_ALL = 1500, /* longer conversations are split at every byte of their head only, … */
	SPLITS_HEAD = 200,
	SPLITS_REST = 100, /* … and at about so many places of the rest */
	CASES_MAX = 256,
};

/* One way to replay a scenario. */
struct way {
	const char *name;
	unsigned ends;
	enum pair_form form;
	long split;  /* WHOLE, BYTES, or at this byte of the conversation */
	bool joined; /* chunks of one direction that follow each other are one */
	bool is_unix;
};

struct outcome {
	struct spans spans;
	__u64 lost[LOST_COUNT], undecoded[UNDECODED_COUNT];
	size_t left;
};

struct run {
	const struct scenario *s;
	const struct way *way;
	struct pair pair;
	struct party party[ENDS];
	size_t off; /* bytes of the conversation so far */
	bool closed;
};

static void outcome_free(struct outcome *o)
{
	spans_free(&o->spans);
}

/* --- one replay --- */

static const struct step *step_next(const struct run *r, const struct step *st)
{
	return st + 1 < r->s->steps + r->s->step_cnt ? st + 1 : NULL;
}

static bool ends_stream(const struct run *r, const struct step *st)
{
	const struct step *next = step_next(r, st);

	return next && (next->kind == STEP_FIN || next->kind == STEP_CLOSE) && next->who == st->who;
}

static void piece(struct run *r, const struct step *st, const char *bytes, size_t len, bool last)
{
	enum pair_form form = r->way->form;

	if (form == FORM_FIN && !(last && ends_stream(r, st)))
		form = FORM_FLAT;
	if (len)
		pair_move(&r->pair, st->who, bytes, len, st->how, form);
}

static void step_bytes(struct run *r, const struct step *st, const char *bytes, size_t len)
{
	size_t at = r->way->split == WHOLE ? SIZE_MAX : (size_t)r->way->split - r->off;

	r->off += len;
	if (r->way->split == BYTES) {
		for (size_t i = 0; i < len; i++)
			piece(r, st, bytes + i, 1, i + 1 == len);
	} else if (at < len) {
		piece(r, st, bytes, at, false);
		piece(r, st, bytes + at, len - at, true);
	} else {
		piece(r, st, bytes, len, true);
	}
}

static bool joinable(const struct step *a, const struct step *b)
{
	return b && b->kind == STEP_BYTES && b->who == a->who && b->how == a->how;
}

/* Runs chunks together as far as they go; the last step that was used. */
static const struct step *steps_joined(struct run *r, const struct step *st)
{
	char *all = NULL;
	size_t len = 0;
	const struct step *last = st;

	for (;; last++) {
		all = realloc(all, len + last->len + 1);
		memcpy(all + len, last->bytes, last->len);
		len += last->len;
		if (!joinable(last, step_next(r, last)))
			break;
	}
	step_bytes(r, last, all, len);
	free(all);
	return last;
}

static void attach(struct run *r)
{
	for (int end = 0; end < ENDS; end++)
		if (r->way->ends & 1 << end)
			pair_trace(&r->pair, end, &r->party[end]);
}

static const struct step *step_run(struct run *r, const struct step *st)
{
	if (st->kind == STEP_BYTES && r->way->joined)
		return steps_joined(r, st);
	if (st->kind == STEP_BYTES)
		step_bytes(r, st, st->bytes, st->len);
	else if (st->kind == STEP_ATTACH)
		attach(r);
	else if (st->kind == STEP_FIN)
		pair_fin(&r->pair, st->who);
	else if (st->kind == STEP_CLOSE)
		pair_close(&r->pair, st->who);
	else
		pair_reset(&r->pair);
	r->closed |= st->kind == STEP_CLOSE || st->kind == STEP_RESET;
	return st;
}

/* Does it say how the connection ends? */
static bool has_end(const struct scenario *s)
{
	return s->step_cnt && s->steps[s->step_cnt - 1].kind >= STEP_FIN;
}

static void replay(const struct scenario *s, const struct way *way, struct outcome *ret)
{
	struct run r = {.s = s, .way = way};
	const struct step *st;

	pair_boot();
	PAIR_SET(tracepoints_preempt, way->form == FORM_TWIN);
	party_init(&r.party[CLIENT], 100, 0);
	party_init(&r.party[SERVER], 200, 0);
	if (way->is_unix)
		pair_open_unix(&r.pair, NULL, NULL);
	else
		pair_open(&r.pair, NULL, NULL);
	if (!s->attaches)
		attach(&r);
	for (st = s->steps; st && !r.closed; st = step_next(&r, st))
		st = step_run(&r, st);
	if (!r.closed)
		pair_close(&r.pair, CLIENT);
	spans_read(&ret->spans);
	memcpy(ret->lost, lost_cnt, sizeof(ret->lost));
	memcpy(ret->undecoded, undecoded_cnt, sizeof(ret->undecoded));
	ret->left = pair_leftovers();
}

/* --- comparing --- */

static void outcome_print(const char *why, const struct way *w, const struct outcome *o)
{
#define X(id, name, help) #name,
	static const char *const names[] = {LOST(X)};
#undef X

	print_error("%s: %s, split %ld; it gave:\n", why, w->name, w->split);
	for (size_t i = 0; i < o->spans.cnt; i++)
		print_error("  %s %s%s\n",
			    o->spans.at[i].rec.role == ROLE_CLIENT ? "client" : "server",
			    o->spans.at[i].text, o->spans.at[i].parent);
	for (int i = 0; i < LOST_COUNT; i++)
		if (o->lost[i])
			print_error("  lost %s %llu\n", names[i], o->lost[i]);
	if (o->left)
		print_error("  %zu entries left in maps\n", o->left);
}

#define CHECK(o, w, cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			outcome_print(#cond, (w), (o));                                            \
			fail();                                                                    \
		}                                                                                  \
	} while (0)

/* The next word of a line, quoted blanks and all. NULL: no more. */
static const char *token(const char **at, size_t *ret_len)
{
	const char *from = *at;
	bool quoted = false;
	const char *p;

	while (*from == ' ')
		from++;
	for (p = from; *p && (quoted || *p != ' '); p++)
		quoted ^= *p == '"';
	*at = p;
	*ret_len = p - from;
	return p > from ? from : NULL;
}

static bool line_has(const char *line, const char *word, size_t len)
{
	const char *t;
	size_t n;

	while ((t = token(&line, &n)))
		if (n == len && !memcmp(t, word, n))
			return true;
	return false;
}

/* All words that are expected are there, and no flag that is not. */
static bool line_fits(const char *expected, const char *line)
{
	const char *at = expected, *t;
	size_t n;

	while ((t = token(&at, &n)))
		if (!line_has(line, t, n))
			return false;
	at = line;
	while ((t = token(&at, &n)))
		if (!memchr(t, '=', n) && !line_has(expected, t, n))
			return false;
	return true;
}

static void spans_check(const struct scenario *s, const struct way *w, const struct outcome *o)
{
	size_t got = 0;

	for (size_t i = 0; i < s->span_cnt; i++) {
		const struct span_line *l = &o->spans.at[got];
		char line[32768];

		if (!(s->spans[i].ends & w->ends))
			continue;
		if (got == o->spans.cnt)
			print_error("missing: %s\n", s->spans[i].text);
		CHECK(o, w, got < o->spans.cnt);
		snprintf(line, sizeof(line), "%s%s", l->text, l->parent);
		if (!line_fits(s->spans[i].text, line))
			print_error("span %zu is not: %s\n", got, s->spans[i].text);
		CHECK(o, w, line_fits(s->spans[i].text, line));
		got++;
	}
	CHECK(o, w, got == o->spans.cnt);
}

static void counters_check(const struct scenario *s, const struct way *w, const struct outcome *o)
{
	bool c = w->ends & ENDS_CLIENT, v = w->ends & ENDS_SERVER;

	for (int i = 0; i < LOST_COUNT; i++)
		CHECK(o, w, o->lost[i] == c * s->lost[CLIENT][i] + v * s->lost[SERVER][i]);
	for (int i = 0; i < UNDECODED_COUNT; i++)
		CHECK(o, w,
		      o->undecoded[i] == c * s->undecoded[CLIENT][i] + v * s->undecoded[SERVER][i]);
	CHECK(o, w, o->left == 0);
}

static void same_check(const struct way *w, const struct outcome *o, const struct outcome *first)
{
	CHECK(o, w, o->spans.cnt == first->spans.cnt);
	for (size_t i = 0; i < o->spans.cnt; i++) {
		CHECK(o, w, !strcmp(o->spans.at[i].text, first->spans.at[i].text));
		CHECK(o, w, !strcmp(o->spans.at[i].parent, first->spans.at[i].parent));
	}
}

/* Seen from both ends: what each end alone saw, and each request's two spans are parent and child.
 */
static void join_check(const struct way *w, const struct outcome *o,
		       const struct outcome first[ENDS])
{
	const struct span_line *of[ENDS][512];
	size_t cnt[ENDS] = {0};

	for (size_t i = 0; i < o->spans.cnt; i++) {
		int end = o->spans.at[i].rec.role == ROLE_CLIENT ? CLIENT : SERVER;

		of[end][cnt[end]++ % 512] = &o->spans.at[i];
	}
	for (int end = 0; end < ENDS; end++) {
		CHECK(o, w, cnt[end] == first[end].spans.cnt);
		for (size_t i = 0; i < cnt[end]; i++)
			CHECK(o, w, !strcmp(of[end][i]->text, first[end].spans.at[i].text));
	}
	for (size_t i = 0; cnt[CLIENT] == cnt[SERVER] && i < cnt[CLIENT]; i++) {
		const struct rec_span *c = &of[CLIENT][i]->rec, *v = &of[SERVER][i]->rec;

		CHECK(o, w, v->parent == PARENT_PEER && v->parent_id == c->span_id);
		CHECK(o, w, !memcmp(v->trace_id, c->trace_id, sizeof(c->trace_id)));
		CHECK(o, w, v->start_ns >= c->start_ns);
		CHECK(o, w, v->end_ns <= c->end_ns || c->flags & SPAN_ABORTED);
	}
}

/* --- all ways --- */

static size_t conversation_len(const struct scenario *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->step_cnt; i++)
		n += s->steps[i].len;
	return n;
}

/* One that is compared with the first replay from that end, or joined. */
static void way_check(const struct scenario *s, struct way w, const struct outcome first[ENDS])
{
	struct outcome o;

	replay(s, &w, &o);
	counters_check(s, &w, &o);
	if (w.ends == ENDS_BOTH)
		join_check(&w, &o, first);
	else
		same_check(&w, &o, &first[w.ends == ENDS_SERVER]);
	outcome_free(&o);
}

static void ends_check(const struct scenario *s, unsigned ends, const struct outcome first[ENDS])
{
	static const struct way ways[] = {
		{"whole", 0, FORM_FLAT, WHOLE, false, false},
		{"byte by byte", 0, FORM_FLAT, BYTES, false, false},
		{"joined", 0, FORM_FLAT, WHOLE, true, false},
		{"vectors", 0, FORM_VECTOR, WHOLE, false, false},
		{"tried again", 0, FORM_RETRY, WHOLE, false, false},
		{"tried again, byte by byte", 0, FORM_RETRY, BYTES, false, false},
		{"end with the last bytes", 0, FORM_FIN, WHOLE, false, false},
		{"twins", 0, FORM_TWIN, WHOLE, false, false},
		{"twins, byte by byte", 0, FORM_TWIN, BYTES, false, false},
		{"unix", 0, FORM_FLAT, WHOLE, false, true},
		{"unix, byte by byte", 0, FORM_RETRY, BYTES, false, true},
		{"unix, vectors", 0, FORM_VECTOR, WHOLE, true, true},
		{"unix, twins, byte by byte", 0, FORM_TWIN, BYTES, false, true},
	};
	struct way w = {"split", ends, FORM_FLAT, 0, false, false};
	long len = conversation_len(s), all = len > SPLITS_ALL ? SPLITS_HEAD : SPLITS_ALL;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct way x = ways[i];

		x.ends = ends;
		if (!x.is_unix || !has_end(s))
			way_check(s, x, first);
	}
	for (w.split = 1; w.split < len; w.split += w.split < all ? 1 : len / SPLITS_REST) {
		w.form = w.split % 2 ? FORM_FLAT : FORM_RETRY;
		way_check(s, w, first);
	}
}

static void first_check(const struct scenario *s, int end, struct outcome *ret)
{
	struct way w = {"first", 1 << end, FORM_FLAT, WHOLE, false, false};

	replay(s, &w, ret);
	spans_check(s, &w, ret);
	counters_check(s, &w, ret);
}

static void scenario_check(void **state)
{
	const char *name = *state;
	struct outcome first[ENDS] = {0};
	struct scenario s;
	char path[512];

	snprintf(path, sizeof(path), FOLDER "/%s.wire", name);
	assert_int_equal(scenario_read(&s, path), 0);
	for (int end = 0; end < ENDS; end++)
		if (s.ends & 1 << end)
			first_check(&s, end, &first[end]);
	for (int end = 0; end < ENDS; end++)
		if (s.ends & 1 << end)
			ends_check(&s, 1 << end, first);
	if (s.ends == ENDS_BOTH)
		ends_check(&s, ENDS_BOTH, first);
	for (int end = 0; end < ENDS; end++)
		outcome_free(&first[end]);
	scenario_free(&s);
	shadow_reset();
}

static int is_wire(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot && !strcmp(dot, ".wire");
}

/* wire_test [NAME...]: all scenarios, or these. */
int main(int argc, char **argv)
{
	static struct CMUnitTest cases[CASES_MAX];
	struct dirent **files = NULL;
	int n = argc > 1 ? 0 : scandir(FOLDER, &files, is_wire, alphasort), cnt = 0;

	for (int i = 1; i < argc && cnt < CASES_MAX; i++)
		cases[cnt++] = (struct CMUnitTest){argv[i], scenario_check, NULL, NULL, argv[i]};
	for (int i = 0; i < n && cnt < CASES_MAX; i++) {
		char *name = files[i]->d_name;

		*strrchr(name, '.') = 0;
		cases[cnt++] = (struct CMUnitTest){name, scenario_check, NULL, NULL, name};
	}
	if (!cnt)
		return 2;
	n = _cmocka_run_group_tests("wire", cases, cnt, NULL, NULL);
	for (int i = 0; files && i < cnt; i++)
		free(files[i]);
	free(files);
	if (n)
		_exit(1); /* what a failed test did not free is of no interest */
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* re.c - RE2's regular expressions by PCRE2. PCRE2 can do more than RE2 (look-around, back
 * references, recursion, possessive quantifiers, verbs): what RE2 refuses is refused here, as it
 * would behave otherwise elsewhere and is what makes patterns expensive. Whatever is left and still
 * backtracks ends at the match limit. A struct re belongs to one query and one thread. */
#include "query/re.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
	MATCH_LIMIT = 300000,
	PATTERN_MAX = 4096,
	JIT_STACK_MIN = 32 << 10,
	JIT_STACK_MAX = 512 << 10
};

struct re {
	struct re *next;
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *ctx;
	pcre2_jit_stack *stack;
};

/* (?:..) (?flags) (?flags:..) (?P<name>..) (?<name>..) are RE2's; no other (? or (* is. */
static bool group_is_re2(const char *p, const char *end)
{
	if (p < end && *p == '*')
		return false;
	if (p == end || *p != '?')
		return true;
	p++;
	if (end - p >= 2 && p[0] == '<')
		return p[1] != '=' && p[1] != '!';
	if (end - p >= 2 && p[0] == 'P')
		return p[1] == '<';
	for (; p < end && strchr("imsU-", *p); p++)
		;
	return p < end && (*p == ':' || *p == ')');
}

/* \101 is a character by its octal number, \1 would be a back reference. */
static bool escape_is_re2(const char *p, const char *end)
{
	if (*p >= '1' && *p <= '7')
		return end - p > 1 && p[1] >= '0' && p[1] <= '7';
	return !strchr("89GgkKXRHhNuUloyYZecE", *p);
}

/* --- the walk over a pattern: RE2 refuses what repeats a repetition, or one part too often --- */
enum { GROUPS_MAX = 200, REPEAT_MAX = 1000 };

struct walk {
	const char *p, *end;
	uint32_t often[GROUPS_MAX]; /* of each open group: how often its busiest part is there */
	int depth;
	uint32_t atom; /* the same of what stands before p */
	bool repeated, lazy;
};

static void walk_atom(struct walk *w, uint32_t often)
{
	w->atom = often;
	w->repeated = w->lazy = false;
	if (often > w->often[w->depth])
		w->often[w->depth] = often;
}

/* Behind the backslash; a quoted part ends at \E. */
static bool walk_escape(struct walk *w)
{
	if (w->p == w->end)
		return false;
	if (*w->p == 'Q') {
		const char *e = memmem(w->p, (size_t)(w->end - w->p), "\\E", 2);

		w->p = e ? e + 2 : w->end;
	} else if (escape_is_re2(w->p, w->end)) {
		w->p++;
	} else {
		return false;
	}
	walk_atom(w, 1);
	return true;
}

/* Behind the opening bracket. */
static bool walk_class(struct walk *w)
{
	w->p += w->p < w->end && *w->p == '^';
	w->p += w->p < w->end && *w->p == ']';
	for (; w->p < w->end && *w->p != ']'; w->p++)
		if (*w->p == '\\' && (++w->p == w->end || !escape_is_re2(w->p, w->end)))
			return false;
	w->p += w->p < w->end;
	walk_atom(w, 1);
	return true;
}

static bool walk_group(struct walk *w, bool opens)
{
	uint32_t often = w->often[w->depth];

	if (opens) {
		if (!group_is_re2(w->p, w->end) || ++w->depth == GROUPS_MAX)
			return false;
		w->often[w->depth] = 1;
		walk_atom(w, 1);
		w->p += w->p < w->end && *w->p == '?'; /* which repeats nothing */
		return true;
	}
	if (w->depth-- == 0)
		return false;
	walk_atom(w, often);
	return true;
}

/* {n} {n,} {n,m}: its length behind the brace and the larger number; 0: it is plain text. */
static size_t braces(const char *p, const char *end, uint32_t *ret)
{
	const char *from = p;
	uint32_t n[2] = {0};
	int cnt = 0;

	for (; p < end && *p != '}'; p++) {
		if (*p == ',' && cnt == 0 && p > from)
			cnt = 1;
		else if (*p >= '0' && *p <= '9')
			n[cnt] = n[cnt] > REPEAT_MAX ? n[cnt] : n[cnt] * 10 + (uint32_t)(*p - '0');
		else
			return 0;
	}
	if (p == end || p == from)
		return 0;
	*ret = n[0] > n[1] ? n[0] : n[1];
	return (size_t)(p + 1 - from);
}

static bool walk_repeat(struct walk *w, char c, uint32_t times)
{
	if (w->repeated) {
		bool is_lazy = c == '?' && !w->lazy;

		w->lazy = true;
		return is_lazy;
	}
	walk_atom(w, w->atom * (times ?: 1));
	w->repeated = true;
	return w->atom <= REPEAT_MAX;
}

static bool walk_one(struct walk *w)
{
	uint32_t times = 1;
	char c = *w->p++;
	size_t len;

	switch (c) {
	case '\\':
		return walk_escape(w);
	case '[':
		return walk_class(w);
	case '(':
	case ')':
		return walk_group(w, c == '(');
	case '{':
		len = braces(w->p, w->end, &times);
		w->p += len;
		if (len)
			return times <= REPEAT_MAX && walk_repeat(w, c, times);
		break;
	case '*':
	case '+':
	case '?':
		return walk_repeat(w, c, 1);
	}
	walk_atom(w, 1);
	return true;
}

static bool pattern_is_re2(struct str s)
{
	struct walk w = {.p = s.p, .end = s.p + s.len, .atom = 1};

	while (w.p < w.end)
		if (!walk_one(&w))
			return false;
	return true;
}

static pcre2_code *code_new(struct str pattern)
{
	uint32_t options = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOTALL |
			   PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C |
			   PCRE2_MATCH_INVALID_UTF | PCRE2_UTF | PCRE2_DUPNAMES;
	int code;
	size_t at;

	if (pattern.len > PATTERN_MAX || !pattern_is_re2(pattern))
		return NULL;
	return pcre2_compile((PCRE2_SPTR)pattern.p, pattern.len, options, &code, &at, NULL);
}

int re_compile(struct re **ret, struct str pattern, struct re **list)
{
	struct re *re;
	pcre2_code *code = code_new(pattern);

	if (!code)
		return -EINVAL;
	re = calloc(1, sizeof(*re));
	must(re);
	re->code = code;
	re->data = pcre2_match_data_create(1, NULL);
	re->ctx = pcre2_match_context_create(NULL);
	must(re->data && re->ctx);
	pcre2_set_match_limit(re->ctx, MATCH_LIMIT);
	if (pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0) {
		re->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
		pcre2_jit_stack_assign(re->ctx, NULL, re->stack);
	}
	re->next = *list;
	*list = re;
	*ret = re;
	return 0;
}

int re_match(struct re *re, struct str subject)
{
	const char *p = subject.len ? subject.p : "";
	int rc = pcre2_match(re->code, (PCRE2_SPTR)p, subject.len, 0, 0, re->data, re->ctx);

	if (rc >= 0)
		return 1;
	return rc == PCRE2_ERROR_NOMATCH ? 0 : -ERANGE;
}

void re_free(struct re *list)
{
	while (list) {
		struct re *next = list->next;

		pcre2_code_free(list->code);
		pcre2_match_data_free(list->data);
		pcre2_match_context_free(list->ctx);
		pcre2_jit_stack_free(list->stack);
		free(list);
		list = next;
	}
}

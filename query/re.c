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

static bool escape_is_re2(char c)
{
	return !strchr("123456789GgkKXRHhNuUloyYZe", c);
}

/* Behind a quantifier only ? may follow (lazy). */
static bool quantifier_is_re2(const char *p, const char *start)
{
	return *p != '+' || p == start || !strchr("*+?}", p[-1]) ||
	       (p - start > 1 && p[-2] == '\\');
}

static bool pattern_is_re2(struct str s)
{
	const char *end = s.p + s.len;
	bool in_class = false;

	for (const char *p = s.p; p < end; p++) {
		if (*p == '\\') {
			if (++p == end || !escape_is_re2(*p))
				return false;
		} else if (in_class) {
			in_class = *p != ']';
		} else if (*p == '[') {
			in_class = true;
			p += end - p > 1 && p[1] == '^';
			p += end - p > 1 && p[1] == ']';
		} else if (*p == '(' && !group_is_re2(p + 1, end)) {
			return false;
		} else if (!quantifier_is_re2(p, s.p)) {
			return false;
		}
	}
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

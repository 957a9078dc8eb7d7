/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - see utf8.h. Called by span_build, stmt and sql for every text that a traced program
 * sent, so pure ASCII, which is nearly all of it, takes one pass and one copy. What leaves
 * utf8_copy is valid UTF-8: the encoders to the right rely on it. */
#include "agent/utf8.h"

#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd";

/* The least and greatest second byte after lead byte c: no overlong forms, no surrogates, nothing
 * past U+10FFFF (Unicode, table 3-7). */
static bool second_ok(uint8_t c, uint8_t second)
{
	uint8_t min = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	uint8_t max = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

	return second >= min && second <= max;
}

size_t utf8_len(const char *p, size_t left)
{
	const uint8_t *u = (const uint8_t *)p;
	size_t len;

	if (u[0] < 0x80)
		return 1;
	len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
	if (u[0] < 0xc2 || u[0] > 0xf4 || left < len || !second_ok(u[0], u[1]))
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

/* How many bytes of ASCII it begins with, but for up to seven. */
static size_t ascii_len(struct str s)
{
	uint64_t word;
	size_t i = 0;

	for (; i + sizeof(word) <= s.len; i += sizeof(word)) {
		memcpy(&word, s.p + i, sizeof(word));
		if (word & 0x8080808080808080u)
			break;
	}
	return i;
}

static size_t bad_count(struct str s)
{
	size_t bad = 0;

	for (size_t i = ascii_len(s); i < s.len;) {
		size_t n = utf8_len(s.p + i, s.len - i);

		bad += n == 0;
		i += n ? n : 1;
	}
	return bad;
}

struct str utf8_copy(struct arena *a, struct str s)
{
	size_t bad = bad_count(s), len = s.len + bad * (sizeof(REPLACEMENT) - 2), at = 0;
	char *out = len ? arena_alloc(a, len) : NULL;

	if (!out)
		return STR("");
	if (!bad) {
		memcpy(out, s.p, len);
		return (struct str){out, len};
	}
	for (size_t i = 0; i < s.len;) {
		size_t n = utf8_len(s.p + i, s.len - i);
		size_t out_len = n ? n : sizeof(REPLACEMENT) - 1;

		memcpy(out + at, n ? s.p + i : REPLACEMENT, out_len);
		at += out_len;
		i += n ? n : 1;
	}
	return (struct str){out, at};
}

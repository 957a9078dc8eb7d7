/* SPDX-License-Identifier: Apache-2.0 */
/* term.c - writes what came from the wire for a person to read. It knows no span and no section.
 * The invariant: for any input bytes the output is valid UTF-8 without control characters. */
#include "agent/term.h"
#include "agent/utf8.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* The longest piece is an escape: "\u202e". */
enum { PIECE_MAX = 8 };

static uint32_t decode(const char *p, size_t len)
{
	const unsigned char *u = (const unsigned char *)p;
	uint32_t c = len == 1 ? u[0] : u[0] & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (u[i] & 0x3f);
	return c;
}

/* Control characters, line and paragraph separators, marks that turn the direction of text. */
static bool is_unsafe(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* One character of s as it is shown; returns its bytes in s. */
static size_t take_piece(struct str s, char piece[PIECE_MAX], size_t *ret_len, size_t *ret_cols)
{
	size_t len = utf8_len(s.p, s.len);
	uint32_t c = len ? decode(s.p, len) : (unsigned char)*s.p;

	if (len && !is_unsafe(c)) {
		memcpy(piece, s.p, len);
		*ret_len = len;
		*ret_cols = 1;
		return len;
	}
	*ret_len =
		(size_t)snprintf(piece, PIECE_MAX, c < 0x100 && len < 2 ? "\\x%02x" : "\\u%04x", c);
	*ret_cols = *ret_len;
	return len ? len : 1;
}

static size_t columns(struct str s)
{
	size_t total = 0, len, cols;
	char piece[PIECE_MAX];

	while (s.len) {
		size_t n = take_piece(s, piece, &len, &cols);

		s = (struct str){s.p + n, s.len - n};
		total += cols;
	}
	return total;
}

size_t term_add(struct strbuf *out, struct str s, size_t max)
{
	size_t total = 0, len, cols;
	char piece[PIECE_MAX];
	bool is_cut = max && columns(s) > max;

	while (s.len) {
		size_t n = take_piece(s, piece, &len, &cols);

		if (is_cut && total + cols > max - 1)
			break;
		strbuf_add(out, piece, len);
		s = (struct str){s.p + n, s.len - n};
		total += cols;
	}
	if (is_cut)
		strbuf_adds(out, "…");
	return total + is_cut;
}

void term_add_duration(struct strbuf *out, uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *name;
	} units[] = {{NS_PER_S, "s"}, {NS_PER_MS, "ms"}, {1000, "us"}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (ns >= units[i].ns) {
			double v = (double)ns / (double)units[i].ns;
			int digits = (v < 10) + (v < 100);

			strbuf_printf(out, "%.*f%s", digits, v, units[i].name);
			return;
		}
	strbuf_printf(out, "%uns", (unsigned)ns);
}

void term_add_time(struct strbuf *out, uint64_t real_ns)
{
	time_t sec = (time_t)(real_ns / NS_PER_S);
	char stamp[40];
	struct tm tm;

	gmtime_r(&sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	strbuf_printf(out, "%s.%03uZ", stamp, (unsigned)(real_ns % NS_PER_S / NS_PER_MS));
}

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* http1_head.h - the head of an HTTP/1.x message: request line or status line, and headers. Each
 * line is read byte by byte where the stream may break, and at a glance, a word at a time, where
 * enough of it is there; both ways must see the same. Lines that do not matter are skipped by word
 * scan. Used by http1.h alone, which has the rest of the machine. */
#ifndef WIRESPAN_HTTP1_HEAD_H
#define WIRESPAN_HTTP1_HEAD_H

#include "kern/record.h"
#include "kern/window.h"

enum http1_state {
	H1_START,   /* between messages; stray empty lines are skipped */
	H1_METHOD,  /* request line */
	H1_TARGET,
	H1_VERSION,
	H1_PROTO,   /* status line: HTTP/1.x and the three digits */
	H1_LINE,    /* the rest of a line that does not matter */
	H1_NAME,    /* a header name; col 0 at the start of the line */
	H1_VALUE,   /* the value of a header that matters */
	H1_HEAD_OVER, /* waits for http1_body_begin */
	H1_BODY,
	H1_CHUNK_SIZE,
	H1_CHUNK_EXT,
	H1_CHUNK_DATA,
	H1_CHUNK_END,
	H1_TRAILER, /* start of a trailer line */
	H1_TRAILER_LINE,
	H1_UNTIL_CLOSE,
	H1_TUNNEL,
	H1_DEAD,    /* after nonsense */
};

enum http1_mark {
	H1_NONE,
	H1_BEGIN,    /* the message's first byte is at the cursor */
	H1_TEXT,     /* from..to belongs to text piece `text`; it ends there */
	H1_HEAD_END,
	H1_MSG_END,
	H1_BAD,
};

enum http1_header { H1_HOST, H1_AGENT, H1_LENGTH, H1_ENCODING, H1_TRACEPARENT };

enum http1_flags {
	H1_IS_RESPONSE = 1, /* set once by the owner */
	H1_CHUNKED = 2,
	H1_HAS_LENGTH = 4,
	H1_HAS_PARENT = 8, /* traceparent is whole and legal */
	H1_IS_HEAD = 16,
	H1_IS_CONNECT = 32,
	H1_ENCODED = 64, /* there is a Transfer-Encoding, chunked or not */
};

struct http1 {
	__u64 left;   /* of the counted body, or of the chunk */
	__u64 body;   /* bytes so far, without chunk framing */
	__u64 length; /* Content-Length */
	__u64 parent_trace[2], parent_span; /* traceparent, as bytes in memory order */
	__u32 hash;   /* of the name or token so far */
	__u16 status;
	__u8 state;   /* enum http1_state */
	__u8 header;  /* enum http1_header of the value */
	__u8 col;     /* position in the current token, where that matters */
	__u8 flags;   /* enum http1_flags */
	__u8 minor;   /* HTTP/1.minor */
	__u8 text;    /* enum rec_text of the piece being captured */
	__u8 trace_flags; /* of traceparent */
	__u8 names_parent; /* there is a traceparent, legal or not */
};

/* FNV-1a; folds to a constant for a literal. */
static __always_inline __u32 hash_byte(__u32 h, __u8 c)
{
	return (h ^ c) * 16777619u;
}

enum { HASH_START = 0x811c9dc5 };

static __always_inline __u32 hash_literal(const char *s, __u32 n)
{
	__u32 h = HASH_START, i;

	for (i = 0; i < n; i++)
		h = hash_byte(h, (__u8)s[i]);
	return h;
}
#define HASH(s) hash_literal(s, sizeof(s) - 1)

static __always_inline __u8 lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static __always_inline int hex_digit(__u8 c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static __always_inline int http1_bad(struct http1 *m)
{
	m->state = H1_DEAD;
	return H1_BAD;
}

/* Is text being captured that goes on in the next window? Its start is window.tok. */
static __always_inline int http1_capturing(const struct http1 *m)
{
	return m->state == H1_METHOD || m->state == H1_TARGET ||
	       (m->state == H1_VALUE && m->header <= H1_AGENT && m->col);
}

/* A piece of the request line ends at the blank. */
static __always_inline int http1_word(struct window *w, __u32 to)
{
	w->from = w->tok;
	w->to = to;
	w->at = w->tok = to + 1;
	return H1_TEXT;
}

static __always_inline int http1_begin(struct http1 *m, struct window *w, __u8 c)
{
	if (c == '\r' || c == '\n') {
		w->at++;
		return H1_NONE;
	}
	m->flags &= H1_IS_RESPONSE;
	m->left = m->body = m->length = 0;
	m->status = 0;
	m->names_parent = 0;
	m->col = 0;
	m->hash = HASH_START;
	m->text = TEXT_METHOD;
	m->state = m->flags & H1_IS_RESPONSE ? H1_PROTO : H1_METHOD;
	w->tok = w->at;
	return H1_BEGIN;
}

/* Length of a common method with its blank, at a glance; 0: byte by byte then. */
static __always_inline __u32 http1_glance_method(struct http1 *m, const __u8 *p)
{
	if (BYTES_ARE(p, "GET ") || BYTES_ARE(p, "PUT "))
		return 4;
	if (BYTES_ARE(p, "POST "))
		return 5;
	if (BYTES_ARE(p, "PATCH "))
		return 6;
	if (BYTES_ARE(p, "DELETE "))
		return 7;
	if (BYTES_ARE(p, "HEAD ")) {
		m->flags |= H1_IS_HEAD;
		return 5;
	}
	return 0;
}

static __always_inline int http1_method(struct http1 *m, struct window *w, __u8 c)
{
	__u32 n = 0;

	if (m->col == 0 && window_has(w, GLANCE))
		n = http1_glance_method(m, window_at(w));
	if (n) {
		m->state = H1_TARGET;
		return http1_word(w, w->at + n - 1);
	}
	if (c == ' ' && m->col) {
		if (m->hash == HASH("HEAD"))
			m->flags |= H1_IS_HEAD;
		if (m->hash == HASH("CONNECT"))
			m->flags |= H1_IS_CONNECT;
		m->state = H1_TARGET;
		m->text = TEXT_METHOD;
		return http1_word(w, w->at);
	}
	if (c <= ' ' || c >= 0x7f || m->col >= 32)
		return http1_bad(m);
	m->hash = hash_byte(m->hash, c);
	m->col++;
	w->at++;
	return H1_NONE;
}

static __always_inline int http1_target(struct http1 *m, struct window *w)
{
	__u32 i = window_find2(w, ' ', '\n');

	m->text = TEXT_TARGET;
	w->at = i;
	if (i >= w->n || (window_byte(w, i) != ' ' && window_byte(w, i) != '\n'))
		return H1_NONE;
	if (window_byte(w, i) == '\n')
		return http1_bad(m);
	m->state = H1_VERSION;
	m->col = 0;
	return http1_word(w, i);
}

/* "HTTP/1." then the minor digit; column 8 is the caller's. */
static __always_inline int http1_version(struct http1 *m, __u8 c)
{
	const __u64 proto = 0x2e312f50545448ull; /* "HTTP/1.", first byte lowest */
	__u8 col = m->col & 7;

	if (col < 7 ? c != (__u8)(proto >> (8 * col)) : c < '0' || c > '9')
		return http1_bad(m);
	if (col == 7)
		m->minor = c - '0';
	m->col++;
	return H1_NONE;
}

/* Eight bytes in one go, when they are all here: HTTP/1.x */
static __always_inline int http1_glance_version(struct http1 *m, struct window *w)
{
	const __u8 *p = window_at(w);

	if (m->col || !window_has(w, GLANCE) || !BYTES_ARE(p, "HTTP/1.") || p[7] < '0' || p[7] > '9')
		return 0;
	m->minor = p[7] - '0';
	m->col = 8;
	w->at += 8;
	return 1;
}

/* To behind the next line end, or as far as one scan goes. */
static __always_inline int http1_skip_line(struct http1 *m, struct window *w, __u8 next)
{
	__u32 i = window_find(w, '\n');

	w->at = i;
	if (i < w->n && window_byte(w, i) == '\n') {
		w->at++;
		m->state = next;
		m->col = 0;
	}
	return H1_NONE;
}

static __always_inline int http1_request_version(struct http1 *m, struct window *w, __u8 c)
{
	if (http1_glance_version(m, w)) {
		m->state = H1_LINE;
		return http1_skip_line(m, w, H1_NAME);
	}
	w->at++;
	if (m->col == 7)
		m->state = H1_LINE;
	return http1_version(m, c);
}

/* The same of "HTTP/1.x nnn". */
static __always_inline int http1_glance_status(struct http1 *m, struct window *w)
{
	const __u8 *p = window_at(w);
	__u8 a = p[9] - '0', b = p[10] - '0', c = p[11] - '0';

	if (p[8] != ' ' || a > 9 || b > 9 || c > 9 || !http1_glance_version(m, w))
		return 0;
	m->status = a * 100 + b * 10 + c;
	m->state = H1_LINE;
	w->at += 4;
	return 1;
}

static __always_inline int http1_status_line(struct http1 *m, struct window *w, __u8 c)
{
	if (http1_glance_status(m, w))
		return http1_skip_line(m, w, H1_NAME);
	w->at++;
	if (m->col < 8)
		return http1_version(m, c);
	if (m->col == 8) {
		m->col++;
		return c == ' ' ? H1_NONE : http1_bad(m);
	}
	if (c < '0' || c > '9')
		return http1_bad(m);
	m->status = m->status * 10 + (c - '0');
	if (++m->col == 12)
		m->state = H1_LINE;
	return H1_NONE;
}

/* The value of a header that matters begins behind its colon. */
static __always_inline int http1_value_of(struct http1 *m, struct window *w, __u8 header, __u32 len)
{
	if (header == H1_TRACEPARENT) { /* the last one counts, and its bytes go over the others' */
		m->flags &= ~H1_HAS_PARENT;
		m->names_parent = 1;
	}
	m->state = H1_VALUE;
	m->header = header;
	m->text = header == H1_HOST ? TEXT_HOST : TEXT_AGENT;
	m->left = 0;
	m->col = 0;
	m->hash = HASH_START;
	w->at += len;
	if (w->at < w->n && window_byte(w, w->at) == ' ')
		w->at++;
	w->tok = w->at;
	return H1_NONE;
}

/* Length of a name that matters, with its colon, at a glance; *header says which. 0: none of them. */
static __always_inline __u32 http1_glance_name(const __u8 *p, __u8 *header)
{
	if (BYTES_ARE(p, "host:")) {
		*header = H1_HOST;
		return 5;
	}
	if (BYTES_ARE(p, "content-") && BYTES_ARE(p + 8, "length:")) {
		*header = H1_LENGTH;
		return 15;
	}
	if (BYTES_ARE(p, "user-age") && BYTES_ARE(p + 8, "nt:")) {
		*header = H1_AGENT;
		return 11;
	}
	if (BYTES_ARE(p, "tracepar") && BYTES_ARE(p + 8, "ent:")) {
		*header = H1_TRACEPARENT;
		return 12;
	}
	if (BYTES_ARE(p, "transfer") && BYTES_ARE(p + 8, "-encodin") && BYTES_ARE(p + 16, "g:")) {
		*header = H1_ENCODING;
		return 18;
	}
	return 0;
}

static __always_inline int http1_line_start(struct http1 *m, struct window *w, __u8 c)
{
	__u8 header = 0;
	__u32 n;

	if (c == '\r' && m->col != 255) {
		m->col = 255; /* only a line feed may follow */
		w->at++;
		if (w->at >= w->n)
			return H1_NONE;
		c = window_byte(w, w->at);
	}
	if (c == '\n') {
		w->at++;
		m->state = H1_HEAD_OVER;
		return H1_HEAD_END;
	}
	if (m->col == 255)
		return http1_bad(m);
	c = lower(c);
	if (c != 'h' && c != 'u' && c != 'c' && c != 't') {
		m->state = H1_LINE; /* folded lines too: none of ours may be folded */
		return http1_skip_line(m, w, H1_NAME);
	}
	n = http1_glance_name(window_at(w), &header);
	if (n && window_has(w, n))
		return http1_value_of(m, w, header, n);
	if (window_has(w, GLANCE)) {
		m->state = H1_LINE;
		return http1_skip_line(m, w, H1_NAME);
	}
	m->hash = hash_byte(HASH_START, c);
	m->col = 1;
	w->at++;
	return H1_NONE;
}

static __always_inline int http1_name_end(struct http1 *m, struct window *w)
{
	if (m->hash == HASH("host"))
		return http1_value_of(m, w, H1_HOST, 1);
	if (m->hash == HASH("user-agent"))
		return http1_value_of(m, w, H1_AGENT, 1);
	if (m->hash == HASH("content-length"))
		return http1_value_of(m, w, H1_LENGTH, 1);
	if (m->hash == HASH("transfer-encoding"))
		return http1_value_of(m, w, H1_ENCODING, 1);
	if (m->hash == HASH("traceparent"))
		return http1_value_of(m, w, H1_TRACEPARENT, 1);
	m->state = H1_LINE;
	return H1_NONE;
}

static __always_inline int http1_name(struct http1 *m, struct window *w, __u8 c)
{
	if (m->col == 0 || m->col == 255)
		return http1_line_start(m, w, c);
	if (c == ':')
		return http1_name_end(m, w);
	c = lower(c);
	/* ho… us… co… tr…: nothing else among h, u, c, t is ours */
	if (c <= ' ' || m->col >= 24 || (m->col == 1 && c != 'o' && c != 's' && c != 'r')) {
		m->state = H1_LINE;
		return H1_NONE;
	}
	m->hash = hash_byte(m->hash, c);
	m->col++;
	w->at++;
	return H1_NONE;
}

static __always_inline int http1_value_text(struct http1 *m, struct window *w, __u8 c)
{
	__u32 i;

	if (!m->col && (c == ' ' || c == '\t')) {
		w->tok = ++w->at;
		return H1_NONE;
	}
	m->col = 1;
	i = window_find(w, '\n');
	w->at = i;
	if (i >= w->n || window_byte(w, i) != '\n')
		return H1_NONE;
	m->state = H1_NAME;
	m->col = 0;
	w->from = w->tok;
	w->to = i > w->tok && window_byte(w, i - 1) == '\r' ? i - 1 : i;
	w->at = i + 1;
	return H1_TEXT;
}

/* One number, or several equal ones in a list or in several headers; left holds the one being read. */
static __always_inline int http1_length(struct http1 *m, __u8 c)
{
	if (c >= '0' && c <= '9') {
		if (m->left >> 56)
			return http1_bad(m);
		m->left = m->left * 10 + (c - '0');
		m->col = 1;
		return H1_NONE;
	}
	if (c == ' ' || c == '\t' || c == '\r')
		return H1_NONE;
	if ((c != ',' && c != '\n') || !m->col)
		return http1_bad(m);
	if ((m->flags & H1_HAS_LENGTH) && m->length != m->left)
		return http1_bad(m);
	m->flags |= H1_HAS_LENGTH;
	m->length = m->left;
	m->left = 0;
	m->col = 0;
	return H1_NONE;
}

/* High bits of the bytes that are no digits, right up to the first of them. */
static __always_inline __u64 word_no_digits(__u64 v)
{
	return ((v + EACH_BYTE(0x80 - '9' - 1)) | (v - EACH_BYTE('0'))) & EACH_BYTE(0x80);
}

/* The number that the n (1 to 7) digits at the beginning of v write. */
static __always_inline __u64 word_number(__u64 v, __u32 n)
{
	v = (v << ((64 - 8 * n) & 63)) & EACH_BYTE(0x0f);
	v = (v * 10 + (v >> 8)) & 0x00ff00ff00ff00ffull;
	v = (v * 100 + (v >> 16)) & 0x0000ffff0000ffffull;
	return (v * 10000 + (v >> 32)) & 0xffffffff;
}

/* A whole line of up to seven digits in one go: its length, 0 when it is not so simple. */
static __always_inline __u32 http1_glance_length(struct http1 *m, struct window *w)
{
	__u64 v = load64(window_at(w)), other = word_no_digits(v);
	__u32 n;

	if (m->col || m->left || !window_has(w, GLANCE) || !other)
		return 0;
	n = word_first(other);
	if (!n || window_byte(w, w->at + n) != '\r' || window_byte(w, w->at + n + 1) != '\n')
		return 0;
	m->left = word_number(v, n);
	m->col = 1;
	return n + 2;
}

/* The last coding of the list decides. */
static __always_inline int http1_encoding(struct http1 *m, __u8 c)
{
	if (c == ',')
		m->hash = HASH_START;
	else if (c == '\n')
		m->flags = H1_ENCODED |
			   (m->hash == HASH("chunked") ? m->flags | H1_CHUNKED : m->flags & ~H1_CHUNKED);
	else if (c > ' ')
		m->hash = hash_byte(m->hash, lower(c));
	return H1_NONE;
}

static __always_inline void nibble_put(void *bytes, __u32 i, __u8 nibble)
{
	__u8 *b = bytes;

	if (i & 1)
		b[i >> 1] |= nibble;
	else
		b[i >> 1] = nibble << 4;
}

/* 00-<32 hex>-<16 hex>-<2 hex>: column 55 is the end; 254 says that it is not one. */
static __always_inline int http1_traceparent(struct http1 *m, __u8 c)
{
	__u8 col = m->col;
	int v = hex_digit(c);

	if (c == '\n' || c == '\r') {
		if (col == 55 && (m->parent_trace[0] | m->parent_trace[1]) && m->parent_span)
			m->flags |= H1_HAS_PARENT;
		return H1_NONE;
	}
	if (col == 0 && (c == ' ' || c == '\t'))
		return H1_NONE;
	if (col == 2 || col == 35 || col == 52)
		m->col = c == '-' ? col + 1 : 254;
	else if (v < 0 || col >= 55)
		m->col = (c == ' ' || c == '\t') && col == 55 ? 55 : 254;
	else
		m->col = col + 1;
	if (m->col == 254)
		return H1_NONE;
	if (col >= 3 && col < 35)
		nibble_put(m->parent_trace, (col - 3) & 31, v);
	if (col >= 36 && col < 52)
		nibble_put(&m->parent_span, (col - 36) & 15, v);
	if (col == 54)
		m->trace_flags = v;
	return H1_NONE;
}

static __always_inline int http1_value(struct http1 *m, struct window *w, __u8 c)
{
	__u32 n;
	int mark;

	if (m->header <= H1_AGENT)
		return http1_value_text(m, w, c);
	n = m->header == H1_LENGTH ? http1_glance_length(m, w) : 0;
	if (n)
		c = '\n'; /* what the line ends with */
	w->at += n ? n : 1;
	if (m->header == H1_LENGTH)
		mark = http1_length(m, c);
	else if (m->header == H1_ENCODING)
		mark = http1_encoding(m, c);
	else
		mark = http1_traceparent(m, c);
	if (c == '\n' && mark == H1_NONE) {
		m->state = H1_NAME;
		m->col = 0;
	}
	return mark;
}

#endif

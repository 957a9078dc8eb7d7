/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* http1.h - HTTP/1.x as a resumable machine, one per direction of a connection. Feeds on any split
 * of the stream, one byte or sixty thousand, and turns bytes into marks: a message begins, a piece
 * of text, the head ends, the message ends, nonsense. Bodies are counted and never read. It knows
 * nothing of sockets, maps or time, and does not pair requests with responses: whether a response
 * has a body depends on its request, so the caller answers the mark H1_HEAD_END with
 * http1_body_begin. */
#ifndef WIRESPAN_HTTP1_H
#define WIRESPAN_HTTP1_H

#include "kern/http1_head.h"

static __always_inline int http1_msg_end(struct http1 *m)
{
	m->state = H1_START;
	return H1_MSG_END;
}

static __always_inline int http1_counted(struct http1 *m, struct window *w)
{
	__u64 k = w->n - w->at;

	if (k > m->left)
		k = m->left;
	w->at += (__u32)k;
	m->left -= k;
	m->body += k;
	if (m->left)
		return H1_NONE;
	if (m->state == H1_BODY)
		return http1_msg_end(m);
	m->state = H1_CHUNK_END;
	return H1_NONE;
}

static __always_inline int http1_chunk_size(struct http1 *m, struct window *w, __u8 c)
{
	int v = hex_digit(c);

	w->at++;
	if (v >= 0) {
		if (m->left >> 56)
			return http1_bad(m);
		m->left = m->left << 4 | (__u64)v;
		m->col = 1;
	} else if (c == ';') {
		m->state = H1_CHUNK_EXT;
	} else if (c == '\n') {
		if (!m->col)
			return http1_bad(m);
		m->state = m->left ? H1_CHUNK_DATA : H1_TRAILER;
	} else if (c != '\r' && c != ' ' && c != '\t') {
		return http1_bad(m);
	}
	return H1_NONE;
}

static __always_inline int http1_chunk_ext(struct http1 *m, struct window *w)
{
	__u32 i = window_find(w, '\n');

	w->at = i; /* the line end is left for H1_CHUNK_SIZE */
	if (i < w->n && window_byte(w, i) == '\n')
		m->state = H1_CHUNK_SIZE;
	return H1_NONE;
}

static __always_inline int http1_chunk_end(struct http1 *m, struct window *w, __u8 c)
{
	w->at++;
	if (c == '\n') {
		m->state = H1_CHUNK_SIZE;
		m->left = 0;
		m->col = 0;
		return H1_NONE;
	}
	return c == '\r' ? H1_NONE : http1_bad(m);
}

static __always_inline int http1_trailer(struct http1 *m, struct window *w, __u8 c)
{
	if (c != '\r' && c != '\n') {
		m->state = H1_TRAILER_LINE;
		return H1_NONE;
	}
	w->at++;
	return c == '\n' ? http1_msg_end(m) : H1_NONE;
}

static __always_inline int http1_rest(struct http1 *m, struct window *w)
{
	if (m->state == H1_UNTIL_CLOSE)
		m->body += w->n - w->at;
	w->at = w->n;
	return H1_NONE;
}

/* One step: looks at the bytes from the cursor (there is at least one), moves it, says what it found.
 * A step may leave the cursor where it was, but never two in a row. */
static __always_inline int http1_step(struct http1 *m, struct window *w)
{
	__u8 c = window_byte(w, w->at);

	switch (m->state) {
	case H1_START:
		return http1_begin(m, w, c);
	case H1_METHOD:
		return http1_method(m, w, c);
	case H1_TARGET:
		return http1_target(m, w);
	case H1_VERSION:
		return http1_request_version(m, w, c);
	case H1_PROTO:
		return http1_status_line(m, w, c);
	case H1_LINE:
		return http1_skip_line(m, w, H1_NAME);
	case H1_NAME:
		return http1_name(m, w, c);
	case H1_VALUE:
		return http1_value(m, w, c);
	case H1_BODY:
	case H1_CHUNK_DATA:
		return http1_counted(m, w);
	case H1_CHUNK_SIZE:
		return http1_chunk_size(m, w, c);
	case H1_CHUNK_EXT:
		return http1_chunk_ext(m, w);
	case H1_CHUNK_END:
		return http1_chunk_end(m, w, c);
	case H1_TRAILER:
		return http1_trailer(m, w, c);
	case H1_TRAILER_LINE:
		return http1_skip_line(m, w, H1_TRAILER);
	default:
		return http1_rest(m, w);
	}
}

/* After H1_HEAD_END: how the body is delimited (RFC 9112 section 6.3, in its order). For a response,
 * to_head and to_connect say what it answers. H1_MSG_END when there is no body, else H1_NONE; an
 * interim response (1xx but 101) is H1_NONE too, and the final one follows. */
static __always_inline int http1_body_begin(struct http1 *m, int to_head, int to_connect)
{
	int response = m->flags & H1_IS_RESPONSE;

	m->left = 0;
	m->col = 0;
	if (response) {
		if (m->status == 101 || (to_connect && m->status / 100 == 2)) {
			m->state = H1_TUNNEL;
			return H1_MSG_END;
		}
		if (m->status / 100 == 1) {
			m->state = H1_START;
			return H1_NONE;
		}
		if (to_head || m->status == 204 || m->status == 304)
			return http1_msg_end(m);
	}
	if (m->flags & H1_CHUNKED) {
		m->state = H1_CHUNK_SIZE;
		return H1_NONE;
	}
	if (response && (m->flags & H1_ENCODED || !(m->flags & H1_HAS_LENGTH))) {
		m->state = H1_UNTIL_CLOSE;
		return H1_NONE;
	}
	m->left = m->length;
	if (!m->left)
		return http1_msg_end(m);
	m->state = H1_BODY;
	return H1_NONE;
}

/* How many of the coming bytes need not be looked at. */
static __always_inline __u64 http1_skippable(const struct http1 *m)
{
	if (m->state == H1_BODY || m->state == H1_CHUNK_DATA)
		return m->left;
	return m->state >= H1_UNTIL_CLOSE ? ~0ull : 0;
}

/* k bytes, at most http1_skippable, went by unseen. */
static __always_inline int http1_skip(struct http1 *m, __u64 k)
{
	if (m->state == H1_UNTIL_CLOSE)
		m->body += k;
	if (m->state != H1_BODY && m->state != H1_CHUNK_DATA)
		return H1_NONE;
	m->left -= k;
	m->body += k;
	if (m->left)
		return H1_NONE;
	if (m->state == H1_BODY)
		return http1_msg_end(m);
	m->state = H1_CHUNK_END;
	return H1_NONE;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* headers.h - context between nodes, in a traceparent that is put behind the request line of a client's
 * HTTP/1 request, or in the one that a proxy passes on as it came, which then names the proxy's call. The
 * sockets of traced clients stand in `headed`; what they send comes by send_headed, which parses it and
 * leaves in `headers` what this request's header is to say, and then, copied and under the socket's lock,
 * by put_header. The parser has seen the program's bytes; the stream has more of them by the header, so
 * the place where it goes on moves by as many.
 *
 * What must survive an edit: no byte of the program's changes or comes twice. The kernel tells a program
 * how much of a message was sent by how much was not, the header's bytes among it: that is right as
 * long as the head of the message and the header leave in one piece. Hence: all bytes before them have
 * arrived, so there is room; both are one piece of memory; and both fit into one segment. */
#ifndef WIRESPAN_HEADERS_H
#define WIRESPAN_HEADERS_H

#include "kern/feed.h"

/* --- from the parser --- */

/* What has been opened and can have no header, counted by its reason; 0: one can, that of s->header. */
static __always_inline int header_unfit(const struct request_header *h, __u32 pos, int is_ahead)
{
	enum lost why;

	if (!is_ahead)
		why = LOST_HEADER_NO_WAY;
	else if (h->began + h->opened > 2)
		why = LOST_HEADER_PIPELINED;
	else if (h->pos != pos)
		why = LOST_HEADER_SPLIT;
	else
		return 0;
	__sync_fetch_and_add(&lost_cnt[why], h->opened);
	return -1;
}

static __always_inline void headers_leave(struct event *e, __u32 pos, int is_ahead)
{
	struct request_header *h, *now = &e->s->header;

	if (!headers_on || !now->opened || header_unfit(now, pos, is_ahead))
		return;
	h = bpf_sk_storage_get(&headers, e->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (h)
		*h = *now;
	else
		lost(LOST_STORAGE_FULL);
}

/* A message of which nothing could be sent comes again: its header will be put in again. */
static __always_inline void headers_again(struct event *e, __u32 pos)
{
	struct request_header *h = bpf_sk_storage_get(&headers, e->sk, 0, 0);

	if (!h || !h->pushed || h->pos != pos)
		return;
	e->d->pos -= h->pushed;
	h->pushed = 0;
}

/* --- into the message --- */

#ifdef __bpf__ /* not on the host, which has no segments: tests/live/test_nodes.py */

enum {
	HEADER_LEN = 70, /* traceparent: 00-TRACE-SPAN-01\r\n */
	MERGED_MAX = 16384, /* a message up to this size stays in one piece: parts of it would wait for each
			     * other's acknowledgement */
	OPTIONS_ROOM = 40,
	VALUE_LEN = 55, /* 00-TRACE-SPAN-01 */
	VALUE_IDS = 3,  /* where its ids are, … */
	IDS_LEN = 49,   /* … and how long */
	LINES_MAX = WINDOW / SCAN + 128, /* steps to go through a head, of at most 128 lines */
};

struct header_text {
	char b[HEADER_LEN + 2];
};

/* Two digits for each byte of v, as it lies in memory. */
static __always_inline void hex_put(char *to, __u64 v)
{
	__u32 i;

	for (i = 0; i < 16; i++) {
		__u8 digit = v >> (8 * (i / 2) + 4 * !(i & 1)) & 15;

		to[i] = digit + (digit < 10 ? '0' : 'a' - 10);
	}
}

static __always_inline void ids_write(char *to, const struct request_header *h)
{
	hex_put(to, h->trace[0]);
	hex_put(to + 16, h->trace[1]);
	to[32] = '-';
	hex_put(to + 33, h->span);
}

static __always_inline void header_write(struct header_text *t, const struct request_header *h)
{
	__builtin_memcpy(t->b, "traceparent: 00-", 16);
	ids_write(t->b + 16, h);
	__builtin_memcpy(t->b + 65, h->quiet ? "-00\r\n" : "-01\r\n", 5);
}

/* Is what stands before the place the end of a request line? */
static __always_inline int line_ends(struct sk_msg_md *msg, __u32 at)
{
	const char *p;

	if (bpf_msg_pull_data(msg, at - 10, at, 0))
		return 0;
	p = msg->data;
	if ((void *)(p + 10) > msg->data_end)
		return 0;
	return p[0] == 'H' && p[4] == '/' && p[8] == '\r' && p[9] == '\n';
}

/* 0; -1 and nothing is changed; or -2, and the message must not leave. */
static __always_inline int header_push(struct sk_msg_md *msg, const struct request_header *h, __u32 at)
{
	__u32 size = msg->size;
	struct header_text t;
	char *p;

	header_write(&t, h);
	if (bpf_msg_push_data(msg, at, HEADER_LEN, 0))
		return -1;
	size = size <= MERGED_MAX ? size + HEADER_LEN : at + HEADER_LEN;
	if (!bpf_msg_pull_data(msg, 0, size, 0) && !bpf_msg_pull_data(msg, at, at + HEADER_LEN, 0)) {
		p = msg->data;
		if ((void *)(p + HEADER_LEN) <= msg->data_end) {
			__builtin_memcpy(p, t.b, HEADER_LEN);
			return 0;
		}
	}
	return bpf_msg_pop_data(msg, at, HEADER_LEN, 0) ? -2 : -1;
}

/* A loop hands on what is on its own stack alone. */
struct head_lines {
	struct window *w;
};

/* Goes on to a traceparent, and stops behind its colon; lines are found by their ends. */
static long line_next(__u32 i, void *arg)
{
	struct window *w = ((struct head_lines *)arg)->w;

	if (BYTES_ARE(window_at(w), "\ntracepa") && BYTES_ARE(window_at(w) + 8, "rent:")) {
		w->at += 13;
		w->tok = 1;
		return 1;
	}
	w->at++;
	w->at = window_find(w, '\n');
	return w->at >= w->n;
}

/* Where the value of the first traceparent begins; 0: there is none. */
static __always_inline __u32 value_find(struct sk_msg_md *msg, struct scratch *s)
{
	struct head_lines lines = { &s->w };
	__u32 n = msg->size, i;

	if (n > WINDOW)
		n = WINDOW;
	barrier_var(n);
	if (!n || n > WINDOW || bpf_msg_pull_data(msg, 0, n, 0) || bpf_probe_read_kernel(s->w.b, n, msg->data))
		return 0;
	s->w.n = n;
	s->w.at = s->w.tok = 0;
	bpf_loop(LINES_MAX, line_next, &lines, 0);
	for (i = 0; i < 8 && window_byte(&s->w, s->w.at) == ' '; i++)
		s->w.at++;
	if (!s->w.tok || s->w.at + VALUE_LEN > n || window_byte(&s->w, s->w.at + 2) != '-' ||
	    window_byte(&s->w, s->w.at + 35) != '-' || window_byte(&s->w, s->w.at + 52) != '-')
		return 0;
	return s->w.at;
}

/* The ids in the traceparent that is there become ours. Nothing moves. */
static __always_inline int ids_replace(struct sk_msg_md *msg, const struct request_header *h, __u32 at)
{
	char t[IDS_LEN + 7], *p;

	ids_write(t, h);
	at += VALUE_IDS;
	if (bpf_msg_pull_data(msg, at, at + IDS_LEN, 0))
		return -1;
	p = msg->data;
	if ((void *)(p + IDS_LEN) > msg->data_end)
		return -1;
	__builtin_memcpy(p, t, IDS_LEN);
	return 0;
}

static __always_inline void header_forward(struct sk_msg_md *msg, const struct request_header *h,
					   const struct tcp_sock *tp)
{
	struct scratch *s = scratch_claim();
	__u32 at;

	if (!s)
		return;
	at = value_find(msg, s);
	scratch_release(s);
	if (!at || at + VALUE_LEN + OPTIONS_ROOM > tp->mss_cache)
		lost(LOST_HEADER_UNFIT);
	else if (ids_replace(msg, h, at))
		lost(LOST_HEADER_MEMORY);
}

/* Where the header goes; 0: there is no place. */
static __always_inline __u32 header_place(struct sk_msg_md *msg, const struct request_header *h,
					  const struct tcp_sock *tp)
{
	__u32 at = h->line - h->pos;

	if (at >= 16 && at <= HEADER_LINE_MAX && at < msg->size &&
	    at + HEADER_LEN + OPTIONS_ROOM <= tp->mss_cache && line_ends(msg, at))
		return at;
	lost(LOST_HEADER_UNFIT);
	return 0;
}

/* Are the first bytes of this message those of a request that has a header to come? */
static __always_inline int header_is_due(const struct request_header *h, const struct tcp_sock *tp)
{
	if (!h->span || h->pushed || h->pos != tp->write_seq)
		return 0;
	if (tp->snd_una == tp->write_seq)
		return 1;
	lost(LOST_HEADER_QUEUED);
	return 0;
}

SEC("?sk_msg")
int put_header(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct request_header *h = sk ? bpf_sk_storage_get(&headers, sk, 0, 0) : NULL;
	struct tcp_sock *tp = h ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct conn *c = tp ? bpf_sk_storage_get(&conns, sk, 0, 0) : NULL;
	__u32 at;
	int err;

	if (!c || !header_is_due(h, tp))
		return SK_PASS;
	if (h->forwarded) {
		header_forward(msg, h, tp);
		return SK_PASS;
	}
	at = header_place(msg, h, tp);
	if (!at)
		return SK_PASS;
	err = header_push(msg, h, at);
	if (err) {
		lost(LOST_HEADER_MEMORY);
		return err == -2 ? SK_DROP : SK_PASS;
	}
	h->pushed = HEADER_LEN;
	c->dir[TX].pos += HEADER_LEN;
	return SK_PASS;
}

/* A connection is up: is it a traced client's? connect() has noted it. */
SEC("?sockops")
int headed_opened(struct bpf_sock_ops *o)
{
	struct bpf_sock *sk = o->sk;
	struct tcp_sock *tp;
	__u64 cookie;

	if (o->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !sk || !bpf_sk_storage_get(&conns, sk, 0, 0))
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || (bpf_core_field_exists(tp->is_mptcp) && BPF_CORE_READ_BITFIELD_PROBED(tp, is_mptcp)))
		return 1;
	cookie = bpf_get_socket_cookie(o);
	bpf_sock_hash_update(o, &headed, &cookie, BPF_ANY);
	return 1;
}

#endif
#endif

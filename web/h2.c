/* SPDX-License-Identifier: Apache-2.0 */
/* h2.c - between a socket and gRPC calls: nghttp2 does HTTP/2, this file moves the bytes and bounds
 * what a client may ask of us.
 *
 * Answers are pulled: nghttp2 asks for as much as the windows allow, so what a client does not read
 * stays in its call. Whoever stops half-way, sending or reading, is reset; nghttp2 itself ends
 * sessions that flood us with control frames or resets. The invariant: a call is in the list of its
 * connection exactly as long as its stream is open. */
#include "web/h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "web/front.h"
#include "web/grpc.h"

enum {
	STREAMS_MAX = 100,	       /* of a connection */
	CALLS_MAX = 1024,	       /* of all */
	BODIES_MAX = 64 * 1024 * 1024, /* of all calls that are being read or wait */
	WINDOW = 1024 * 1024,	       /* of a connection and of a stream */
	HEAD_MAX = 16 * 1024,
	CHUNK = 64 * 1024,
	STALL_S = 15,	/* nothing moves, and it is the client's turn */
	REQUEST_S = 60, /* a body takes so long at most, */
	ANSWER_S = 300, /* and an answer */
	IDLE_S = 300,	/* no stream at all */
};

struct h2 {
	struct h2_shared *shared;
	int fd;
	nghttp2_session *session;
	struct call *calls;
	struct strbuf out; /* frames that the socket has not taken */
	size_t out_sent;
	bool greeted; /* the client's SETTINGS came */
	bool due;
	uint64_t now_ns;
	uint64_t idle_ns;  /* since when there is no call; 0: there is one */
	uint64_t wrote_ns; /* when the socket last took something, or had nothing to take */
};

/* --- calls --- */

void h2_call_free(struct h2_shared *sh, struct call *c)
{
	sh->calls--;
	sh->body_bytes -= c->body.len;
	grpc_call_free(c);
}

static void call_link(struct h2 *h, struct call *c, int32_t id)
{
	h->shared->calls++;
	c->conn = h;
	c->id = id;
	c->moved_ns = c->turn_ns = h->now_ns;
	c->next = h->calls;
	h->calls = c;
	h->idle_ns = 0;
}

/* The stream is closed. */
static void call_unlink(struct h2 *h, struct call *c)
{
	struct call **at = &h->calls;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->conn = NULL;
	c->gone = true;
	if (!h->calls)
		h->idle_ns = h->now_ns;
	if (!c->submitted || c->returned)
		h2_call_free(h->shared, c);
}

static struct call *call_of(nghttp2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s, id);
}

/* --- the answer --- */

struct headers {
	nghttp2_nv at[6];
	size_t cnt;
};

static void header_add(struct headers *h, const char *name, const char *value)
{
	must(h->cnt < sizeof(h->at) / sizeof(h->at[0]));
	h->at[h->cnt++] = (nghttp2_nv){.name = (uint8_t *)name,
				       .value = (uint8_t *)value,
				       .namelen = strlen(name),
				       .valuelen = strlen(value)};
}

/* status_text holds the number. */
static void header_add_status(struct headers *h, const struct call *c, char status_text[12])
{
	snprintf(status_text, 12, "%d", c->status);
	header_add(h, "grpc-status", status_text);
	if (c->message.len)
		header_add(h, "grpc-message", c->message.p);
}

static ssize_t answer_read(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len,
			   uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct headers trailers = {.cnt = 0};
	struct call *c = call_of(s, id);
	struct h2 *h = arg;
	char status[12];
	bool done;
	size_t n;

	(void)source;
	n = front_take(c, buf, len, &done);
	if (n)
		c->moved_ns = h->now_ns;
	if (!n && !done)
		return NGHTTP2_ERR_DEFERRED;
	if (done) {
		header_add_status(&trailers, c, status);
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(s, id, trailers.at, trailers.cnt))
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

/* Headers alone when there is no message: status and all in one frame. */
static void respond(struct h2 *h, struct call *c, bool messages)
{
	nghttp2_data_provider body = {.read_callback = answer_read};
	struct headers hs = {.cnt = 0};
	char http[12], status[12];

	snprintf(http, sizeof(http), "%u", c->http);
	header_add(&hs, ":status", http);
	if (c->http == 200) {
		header_add(&hs, "content-type", "application/grpc");
		header_add(&hs, "grpc-accept-encoding", "identity,gzip");
		if (grpc_packs(c))
			header_add(&hs, "grpc-encoding", "gzip");
		if (!messages)
			header_add_status(&hs, c, status);
	}
	c->responded = true;
	c->moved_ns = c->turn_ns = h->now_ns;
	nghttp2_submit_response(h->session, c->id, hs.at, hs.cnt, messages ? &body : NULL);
}

void h2_resume(struct call *c)
{
	struct h2 *h = c->conn;

	h->due = true;
	if (!c->responded && front_has(c))
		respond(h, c, front_has(c) == FRONT_MESSAGES);
	else if (c->responded) {
		c->moved_ns = h->now_ns; /* until now the worker had to do something */
		nghttp2_session_resume_data(h->session,
					    c->id); /* no error when it was not waiting */
	}
}

/* --- the request --- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct call *c;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (h->shared->calls >= CALLS_MAX) /* it may be sent again, that says this code */
		return nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
						 NGHTTP2_REFUSED_STREAM);
	c = grpc_call_new(h->shared->web);
	call_link(h, c, frame->hd.stream_id);
	return nghttp2_session_set_stream_user_data(s, c->id, c);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *arg)
{
	struct call *c = call_of(s, frame->hd.stream_id);

	(void)flags, (void)arg;
	if (!c || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	c->head_len += name_len + value_len;
	if (c->head_len > HEAD_MAX)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	grpc_header(c, (struct str){(const char *)name, name_len},
		    (struct str){(const char *)value, value_len});
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
		   void *arg)
{
	struct call *c = call_of(s, id);
	struct h2 *h = arg;

	(void)flags;
	if (!c || c->responded)
		return 0;
	if (h->shared->body_bytes + len > BODIES_MAX) {
		grpc_refuse(c, GRPC_UNAVAILABLE, "too much is being sent at the same time");
	} else if (grpc_take(c, data, len)) {
		h->shared->body_bytes += len;
		c->moved_ns = h->now_ns;
		return 0;
	}
	respond(h, c, false);
	return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct call *c = call_of(s, frame->hd.stream_id);
	struct h2 *h = arg;

	if (frame->hd.type == NGHTTP2_SETTINGS)
		h->greeted = true;
	if (!c || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST &&
	    !grpc_begin(c))
		respond(h, c, false);
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !c->responded && !c->submitted)
		front_submit(c);
	return 0;
}

/* We are done; what the client still wants to send is not wanted (RFC 9113, section 8.1). */
static int on_sent(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	(void)arg;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    nghttp2_session_get_stream_remote_close(s, frame->hd.stream_id) == 0)
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_NO_ERROR);
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t error, void *arg)
{
	struct call *c = call_of(s, id);

	(void)error;
	if (c)
		call_unlink(arg, c);
	return 0;
}

/* --- the session --- */

static int session_open(struct h2 *h)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_MAX},
	};
	nghttp2_session_callbacks *cbs;
	nghttp2_option *opt;
	int err = nghttp2_session_callbacks_new(&cbs);

	if (err)
		return -ENOMEM;
	must(nghttp2_option_new(&opt) == 0);
	nghttp2_option_set_no_closed_streams(opt, 1);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cbs, on_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_close);
	err = nghttp2_session_server_new2(&h->session, cbs, h, opt);
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cbs);
	err = err
		      ?: nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
						 ARRAY_SIZE(settings));
	err = err
		      ?: nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
							       WINDOW);
	return err ? -ENOMEM : 0;
}

struct h2 *h2_new(struct h2_shared *sh, int fd, uint64_t now_ns)
{
	struct h2 *h = calloc(1, sizeof(*h));

	must(h);
	h->shared = sh;
	h->fd = fd;
	h->now_ns = h->idle_ns = h->wrote_ns = now_ns;
	strbuf_init(&h->out);
	if (session_open(h)) {
		h2_free(h);
		return NULL;
	}
	return h;
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	while (h->calls)
		call_unlink(h, h->calls);
	nghttp2_session_del(h->session);
	close(h->fd);
	strbuf_fini(&h->out);
	free(h);
}

/* --- bytes --- */

/* One read a turn, so that no connection keeps the loop. */
static bool input(struct h2 *h)
{
	uint8_t chunk[CHUNK];
	ssize_t n = recv(h->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && nghttp2_session_mem_recv(h->session, chunk, (size_t)n) == n;
}

/* Frames are small, so many go in one write. False: the session has failed. */
static bool fill(struct h2 *h)
{
	const uint8_t *p;
	ssize_t n = 0;

	strbuf_clear(&h->out);
	h->out_sent = 0;
	while (h->out.len < CHUNK && (n = nghttp2_session_mem_send(h->session, &p)) > 0)
		strbuf_add(&h->out, p, (size_t)n);
	return n >= 0;
}

/* Until there is nothing to send or the socket takes no more. */
static bool output(struct h2 *h)
{
	for (;;) {
		ssize_t n;

		if (h->out_sent == h->out.len && !fill(h))
			return false;
		if (!h->out.len)
			return true;
		n = send(h->fd, h->out.p + h->out_sent, h->out.len - h->out_sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		h->out_sent += (size_t)n;
		h->wrote_ns = h->now_ns;
	}
}

bool h2_run(struct h2 *h, bool readable, uint64_t now_ns)
{
	bool ok;

	h->now_ns = now_ns;
	h->due = false;
	ok = !readable || input(h);
	/* Also when the input was bad: what is wrong stands in a GOAWAY. */
	ok = output(h) && ok;
	return ok && (nghttp2_session_want_read(h->session) ||
		      nghttp2_session_want_write(h->session) || h2_is_blocked(h));
}

/* --- deadlines --- */

static bool is_overdue(const struct h2 *h, uint64_t since_ns, uint32_t seconds)
{
	return h->now_ns > since_ns + (uint64_t)seconds * NS_PER_S;
}

/* It is the client who has to do something, and he does nothing, or too little. */
static bool call_is_stalled(const struct h2 *h, struct call *c)
{
	if (c->responded ? !front_has(c) : c->submitted)
		return false;
	return is_overdue(h, c->moved_ns, STALL_S) ||
	       is_overdue(h, c->turn_ns, c->responded ? ANSWER_S : REQUEST_S);
}

bool h2_tick(struct h2 *h, uint64_t now_ns)
{
	h->now_ns = now_ns;
	if (!h2_is_blocked(h))
		h->wrote_ns = now_ns;
	if (is_overdue(h, h->wrote_ns, STALL_S))
		return false;
	if (h->idle_ns && is_overdue(h, h->idle_ns, h->greeted ? IDLE_S : STALL_S))
		return false;
	for (struct call *c = h->calls; c; c = c->next)
		if (call_is_stalled(h, c))
			nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, c->id,
						  NGHTTP2_CANCEL);
	return h2_run(h, false, now_ns);
}

/* --- questions --- */

bool h2_is_blocked(const struct h2 *h)
{
	return h->out_sent < h->out.len;
}

bool h2_is_due(const struct h2 *h)
{
	return h->due;
}

uint64_t h2_idle_since(const struct h2 *h)
{
	return h->idle_ns;
}

int h2_fd(const struct h2 *h)
{
	return h->fd;
}

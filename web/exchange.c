/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.c - turns libmicrohttpd's callbacks into one struct request, gives it to the handler of
 * its route and sends the reply.
 *
 * The URI is taken raw and parsed by params.c and routes.c, so that %2F and zero bytes mean what
 * they should. Who may ask is decided before any of the body is read. Runs on MHD's threads, one
 * request of a connection at a time; the handler alone runs on a thread of the pool, while MHD has
 * the connection suspended, so that a question of half a minute holds up no other connection. The
 * invariant: of a body at most HTTP_BODY_MAX bytes are kept, and only for routes that take one. */
#include "web/exchange.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/stats.h"
#include "web/access.h"
#include "web/mhd.h"
#include "web/routes.h"

struct exchange {
	struct job job; /* first: the pool knows it by this */
	struct web *web;
	struct MHD_Connection *conn;
	const struct route *route;
	struct arena arena;
	struct request rq;
	struct strbuf body;
	struct reply out; /* of the handler */
	int fd;
	bool begun, too_large, answered;
};

void *exchange_new(void *worker, const char *uri, struct MHD_Connection *conn)
{
	struct exchange *x = calloc(1, sizeof(*x));
	size_t path_len = strcspn(uri, "?");
	struct str query = str_of(uri[path_len] ? uri + path_len + 1 : "");

	if (!x)
		return NULL;
	x->web = ((struct mhd_worker *)worker)->web;
	x->conn = conn;
	arena_init(&x->arena, 0);
	strbuf_init(&x->body);
	strbuf_init(&x->out.body);
	x->rq.arena = &x->arena;
	x->rq.path = arena_str(&x->arena, uri, path_len);
	x->rq.target = arena_str(&x->arena, uri, strlen(uri));
	x->rq.params = params_parse(&x->arena, query);
	x->route = route_find(x->rq.path, &x->arena, &x->rq.segment);
	if (x->web->ingest_only && x->route && !x->route->ingest)
		x->route = NULL;
	return x;
}

void exchange_free(void *worker, struct MHD_Connection *conn, void **exchange,
		   enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *exchange;

	(void)worker, (void)conn, (void)why;
	if (!x)
		return;
	strbuf_fini(&x->body);
	strbuf_fini(&x->out.body);
	arena_fini(&x->arena);
	free(x);
	*exchange = NULL;
}

static const char *header(struct exchange *x, const char *name)
{
	const char *v = MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name);

	return v ? v : "";
}

static int connection_fd(struct exchange *x)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info ? info->connect_fd : -1;
}

/* Asked by long queries: the other side has closed, or we are stopping. */
static bool gone(void *arg)
{
	struct exchange *x = arg;
	struct pollfd p = {.fd = x->fd, .events = POLLRDHUP};

	return x->web->stopping || (p.fd >= 0 && poll(&p, 1, 0) == 1);
}

/* --- the answer --- */

static void count(struct exchange *x, unsigned int status)
{
	char labels[128];

	snprintf(labels, sizeof(labels), "path=\"%s\",status=\"%uxx\"",
		 x->route ? x->route->pattern : "other", status / 100);
	stat_add(stats_cell(STAT_COUNTER, "http_requests_total", labels, "Requests answered."), 1);
}

/* Takes over the reply's body. */
static enum MHD_Result send_reply(struct exchange *x, struct reply *out)
{
	bool packed = accepts_gzip(header(x, "Accept-Encoding")) && reply_gzip(out);
	struct MHD_Response *r;
	enum MHD_Result ok;
	size_t len;
	char *body = strbuf_take(&out->body, &len);

	r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (!r) {
		free(body);
		return MHD_NO;
	}
	if (out->type)
		MHD_add_response_header(r, "Content-Type", out->type);
	if (packed)
		MHD_add_response_header(r, "Content-Encoding", "gzip");
	if (out->status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
	MHD_add_response_header(r, "Vary", "Accept-Encoding");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	ok = MHD_queue_response(x->conn, out->status, r);
	MHD_destroy_response(r);
	count(x, out->status);
	return ok;
}

void exchange_run(struct job *job)
{
	struct exchange *x = (struct exchange *)job;

	x->route->handler(&x->rq, &x->out);
	x->answered = true;
	MHD_resume_connection(x->conn); /* from here on it is not ours */
}

static enum MHD_Result answer(struct exchange *x)
{
	x->fd = connection_fd(x);
	x->rq.store = x->web->store;
	x->rq.ready = x->web->ready;
	x->rq.commits = x->web->ingest_commits;
	x->rq.peers = *header(x, PEER_HEADER) ? NULL : x->web->peers;
	x->rq.accept = header(x, "Accept");
	x->rq.content_type = header(x, "Content-Type");
	x->rq.content_encoding = header(x, "Content-Encoding");
	x->rq.body = (struct str){x->body.p, x->body.len};
	x->rq.gone = gone;
	x->rq.gone_arg = x;
	if (peers_is_self(x->web->peers, header(x, PEER_HEADER))) {
		x->out.status = MHD_HTTP_NOT_FOUND;
		return send_reply(x, &x->out);
	}
	MHD_suspend_connection(x->conn);
	if (!pool_add(x->web->handlers, &x->job)) {
		reply_text(&x->out, 503, "The server stops.\n");
		x->answered = true;
		MHD_resume_connection(x->conn);
	}
	return MHD_YES;
}

/* --- who may ask, and for what --- */

static bool host_ok(struct exchange *x)
{
	const char *host = MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, "Host");
	struct sockaddr_storage local = {0};
	socklen_t len = sizeof(local);

	if (!host) /* no browser leaves it out */
		return true;
	getsockname(connection_fd(x), (struct sockaddr *)&local, &len);
	return access_host_ok(host, (struct sockaddr *)&local, (const char *const *)x->web->hosts);
}

static bool token_ok(struct exchange *x)
{
	struct str token = {x->web->token.p, x->web->token.len};

	return !token.len || (x->route && x->route->open) ||
	       access_token_ok(header(x, "Authorization"), token);
}

static bool too_large(struct exchange *x)
{
	return x->too_large || strtoull(header(x, "Content-Length"), NULL, 10) > HTTP_BODY_MAX;
}

/* Writes a refusal; false: there is nothing to refuse. */
static bool refuse(struct exchange *x, struct reply *out)
{
	if (!host_ok(x))
		reply_text(out, 403,
			   "The Host header names another host than this server; add the name to "
			   "its configuration if it is right.\n");
	else if (!token_ok(x))
		reply_text(out, 401, "A bearer token is required.\n");
	else if (!x->route)
		reply_text(out, 404, "404 page not found\n");
	else if (x->route->body && too_large(x))
		reply_text(out, 413, "The request body is larger than %d MiB.\n",
			   HTTP_BODY_MAX >> 20);
	else
		return false;
	return true;
}

/* An answer at this point closes the connection, so it is given only to spare us a body. */
static enum MHD_Result begin(struct exchange *x, const char *method)
{
	bool body = *header(x, "Content-Length") || *header(x, "Transfer-Encoding");
	struct reply out = {0};

	x->begun = true;
	x->rq.method = method;
	strbuf_init(&out.body);
	return body && refuse(x, &out) ? send_reply(x, &out) : MHD_YES;
}

static void take_body(struct exchange *x, const char *data, size_t len)
{
	if (!x->route->body || x->too_large)
		return;
	x->too_large = len > HTTP_BODY_MAX - x->body.len;
	if (x->too_large)
		strbuf_fini(&x->body);
	else
		strbuf_add(&x->body, data, len);
}

static enum MHD_Result finish(struct exchange *x)
{
	if (x->answered)
		return send_reply(x, &x->out);
	return refuse(x, &x->out) ? send_reply(x, &x->out) : answer(x);
}

enum MHD_Result exchange_step(void *worker, struct MHD_Connection *conn, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *len, void **exchange)
{
	struct exchange *x = *exchange;

	(void)worker, (void)conn, (void)url, (void)version;
	if (!x)
		return MHD_NO;
	if (!x->begun)
		return begin(x, method);
	if (*len) {
		take_body(x, data, *len);
		*len = 0;
		return MHD_YES;
	}
	return finish(x);
}

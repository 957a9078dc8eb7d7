/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c - what handlers have in common: text, protobuf and error replies, what Accept asks for,
 * gzip both ways. Sends nothing. Called by handlers and, for gzip, by server.c. The invariant: an
 * error is plain text without an envelope, because Grafana shows the body as it is. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "web/handler.h"

const char TYPE_TEXT[] = "text/plain; charset=utf-8";
const char TYPE_JSON[] = "application/json";
const char TYPE_PROTOBUF[] = "application/protobuf";
const char TYPE_PARTS[] = "application/vnd.wirespan.parts";

void reply_text(struct reply *out, unsigned int status, const char *fmt, ...)
{
	va_list ap;

	out->status = status;
	out->type = TYPE_TEXT;
	strbuf_clear(&out->body);
	va_start(ap, fmt);
	strbuf_vprintf(&out->body, fmt, ap);
	va_end(ap);
}

void reply_bad(struct reply *out, const struct strbuf *why)
{
	reply_text(out, 400, "%s", why->p);
}

void reply_protobuf(struct reply *out, const ProtobufCMessage *m)
{
	out->status = 200;
	out->type = TYPE_PROTOBUF;
	strbuf_clear(&out->body);
	pb_append(&out->body, m);
}

static unsigned int query_status(int err)
{
	switch (err) {
	case -EINVAL:
	case -ERANGE:
		return 400;
	case -ETIMEDOUT:
		return 504;
	default:
		return 500;
	}
}

void reply_query_error(struct reply *out, const struct query *q, int err)
{
	const char *why = query_error(q);

	reply_text(out, query_status(err), "%s", *why ? why : strerror(-err));
	if (out->status == 500 && err != -ECANCELED)
		log_warn("a query failed: %s", out->body.p);
}

int reply_query_begin(const struct request *rq, struct query **ret, struct reply *out)
{
	struct query_limits limits = {.gone = rq->gone, .gone_arg = rq->gone_arg};
	int err = query_begin(ret, rq->store, &limits);

	if (err) {
		log_warn("cannot begin a query: %s", strerror(-err));
		reply_text(out, 500, "the store cannot be read: %s", strerror(-err));
	}
	return err;
}

bool wants_protobuf(const struct request *rq)
{
	return strstr(rq->accept, TYPE_PROTOBUF) != NULL;
}

/* --- gzip --- */

/* One element of the list, such as ` gzip;q=0.5`. */
static bool is_gzip(const char *p, size_t len)
{
	static const char name[] = "gzip";
	const char *q;

	for (; len && (*p == ' ' || *p == '\t'); len--)
		p++;
	if (len < 4 || strncasecmp(p, name, 4) || (len > 4 && !strchr("; \t", p[4])))
		return false;
	q = memmem(p, len, "q=", 2);
	return !q || strspn(q + 2, "0.") != (size_t)(p + len - (q + 2));
}

bool accepts_gzip(const char *accept_encoding)
{
	for (const char *p = accept_encoding; *p;) {
		size_t len = strcspn(p, ",");

		if (is_gzip(p, len))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

enum { ZLIB_GZIP = 16 + MAX_WBITS, ZLIB_CHUNK = 32 * 1024 };

bool reply_gzip(struct reply *out)
{
	z_stream z = {.next_in = (Bytef *)out->body.p, .avail_in = (uInt)out->body.len};
	struct strbuf packed;
	Bytef chunk[ZLIB_CHUNK];
	int rc = Z_OK;

	if (out->body.len == 0 || out->body.len > UINT32_MAX / 2 ||
	    deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, ZLIB_GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	strbuf_init(&packed);
	while (rc == Z_OK) {
		z.next_out = chunk;
		z.avail_out = sizeof(chunk);
		rc = deflate(&z, Z_FINISH);
		strbuf_add(&packed, chunk, sizeof(chunk) - z.avail_out);
	}
	deflateEnd(&z);
	must(rc == Z_STREAM_END);
	strbuf_fini(&out->body);
	out->body = packed;
	return true;
}

/* One step of inflating; 0 to go on, 1 at the end of the body. Members may follow one another. */
static int inflate_step(z_stream *z, size_t max, struct strbuf *out)
{
	Bytef chunk[ZLIB_CHUNK];
	int rc;

	z->next_out = chunk;
	z->avail_out = sizeof(chunk);
	rc = inflate(z, Z_NO_FLUSH);
	if (rc != Z_OK && rc != Z_STREAM_END)
		return -EBADMSG;
	if (sizeof(chunk) - z->avail_out > max - out->len)
		return -EFBIG;
	strbuf_add(out, chunk, sizeof(chunk) - z->avail_out);
	if (rc == Z_STREAM_END)
		return z->avail_in == 0 ? 1 : inflateReset(z) == Z_OK ? 0 : -EBADMSG;
	return 0;
}

int body_gunzip(struct str in, size_t max, struct strbuf *out)
{
	z_stream z = {.next_in = (Bytef *)in.p, .avail_in = (uInt)in.len};
	int rc = 0;

	if (in.len > UINT32_MAX || inflateInit2(&z, ZLIB_GZIP) != Z_OK)
		return -EBADMSG;
	while (rc == 0)
		rc = inflate_step(&z, max, out);
	inflateEnd(&z);
	return rc < 0 ? rc : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* spans.c - see spans.h. A record that breaks the contract of kern/record.h (version, lengths) ends
 * the test. */
#include "tests/shadow/spans.h"
#include "tests/shadow/shadow.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void broken(const char *what)
{
	fprintf(stderr, "record: %s\n", what);
	abort();
}

/* --- values --- */

static void value_put(FILE *f, const char *p, size_t n)
{
	int quoted = !n;

	for (size_t i = 0; i < n; i++)
		quoted |= p[i] == ' ' || p[i] == '"';
	if (quoted)
		fputc('"', f);
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '"' || p[i] == '\\' || !isprint((unsigned char)p[i]))
			fprintf(f, "\\x%02x", (unsigned char)p[i]);
		else
			fputc(p[i], f);
	}
	if (quoted)
		fputc('"', f);
}

static void text_put(FILE *f, const char *key, const char *p, size_t n)
{
	if (!n)
		return;
	fprintf(f, " %s=", key);
	value_put(f, p, n);
	if (n > 64)
		fprintf(f, " %s_len=%zu", key, n);
}

static void flags_put(FILE *f, __u16 flags)
{
	static const struct {
		__u16 flag;
		const char *name;
	} names[] = {
		{SPAN_ABORTED, "aborted"},	   {SPAN_CUT, "cut"},
		{SPAN_FORWARDED, "forwarded"},	   {SPAN_SKIPPED, "skipped"},
		{SPAN_NOT_RESPONSE, "unanswered"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (flags & names[i].flag)
			fprintf(f, " %s", names[i].name);
}

/* --- SQL texts --- */

static const struct rec_stmt *stmt_of(const struct shadow_record *r, const struct rec_span *span,
				      __u64 stmt)
{
	const struct rec_stmt *s = (const void *)r->bytes;

	return s->head.type == REC_STMT && s->conn == span->conn && s->stmt == stmt ? s : NULL;
}

/* The last whole text sent for that statement before the span; NULL: none. */
static char *stmt_text(const struct rec_span *span, const struct shadow_record *until, __u64 stmt,
		       size_t *ret_len)
{
	const struct shadow_record *r;
	char *text = NULL;
	size_t len = 0;

	for (r = shadow_records(); r && r != until; r = r->next) {
		const struct rec_stmt *s = stmt_of(r, span, stmt);
		size_t n = s ? r->len - offsetof(struct rec_stmt, text) : 0;

		if (!s)
			continue;
		if (!s->off)
			len = 0;
		if (s->off != len && s->off < STMT_TEXT_MAX)
			broken("a piece of SQL text is missing");
		text = realloc(text, len + n + 1);
		memcpy(text + len, s->text, n);
		len += n;
		if (s->total < s->off + n)
			broken("SQL text is longer than its record says");
	}
	*ret_len = len;
	return text;
}

static void stmt_put(FILE *f, const struct rec_span *span, const struct shadow_record *until)
{
	size_t len;
	char *text = stmt_text(span, until, STMT_DATABASE, &len);

	if (text)
		text_put(f, "database", text, len);
	free(text);
	if (!(span->flags & SPAN_STMT))
		return;
	text = stmt_text(span, until, span->stmt, &len);
	if (text && len)
		text_put(f, "stmt", text, len);
	else
		fputs(text ? " stmt=\"\"" : " stmt=unknown", f);
	free(text);
}

/* --- spans --- */

static void http_put(FILE *f, const struct rec_span *s)
{
	static const char *const names[] = {"method", "target", "host", "agent"};
	int swap = !!(s->flags & SPAN_AGENT_FIRST);
	size_t off = 0, from[TEXT_COUNT];

	for (int i = 0; i < TEXT_COUNT; i++) {
		int which = swap && i >= TEXT_HOST ? TEXT_HOST + TEXT_AGENT - i : i;

		from[which] = off;
		off += s->text_len[which];
	}
	if (offsetof(struct rec_span, text) + off != s->head.len)
		broken("the text pieces do not add up");
	fputs("http", f);
	for (int i = 0; i < TEXT_COUNT; i++)
		text_put(f, names[i], s->text + from[i], s->text_len[i]);
	fprintf(f, " status=%u req=%llu resp=%llu version=%u", s->status, s->req_bytes,
		s->resp_bytes, s->op);
}

static void pg_put(FILE *f, const struct rec_span *s, const struct shadow_record *until)
{
	static const char *const ops[] = {"none", "query",    "execute", "parse",
					  "bind", "describe", "function"};

	fprintf(f, "pg op=%s", s->op <= PG_FUNCTION ? ops[s->op] : "?");
	stmt_put(f, s, until);
	if (s->sqlstate[0])
		fprintf(f, " sqlstate=%.6s", s->sqlstate);
	if (s->flags & SPAN_ROWS)
		fprintf(f, " rows=%llu", s->rows);
}

static void hex_put(FILE *f, const char *key, const void *bytes, size_t n)
{
	fprintf(f, " %s=", key);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%02x", ((const unsigned char *)bytes)[i]);
}

static char *parent_text(const struct rec_span *s)
{
	static const char *const names[] = {
#define X(id, name) [PARENT_##id] = #name,
		PARENTS(X)
#undef X
	};
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fprintf(f, " parent=%s", names[s->parent]);
	if (s->parent == PARENT_HEADER) {
		hex_put(f, "trace", s->trace_id, sizeof(s->trace_id));
		hex_put(f, "parent_id", &s->parent_id, sizeof(s->parent_id));
	}
	fclose(f);
	return text;
}

static void times_check(const struct rec_span *s)
{
	if (s->end_ns < s->start_ns || (s->first_ns && s->first_ns < s->start_ns) ||
	    s->first_ns > s->end_ns)
		broken("times out of order");
	if (!s->trace_id[0] || !s->span_id)
		broken("no ids");
}

static void span_read(struct span_line *to, const struct shadow_record *r)
{
	struct rec_span s = {0};
	size_t len;
	FILE *f = open_memstream(&to->text, &len);

	if (r->len < offsetof(struct rec_span, text) || r->len > sizeof(s))
		broken("a span's length");
	memcpy(&s, r->bytes, r->len);
	times_check(&s);
	if (s.proto == PROTO_HTTP1)
		http_put(f, &s);
	else
		pg_put(f, &s, r);
	flags_put(f, s.flags);
	fclose(f);
	to->parent = parent_text(&s);
	to->rec = s;
}

void spans_read(struct spans *ret)
{
	const struct shadow_record *r;

	memset(ret, 0, sizeof(*ret));
	for (r = shadow_records(); r; r = r->next) {
		const struct rec_head *h = (const void *)r->bytes;

		if (h->version != RECORD_VERSION || h->len != r->len)
			broken("version or length");
		if (h->type != REC_SPAN)
			continue;
		ret->at = realloc(ret->at, (ret->cnt + 1) * sizeof(*ret->at));
		span_read(&ret->at[ret->cnt++], r);
	}
}

void spans_free(struct spans *s)
{
	for (size_t i = 0; i < s->cnt; i++) {
		free(s->at[i].text);
		free(s->at[i].parent);
	}
	free(s->at);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* http1_attrs.c - one HTTP/1.x exchange in the words of OpenTelemetry's HTTP conventions. It takes
 * the request target apart (RFC 9112 section 3.2: origin, absolute, authority and asterisk form)
 * and the authority out of it or of the Host header. It resolves nothing and judges no URL. Called
 * by span_build.c. The invariants: values of the query string, user names and passwords of a URL
 * never leave this file while redaction is on; fragments, which no target may have, never do;
 * http.route (url.template on clients) is a guess from the path, a stated deviation from the
 * conventions. */
#include "agent/span_attrs.h"
#include "agent/utf8.h"

#include <string.h>

enum { STATUS_CLIENT_ERROR = 400, STATUS_SERVER_ERROR = 500, PORT_LEN_MAX = 5 };

/* --- text --- */

static struct str from(struct str s, size_t at)
{
	return (struct str){s.p + at, s.len - at};
}

/* Where c stands in s; s.len: nowhere. */
static size_t find(struct str s, char c)
{
	const char *at = s.len ? memchr(s.p, c, s.len) : NULL;

	return at ? (size_t)(at - s.p) : s.len;
}

static struct str until(struct str s, char c)
{
	return (struct str){s.p, find(s, c)};
}

/* --- the method --- */

static struct str method_of(struct str sent)
{
	static const struct str known[] = {
	    STR("GET"),	    STR("POST"),  STR("PUT"),	  STR("DELETE"), STR("HEAD"),
	    STR("OPTIONS"), STR("PATCH"), STR("CONNECT"), STR("TRACE"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (str_eq(known[i], sent))
			return known[i];
	}
	return STR("_OTHER");
}

/* --- the authority --- */

/* Where the authority ends: at the path, the query or the fragment. */
static size_t authority_len(struct str s)
{
	size_t len = 0;

	while (len < s.len && !strchr("/?#", s.p[len]))
		len++;
	return len;
}

/* Without user and password, and without what can be no part of it. */
static struct str authority_clean(struct str s)
{
	const char *at;

	s.len = authority_len(s);
	at = s.len ? memrchr(s.p, '@', s.len) : NULL;
	return at ? from(s, at + 1 - s.p) : s;
}

/* 1 to 65535, digits only; else 0. */
static uint16_t port_parse(struct str s)
{
	uint32_t port = 0;

	if (s.len > PORT_LEN_MAX)
		return 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		port = port * 10 + (s.p[i] - '0');
	}
	return port <= UINT16_MAX ? port : 0;
}

/* example.com:8080, [::1]:8080; the brackets are no part of the name. */
static void authority_split(struct http *h)
{
	struct str s = h->authority;
	bool v6 = s.len && s.p[0] == '[' && find(s, ']') < s.len;
	struct str rest = from(s, v6 ? find(s, ']') : 0);
	size_t colon = find(rest, ':');

	h->host = v6 ? until(from(s, 1), ']') : until(s, ':');
	h->port = colon < rest.len ? port_parse(from(rest, colon + 1)) : 0;
}

/* --- the target --- */

static bool is_scheme(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		bool letter = (s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z';
		bool other = (s.p[i] >= '0' && s.p[i] <= '9') || strchr("+-.", s.p[i]);

		if (!letter && (i == 0 || !s.p[i] || !other))
			return false;
	}
	return s.len > 0;
}

/* How long "scheme" of "scheme://…" is; 0: this is no absolute form. */
static size_t scheme_len(struct str target)
{
	size_t colon = find(target, ':');

	if (!is_scheme((struct str){target.p, colon}))
		return 0;
	return str_starts(from(target, colon), STR("://")) ? colon : 0;
}

static void path_split(struct http *h, struct str s)
{
	size_t mark;

	s = until(s, '#');
	mark = find(s, '?');
	h->path = (struct str){s.p, mark};
	h->query = mark < s.len ? from(s, mark + 1) : STR("");
}

static void absolute_split(struct http *h, struct str target, size_t scheme)
{
	struct str rest = from(target, scheme + strlen("://"));
	size_t len = authority_len(rest);

	h->scheme = (struct str){target.p, scheme};
	h->authority = (struct str){rest.p, len};
	path_split(h, from(rest, len));
	if (!h->path.len)
		h->path = STR("/");
}

static void target_split(struct http *h, struct str target, struct str host)
{
	size_t scheme = scheme_len(target);

	h->scheme = STR("http");
	h->path = h->query = STR("");
	h->authority = host;
	if (scheme)
		absolute_split(h, target, scheme);
	else if (str_eq(h->method, STR("CONNECT")))
		h->authority = target;
	else
		path_split(h, target);
	h->authority = authority_clean(h->authority);
	authority_split(h);
}

/* --- the query --- */

static char *put(char *at, struct str s)
{
	memcpy(at, s.p, s.len);
	return at + s.len;
}

/* k=v&w → k=REDACTED&REDACTED: a piece without a name may be a token. */
static struct str redacted(struct arena *a, struct str query)
{
	const struct str word = STR("REDACTED");
	char *out = query.len ? arena_alloc(a, query.len * (word.len + 2)) : NULL, *at = out;

	if (!out)
		return STR("");
	for (size_t i = 0; i <= query.len;) {
		struct str piece = until(from(query, i), '&');
		size_t name = find(piece, '=');

		if (i)
			at = put(at, STR("&"));
		if (name < piece.len)
			at = put(at, (struct str){piece.p, name + 1});
		if (piece.len)
			at = put(at, word);
		i += piece.len + 1;
	}
	return (struct str){out, at - out};
}

/* --- prepare --- */

static bool is_answered(const struct build *bd)
{
	return !build_has(bd, SPAN_NOT_RESPONSE) && bd->rs->status != 0;
}

static struct str error_of(const struct build *bd)
{
	uint32_t least = build_is_server(bd) ? STATUS_SERVER_ERROR : STATUS_CLIENT_ERROR;

	if (is_answered(bd) && bd->rs->status >= least)
		return str_of(arena_printf(bd->arena, "%u", bd->rs->status) ?: "_OTHER");
	return build_has(bd, SPAN_ABORTED) ? STR("connection_closed") : STR("");
}

/* METHOD route; no route: METHOD. */
static struct str name_of(const struct build *bd)
{
	const struct http *h = &bd->http;
	struct str method = str_eq(h->method, STR("_OTHER")) ? STR("HTTP") : h->method;
	char *name = h->route.len ? arena_alloc(bd->arena, method.len + 1 + h->route.len) : NULL;

	if (!name)
		return method;
	put(put(put(name, method), STR(" ")), h->route);
	return (struct str){name, method.len + 1 + h->route.len};
}

/* Without the blanks behind a header's value. */
static struct str trimmed(struct str s)
{
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static void prepare(struct build *bd)
{
	struct http *h = &bd->http;

	bd->text[TEXT_HOST] = trimmed(bd->text[TEXT_HOST]);
	bd->text[TEXT_AGENT] = trimmed(bd->text[TEXT_AGENT]);
	h->method = method_of(bd->text[TEXT_METHOD]);
	target_split(h, bd->text[TEXT_TARGET], bd->text[TEXT_HOST]);
	if (bd->b->conf->redact_query)
		h->query = redacted(bd->arena, h->query);
	h->route = routes_guess(bd->b->routes, bd->arena, bd->pi->service, h->path);
	bd->error = error_of(bd);
	bd->name = name_of(bd);
}

/* --- attributes --- */

static bool method(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->http.method);
}

static bool method_original(const struct build *bd, struct val *ret)
{
	return str_eq(bd->http.method, STR("_OTHER")) && val_str(ret, bd->text[TEXT_METHOD]);
}

static bool scheme(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->http.scheme);
}

static bool path(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->http.path);
}

static bool query(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->http.query);
}

/* The authority as the client wrote it, else the address that it called. */
static struct str authority_of(const struct build *bd)
{
	bool v6 = find(bd->remote, ':') < bd->remote.len;

	if (bd->http.authority.len)
		return bd->http.authority;
	if (!bd->remote.len)
		return STR("");
	return str_of(arena_printf(bd->arena, v6 ? "[" STR_FMT "]:%u" : STR_FMT ":%u",
				   STR_ARG(bd->remote), bd->rs->remote_port)
			  ?: "");
}

static bool full(const struct build *bd, struct val *ret)
{
	const struct http *h = &bd->http;
	struct str authority = authority_of(bd), path_ = h->path;
	char *url, *at;

	if (build_is_server(bd) || !authority.len)
		return false;
	if (str_eq(path_, STR("*")))
		path_ = STR("");
	url = arena_alloc(bd->arena,
			  h->scheme.len + 3 + authority.len + path_.len + 1 + h->query.len);
	if (!url)
		return false;
	at = put(put(put(put(url, h->scheme), STR("://")), authority), path_);
	if (h->query.len)
		at = put(put(at, STR("?")), h->query);
	return val_str(ret, (struct str){url, at - url});
}

static bool route(const struct build *bd, struct val *ret)
{
	return build_is_server(bd) && val_str(ret, bd->http.route);
}

static bool template(const struct build *bd, struct val *ret)
{
	return !build_is_server(bd) && val_str(ret, bd->http.route);
}

static bool status(const struct build *bd, struct val *ret)
{
	return is_answered(bd) && val_int(ret, bd->rs->status);
}

static bool request_size(const struct build *bd, struct val *ret)
{
	return val_int(ret, bd->rs->req_bytes);
}

static bool response_size(const struct build *bd, struct val *ret)
{
	return is_answered(bd) && val_int(ret, bd->rs->resp_bytes);
}

static bool server_address(const struct build *bd, struct val *ret)
{
	struct str host = bd->http.host;

	return val_str(ret, host.len && !bd->service.len ? host : build_server_address(bd));
}

static bool server_port(const struct build *bd, struct val *ret)
{
	uint16_t port = bd->http.port ? bd->http.port : build_server_port(bd);

	return port && val_int(ret, port);
}

static bool client_address(const struct build *bd, struct val *ret)
{
	return build_is_server(bd) && val_str(ret, bd->remote);
}

static bool protocol_version(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->rs->op == 0 ? STR("1.0") : STR("1.1"));
}

static bool user_agent(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->text[TEXT_AGENT]);
}

static const struct attr_maker makers[] = {
    {STR("http.request.method"), method},
    {STR("http.request.method_original"), method_original},
    {STR("url.scheme"), scheme},
    {STR("url.path"), path},
    {STR("url.query"), query},
    {STR("url.full"), full},
    {STR("http.route"), route},
    {STR("url.template"), template},
    {STR("http.response.status_code"), status},
    {STR("http.request.body.size"), request_size},
    {STR("http.response.body.size"), response_size},
    {STR("server.address"), server_address},
    {STR("server.port"), server_port},
    {STR("client.address"), client_address},
    {STR("network.protocol.version"), protocol_version},
    {STR("user_agent.original"), user_agent},
};

const struct proto_maker http1_maker = {prepare, makers, ARRAY_SIZE(makers)};

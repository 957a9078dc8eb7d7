/* SPDX-License-Identifier: Apache-2.0 */
/* peers.c - asks all peers at once (libcurl) and waits for the slowest, but not long. Names are looked up for
 * each question, since nodes come and go behind them. */
#include "web/peers.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	PEERS_MAX = 64,
	NAME_LEN = 256,
	WAIT_MS = 3000,
	BODY_MAX = 64 << 20,
	POLL_MS = 100,
};

struct peer_name {
	bool tls;
	char host[NAME_LEN], port[8];
};

struct peers {
	struct peer_name at[PEERS_MAX];
	uint32_t cnt;
	char *authorization; /* header line, or NULL */
	char self[17];	     /* what tells us from other nodes */
};

/* One peer that is being asked. */
struct call {
	CURL *curl;
	char url_base[NAME_LEN + 32];
	struct strbuf body;
};

/* --- the list --- */

static bool name_parse(struct peer_name *n, const char *text, size_t len)
{
	const char *port;

	n->tls = len > 8 && !strncmp(text, "https://", 8);
	if (n->tls || (len > 7 && !strncmp(text, "http://", 7))) {
		len -= n->tls ? 8 : 7;
		text += n->tls ? 8 : 7;
	}
	port = memrchr(text, ':', len);
	if (!port || port == text || (size_t)(port - text) >= sizeof(n->host) ||
	    (size_t)(text + len - port - 1) >= sizeof(n->port) || text + len == port + 1)
		return false;
	snprintf(n->host, sizeof(n->host), "%.*s", (int)(port - text), text);
	snprintf(n->port, sizeof(n->port), "%.*s", (int)(text + len - port - 1), port + 1);
	return strspn(n->port, "0123456789") == strlen(n->port);
}

int peers_new(struct peers **ret, const char *list, struct str token, struct strbuf *why)
{
	struct peers *p = calloc(1, sizeof(*p));
	struct strbuf line;
	uint64_t self;

	must(p);
	if (getrandom(&self, sizeof(self), 0) != sizeof(self)) {
		free(p);
		return -EIO;
	}
	snprintf(p->self, sizeof(p->self), "%016llx", (unsigned long long)self);
	while (*list) {
		size_t len = strcspn(list, ",");

		if (p->cnt == PEERS_MAX || !name_parse(&p->at[p->cnt++], list, len)) {
			strbuf_printf(why, "query.peers: '%.*s' is not host:port (or there are more than %d)",
				      (int)len, list, PEERS_MAX);
			free(p);
			return -EINVAL;
		}
		list += len + (list[len] == ',');
	}
	if (token.len) {
		strbuf_init(&line);
		strbuf_printf(&line, "Authorization: Bearer " STR_FMT, STR_ARG(token));
		p->authorization = line.p;
	}
	*ret = p;
	return 0;
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	free(p->authorization);
	free(p);
}

bool peers_is_self(const struct peers *p, const char *header)
{
	return p && !strcmp(header, p->self);
}

/* --- calls --- */

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct call *c = arg;

	if (c->body.len + len > BODY_MAX)
		return 0;
	strbuf_add(&c->body, data, one * len);
	return one * len;
}

static struct curl_slist *headers_make(const struct peers *p, const char *accept)
{
	struct curl_slist *h;
	char line[128];

	snprintf(line, sizeof(line), PEER_HEADER ": %s", p->self);
	h = curl_slist_append(NULL, line);
	snprintf(line, sizeof(line), "Accept: %s", accept);
	h = curl_slist_append(h, line);
	return p->authorization ? curl_slist_append(h, p->authorization) : h;
}

static void call_begin(struct call *c, CURLM *all, struct str target, struct curl_slist *headers)
{
	struct strbuf url;

	strbuf_init(&c->body);
	strbuf_init(&url);
	strbuf_printf(&url, "%s" STR_FMT, c->url_base, STR_ARG(target));
	c->curl = curl_easy_init();
	must(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_URL, url.p);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)WAIT_MS);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
	curl_multi_add_handle(all, c->curl);
	strbuf_fini(&url);
}

/* Has it answered? 404: it knows nothing of that, which is an answer. */
static long call_status(struct call *c)
{
	long status = 0;

	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static void call_end(struct call *c, CURLM *all)
{
	curl_multi_remove_handle(all, c->curl);
	curl_easy_cleanup(c->curl);
	strbuf_fini(&c->body);
}

/* The addresses behind a name; one that has none is asked by name, and fails with a sentence. */
static uint32_t addresses(const struct peer_name *n, struct call *to, uint32_t room)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	const char *scheme = n->tls ? "https" : "http";
	char host[NI_MAXHOST];
	uint32_t cnt = 0;

	/* A certificate is for the name. */
	if (!n->tls && !getaddrinfo(n->host, n->port, &hints, &list)) {
		for (struct addrinfo *at = list; at && cnt < room; at = at->ai_next)
			if (!getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST))
				snprintf(to[cnt++].url_base, sizeof(to->url_base),
					 at->ai_family == AF_INET6 ? "%s://[%s]:%s" : "%s://%s:%s", scheme, host,
					 n->port);
		freeaddrinfo(list);
	}
	if (!cnt && room)
		snprintf(to[cnt++].url_base, sizeof(to->url_base), "%s://%s:%s", scheme, n->host, n->port);
	return cnt;
}

static void run_all(CURLM *all)
{
	int running = 1;

	while (running && !curl_multi_perform(all, &running))
		if (running)
			curl_multi_poll(all, NULL, 0, POLL_MS, NULL);
}

static void said_take(struct peers_said *said, struct arena *a, struct call *c)
{
	long status = call_status(c);
	struct str body = {NULL, 0};

	if (status == 200)
		body = arena_str(a, c->body.p, c->body.len);
	if (status == 200 && !body.p)
		status = 0; /* there is no room for it */
	if (status == 200)
		said->bodies[said->cnt++] = body;
	said->answered += status == 200 || status == 404;
	if (status != 200 && status != 404)
		strbuf_printf(&said->missing, "%s%s (%ld)", said->missing.len ? ", " : "no answer from ",
			      c->url_base, status);
}

void peers_escape(struct strbuf *target, struct str text)
{
	char *escaped;

	if (!text.len)
		return;
	escaped = text.len <= INT_MAX ? curl_easy_escape(NULL, text.p, (int)text.len) : NULL;
	must(escaped);
	strbuf_adds(target, escaped);
	curl_free(escaped);
}

void peers_ask(const struct peers *p, struct arena *a, struct str target, const char *accept,
	       struct peers_said *ret)
{
	struct curl_slist *headers = headers_make(p, accept);
	struct call *calls = calloc(PEERS_MAX, sizeof(*calls));
	CURLM *all = curl_multi_init();
	uint32_t cnt = 0;

	must(calls && all);
	*ret = (struct peers_said){.bodies = arena_array(a, struct str, PEERS_MAX)};
	strbuf_init(&ret->missing);
	for (uint32_t i = 0; i < p->cnt; i++)
		cnt += addresses(&p->at[i], calls + cnt, PEERS_MAX - cnt);
	for (uint32_t i = 0; i < cnt; i++)
		call_begin(&calls[i], all, target, headers);
	run_all(all);
	ret->asked = cnt;
	for (uint32_t i = 0; i < cnt; i++) {
		if (ret->bodies)
			said_take(ret, a, &calls[i]);
		call_end(&calls[i], all);
	}
	curl_multi_cleanup(all);
	curl_slist_free_all(headers);
	free(calls);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* web.h - the HTTP side: Tempo's query API, OTLP ingest, /metrics, /status. Handlers turn parameters
 * into questions for query/, and results into JSON or protobuf; nothing is decided here. */
#ifndef WIRESPAN_WEB_H
#define WIRESPAN_WEB_H

#include "store/base.h"

struct store;
struct web;

struct web_conf {
	const char *listen; /* "127.0.0.1:3200", "[::1]:3200"; port 0: any free one */
	struct store *store;
	const char *token_file;    /* NULL: no bearer token asked */
	const char *tls_cert_file; /* NULL: no TLS */
	const char *tls_key_file;
	const char *const *hosts;  /* NULL-terminated: further Host names that are ours; may be NULL */
	bool insecure;             /* allow other than loopback without a token */
	const char *peers;         /* other nodes to ask, "host:port,…"; NULL: none */
	unsigned int threads;      /* 0: 16 */
	bool ingest_only;          /* OTLP comes in here and nothing else is served */
	bool ingest_commits;       /* OTLP is answered when committed, not when accepted */
};

/* Listens and serves. -EADDRINUSE port taken, -EACCES beyond loopback without token or insecure,
 * -EINVAL bad address; why gets the sentence. /ready answers 503 until web_ready. */
int web_start(struct web **ret, const struct web_conf *conf, struct strbuf *why);
void web_ready(struct web *w);
/* Ends what runs and closes. NULL is fine. */
void web_stop(struct web *w);
/* The port it listens on. */
uint16_t web_port(const struct web *w);

#endif

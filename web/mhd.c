/* SPDX-License-Identifier: Apache-2.0 */
/* mhd.c - libmicrohttpd with daemons of one thread each, that take connections from front.c
 * instead of accepting. They read and write; what takes time is done by the pool of exchange.c
 * while the connection is suspended. The invariant: no more than CONNECTIONS_MAX connections;
 * others wait where they are. */
#include "web/mhd.h"

#include <errno.h>
#include <stdlib.h>

#include "web/exchange.h"
#include "web/front.h"

enum {
	CONNECTIONS_MAX = 512,
	IDLE_S = 60,
	CONNECTION_MEMORY = 64 * 1024, /* head and URI; TraceQL can be long */
};

struct mhd {
	unsigned int cnt, connections_max; /* of one worker */
	struct mhd_worker workers[];
};

static void log_mhd(void *arg, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

static void log_mhd(void *arg, const char *fmt, va_list ap)
{
	struct strbuf line;

	(void)arg;
	strbuf_init(&line);
	strbuf_vprintf(&line, fmt, ap);
	log_debug("http: %s", line.p);
	strbuf_fini(&line);
}

static void kick(struct mhd_worker *wk)
{
	if (wk->web->front)
		front_kick(wk->web->front);
}

/* MHD_OPTION_NOTIFY_CONNECTION. They are counted when they are given away. */
static void connection_notify(void *worker, struct MHD_Connection *conn, void **context,
			      enum MHD_ConnectionNotificationCode code)
{
	struct mhd_worker *wk = worker;

	(void)conn, (void)context;
	if (code != MHD_CONNECTION_NOTIFY_CLOSED || !wk->web->front)
		return;
	atomic_fetch_sub(&wk->connections, 1);
	kick(wk);
}

/* The limit of each alone is that of all: it counts closed ones a little longer than we do. */
static int daemon_start(struct mhd_worker *wk, const struct MHD_OptionItem *more,
			struct strbuf *why)
{
	bool tls = more[0].option != MHD_OPTION_END;
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG |
			     MHD_ALLOW_SUSPEND_RESUME |
			     (tls ? MHD_USE_TLS : MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC);

	wk->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, exchange_step, wk, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_URI_LOG_CALLBACK, exchange_new, wk, MHD_OPTION_NOTIFY_COMPLETED,
		exchange_free, wk, MHD_OPTION_NOTIFY_CONNECTION, connection_notify, wk,
		MHD_OPTION_ARRAY, more, MHD_OPTION_END);
	if (wk->daemon)
		return 0;
	strbuf_adds(
		why,
		tls ? "cannot start the HTTPS server: is the certificate PEM, and the key its own?"
		    : "cannot start the HTTP server");
	return tls ? -EINVAL : -EIO;
}

static int start_tls(struct mhd *h, unsigned int threads, const struct mhd_tls *tls, int fd,
		     struct strbuf *why)
{
	const struct MHD_OptionItem items[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)tls->cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)tls->key},
		{MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL},
		{MHD_OPTION_LISTEN_SOCKET, fd, NULL},
		{MHD_OPTION_END, 0, NULL},
	};

	return daemon_start(&h->workers[0], items, why);
}

static int start_plain(struct mhd *h, struct strbuf *why)
{
	static const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
	int err = 0;

	for (unsigned int i = 0; i < h->cnt && !err; i++)
		err = daemon_start(&h->workers[i], none, why);
	return err;
}

int mhd_start(struct mhd **ret, struct web *w, unsigned int threads, const struct mhd_tls *tls,
	      int fd, struct strbuf *why)
{
	unsigned int cnt = tls ? 1 : threads;
	struct mhd *h = calloc(1, sizeof(*h) + cnt * sizeof(h->workers[0]));
	int err;

	must(h && cnt);
	h->cnt = cnt;
	h->connections_max = CONNECTIONS_MAX / cnt;
	for (unsigned int i = 0; i < cnt; i++)
		h->workers[i].web = w;
	err = tls ? start_tls(h, threads, tls, fd, why) : start_plain(h, why);
	if (err)
		mhd_stop(h);
	else
		*ret = h;
	return err;
}

bool mhd_take(struct mhd *h, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct mhd_worker *best = NULL;

	for (unsigned int i = 0; i < h->cnt; i++) {
		struct mhd_worker *wk = &h->workers[i];

		if (wk->connections < h->connections_max &&
		    (!best || wk->connections < best->connections))
			best = wk;
	}
	if (!best)
		return false;
	atomic_fetch_add(&best->connections, 1);
	/* On failure it closes the socket and notifies nobody. */
	if (MHD_add_connection(best->daemon, fd, peer, len) != MHD_YES)
		atomic_fetch_sub(&best->connections, 1);
	return true;
}

void mhd_stop(struct mhd *h)
{
	for (unsigned int i = 0; h && i < h->cnt; i++)
		if (h->workers[i].daemon)
			MHD_stop_daemon(h->workers[i].daemon);
	free(h);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - starts and stops: address, token, TLS, the listening socket, and who serves it.
 *
 * Opens the socket itself, so that an error has its own errno and port 0 can be asked for. Without
 * TLS front.c accepts and hands HTTP/1 to mhd.c and HTTP/2 to h2.c; with TLS libmicrohttpd does
 * both, and there is no HTTP/2. Called by agent/main.c. The invariant: nothing
 * beyond loopback is served without a token unless the user said so. */
#include "web/web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "web/access.h"
#include "web/exchange.h"
#include "web/front.h"
#include "web/mhd.h"
#include "web/peers.h"

enum {
	THREADS_DEFAULT = 16, /* for handlers: dear questions must not have all */
	MHD_THREADS = 2,      /* they only read and write */
	BACKLOG = 256,
	FILE_MAX = 256 * 1024,
};

/* --- files --- */

static int read_file(const char *path, struct strbuf *to, struct strbuf *why)
{
	char chunk[4096];
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

	while (!err && (n = read(fd, chunk, sizeof(chunk))) > 0 && to->len <= FILE_MAX)
		strbuf_add(to, chunk, (size_t)n);
	if (!err && n)
		err = n < 0 ? -errno : -EFBIG;
	if (fd >= 0)
		close(fd);
	if (err)
		strbuf_printf(why, "cannot read %s: %s", path, strerror(-err));
	return err;
}

static int read_token(struct web *w, const char *path, struct strbuf *why)
{
	int err = path ? read_file(path, &w->token, why) : 0;

	if (err || !path)
		return err;
	while (w->token.len && strchr(" \t\r\n", w->token.p[w->token.len - 1]))
		w->token.p[--w->token.len] = '\0';
	if (w->token.len && !memchr(w->token.p, '\0', w->token.len))
		return 0;
	strbuf_printf(why, "the token file %s holds no token", path);
	return -EINVAL;
}

/* --- the listener --- */

static int port_of(const struct sockaddr_storage *sa)
{
	return ntohs(sa->ss_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_port
					      : ((const struct sockaddr_in6 *)sa)->sin6_port);
}

static int check_address(const struct web_conf *conf, struct sockaddr_storage *sa,
			 struct strbuf *why)
{
	if (access_parse_listen(conf->listen, sa)) {
		strbuf_printf(why,
			      "cannot listen on \"%s\": an address is written 127.0.0.1:3200 or "
			      "[::1]:3200",
			      conf->listen);
		return -EINVAL;
	}
	if (!access_is_loopback((struct sockaddr *)sa) && !conf->token_file && !conf->insecure) {
		strbuf_printf(
			why,
			"%s can be reached from other machines: give a token file, or say insecure "
			"to serve without one",
			conf->listen);
		return -EACCES;
	}
	return 0;
}

static int socket_open(const struct sockaddr_storage *sa, int *ret_fd)
{
	int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, err;
	socklen_t len =
		sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)sa, len) || listen(fd, BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

static int web_listen(struct web *w, const struct web_conf *conf, int *ret_fd, struct strbuf *why)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int err = check_address(conf, &sa, why);

	if (err)
		return err;
	err = socket_open(&sa, ret_fd);
	if (err == -EADDRINUSE)
		strbuf_printf(why, "cannot listen on %s: another program has this port",
			      conf->listen);
	else if (err)
		strbuf_printf(why, "cannot listen on %s: %s", conf->listen, strerror(-err));
	if (err)
		return err;
	getsockname(*ret_fd, (struct sockaddr *)&sa, &len);
	w->port = (uint16_t)port_of(&sa);
	return 0;
}

/* --- the server behind it --- */

static int start_tls(struct web *w, int fd, const struct web_conf *conf, struct strbuf *why)
{
	struct strbuf cert, key;
	int err;

	strbuf_init(&cert);
	strbuf_init(&key);
	err = read_file(conf->tls_cert_file, &cert, why);
	err = err ?: read_file(conf->tls_key_file, &key, why);
	if (err) {
		close(fd);
	} else {
		const struct mhd_tls tls = {cert.p, key.p};

		err = mhd_start(&w->mhd, w, MHD_THREADS, &tls, fd, why);
	}
	explicit_bzero(key.p, key.len);
	strbuf_fini(&cert);
	strbuf_fini(&key);
	return err;
}

static int start_plain(struct web *w, int fd, unsigned int threads, struct strbuf *why)
{
	int err = mhd_start(&w->mhd, w, MHD_THREADS, NULL, -1, why);

	if (err)
		close(fd);
	else
		err = front_start(&w->front, w, fd, threads, why);
	return err;
}

static int start(struct web *w, const struct web_conf *conf, struct strbuf *why)
{
	unsigned int threads = conf->threads ? conf->threads : THREADS_DEFAULT;
	int fd = -1, err;

	if (!conf->tls_cert_file != !conf->tls_key_file) {
		strbuf_adds(why, "TLS needs both a certificate file and a key file");
		return -EINVAL;
	}
	err = read_token(w, conf->token_file, why);
	if (!err && conf->peers)
		err = peers_new(&w->peers, conf->peers, (struct str){w->token.p, w->token.len},
				why);
	err = err ?: web_listen(w, conf, &fd, why);
	if (err)
		return err;
	w->handlers = pool_new(threads, exchange_run);
	return conf->tls_cert_file ? start_tls(w, fd, conf, why) : start_plain(w, fd, threads, why);
}

/* --- public --- */

static char **hosts_dup(const char *const *hosts)
{
	size_t cnt = 0;
	char **copy;

	while (hosts && hosts[cnt])
		cnt++;
	copy = calloc(cnt + 1, sizeof(*copy));
	must(copy);
	for (size_t i = 0; i < cnt; i++) {
		copy[i] = strdup(hosts[i]);
		must(copy[i]);
	}
	return copy;
}

int web_start(struct web **ret, const struct web_conf *conf, struct strbuf *why)
{
	struct web *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->store = conf->store;
	w->ingest_only = conf->ingest_only;
	w->ingest_commits = conf->ingest_commits;
	w->hosts = hosts_dup(conf->hosts);
	strbuf_init(&w->token);
	err = start(w, conf, why);
	if (err) {
		web_stop(w);
		return err;
	}
	*ret = w;
	return 0;
}

void web_ready(struct web *w)
{
	w->ready = true;
}

void web_stop(struct web *w)
{
	if (!w)
		return;
	w->stopping = true;
	front_stop(w->front);
	pool_stop(w->handlers); /* libmicrohttpd may not stop with a suspended connection */
	mhd_stop(w->mhd);
	pool_free(w->handlers);
	front_free(w->front);
	for (char **h = w->hosts; *h; h++)
		free(*h);
	free(w->hosts);
	peers_free(w->peers);
	explicit_bzero(w->token.p, w->token.len);
	strbuf_fini(&w->token);
	free(w);
}

uint16_t web_port(const struct web *w)
{
	return w->port;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* front.c - one thread, one epoll: the listening socket, connections of which nobody knows yet what
 * they speak, and those that speak HTTP/2.
 *
 * A new connection's first bytes are peeked at, never taken. What cannot be the preface of HTTP/2
 * goes to mhd.c with all its bytes, and so does who says nothing for PREFACE_S. A call that is
 * complete goes to a pool of threads and its answer comes back by front_give. The invariant: the
 * loop waits for nobody but epoll; every wait for a client has a deadline and every list a bound.
 */
#include "web/front.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "web/exchange.h"
#include "web/grpc.h"
#include "web/h2.h"
#include "web/mhd.h"

enum {
	UNKNOWN_MAX = 128, /* connections that have not said what they speak, or wait for http1 */
	H2_MAX = 128,
	VISITORS_MAX = UNKNOWN_MAX + H2_MAX,
	PREFACE_S = 5,
	INGEST_THREADS = 2,
	EVENTS = 64,
	ACCEPTS = 64, /* of one turn */
	TICK_MS = 500,
	RETRY_MS = 20, /* while connections wait outside */
};

enum { KEY_LISTEN = VISITORS_MAX, KEY_WAKE };

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum { PREFACE_LEN = sizeof(PREFACE) - 1, PREFACE_SURE = 4 }; /* no method of HTTP/1 is PRI */

struct visitor {
	int fd; /* of an unknown one; -1: none, or h2 has it */
	struct h2 *h2;
	bool http1;	      /* known to be; waits for a thread */
	bool blocked;	      /* as epoll knows it */
	uint64_t deadline_ns; /* of an unknown one */
	struct sockaddr_storage peer;
	socklen_t peer_len;
};

struct front {
	struct web *web;
	int listen_fd, epoll_fd, wake_fd;
	pthread_t thread;
	bool runs; /* the thread is to be joined */
	struct pool *queries, *ingest;
	struct h2_shared shared;
	struct visitor visitors[VISITORS_MAX];
	uint32_t unknown_cnt, waiting_cnt, h2_cnt; /* waiting: of the unknown, those for http1 */
	bool paused;				   /* the listening socket is not listened to */
	uint64_t now_ns, tick_ns;
	pthread_mutex_t lock;
	struct call *listed; /* calls that workers gave something to */
};

/* --- between workers and the loop --- */

void front_kick(struct front *f)
{
	uint64_t one = 1;

	if (write(f->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake */
}

/* Moves the bytes; the first message, often the only one, is not copied. */
static void append(struct strbuf *to, struct strbuf *bytes)
{
	if (!to->len) {
		strbuf_fini(to);
		*to = *bytes;
		strbuf_init(bytes);
		return;
	}
	strbuf_add(to, bytes->p, bytes->len);
	strbuf_clear(bytes);
}

void front_give(struct call *c, struct strbuf *bytes, bool done)
{
	struct front *f = c->web->front;

	pthread_mutex_lock(&f->lock);
	append(&c->out, bytes);
	c->done = done;
	if (!c->listed) {
		c->listed = true;
		c->next_listed = f->listed;
		f->listed = c;
	}
	pthread_mutex_unlock(&f->lock);
	front_kick(f);
}

void front_submit(struct call *c)
{
	struct front *f = c->web->front;

	c->submitted = true;
	pool_add(grpc_is_ingest(c) ? f->ingest : f->queries, &c->job);
}

size_t front_take(struct call *c, void *to, size_t len, bool *ret_done)
{
	struct front *f = c->web->front;
	size_t left;

	pthread_mutex_lock(&f->lock);
	left = c->out.len - c->out_sent;
	len = len < left ? len : left;
	memcpy(to, c->out.p + c->out_sent, len);
	c->out_sent += len;
	if (c->out_sent == c->out.len) {
		strbuf_fini(&c->out);
		c->out_sent = 0;
	}
	*ret_done = c->done && !c->out.len;
	pthread_mutex_unlock(&f->lock);
	return len;
}

enum front_has front_has(struct call *c)
{
	enum front_has has;

	pthread_mutex_lock(&c->web->front->lock);
	has = c->out.len ? FRONT_MESSAGES : c->done ? FRONT_END : FRONT_NOTHING;
	pthread_mutex_unlock(&c->web->front->lock);
	return has;
}

/* The next call that was given something, or NULL; *ret_done: the worker has no hand in it any
 * more. */
static struct call *next_listed(struct front *f, bool *ret_done)
{
	struct call *c;

	pthread_mutex_lock(&f->lock);
	c = f->listed;
	if (c) {
		f->listed = c->next_listed;
		c->listed = false;
		*ret_done = c->done;
	}
	pthread_mutex_unlock(&f->lock);
	return c;
}

static void take_back(struct front *f)
{
	struct call *c;
	bool done;

	while ((c = next_listed(f, &done))) {
		c->returned |= done;
		if (c->conn)
			h2_resume(c);
		else if (c->returned)
			h2_call_free(&f->shared, c);
	}
}

/* --- connections --- */

static void watch(struct front *f, int op, int fd, uint32_t key, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u32 = key};

	must(epoll_ctl(f->epoll_fd, op, fd, &ev) == 0 || errno == ENOMEM || errno == ENOSPC);
}

/* What it was is somebody else's now, or closed. */
static void visitor_forget(struct front *f, struct visitor *l)
{
	f->waiting_cnt -= l->http1;
	f->unknown_cnt--;
	*l = (struct visitor){.fd = -1};
}

static void visitor_close_h2(struct front *f, struct visitor *l)
{
	h2_free(l->h2);
	f->h2_cnt--;
	*l = (struct visitor){.fd = -1};
}

static void visitor_to_http1(struct front *f, struct visitor *l)
{
	if (!l->http1)
		f->waiting_cnt++;
	l->http1 = true;
	epoll_ctl(f->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
	if (mhd_take(f->web->mhd, l->fd, (struct sockaddr *)&l->peer, l->peer_len))
		visitor_forget(f, l);
}

static void visitor_run(struct front *f, struct visitor *l, bool readable)
{
	bool blocked;

	if (!h2_run(l->h2, readable, f->now_ns)) {
		visitor_close_h2(f, l);
		return;
	}
	blocked = h2_is_blocked(l->h2);
	if (blocked != l->blocked)
		watch(f, EPOLL_CTL_MOD, h2_fd(l->h2), (uint32_t)(l - f->visitors),
		      EPOLLIN | (blocked ? EPOLLOUT : 0));
	l->blocked = blocked;
}

/* Makes room: of those without a stream the one that has been so for longest goes. */
static bool evict(struct front *f)
{
	struct visitor *oldest = NULL;

	for (struct visitor *l = f->visitors; l < f->visitors + VISITORS_MAX; l++)
		if (l->h2 && h2_idle_since(l->h2) &&
		    (!oldest || h2_idle_since(l->h2) < h2_idle_since(oldest->h2)))
			oldest = l;
	if (oldest)
		visitor_close_h2(f, oldest);
	return oldest;
}

static void visitor_to_h2(struct front *f, struct visitor *l)
{
	int fd = l->fd, one = 1;

	visitor_forget(f, l);
	if (f->h2_cnt == H2_MAX && !evict(f)) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	l->h2 = h2_new(&f->shared, fd, f->now_ns);
	if (!l->h2)
		return;
	f->h2_cnt++;
	watch(f, EPOLL_CTL_MOD, fd, (uint32_t)(l - f->visitors), EPOLLIN);
	visitor_run(f, l, true);
}

/* Of an unknown connection; edge-triggered, so it happens once for each piece that arrives. */
static void visitor_peek(struct front *f, struct visitor *l)
{
	char got[PREFACE_LEN];
	ssize_t n = recv(l->fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close(l->fd);
		visitor_forget(f, l);
	} else if (memcmp(got, PREFACE, (size_t)n) != 0) {
		visitor_to_http1(f, l);
	} else if (n == PREFACE_LEN) {
		visitor_to_h2(f, l);
	}
}

/* It took too long to say what it is. */
static void visitor_overdue(struct front *f, struct visitor *l)
{
	char got[PREFACE_LEN];

	if (recv(l->fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT) < PREFACE_SURE) {
		visitor_to_http1(f, l);
		return;
	}
	close(l->fd);
	visitor_forget(f, l);
}

static void visitor_event(struct front *f, struct visitor *l, uint32_t events)
{
	if (l->h2)
		visitor_run(f, l, events & ~(uint32_t)EPOLLOUT);
	else if (l->fd >= 0 && !l->http1)
		visitor_peek(f, l);
}

/* --- accepting --- */

static struct visitor *visitor_unused(struct front *f)
{
	for (struct visitor *l = f->visitors; l < f->visitors + VISITORS_MAX; l++)
		if (l->fd < 0 && !l->h2)
			return l;
	return NULL;
}

/* 0, or -errno of accept. */
static int accept_one(struct front *f)
{
	struct visitor *l = visitor_unused(f);

	must(l); /* unknown and HTTP/2 ones each have their own bound */
	l->peer_len = sizeof(l->peer);
	l->fd = accept4(f->listen_fd, (struct sockaddr *)&l->peer, &l->peer_len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (l->fd < 0)
		return -errno;
	f->unknown_cnt++;
	l->deadline_ns = f->now_ns + (uint64_t)PREFACE_S * NS_PER_S;
	watch(f, EPOLL_CTL_ADD, l->fd, (uint32_t)(l - f->visitors), EPOLLIN | EPOLLRDHUP | EPOLLET);
	visitor_peek(f, l);
	return 0;
}

static void pause_accepting(struct front *f, bool paused)
{
	if (paused != f->paused)
		watch(f, EPOLL_CTL_MOD, f->listen_fd, KEY_LISTEN, paused ? 0 : EPOLLIN);
	f->paused = paused;
}

/* Where there is no room, or no descriptor, the rest waits in the socket's queue. */
static void accept_some(struct front *f)
{
	int err = 0, left = ACCEPTS;

	while (left-- && f->unknown_cnt < UNKNOWN_MAX && err != -EAGAIN && err != -EMFILE &&
	       err != -ENFILE && err != -ENOBUFS && err != -ENOMEM)
		err = accept_one(f);
	pause_accepting(f, err != -EAGAIN && (err || f->unknown_cnt == UNKNOWN_MAX));
}

/* --- the loop --- */

static void tick(struct front *f)
{
	for (struct visitor *l = f->visitors; l < f->visitors + VISITORS_MAX; l++) {
		if (l->h2 && !h2_tick(l->h2, f->now_ns))
			visitor_close_h2(f, l);
		else if (!l->h2 && l->fd >= 0 && !l->http1 && f->now_ns > l->deadline_ns)
			visitor_overdue(f, l);
	}
	f->tick_ns = f->now_ns + (uint64_t)TICK_MS * NS_PER_MS;
}

/* Those for whom something came from another side than the network. */
static void look_around(struct front *f)
{
	for (struct visitor *l = f->visitors; l < f->visitors + VISITORS_MAX; l++) {
		if (l->h2 && h2_is_due(l->h2))
			visitor_run(f, l, false);
		else if (l->http1)
			visitor_to_http1(f, l);
	}
}

static int wait_ms(const struct front *f)
{
	if (f->paused || f->waiting_cnt)
		return RETRY_MS;
	return f->unknown_cnt || f->h2_cnt ? TICK_MS : -1;
}

static void turn(struct front *f)
{
	struct epoll_event ev[EVENTS];
	int cnt = epoll_wait(f->epoll_fd, ev, EVENTS, wait_ms(f));
	bool accepts = f->paused;
	uint64_t drop;

	f->now_ns = clock_mono_ns();
	for (int i = 0; i < cnt; i++) {
		if (ev[i].data.u32 < VISITORS_MAX)
			visitor_event(f, &f->visitors[ev[i].data.u32], ev[i].events);
		else if (ev[i].data.u32 == KEY_LISTEN)
			accepts = true;
		else if (read(f->wake_fd, &drop, sizeof(drop)) < 0)
			continue;
	}
	take_back(f);
	look_around(f);
	if (f->now_ns >= f->tick_ns)
		tick(f);
	if (accepts) /* last: a visitor that is used again must not get the events of its
			predecessor */
		accept_some(f);
}

static void *loop(void *arg)
{
	struct front *f = arg;

	while (!f->web->stopping)
		turn(f);
	return NULL;
}

/* --- public --- */

static int descriptors_open(struct front *f)
{
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll_fd < 0)
		return -errno;
	f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->wake_fd < 0)
		return -errno;
	watch(f, EPOLL_CTL_ADD, f->listen_fd, KEY_LISTEN, EPOLLIN);
	watch(f, EPOLL_CTL_ADD, f->wake_fd, KEY_WAKE, EPOLLIN);
	return 0;
}

int front_start(struct front **ret, struct web *w, int fd, unsigned int threads, struct strbuf *why)
{
	struct front *f = calloc(1, sizeof(*f));
	int err;

	must(f);
	f->web = f->shared.web = w;
	f->listen_fd = fd;
	f->epoll_fd = f->wake_fd = -1;
	for (size_t i = 0; i < VISITORS_MAX; i++)
		f->visitors[i].fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	f->queries = pool_new(threads, grpc_run);
	f->ingest = pool_new(INGEST_THREADS, grpc_run);
	*ret = f; /* before the loop: what comes in finds us there */
	err = descriptors_open(f) ?: -pthread_create(&f->thread, NULL, loop, f);
	f->runs = !err;
	if (err)
		strbuf_printf(why, "cannot start the server: %s", strerror(-err));
	return err;
}

void front_stop(struct front *f)
{
	if (!f || !f->runs)
		return;
	front_kick(f);
	pthread_join(f->thread, NULL);
	f->runs = false;
	for (struct visitor *l = f->visitors; l < f->visitors + VISITORS_MAX; l++) {
		if (l->fd >= 0)
			close(l->fd);
		h2_free(l->h2);
	}
	/* The workers see that we stop; each call comes back. */
	pool_free(f->queries);
	pool_free(f->ingest);
	f->queries = f->ingest = NULL;
	take_back(f);
}

void front_free(struct front *f)
{
	if (!f)
		return;
	pool_free(f->queries);
	pool_free(f->ingest);
	for (int *fd = (int[]){f->listen_fd, f->epoll_fd, f->wake_fd, -1}, i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

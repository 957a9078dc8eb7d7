/* SPDX-License-Identifier: Apache-2.0 */
/* c_epoll - an event loop in C: one thread, epoll, pools of non-blocking connections to the back
 * end and (libpq) to PostgreSQL. A call that finds none idle waits in a queue, and whichever
 * request's answer frees a connection, the first in the queue is sent on it at once. */
#include "../http.h"

#include <libpq-fe.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { POOL_SIZE = 8, EVENTS_MAX = 64, TICK_MS = 20 };

struct watch {
	void (*ready)(struct watch *);
	int fd;
	char in[HTTP_MAX];
	size_t len;
};

/* What a request, or the timer, has to do: go() makes the next step when the last is over. */
struct work {
	struct watch watch;
	void (*go)(struct work *);
	int step, open; /* calls that are not answered yet */
	char id[ID_MAX];
	long due_ns;
	struct work *next; /* of those that sleep */
};

struct call {
	struct work *work;
	char name[2 * ID_MAX];
	struct call *next;
};

/* A connection of a pool. */
struct conn {
	struct watch watch;
	struct pool *pool;
	PGconn *pg;
	struct call *call;
	struct conn *next; /* idle */
};

struct pool {
	int (*send)(struct conn *, const char *name);
	struct conn *idle;
	struct call *first, **last;
};

static int epfd;
static struct work *sleepers;
static struct pool http, sql;

static void watch(struct watch *w, int fd, void (*ready)(struct watch *))
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = w};

	w->fd = fd;
	w->ready = ready;
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e))
		err(1, "epoll_ctl");
}

/* --- sleeping --- */

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void work_sleep(struct work *w, int ms)
{
	struct work **at = &sleepers;

	w->due_ns = now_ns() + ms * 1000000L;
	while (*at && (*at)->due_ns <= w->due_ns)
		at = &(*at)->next;
	w->next = *at;
	*at = w;
}

static int sleepers_wake(void)
{
	while (sleepers && sleepers->due_ns <= now_ns()) {
		struct work *w = sleepers;

		sleepers = w->next;
		w->go(w);
	}
	return sleepers ? (sleepers->due_ns - now_ns() + 999999) / 1000000 : -1;
}

/* --- calls --- */

static void conn_take(struct conn *c, struct call *call)
{
	c->call = call;
	if (c->pool->send(c, call->name))
		errx(1, "cannot send %s", call->name);
}

static void call_make(struct pool *p, struct work *w, const char *format, const char *id)
{
	struct call *call = calloc(1, sizeof(*call));
	struct conn *c = p->idle;

	call->work = w;
	snprintf(call->name, sizeof(call->name), format, id);
	w->open++;
	if (c) {
		p->idle = c->next;
		conn_take(c, call);
		return;
	}
	*p->last = call;
	p->last = &call->next;
}

/* The answer is there: the connection goes to who waits for one, then the work goes on. */
static void conn_done(struct conn *c)
{
	struct pool *p = c->pool;
	struct work *w = c->call->work;
	struct call *next = p->first;

	free(c->call);
	if (next) {
		p->first = next->next;
		if (!p->first)
			p->last = &p->first;
		conn_take(c, next);
	} else {
		c->next = p->idle;
		p->idle = c;
	}
	if (--w->open == 0)
		w->go(w);
}

static int watch_read(struct watch *w)
{
	ssize_t n = read(w->fd, w->in + w->len, sizeof(w->in) - 1 - w->len);

	if (n <= 0)
		return -1;
	w->len += n;
	w->in[w->len] = '\0';
	return 0;
}

static int http_send(struct conn *c, const char *name)
{
	return http_get(c->watch.fd, name);
}

static void http_ready(struct watch *w)
{
	if (watch_read(w))
		errx(1, "the back end has closed a connection");
	if (!http_whole(w->in))
		return;
	w->len = 0;
	conn_done((struct conn *)w);
}

static int sql_send(struct conn *c, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "SELECT pg_sleep(0.002) AS %s", name);
	return PQsendQuery(c->pg, text) && PQflush(c->pg) == 0 ? 0 : -1;
}

static void sql_ready(struct watch *w)
{
	struct conn *c = (struct conn *)w;
	PGresult *r;

	if (!PQconsumeInput(c->pg))
		errx(1, "%s", PQerrorMessage(c->pg));
	while (c->call && !PQisBusy(c->pg)) {
		r = PQgetResult(c->pg);
		if (!r) {
			conn_done(c);
			return;
		}
		if (PQresultStatus(r) != PGRES_TUPLES_OK)
			errx(1, "%s", PQresultErrorMessage(r));
		PQclear(r);
	}
}

static void pool_open(struct pool *p, int (*send)(struct conn *, const char *), int is_sql)
{
	*p = (struct pool){.send = send, .last = &p->first};
	for (int i = 0; i < POOL_SIZE; i++) {
		struct conn *c = calloc(1, sizeof(*c));

		c->pool = p;
		c->pg = is_sql ? PQconnectdb("") : NULL;
		if (is_sql && (PQstatus(c->pg) != CONNECTION_OK || PQsetnonblocking(c->pg, 1)))
			errx(1, "%s", PQerrorMessage(c->pg));
		watch(&c->watch, is_sql ? PQsocket(c->pg) : backend_connect(),
		      is_sql ? sql_ready : http_ready);
		c->next = p->idle;
		p->idle = c;
	}
}

/* --- requests and the timer --- */

static void request_go(struct work *w)
{
	switch (w->step++) {
	case 0:
	case 3:
		work_sleep(w, pause_of(w->id));
		break;
	case 1:
		call_make(&http, w, "%s-1", w->id);
		break;
	case 2:
		call_make(&sql, w, "r_%s_2", w->id);
		break;
	case 4:
		call_make(&http, w, "%s-3", w->id);
		call_make(&sql, w, "r_%s_4", w->id);
		break;
	default:
		if (http_answer(w->watch.fd))
			errx(1, "cannot answer %s", w->id);
	}
}

static void request_ready(struct watch *at)
{
	struct work *w = (struct work *)at;

	if (watch_read(at)) {
		close(at->fd);
		free(w);
		return;
	}
	if (!http_whole(at->in))
		return;
	http_id(at->in, w->id);
	at->len = 0;
	w->step = 0;
	w->go(w);
}

static void tick_go(struct work *w)
{
	snprintf(w->id, sizeof(w->id), "%d", w->step / 3);
	switch (w->step++ % 3) {
	case 0:
		work_sleep(w, TICK_MS);
		break;
	case 1:
		call_make(&http, w, "bg-%s", w->id);
		break;
	default:
		call_make(&sql, w, "bg_%s", w->id);
	}
}

static void accept_ready(struct watch *w)
{
	int fd = accept(w->fd, NULL, NULL);
	struct work *new = calloc(1, sizeof(*new));

	if (fd < 0)
		err(1, "accept");
	new->go = request_go;
	watch(&new->watch, fd, request_ready);
}

int main(void)
{
	struct epoll_event events[EVENTS_MAX];
	struct work timer = {.go = tick_go};
	struct watch listener = {};

	epfd = epoll_create1(0);
	pool_open(&http, http_send, 0);
	pool_open(&sql, sql_send, 1);
	watch(&listener, http_listen(0), accept_ready);
	timer.go(&timer);
	for (;;) {
		int n = epoll_wait(epfd, events, EVENTS_MAX, sleepers_wake());

		for (int i = 0; i < n; i++) {
			struct watch *w = events[i].data.ptr;

			w->ready(w);
		}
	}
}

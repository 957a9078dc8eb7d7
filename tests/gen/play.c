/* SPDX-License-Identifier: Apache-2.0 */
/* play.c - plays scripts over real sockets, many at once. Two loops serve the clients' ends and two
 * the servers', so that nobody who reads requests also sends some; an end is read by one loop and
 * written by the same or the other one, so both directions of a socket are busy at the same moment.
 * Each end has habits: how much it reads at a time and with which call, how small its buffers are,
 * whether its sends block. What is sent and when stands in the script, and nowhere here. */
#include "play.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { LOOPS = 4, EVENTS = 64, READS = 8, STUCK_SECONDS = 20, BLOCKING_US = 3000 };
enum role { READER, WRITER, ROLES };
enum { FAMILIES = 2 };

struct loop {
	struct player *player;
	pthread_t thread;
	int epoll, wake;
	pthread_mutex_t lock;
	struct end *mail[ROLES]; /* ends that are to be looked at */
	struct rng rng;
	_Atomic bool quit;
};

struct end {
	struct link *link;
	enum side side;
	int fd[ROLES];
	struct loop *loop[ROLES];
	struct end *next[ROLES]; /* in the loop's mail; the lock is the loop's */
	bool mailed[ROLES];
	struct rng rng; /* the writer's, as the next three */
	size_t piece;
	uint32_t sent;
	bool half_closed;
	_Atomic bool started; /* both loops know it */
	struct reader_habit habit; /* the reader's, as the next four */
	struct rng mood;
	bool lazy, closed;
	_Atomic bool waits_for_peer;
	_Atomic bool eof;
	_Atomic uint32_t got;
	_Atomic bool sent_all;
};

/* A connection: both its ends. */
struct link {
	struct script *s;
	struct end end[SIDES];
	atomic_int open;
	struct link *chain;
};

struct player {
	struct loop loops[LOOPS]; /* clients', servers', clients', servers' */
	int listeners[2][FAMILIES];
	uint16_t ports[2];
	pthread_mutex_t lock;
	pthread_cond_t fewer;
	struct link *links; /* all there were, freed at the end: mail may still name an end */
	uint32_t open, most;
	atomic_ulong moves;
	struct rng rng;
};

/* --- mail --- */

static void mail_put(struct end *e, enum role role)
{
	struct loop *l = e->loop[role];
	uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&l->lock);
	first = !l->mail[READER] && !l->mail[WRITER];
	if (!e->mailed[role]) {
		e->mailed[role] = true;
		e->next[role] = l->mail[role];
		l->mail[role] = e;
	}
	pthread_mutex_unlock(&l->lock);
	must(!first || write(l->wake, &one, sizeof(one)) == sizeof(one));
}

static struct end *mail_take(struct loop *l, enum role role)
{
	struct end *e;

	pthread_mutex_lock(&l->lock);
	e = l->mail[role];
	if (e) {
		l->mail[role] = e->next[role];
		e->mailed[role] = false;
	}
	pthread_mutex_unlock(&l->lock);
	return e;
}

/* --- the writer of an end --- */

static void writer_done(struct end *e)
{
	atomic_store(&e->sent_all, true);
	mail_put(e, READER);
}

static void maybe_half_close(struct end *e)
{
	struct script *s = e->link->s;

	if (e->side != CLIENT || !s->half || s->closer == CLIENT)
		return;
	shutdown(e->fd[WRITER], SHUT_WR);
}

/* One write. 1: more may follow at once; 0: wait. */
static int writer_step(struct end *e)
{
	struct flow *f = &e->link->s->flow[e->side];
	struct piece *p = &f->pieces[e->piece];
	ssize_t n;

	if (e->piece == f->piece_cnt) {
		maybe_half_close(e);
		writer_done(e);
		return 0;
	}
	if (atomic_load(&e->got) < p->wait) {
		if (atomic_load(&e->eof))
			writer_done(e); /* what it waits for will never come */
		return 0;
	}
	n = io_send(e->fd[WRITER], f, e->sent, p->end, p->how, &e->rng);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			writer_done(e);
		return 0;
	}
	atomic_fetch_add(&e->loop[WRITER]->player->moves, 1);
	e->sent += (uint32_t)n;
	if (e->sent == p->end)
		e->piece++;
	return 1;
}

static void writer_run(struct end *e)
{
	if (atomic_load(&e->sent_all) || !atomic_load(&e->started))
		return;
	while (!atomic_load(&e->sent_all) && writer_step(e)) {
		if (rng_chance(&e->rng, 30)) { /* others first, so that the peer reads this alone */
			mail_put(e, WRITER);
			return;
		}
	}
}

/* --- the reader of an end --- */

static void link_closed(struct player *p, struct link *l)
{
	if (atomic_fetch_sub(&l->open, 1) != 1)
		return;
	script_free(l->s);
	l->s = NULL;
	pthread_mutex_lock(&p->lock);
	p->open--;
	pthread_cond_signal(&p->fewer);
	pthread_mutex_unlock(&p->lock);
}

static void end_close(struct end *e)
{
	struct player *p = e->loop[READER]->player;

	e->closed = true;
	close(e->fd[WRITER]);
	close(e->fd[READER]);
	link_closed(p, e->link);
}

/* This end is to end the connection, and all is said. */
static void end_first(struct end *e)
{
	struct script *s = e->link->s;
	struct end *peer = &e->link->end[!e->side];
	struct linger now = { 1, 0 };

	switch (s->ending) {
	case END_RESET:
		atomic_store(&e->waits_for_peer, true);
		if (atomic_load(&peer->got) < flow_at(&s->flow[e->side]))
			return; /* a reset would take away what the peer has not read */
		setsockopt(e->fd[READER], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		end_close(e);
		return;
	case END_SHUTDOWN:
		if (!e->half_closed)
			shutdown(e->fd[READER], SHUT_WR);
		e->half_closed = true;
		if (atomic_load(&e->eof))
			end_close(e);
		return;
	default:
		end_close(e);
	}
}

static void reader_judge(struct end *e)
{
	struct script *s;

	if (e->closed || !atomic_load(&e->sent_all))
		return;
	s = e->link->s;
	if (s->closer == e->side && atomic_load(&e->got) == flow_at(&s->flow[!e->side]))
		end_first(e);
	else if (atomic_load(&e->eof))
		end_close(e);
}

static void reader_eof(struct end *e)
{
	struct epoll_event none = { .data.ptr = e };

	atomic_store(&e->eof, true);
	epoll_ctl(e->loop[READER]->epoll, EPOLL_CTL_MOD, e->fd[READER], &none);
	mail_put(e, WRITER);
}

static int reader_step(struct end *e)
{
	struct flow *f = &e->link->s->flow[!e->side];
	ssize_t n = io_read(e->fd[READER], &e->habit, f, atomic_load(&e->got));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		reader_eof(e);
		return 0;
	}
	atomic_fetch_add(&e->loop[READER]->player->moves, 1);
	atomic_fetch_add(&e->got, (uint32_t)n);
	if (atomic_load(&e->link->end[!e->side].waits_for_peer))
		mail_put(&e->link->end[!e->side], READER);
	return 1;
}

static void reader_run(struct end *e)
{
	int n = 0;

	if (e->closed || atomic_load(&e->eof) || (e->lazy && rng_chance(&e->mood, 70)))
		return;
	while (n < READS && reader_step(e))
		n++;
	if (n && e->loop[WRITER] == e->loop[READER])
		writer_run(e);
	else if (n)
		mail_put(e, WRITER);
	reader_judge(e);
}

/* --- loops --- */

/* The lowest bit of an event's pointer: is it for the writer? */
static void event_run(struct epoll_event *ev)
{
	uintptr_t v = (uintptr_t)ev->data.ptr;
	struct end *e = (struct end *)(v & ~(uintptr_t)1);

	if (v & 1) {
		writer_run(e);
		return;
	}
	if ((ev->events & EPOLLERR) && !e->closed)
		io_drain_errors(e->fd[READER]);
	reader_run(e);
}

static void mail_run(struct loop *l)
{
	struct end *e;
	int n;

	for (n = 0; n < EVENTS && (e = mail_take(l, WRITER)); n++)
		writer_run(e);
	for (n = 0; n < EVENTS && (e = mail_take(l, READER)); n++)
		reader_judge(e);
}

static bool mail_waits(struct loop *l)
{
	bool waits;

	pthread_mutex_lock(&l->lock);
	waits = l->mail[READER] || l->mail[WRITER];
	pthread_mutex_unlock(&l->lock);
	return waits;
}

static void *loop_run(void *arg)
{
	struct loop *l = arg;
	struct epoll_event ev[EVENTS];
	uint64_t cnt;

	while (!atomic_load(&l->quit)) {
		int n = epoll_wait(l->epoll, ev, EVENTS, mail_waits(l) ? 0 : 1000);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				event_run(&ev[i]);
			else
				must(read(l->wake, &cnt, sizeof(cnt)) >= 0 || errno == EAGAIN);
		}
		mail_run(l);
	}
	return NULL;
}

static void loop_start(struct loop *l, struct player *p, struct rng *r)
{
	struct epoll_event ev = { .events = EPOLLIN };

	l->player = p;
	l->rng.state = rng_next(r);
	l->epoll = epoll_create1(0);
	l->wake = eventfd(0, EFD_NONBLOCK);
	pthread_mutex_init(&l->lock, NULL);
	must(l->epoll >= 0 && l->wake >= 0);
	must(!epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &ev));
	must(!pthread_create(&l->thread, NULL, loop_run, l));
}

/* --- opening connections --- */

static void socket_tune(int fd, struct rng *r)
{
	struct timeval short_time = { 0, BLOCKING_US };
	int on = 1, size = rng_between(r, 2304, 20000);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (rng_chance(r, 10))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (rng_chance(r, 5)) /* its sends sleep inside the kernel, at most so long */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &short_time, sizeof(short_time));
	else
		fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof(short_time));
}

static void end_open(struct player *p, struct link *l, enum side side, int fd)
{
	struct end *e = &l->end[side];
	struct epoll_event in = { .events = EPOLLIN, .data.ptr = e };
	struct epoll_event out = { .events = EPOLLOUT | EPOLLET, .data.ptr = (char *)e + 1 };
	struct rng *r = &l->s->rng;

	e->link = l;
	e->side = side;
	e->fd[READER] = fd;
	e->fd[WRITER] = dup(fd);
	e->loop[READER] = &p->loops[side + 2 * rng_below(r, 2)];
	e->loop[WRITER] = &p->loops[side + 2 * rng_below(r, 2)];
	e->rng.state = rng_next(r);
	e->mood.state = rng_next(r);
	e->lazy = rng_chance(r, 20);
	e->habit = io_habit(r, &l->s->flow[!side]);
	socket_tune(fd, r);
	must(e->fd[WRITER] >= 0);
	must(!epoll_ctl(e->loop[WRITER]->epoll, EPOLL_CTL_ADD, e->fd[WRITER], &out));
	must(!epoll_ctl(e->loop[READER]->epoll, EPOLL_CTL_ADD, fd, &in));
	atomic_store(&e->started, true);
	mail_put(e, WRITER);
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t address_make(union address *a, int v6, bool mapped, uint16_t port)
{
	static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
	static const uint8_t loopback_v4[16] = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 };

	memset(a, 0, sizeof(*a));
	if (v6) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons(port);
		a->v6.sin6_addr = loopback;
		if (mapped)
			memcpy(&a->v6.sin6_addr, loopback_v4, sizeof(loopback_v4));
		return sizeof(a->v6);
	}
	a->v4.sin_family = AF_INET;
	a->v4.sin_port = htons(port);
	a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(a->v4);
}

static int listener_open(int v6, uint16_t port)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), on = 1;
	union address a;
	socklen_t len = address_make(&a, v6, false, port);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (fd < 0 || bind(fd, &a.any, len) || listen(fd, 64)) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* Both ends of a new connection: IPv4, IPv6, or IPv4 by a socket for IPv6. */
static void pair_open(struct player *p, struct rng *r, int which, int fd[SIDES], uint16_t *ret_port)
{
	bool has_v6 = p->listeners[which][1] >= 0;
	int v6 = has_v6 && rng_chance(r, 20), mapped = !v6 && has_v6 && rng_chance(r, 5);
	union address a;
	socklen_t len = address_make(&a, v6 || mapped, mapped, p->ports[which]);

	fd[CLIENT] = socket(a.any.sa_family, SOCK_STREAM, 0);
	must(fd[CLIENT] >= 0 && !connect(fd[CLIENT], &a.any, len));
	fd[SERVER] = accept(p->listeners[which][v6], NULL, NULL);
	len = sizeof(a);
	must(fd[SERVER] >= 0 && !getsockname(fd[CLIENT], &a.any, &len));
	*ret_port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}

/* --- the player --- */

struct player *player_new(const uint16_t ports[2], uint32_t most)
{
	struct player *p = calloc(1, sizeof(*p));
	struct rng r = rng_of(1, 1);

	must(p);
	signal(SIGPIPE, SIG_IGN);
	io_init();
	p->most = most;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->fewer, NULL);
	for (int i = 0; i < 2; i++) {
		p->ports[i] = ports[i];
		p->listeners[i][0] = listener_open(0, ports[i]);
		p->listeners[i][1] = listener_open(1, ports[i]);
		must(p->listeners[i][0] >= 0);
	}
	for (int i = 0; i < LOOPS; i++)
		loop_start(&p->loops[i], p, &r);
	return p;
}

/* Waits until at most `cnt` connections are open; -1 when nothing moves any more. */
static int wait_for_fewer(struct player *p, uint32_t cnt)
{
	unsigned long before = atomic_load(&p->moves);
	struct timespec until;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	while (p->open > cnt && !err) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += STUCK_SECONDS;
		if (!pthread_cond_timedwait(&p->fewer, &p->lock, &until))
			continue;
		err = atomic_load(&p->moves) == before ? -1 : 0;
		before = atomic_load(&p->moves);
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

static void stuck_tell(struct player *p)
{
	for (struct link *l = p->links; l; l = l->chain) {
		if (!atomic_load(&l->open))
			continue;
		for (int i = 0; i < SIDES; i++)
			fprintf(stderr, "gen: conn %u %s: sent %u of %u, read %u of %u%s%s\n", l->s->conn,
				i == CLIENT ? "client" : "server", l->end[i].sent,
				flow_at(&l->s->flow[i]), atomic_load(&l->end[i].got),
				flow_at(&l->s->flow[!i]), l->end[i].closed ? ", closed" : "",
				atomic_load(&l->end[i].eof) ? ", end read" : "");
	}
}

void player_play(struct player *p, struct script *s, int which, uint16_t *ret_client,
		 uint16_t *ret_server)
{
	struct link *l = calloc(1, sizeof(*l));
	int fd[SIDES];

	if (wait_for_fewer(p, p->most - 1)) {
		stuck_tell(p);
		exit(2);
	}
	must(l);
	l->s = s;
	l->chain = p->links;
	p->links = l;
	atomic_store(&l->open, SIDES);
	pair_open(p, &s->rng, which, fd, ret_client);
	*ret_server = p->ports[which];
	pthread_mutex_lock(&p->lock);
	p->open++;
	pthread_mutex_unlock(&p->lock);
	end_open(p, l, SERVER, fd[SERVER]);
	end_open(p, l, CLIENT, fd[CLIENT]);
}

int player_end(struct player *p)
{
	struct link *l;
	int err = wait_for_fewer(p, 0);

	if (err)
		stuck_tell(p);
	for (int i = 0; i < LOOPS; i++) {
		uint64_t one = 1;

		atomic_store(&p->loops[i].quit, true);
		must(write(p->loops[i].wake, &one, sizeof(one)) == sizeof(one));
		pthread_join(p->loops[i].thread, NULL);
	}
	while ((l = p->links)) {
		p->links = l->chain;
		if (l->s && !err)
			script_free(l->s);
		free(l);
	}
	free(p);
	return err;
}

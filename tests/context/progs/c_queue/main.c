/* SPDX-License-Identifier: Apache-2.0 */
/* c_queue - a queue of jobs in C: one thread reads the requests, workers take them from a queue and
 * make blocking calls. What happens at once are two jobs put into the same queue, and the worker
 * that ends the second of them answers. */
#include "../http.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { POOL_SIZE = 8, WORKERS = 16, CLIENTS_MAX = 128, TICK_MS = 20 };

/* A connection on which one request at a time is read and answered. */
struct client {
	int fd, open; /* jobs of the request that are not done */
	char in[HTTP_MAX];
	size_t len;
	char id[ID_MAX];
};

struct job {
	void (*run)(struct client *);
	struct client *client;
	struct job *next;
};

/* Connections that nobody uses; who finds none waits. */
struct conn {
	int fd;
	PGconn *pg;
	struct conn *next;
};

struct pool {
	struct conn *idle;
	pthread_cond_t some;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_some = PTHREAD_COND_INITIALIZER;
static struct job *jobs, **jobs_last = &jobs;
static struct pool http = {.some = PTHREAD_COND_INITIALIZER};
static struct pool sql = {.some = PTHREAD_COND_INITIALIZER};

/* --- calls --- */

static struct conn *pool_get(struct pool *p)
{
	struct conn *c;

	pthread_mutex_lock(&lock);
	while (!p->idle)
		pthread_cond_wait(&p->some, &lock);
	c = p->idle;
	p->idle = c->next;
	pthread_mutex_unlock(&lock);
	return c;
}

static void pool_put(struct pool *p, struct conn *c)
{
	pthread_mutex_lock(&lock);
	c->next = p->idle;
	p->idle = c;
	pthread_cond_signal(&p->some);
	pthread_mutex_unlock(&lock);
}

static void fetch(const char *format, const char *id)
{
	struct conn *c = pool_get(&http);
	char name[2 * ID_MAX], in[HTTP_MAX] = "";
	size_t len = 0;

	snprintf(name, sizeof(name), format, id);
	if (http_get(c->fd, name))
		err(1, "send");
	while (!http_whole(in)) {
		ssize_t n = read(c->fd, in + len, sizeof(in) - 1 - len);

		if (n <= 0)
			errx(1, "the back end has closed a connection");
		len += n;
		in[len] = '\0';
	}
	pool_put(&http, c);
}

static void query(const char *format, const char *id)
{
	struct conn *c = pool_get(&sql);
	char name[2 * ID_MAX], text[128];
	PGresult *r;

	snprintf(name, sizeof(name), format, id);
	snprintf(text, sizeof(text), "SELECT pg_sleep(0.002) AS %s", name);
	r = PQexec(c->pg, text);
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		errx(1, "%s", PQerrorMessage(c->pg));
	PQclear(r);
	pool_put(&sql, c);
}

/* --- jobs --- */

static void job_add(void (*run)(struct client *), struct client *client)
{
	struct job *job = calloc(1, sizeof(*job));

	job->run = run;
	job->client = client;
	pthread_mutex_lock(&lock);
	*jobs_last = job;
	jobs_last = &job->next;
	pthread_cond_signal(&jobs_some);
	pthread_mutex_unlock(&lock);
}

static struct job *job_get(void)
{
	struct job *job;

	pthread_mutex_lock(&lock);
	while (!jobs)
		pthread_cond_wait(&jobs_some, &lock);
	job = jobs;
	jobs = job->next;
	if (!jobs)
		jobs_last = &jobs;
	pthread_mutex_unlock(&lock);
	return job;
}

static void *worker(void *arg)
{
	for (;;) {
		struct job *job = job_get();

		job->run(job->client);
		free(job);
	}
	return arg;
}

static void part_done(struct client *c)
{
	if (__atomic_sub_fetch(&c->open, 1, __ATOMIC_ACQ_REL) == 0 && http_answer(c->fd))
		err(1, "send");
}

static void third(struct client *c)
{
	fetch("%s-3", c->id);
	part_done(c);
}

static void fourth(struct client *c)
{
	query("r_%s_4", c->id);
	part_done(c);
}

static void request(struct client *c)
{
	int pause_us = 1000 * pause_of(c->id);

	usleep(pause_us);
	fetch("%s-1", c->id);
	query("r_%s_2", c->id);
	usleep(pause_us);
	c->open = 2;
	job_add(third, c);
	job_add(fourth, c);
}

static void *timer(void *arg)
{
	for (int n = 0;; n++) {
		char id[ID_MAX];

		usleep(1000 * TICK_MS);
		snprintf(id, sizeof(id), "%d", n);
		fetch("bg-%s", id);
		query("bg_%s", id);
	}
	return arg;
}

/* --- reading requests --- */

static int client_read(struct client *c)
{
	ssize_t n = read(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len);

	if (n <= 0)
		return -1;
	c->len += n;
	c->in[c->len] = '\0';
	if (http_whole(c->in)) {
		c->len = 0;
		http_id(c->in, c->id);
		job_add(request, c);
	}
	return 0;
}

static void serve(int listener)
{
	struct pollfd fds[1 + CLIENTS_MAX] = {{.fd = listener, .events = POLLIN}};
	struct client *clients[1 + CLIENTS_MAX];
	int cnt = 1;

	for (;;) {
		poll(fds, cnt, -1);
		for (int i = cnt - 1; i > 0; i--) {
			if (!fds[i].revents || client_read(clients[i]) == 0)
				continue;
			close(fds[i].fd);
			free(clients[i]);
			clients[i] = clients[--cnt];
			fds[i] = fds[cnt];
		}
		if (fds[0].revents && cnt <= CLIENTS_MAX) {
			clients[cnt] = calloc(1, sizeof(*clients[cnt]));
			clients[cnt]->fd = accept(listener, NULL, NULL);
			fds[cnt] = (struct pollfd){.fd = clients[cnt]->fd, .events = POLLIN};
			cnt++;
		}
	}
}

int main(void)
{
	pthread_t thread;

	for (int i = 0; i < POOL_SIZE; i++) {
		struct conn *h = calloc(1, sizeof(*h)), *s = calloc(1, sizeof(*s));

		h->fd = backend_connect();
		s->pg = PQconnectdb("");
		if (PQstatus(s->pg) != CONNECTION_OK)
			errx(1, "%s", PQerrorMessage(s->pg));
		pool_put(&http, h);
		pool_put(&sql, s);
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&thread, NULL, worker, NULL);
	pthread_create(&thread, NULL, timer, NULL);
	serve(http_listen(0));
}

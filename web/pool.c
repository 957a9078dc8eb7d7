/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - one queue, one lock, threads on demand. Used for the handlers of HTTP and for gRPC
 * calls, so that a long question holds up neither the loop that reads and writes nor
 * libmicrohttpd's threads. The invariant: every job that was added is run, also when the pool ends:
 * whoever stops us tells the jobs to be short.
 */
#include "web/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "store/base.h"

struct pool {
	void (*run)(struct job *);
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;
	unsigned int cnt, max, idle, waiting; /* threads, and jobs in the queue */
	bool stopping;
	pthread_t threads[];
};

struct pool *pool_new(unsigned int threads, void (*run)(struct job *))
{
	struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

	must(p && threads);
	p->run = run;
	p->max = threads;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	return p;
}

/* With the lock; NULL: it is time to end. */
static struct job *next(struct pool *p)
{
	struct job *j;

	while (!p->first && !p->stopping) {
		p->idle++;
		pthread_cond_wait(&p->more, &p->lock);
		p->idle--;
	}
	j = p->first;
	if (!j)
		return NULL;
	p->first = j->next;
	p->waiting--;
	if (!p->first)
		p->last = &p->first;
	return j;
}

static void *work(void *arg)
{
	struct pool *p = arg;
	struct job *j;

	pthread_mutex_lock(&p->lock);
	while ((j = next(p))) {
		pthread_mutex_unlock(&p->lock);
		p->run(j);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* With the lock. That the system gives no more threads matters only when there is none at all. */
static void grow(struct pool *p)
{
	if (p->waiting <= p->idle || p->cnt == p->max)
		return;
	if (pthread_create(&p->threads[p->cnt], NULL, work, p) == 0)
		p->cnt++;
	else
		must(p->cnt);
}

bool pool_add(struct pool *p, struct job *j)
{
	bool takes;

	j->next = NULL;
	pthread_mutex_lock(&p->lock);
	takes = !p->stopping;
	if (takes) {
		*p->last = j;
		p->last = &j->next;
		p->waiting++;
		grow(p);
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
	return takes;
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (; p->cnt > 0; p->cnt--)
		pthread_join(p->threads[p->cnt - 1], NULL);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pool_stop(p);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - a few threads that do jobs in the order in which they came. A thread is made when there
 * is a job and none is idle, so a pool that is never used costs nothing. */
#ifndef WIRESPAN_POOL_H
#define WIRESPAN_POOL_H

#include <stdbool.h>

/* Embedded in what is to be done. */
struct job {
	struct job *next;
};

struct pool;

/* run is called for each job, on one of at most `threads` threads. */
struct pool *pool_new(unsigned int threads, void (*run)(struct job *));
/* False: the pool has stopped, and the job is still the caller's. */
bool pool_add(struct pool *p, struct job *j);
/* Does what is queued and ends the threads; from then on nothing is taken. NULL is fine. */
void pool_stop(struct pool *p);
/* Stops it, too. NULL is fine. */
void pool_free(struct pool *p);

#endif

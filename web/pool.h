/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - a few threads that do jobs in the order in which they came. A thread is made when there
 * is a job and none is idle, so a pool that is never used costs nothing. */
#ifndef WIRESPAN_POOL_H
#define WIRESPAN_POOL_H

/* Embedded in what is to be done. */
struct job {
	struct job *next;
};

struct pool;

/* run is called for each job, on one of at most `threads` threads. */
struct pool *pool_new(unsigned int threads, void (*run)(struct job *));
void pool_add(struct pool *p, struct job *j);
/* Does what is queued and ends the threads. Nothing may be added any more. NULL is fine. */
void pool_free(struct pool *p);

#endif

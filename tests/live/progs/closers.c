/* SPDX-License-Identifier: Apache-2.0 */
/* closers.c - connections that end while others do. On each CPU one thread makes connections that end at once,
 * with a request read and not answered. Another one makes connections whose client closes while its peer keeps
 * silent for a while: their last acknowledgement is sent by a timer, in a softirq, in the middle of whatever the
 * first thread does. It waits for a line on its input, goes on until the next one, says how many requests were
 * "read" and how many "unread", and ends with its input: a last word may have been dropped on the way, and is
 * said again. */
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char QUESTION[] = "GET /closers HTTP/1.1\r\nHost: a\r\n\r\n";

enum { CPUS_MOST = 64, LEFT = 400, AT_A_TIME = 20, SLICE_US = 1000, SILENCE_US = 60000 /* more than 40 ms */ };
enum { CLIENT, SERVER };

struct worker {
	int cpu, listener;
	struct sockaddr_in at;
	pthread_t thread;
	long cnt;
};

static atomic_int is_over;

static void pair_begin(struct worker *w, int ends[2])
{
	ends[CLIENT] = socket(AF_INET, SOCK_STREAM, 0);
	check(!connect(ends[CLIENT], (struct sockaddr *)&w->at, sizeof(w->at)), "connect");
	ends[SERVER] = accept(w->listener, NULL, NULL);
	check(ends[SERVER] >= 0, "accept");
	check(send(ends[CLIENT], QUESTION, sizeof(QUESTION) - 1, 0) == sizeof(QUESTION) - 1, "send");
	w->cnt++;
}

/* Without a word, so that no port waits for its old packets. */
static void end_reset(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static void *close_at_once(void *arg)
{
	struct worker *w = arg;
	char buf[sizeof(QUESTION)];
	int ends[2];

	stay_on(w->cpu);
	while (!is_over) {
		pair_begin(w, ends);
		check(recv(ends[SERVER], buf, sizeof(QUESTION) - 1, MSG_WAITALL) > 0, "recv");
		shutdown(ends[SERVER], SHUT_WR);
		end_reset(ends[CLIENT]);
		end_reset(ends[SERVER]);
	}
	return NULL;
}

static void *leave_open(void *arg)
{
	static int pairs[CPUS_MOST][LEFT][2];
	struct worker *w = arg;
	int (*p)[2] = pairs[w->cpu];

	stay_on(w->cpu);
	while (!is_over) {
		for (int i = 0; i < LEFT; i++)
			pair_begin(w, p[i]);
		for (int i = 0; i < LEFT; i++) { /* timers of their own */
			close(p[i][CLIENT]);
			if (i % AT_A_TIME == 0)
				usleep(SLICE_US);
		}
		usleep(SILENCE_US);
		for (int i = 0; i < LEFT; i++)
			end_reset(p[i][SERVER]);
	}
	return NULL;
}

static void worker_start(struct worker *w, int cpu, void *(*run)(void *))
{
	w->cpu = cpu;
	check(!pthread_create(&w->thread, NULL, run, w), "pthread_create");
}

static long workers_stop(struct worker *w, int cnt)
{
	long sum = 0;

	for (int i = 0; i < cnt; i++) {
		pthread_join(w[i].thread, NULL);
		sum += w[i].cnt;
	}
	return sum;
}

/* Those it was started on: the CPUs of cpus[]. */
static int cpus_allowed(int cpus[CPUS_MOST])
{
	cpu_set_t set;
	int cnt = 0;

	check(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE && cnt < CPUS_MOST; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[cnt++] = cpu;
	return cnt;
}

int main(void)
{
	static struct worker quick[CPUS_MOST], slow[CPUS_MOST];
	int cpu[CPUS_MOST];
	int cpus = cpus_allowed(cpu);

	for (int i = 0; i < cpus; i++) {
		quick[i].listener = listen_here(&quick[i].at);
		slow[i].listener = listen_here(&slow[i].at);
	}
	check(getchar() == '\n', "no line came");
	for (int i = 0; i < cpus; i++) {
		worker_start(&quick[i], cpu[i], close_at_once);
		worker_start(&slow[i], cpu[i], leave_open);
	}
	check(getchar() == '\n', "no second line came");
	is_over = 1;
	printf("%ld read, ", workers_stop(quick, cpus));
	printf("%ld unread\n", workers_stop(slow, cpus));
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

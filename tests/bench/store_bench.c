/* SPDX-License-Identifier: Apache-2.0 */
/* store_bench DIR [SPANS [SPANS_A_SECOND]]: puts demo-like spans (five a trace) into a new store in
 * DIR and prints one JSON line: spans a second of CPU and of wall time, bytes a span, longest
 * append, traces by id a second, spans walked a second, anonymous memory. Making the spans is not
 * counted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/store.h"
#include "tests/lib/span_gen.h"

enum { TRACES_A_CALL = 200 };

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static long rss_anon_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static int count_span(void *arg, const struct span *sp)
{
	(void)sp;
	++*(uint64_t *)arg;
	return 0;
}

struct ingest {
	uint64_t cpu, wall, longest;
	long rss_max;
	uint8_t (*ids)[16];
	size_t id_cnt;
};

/* Not faster than rate. */
static void keep_rate(uint64_t began_ns, uint64_t done, uint64_t rate)
{
	uint64_t due = rate ? began_ns + done * NS_PER_S / rate : 0, now = clock_mono_ns();

	if (due > now)
		nanosleep(&(struct timespec){.tv_sec = (time_t)((due - now) / NS_PER_S),
					     .tv_nsec = (long)((due - now) % NS_PER_S)},
			  NULL);
}

static void ingest(struct store *s, uint64_t span_cnt, uint64_t rate, struct ingest *in)
{
	static struct span spans[TRACES_A_CALL * 5];
	uint64_t t = clock_real_ns(), began_ns = clock_mono_ns(), cpu, wall;
	struct arena keep, a;
	struct gen_demo d;

	arena_init(&keep, 0);
	arena_init(&a, 0);
	gen_demo_init(&d, &keep);
	struct gen g = {&a, 42};
	for (uint64_t n = 0; n < span_cnt; n += ARRAY_SIZE(spans)) {
		uint64_t cpu_gen = cpu_ns(), wall_gen = clock_mono_ns();

		arena_reset(&a);
		for (size_t i = 0; i < TRACES_A_CALL; i++)
			gen_demo_trace(&g, &d, t + n * 1000, &spans[i * 5]);
		memcpy(in->ids[in->id_cnt++], spans[0].trace_id, 16);
		cpu = cpu_ns();
		wall = clock_mono_ns();
		in->cpu -= cpu - cpu_gen;
		in->wall -= wall - wall_gen;
		must(store_append(s, spans, ARRAY_SIZE(spans)) == 0);
		wall = clock_mono_ns() - wall;
		if (wall > in->longest)
			in->longest = wall;
		keep_rate(began_ns, n, rate);
		if (n % 20000 == 0 && rss_anon_kib() > in->rss_max)
			in->rss_max = rss_anon_kib();
	}
	must(store_flush(s) == 0);
	arena_fini(&a);
	arena_fini(&keep);
}

static double traces_a_second(struct store *s, const struct ingest *in)
{
	uint64_t t = clock_mono_ns();

	for (size_t i = 0; i < in->id_cnt; i++) {
		struct store_read *r;
		struct arena a;
		struct span *sp;
		size_t cnt;

		arena_init(&a, 0);
		must(store_read_begin(&r, s, 0, UINT64_MAX) == 0);
		must(store_trace(r, &a, in->ids[i], &sp, &cnt) == 0 && cnt == 5);
		store_read_end(r);
		arena_fini(&a);
	}
	return (double)in->id_cnt * NS_PER_S / (double)(clock_mono_ns() - t);
}

static double walked_a_second(struct store *s)
{
	uint64_t t = clock_mono_ns(), cnt = 0;
	struct store_read *r;

	must(store_read_begin(&r, s, 0, UINT64_MAX) == 0);
	must(store_walk(r, count_span, &cnt) == 0);
	store_read_end(r);
	return (double)cnt * NS_PER_S / (double)(clock_mono_ns() - t);
}

int main(int argc, char **argv)
{
	uint64_t span_cnt = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	struct store_conf conf = {.dir = argc > 1 ? argv[1] : NULL};
	struct ingest in = {0};
	struct store_stat st;
	struct store *s;
	struct strbuf why;

	if (!conf.dir)
		return fprintf(stderr, "store_bench DIR [SPANS [SPANS_A_SECOND]]\n"), 2;
	strbuf_init(&why);
	if (store_open(&s, &conf, &why))
		return fprintf(stderr, "%s\n", why.p), 2;
	in.ids = calloc(span_cnt / (TRACES_A_CALL * 5) + 1, 16);
	must(in.ids);
	in.cpu -= cpu_ns();
	in.wall -= clock_mono_ns();
	ingest(s, span_cnt, argc > 3 ? strtoull(argv[3], NULL, 10) : 0, &in);
	in.cpu += cpu_ns();
	in.wall += clock_mono_ns();
	store_stat(s, &st);
	printf("{\"spans\":%llu,\"spans_per_cpu_s\":%.0f,\"spans_per_s\":%.0f,"
	       "\"bytes_per_span\":%.1f,\"append_max_ms\":%.1f,\"traces_per_s\":%.0f,"
	       "\"walked_per_s\":%.0f,\"rss_anon_max_kib\":%ld,\"rss_anon_end_kib\":%ld}\n",
	       (unsigned long long)st.spans, (double)st.spans * NS_PER_S / (double)in.cpu,
	       (double)st.spans * NS_PER_S / (double)in.wall, (double)st.bytes / (double)st.spans,
	       (double)in.longest / NS_PER_MS, traces_a_second(s, &in), walked_a_second(s),
	       in.rss_max, rss_anon_kib());
	store_close(s);
	free(in.ids);
	strbuf_fini(&why);
	return 0;
}

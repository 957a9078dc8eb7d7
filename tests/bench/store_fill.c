/* SPDX-License-Identifier: Apache-2.0 */
/* store_fill fill DIR SPANS IDS: puts demo-like spans (five a trace, a million an hour, the last one
 * now, each 997th trace with an error) into a new store, the id of each thousandth trace into the file
 * IDS. store_fill trickle DIR RATE SECONDS: such spans at so many a second, as they come on a node.
 * store_fill retire DIR: opens the store with half of its size as the limit. Each prints one line
 * of JSON. Making the spans is not counted; appends go as fast as the store takes them, so each waits
 * for the disk. Linked and run by tests/bench/store. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/store.h"
#include "tests/lib/span_gen.h"

static const uint64_t HOUR_NS = 3600ull * NS_PER_S;

enum {
	TRACES_A_CALL = 200,
	SPANS_A_CALL = TRACES_A_CALL * 5,
	SPANS_AN_HOUR = 1000000,
	ERROR_EACH = 997
};

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The number that a line of one of our files in /proc has behind name. */
static uint64_t proc_number(const char *path, const char *name)
{
	char line[256] = "";
	size_t len = strlen(name);
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f) && strncmp(line, name, len) != 0)
		;
	must(f && strncmp(line, name, len) == 0);
	fclose(f);
	return strtoull(line + len, NULL, 10);
}

static uint64_t rss_anon_kib(void)
{
	return proc_number("/proc/self/status", "RssAnon:");
}

static int u64_cmp(const void *x, const void *y)
{
	uint64_t a, b;

	memcpy(&a, x, sizeof(a));
	memcpy(&b, y, sizeof(b));
	return (a > b) - (a < b);
}

static struct store *store_of(const char *dir, uint64_t max_bytes)
{
	struct store_conf conf = {.dir = dir, .max_bytes = max_bytes};
	struct strbuf why;
	struct store *s;

	strbuf_init(&why);
	if (store_open(&s, &conf, &why)) {
		fprintf(stderr, "%s\n", why.p);
		exit(2);
	}
	strbuf_fini(&why);
	return s;
}

/* --- fill --- */

struct fill {
	struct store *s;
	FILE *ids;
	uint64_t calls, cpu, wall, *took; /* of each append */
	uint64_t roll_max;		  /* the longest append that began a partition */
	uint64_t rss_max;
};

/* Where spans come from: those of a call last until the next. */
struct source {
	struct arena keep, a;
	struct gen_demo d;
	struct gen g;
	struct span spans[SPANS_A_CALL];
};

static struct source *source_new(void)
{
	struct source *so = calloc(1, sizeof(*so));

	must(so);
	arena_init(&so->keep, 0);
	arena_init(&so->a, 0);
	gen_demo_init(&so->d, &so->keep);
	so->g = (struct gen){&so->a, 42};
	return so;
}

static void source_free(struct source *so)
{
	arena_fini(&so->a);
	arena_fini(&so->keep);
	free(so);
}

/* From the trace `first` on. */
static void make_spans(struct source *so, uint64_t start_ns, uint64_t step_ns, uint64_t first)
{
	arena_reset(&so->a);
	for (uint64_t i = 0; i < TRACES_A_CALL; i++) {
		struct span *sp = &so->spans[i * 5];

		gen_demo_trace(&so->g, &so->d, start_ns + i * step_ns, sp);
		if ((first + i) % ERROR_EACH == 0)
			sp[0].status = sp[4].status = STATUS_ERROR;
	}
}

static void append(struct fill *f, const struct span *spans, bool begins_partition)
{
	uint64_t cpu = cpu_ns(), wall = clock_mono_ns();

	must(store_append(f->s, spans, SPANS_A_CALL) == 0);
	wall = clock_mono_ns() - wall;
	f->cpu += cpu_ns() - cpu;
	f->wall += wall;
	f->took[f->calls++] = wall;
	if (begins_partition && wall > f->roll_max)
		f->roll_max = wall;
}

static void finish(struct fill *f)
{
	uint64_t cpu = cpu_ns(), wall = clock_mono_ns();

	must(store_flush(f->s) == 0);
	f->cpu += cpu_ns() - cpu;
	f->wall += clock_mono_ns() - wall;
}

static void fill_spans(struct fill *f, uint64_t cnt)
{
	const uint64_t step_ns = 5 * HOUR_NS / SPANS_AN_HOUR;
	uint64_t start_ns = clock_real_ns() - cnt * (HOUR_NS / SPANS_AN_HOUR), hour, last = 0;
	struct source *so = source_new();

	for (uint64_t n = 0; n < cnt; n += SPANS_A_CALL) {
		make_spans(so, start_ns + n / 5 * step_ns, step_ns, n / 5);
		hour = so->spans[SPANS_A_CALL - 1].start_ns / HOUR_NS;
		append(f, so->spans, hour != last);
		last = hour;
		fwrite(so->spans[0].trace_id, 1, 16, f->ids);
		if (n % 100000 == 0 && rss_anon_kib() > f->rss_max)
			f->rss_max = rss_anon_kib();
	}
	finish(f);
	source_free(so);
}

static double ms(uint64_t ns)
{
	return (double)ns / NS_PER_MS;
}

static int fill_main(const char *dir, uint64_t cnt, const char *ids)
{
	struct fill f = {.s = store_of(dir, 0), .ids = fopen(ids, "wb")};
	struct store_stat st;

	f.took = calloc(cnt / SPANS_A_CALL + 1, sizeof(*f.took));
	must(f.ids && f.took);
	fill_spans(&f, cnt);
	qsort(f.took, f.calls, sizeof(*f.took), u64_cmp);
	store_stat(f.s, &st);
	must(st.spans >= cnt);
	printf("{\"spans\":%llu,\"partitions\":%u,\"spans_per_cpu_s\":%.0f,\"spans_per_s\":%.0f,"
	       "\"append_p50_ms\":%.2f,\"append_p99_ms\":%.2f,\"append_max_ms\":%.2f,"
	       "\"roll_max_ms\":%.2f,\"rss_anon_mib\":%.1f}\n",
	       (unsigned long long)st.spans, st.partitions,
	       (double)st.spans * NS_PER_S / (double)f.cpu,
	       (double)st.spans * NS_PER_S / (double)f.wall, ms(f.took[f.calls / 2]),
	       ms(f.took[f.calls * 99 / 100]), ms(f.took[f.calls - 1]), ms(f.roll_max),
	       (double)f.rss_max / 1024);
	store_close(f.s);
	free(f.took);
	return fclose(f.ids) ? 2 : 0;
}

/* --- trickle --- */

static void sleep_until(uint64_t mono_ns)
{
	const struct timespec at = {(time_t)(mono_ns / NS_PER_S), (long)(mono_ns % NS_PER_S)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
		;
}

static void trickle(struct fill *f, uint64_t rate, uint64_t cnt)
{
	uint64_t begin_ns = clock_mono_ns();
	struct source *so = source_new();

	for (uint64_t n = 0; n < cnt; n += SPANS_A_CALL) {
		make_spans(so, clock_real_ns(), 0, n / 5);
		append(f, so->spans, false);
		sleep_until(begin_ns + (n + SPANS_A_CALL) * NS_PER_S / rate);
	}
	finish(f);
	source_free(so);
}

static int trickle_main(const char *dir, uint64_t rate, uint64_t seconds)
{
	uint64_t cnt = (rate * seconds + SPANS_A_CALL - 1) / SPANS_A_CALL * SPANS_A_CALL;
	struct fill f = {.s = store_of(dir, 0), .took = calloc(cnt / SPANS_A_CALL, sizeof(*f.took))};

	must(f.took);
	trickle(&f, rate, cnt);
	store_close(f.s);
	free(f.took);
	printf("{\"spans\":%llu,\"written_bytes\":%llu}\n", (unsigned long long)cnt,
	       (unsigned long long)proc_number("/proc/self/io", "write_bytes:"));
	return 0;
}

/* --- retire --- */

static int retire_main(const char *dir)
{
	struct store_stat before, after;
	struct store *s = store_of(dir, 0);
	uint64_t plain, took;

	store_stat(s, &before);
	store_close(s);
	plain = clock_mono_ns();
	store_close(store_of(dir, 0));
	plain = clock_mono_ns() - plain;
	took = clock_mono_ns();
	s = store_of(dir, before.bytes / 2);
	store_stat(s, &after);
	store_close(s);
	took = clock_mono_ns() - took;
	printf("{\"open_ms\":%.2f,\"gone\":%u,\"gone_bytes\":%llu,\"retire_ms\":%.2f}\n", ms(plain),
	       before.partitions - after.partitions,
	       (unsigned long long)(before.bytes - after.bytes),
	       took > plain ? ms(took - plain) : 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "fill") == 0)
		return fill_main(argv[2], strtoull(argv[3], NULL, 10), argv[4]);
	if (argc == 5 && strcmp(argv[1], "trickle") == 0)
		return trickle_main(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "retire") == 0)
		return retire_main(argv[2]);
	fprintf(stderr, "store_fill fill DIR SPANS IDS | trickle DIR RATE SECONDS | retire DIR\n");
	return 2;
}

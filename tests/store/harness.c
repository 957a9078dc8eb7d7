/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c - a writer whose spans everybody can compute, and a reader that computes them: trace n
 * of a base time has three spans that depend on nothing else, so that what comes back is compared
 * with the truth, whole. Linked to the program's own objects of store/; tests/store/run builds it.
 *
 *   write DIR BASE_S FIRST [LAST [PAUSE_MS]]   appends traces from FIRST, prints after each flush
 *     the last one that it confirmed; how many spans were taken stands in the file $ACCEPTED
 *   read DIR BASE_S [FIRST-LAST...] [+]        opens, walks all, asks for the given traces, which
 *     must be there; +: appends one, too. Prints what it found
 *   hold DIR BASE_S COUNT MAX_BYTES            a reader that never ends beside COUNT commits */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/stats.h"
#include "store/store.h"
#include "tests/lib/span_gen.h"

enum { SPANS = 3, ROUND = 1000000, PART_S = 2, NS_A_TRACE = 5000000 };

static uint64_t base_ns;

static void trace_id_of(uint8_t id[16], uint64_t n)
{
	memcpy(id, &n, 8);
	memcpy(id + 8, "wirespan", 8);
}

static void trace_make(struct arena *a, uint64_t n, struct span sp[SPANS])
{
	struct gen g = {a, n * 7919 + base_ns};
	uint8_t id[16];

	trace_id_of(id, n);
	for (int i = 0; i < SPANS; i++) {
		uint64_t len;

		sp[i] = gen_span(&g, id, base_ns);
		sp[i].kind %= KIND_CONSUMER + 1; /* ingest takes no others */
		sp[i].status %= STATUS_ERROR + 1;
		len = gen_below(&g, NS_PER_S);
		sp[i].start_ns = base_ns + n % ROUND * NS_A_TRACE + (uint64_t)i;
		sp[i].end_ns = sp[i].start_ns + len;
	}
}

static struct store *open_or_die(const char *dir, uint64_t max_bytes)
{
	const struct store_conf conf = {.dir = dir,
					.partition_ns = PART_S * (uint64_t)NS_PER_S,
					.commit_ms = 5,
					.max_bytes = max_bytes};
	struct strbuf why;
	struct store *s;

	strbuf_init(&why);
	if (store_open(&s, &conf, &why)) {
		fprintf(stderr, "refused: %s\n", why.p);
		exit(2);
	}
	strbuf_fini(&why);
	return s;
}

/* A file, since it has to outlive a kill. */
static _Atomic uint64_t *accepted;

static void accepted_open(void)
{
	static _Atomic uint64_t nobody;
	const char *path = getenv("ACCEPTED");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;

	accepted = &nobody;
	if (!path)
		return;
	if (fd < 0 || ftruncate(fd, sizeof(*accepted)))
		exit(9);
	accepted = mmap(NULL, sizeof(*accepted), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (accepted == MAP_FAILED)
		exit(9);
}

static void append(struct store *s, struct arena *a, uint64_t n)
{
	struct span sp[SPANS];

	trace_make(a, n, sp);
	if (store_append(s, sp, SPANS))
		exit(3);
	*accepted += SPANS;
}

static int do_write(int argc, char **argv)
{
	struct store *s = open_or_die(argv[2], 0);
	uint64_t n = strtoull(argv[4], NULL, 10);
	uint64_t last = argc > 5 ? strtoull(argv[5], NULL, 10) : UINT64_MAX;
	unsigned pause_ms = argc > 6 ? (unsigned)atoi(argv[6]) : 0;
	struct gen g = {NULL, n};

	for (; n <= last; n++) {
		struct arena a;

		arena_init(&a, 0);
		append(s, &a, n);
		arena_fini(&a);
		if (gen_below(&g, 8) && n < last)
			continue;
		if (store_flush(s))
			exit(4);
		if (dprintf(1, "%" PRIu64 " %" PRIu64 "\n", n, clock_mono_ns()) < 0)
			exit(5);
		/* Now and then a silence in which nothing but time makes durable. */
		usleep((pause_ms && !gen_below(&g, 40) ? 1500 : pause_ms) * 1000);
	}
	store_close(s);
	return 0;
}

/* --- read --- */

struct found {
	uint64_t spans, wrong, missing, incomplete;
};

/* The trace asked for last is kept: its other spans come next. */
static bool is_true(const struct span *sp)
{
	static struct span want[SPANS];
	static uint64_t made = UINT64_MAX;
	static struct arena a;
	uint64_t n;

	memcpy(&n, sp->trace_id, 8);
	if (memcmp(sp->trace_id + 8, "wirespan", 8) != 0)
		return false;
	if (n != made) {
		arena_reset(&a);
		trace_make(&a, n, want);
		made = n;
	}
	for (int i = 0; i < SPANS; i++)
		if (gen_span_eq(sp, &want[i]))
			return true;
	return false;
}

static int look(void *arg, const struct span *sp)
{
	struct found *f = arg;

	f->spans++;
	f->wrong += !is_true(sp);
	return 0;
}

static void ask(struct store_read *r, uint64_t n, struct found *f)
{
	struct span *spans;
	struct arena a;
	uint8_t id[16];
	size_t cnt;

	trace_id_of(id, n);
	arena_init(&a, 0);
	if (store_trace(r, &a, id, &spans, &cnt))
		exit(6);
	f->missing += cnt == 0;
	f->incomplete += cnt > 0 && cnt != SPANS;
	for (size_t i = 0; i < cnt; i++)
		f->wrong += !is_true(&spans[i]);
	arena_fini(&a);
}

static uint64_t stat_of(const char *name)
{
	return *stats_cell(STAT_COUNTER, name, "", "");
}

static int do_read(int argc, char **argv)
{
	struct store *s = open_or_die(argv[2], 0);
	struct found f = {0};
	struct store_read *r;

	if (store_read_begin(&r, s, 0, UINT64_MAX))
		exit(6);
	store_walk(r, look, &f);
	for (int i = 4; i < argc; i++) {
		uint64_t from, to;

		if (sscanf(argv[i], "%" SCNu64 "-%" SCNu64, &from, &to) == 2)
			for (; from <= to; from++)
				ask(r, from, &f);
	}
	store_read_end(r);
	if (strcmp(argv[argc - 1], "+") == 0) {
		struct found more = {0};
		struct arena a;

		arena_init(&a, 0);
		append(s, &a, ROUND - 1);
		append(s, &a, 1); /* beside what is there */
		arena_fini(&a);
		if (store_flush(s) || store_read_begin(&r, s, 0, UINT64_MAX))
			exit(7);
		ask(r, ROUND - 1, &more);
		store_read_end(r);
		if (more.missing || more.incomplete || more.wrong)
			exit(8);
	}
	printf("%" PRIu64 " spans, %" PRIu64 " wrong, %" PRIu64 " missing, %" PRIu64
	       " incomplete, %" PRIu64 " damaged, %" PRIu64 " unclean, %" PRIu64 " lost\n",
	       f.spans, f.wrong, f.missing, f.incomplete, stat_of("store_damaged_total"),
	       stat_of("store_unclean_total"), stat_of("store_lost_total"));
	store_close(s);
	return 0;
}

/* --- hold --- */

/* All in one partition's time, so that nothing but its size ends it. */
static int do_hold(char **argv)
{
	uint64_t max_bytes = strtoull(argv[5], NULL, 10), most = 0;
	struct store *s = open_or_die(argv[2], max_bytes);
	int cnt = atoi(argv[4]);
	struct store_read *r = NULL;
	struct store_stat st;
	struct found f = {0};

	for (int n = 1; n <= cnt; n++) {
		struct arena a;

		arena_init(&a, 0);
		append(s, &a, (uint64_t)n % 900);
		arena_fini(&a);
		if (store_flush(s) || (n == 10 && store_read_begin(&r, s, 0, UINT64_MAX)))
			exit(4);
		store_stat(s, &st);
		most = st.bytes > most ? st.bytes : most;
	}
	store_walk(r, look, &f);
	store_read_end(r);
	printf("%" PRIu64 " spans, %" PRIu64 " wrong, %" PRIu64 " most, %" PRIu32 " partitions\n",
	       f.spans, f.wrong, most, st.partitions);
	store_close(s);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 1;
	log_set_level(LOG_ERROR);
	base_ns = strtoull(argv[3], NULL, 10) * NS_PER_S;
	accepted_open();
	store_on_fault(true, argv);
	if (!strcmp(argv[1], "write") && argc >= 5)
		return do_write(argc, argv);
	if (!strcmp(argv[1], "read"))
		return do_read(argc, argv);
	if (!strcmp(argv[1], "hold") && argc >= 6)
		return do_hold(argv);
	return 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* parts_test.c - who may open what, and damage: a second instance, unknown versions and impossible
 * folders are refused in a sentence; torn, foreign and truncated partitions are set aside. */
#include "tests/lib/store_fix.h"

#include <sys/mman.h>
#include <time.h>

/* --- who may open what --- */

static void assert_refused(const struct store_conf *conf, int err, const char *word)
{
	struct store *s;
	struct strbuf why;

	strbuf_init(&why);
	assert_int_equal(store_open(&s, conf, &why), err);
	if (!strstr(why.p, word) || !strstr(why.p, conf->dir))
		fail_msg("not said: \"%s\" in \"%s\"", word, why.p);
	strbuf_fini(&why);
}

static void write_file(const char *name, const char *text, size_t len)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void test_second_instance(void **state)
{
	struct store *s = open_plain();
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	assert_refused(&(struct store_conf){.dir = dir}, -EBUSY, pid);
	store_close(s);
	store_close(open_plain());
}

static void test_unknown_version(void **state)
{
	(void)state;
	write_file("format", "wirespan-store 4\n", 17);
	assert_refused(&(struct store_conf){.dir = dir}, -EPROTO, "the program that wrote");
	write_file("format", "", 0);
	assert_refused(&(struct store_conf){.dir = dir}, -EPROTO, "\"wirespan-store 3\"");
	write_file("format", "wirespan-store 1\n", 17);
	assert_refused(&(struct store_conf){.dir = dir}, -EPROTO, "`wirespan store upgrade ");
}

static void test_bad_folders(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/none", dir);
	assert_refused(&(struct store_conf){.dir = path, .read_only = true}, -ENOENT, "open");
	assert_refused(&(struct store_conf){.dir = dir, .read_only = true}, -ENOENT, "no store");
	write_file("file", "x", 1);
	snprintf(path, sizeof(path), "%s/file/store", dir);
	assert_refused(&(struct store_conf){.dir = path}, -ENOTDIR, "make");
	snprintf(path, sizeof(path), "%s/a/b//c/", dir);
	store_close(open_conf(&(struct store_conf){.dir = path}));
}

/* --- damage --- */

static void part_path(char path[192], const char *name, const char *file)
{
	snprintf(path, 192, "%s/%s/%s", dir, name, file);
}

/* Two hours of spans; names[0] is the older partition. */
static void make_two(char names[2][32])
{
	struct store *s = open_plain();
	uint64_t now = clock_real_ns();

	for (uint32_t i = 0; i < 300; i++) {
		struct span sp = gen_span(&gen, (uint8_t[16]){1, (uint8_t)i}, now - 5 * HOUR_NS);

		assert_int_equal(store_append(s, &sp, 1), 0);
	}
	put_one(s, simple(2, now, "new"));
	store_close(s);
	for (int i = 0; i < 2; i++) {
		time_t t = (time_t)((now - (i ? 0 : 5 * HOUR_NS)) / NS_PER_S);

		strftime(names[i], 32, "%Y%m%dT%HZ", gmtime(&t));
	}
}

static void assert_set_aside(const char *name)
{
	uint64_t before = stat_of("store_damaged_total");
	char path[192], aside[64];
	struct store *s = open_plain();

	assert_int_equal(stat_of("store_damaged_total"), before + 1);
	snprintf(aside, sizeof(aside), "%s.damaged", name);
	part_path(path, aside, "");
	assert_int_equal(access(path, F_OK), 0);
	assert_walk(s, 0, UINT64_MAX, "new ");
	put_one(s, simple(9, clock_real_ns() - 5 * HOUR_NS, "again"));
	assert_walk(s, 0, UINT64_MAX, "new again ");
	store_close(s);
	s = open_plain();
	assert_walk(s, 0, UINT64_MAX, "new again ");
	store_close(s);
	assert_int_equal(stat_of("store_damaged_total"), before + 1);
}

static void test_damage_garbage(void **state)
{
	char names[2][32], path[192], junk[16384];

	(void)state;
	make_two(names);
	gen_bytes(&gen, junk, sizeof(junk));
	part_path(path, names[0], "data.mdb");
	write_file(path + strlen(dir) + 1, junk, sizeof(junk));
	assert_set_aside(names[0]);
}

static void test_damage_empty(void **state)
{
	char names[2][32], path[192];
	struct store *s;

	(void)state;
	make_two(names);
	part_path(path, names[0], "data.mdb");
	assert_int_equal(truncate(path, 0), 0);
	s = open_plain(); /* an environment in which nothing was committed: no loss to speak of */
	assert_walk(s, 0, UINT64_MAX, "new ");
	store_close(s);
}

static void test_damage_truncated(void **state)
{
	char names[2][32], path[192];
	struct stat st;

	(void)state;
	make_two(names);
	part_path(path, names[0], "data.mdb");
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 100000);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	assert_set_aside(names[0]);
}

static void test_damage_not_a_folder(void **state)
{
	char names[2][32], path[192], moved[192];

	(void)state;
	make_two(names);
	part_path(path, names[0], "data.mdb");
	part_path(moved, names[0], "x");
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_set_aside(names[0]);
}

/* One bit of a name, which decodes as well as before. */
static void test_damage_one_bit(void **state)
{
	uint64_t unclean = stat_of("store_unclean_total");
	char path[192], names[2][32], *p, *at;
	struct store *s = open_plain();
	struct stat st;
	int fd;

	(void)state;
	store_close(s);
	make_two(names);
	part_path(path, names[1], "data.mdb");
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	for (char *from = p; (at = memmem(from, (size_t)(p + st.st_size - from), "new", 3));
	     from = at + 1)
		at[1] ^= 1;
	munmap(p, (size_t)st.st_size);
	close(fd);
	s = open_plain();
	assert_int_equal(walk_cnt(s), 300);
	assert_int_equal(trace_cnt(s, 2), 0);
	assert_true(stat_of("store_unclean_total") >= unclean + 2);
	store_close(s);
}

/* Chunks overwritten behind their trace id: reads leave out what makes no sense, and say so. */
static void test_damage_inside(void **state)
{
	uint64_t unclean = stat_of("store_unclean_total");
	char names[2][32], path[192], *p, *at;
	const char id[16] = {1, 7};
	struct store *s;
	struct stat st;
	int fd;

	(void)state;
	make_two(names);
	part_path(path, names[0], "data.mdb");
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	at = memmem(p, (size_t)st.st_size, id, sizeof(id));
	assert_non_null(at);
	memset(at + 16, 0xff, 12);
	munmap(p, (size_t)st.st_size);
	close(fd);
	s = open_plain();
	assert_true(walk_cnt(s) < 301);
	assert_true(stat_of("store_unclean_total") > unclean);
	assert_walk(s, clock_real_ns() - HOUR_NS, UINT64_MAX, "new ");
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_second_instance),	TEST(test_unknown_version),
		TEST(test_bad_folders),		TEST(test_damage_garbage),
		TEST(test_damage_empty),	TEST(test_damage_truncated),
		TEST(test_damage_not_a_folder), TEST(test_damage_inside),
		TEST(test_damage_one_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

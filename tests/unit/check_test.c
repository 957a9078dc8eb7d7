/* SPDX-License-Identifier: Apache-2.0 */
/* check_test.c - store_check is content with what the store writes, also with long values, traces
 * of thousands of chunks and after retention, and reads hostile files without a fault: bytes of a
 * partition are changed at random, under the sanitizers, and whatever changes what a walk gives has
 * to be said. store_parts and store_export see the same spans. */
#include "store/columns.h"
#include "store/keys.h"
#include "store/tools.h"
#include "tests/lib/store_fix.h"

#include <dirent.h>
#include <lmdb.h>
#include <sys/mman.h>

static void say_nothing(void *arg, const char *part, const char *text)
{
	(void)part;
	if (arg)
		strbuf_printf(arg, "%s\n", text);
}

static struct store_check check(struct strbuf *said)
{
	struct store_check sum;

	assert_int_equal(store_check(dir, say_nothing, said, &sum, NULL), 0);
	return sum;
}

static void fill(uint32_t traces)
{
	struct store *s = open_conf(&(struct store_conf){.dir = dir, .partition_ns = 24 * HOUR_NS});
	char *text = arena_alloc(&mem, 100000);

	for (uint32_t i = 0; i < traces; i++) {
		struct span sp = gen_span(&gen, (uint8_t[16]){1, (uint8_t)i, (uint8_t)(i >> 8)},
					  clock_real_ns());

		sp.start_ns = clock_real_ns() - HOUR_NS / 100;
		sp.end_ns = sp.start_ns + 5;
		if (i % 50 == 0)
			sp.status_message = (struct str){text, 1000 + i * 100};
		assert_int_equal(store_append(s, &sp, 1), 0);
		if (i % 10 == 9)
			assert_int_equal(store_flush(s), 0);
	}
	store_close(s);
}

static void test_sound(void **state)
{
	struct strbuf said;
	struct store_check sum;
	struct store *s;

	(void)state;
	strbuf_init(&said);
	fill(600);
	s = open_conf(&(struct store_conf){.dir = dir, .partition_ns = 24 * HOUR_NS});
	for (uint32_t i = 0; i < 1500; i++) /* one trace, so many chunks that they have a tree */
		put_one(s, simple(7, clock_real_ns() - HOUR_NS / 100, "again"));
	store_close(s);
	sum = check(&said);
	assert_string_equal(said.p ? said.p : "", "");
	assert_true(sum.bad == 0 && sum.spans == 2100 && sum.partitions >= 1);
	strbuf_fini(&said);
}

static int add_part(void *arg, const struct store_part *p)
{
	*(uint64_t *)arg += p->spans;
	assert_true(p->table_bytes[STORE_TABLE_spans] > 0 && p->dict_cnt[STORE_DICT_shapes] > 0);
	return 0;
}

static int no_write(void *arg, const void *p, size_t len)
{
	(void)p;
	*(size_t *)arg += len;
	return len <= STORE_EXPORT_MAX ? 0 : -EFBIG;
}

static void test_parts_and_export(void **state)
{
	struct store_export ex = {.dir = dir, .to_ns = UINT64_MAX};
	uint64_t spans = 0;
	size_t bytes = 0;

	(void)state;
	fill(600);
	assert_int_equal(store_parts(dir, add_part, &spans, NULL), 0);
	assert_int_equal(spans, 600);
	assert_int_equal(store_export(&ex, no_write, &bytes, NULL), 0);
	assert_true(ex.spans == 600 && ex.bytes == bytes && ex.unclean == 0 && ex.messages >= 1);
}

static char *map_file(size_t *ret_len)
{
	char path[512] = "";
	struct dirent *de;
	DIR *d = opendir(dir);
	struct stat st;
	char *p;
	int fd;

	while ((de = readdir(d)))
		if (de->d_name[0] == '2')
			snprintf(path, sizeof(path), "%s/%s/data.mdb", dir, de->d_name);
	closedir(d);
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	*ret_len = (size_t)st.st_size;
	p = mmap(NULL, *ret_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	return p;
}

/* Half of them where LMDB's own numbers are. */
static void test_hostile(void **state)
{
	uint32_t noticed = 0;
	size_t len;
	char *file, *copy;

	(void)state;
	fill(300);
	file = map_file(&len);
	copy = malloc(len);
	memcpy(copy, file, len);
	for (int i = 0; i < 600; i++) {
		struct store_check sum;

		for (uint32_t n = 0; n <= gen_below(&gen, 3); n++) {
			size_t at = gen_below(&gen, (uint32_t)len);

			if (i % 2)
				at = at / 4096 * 4096 + at % 64;
			file[at] = (char)gen_u64(&gen);
		}
		sum = check(NULL);
		noticed += sum.bad;
		assert_true(sum.bad || sum.spans == 300);
		memcpy(file, copy, len);
	}
	assert_true(noticed > 150);
	free(copy);
	munmap(file, len);
	assert_int_equal(check(NULL).bad, 0);
}

/* --- blocks of columns --- */

static int count_block(void *arg, const struct column_block *b)
{
	*(size_t *)arg += b->spans;
	return 0;
}

static size_t blocks_cnt(void)
{
	struct store *s = open_plain();
	struct store_read *r;
	size_t cnt = 0;

	assert_int_equal(store_read_begin(&r, s, 0, UINT64_MAX), 0);
	assert_int_equal(store_walk_blocks(r, count_block, count_span, &cnt), 0);
	store_read_end(r);
	store_close(s);
	return cnt;
}

static void sum_renew(MDB_val key, char *row, size_t len)
{
	uint64_t k;
	uint32_t sum;

	memcpy(&k, key.mv_data, sizeof(k));
	sum = row_sum(SUM_COLUMNS, k, row, len - SUM_LEN);
	memcpy(row + len - SUM_LEN, &sum, SUM_LEN);
}

/* DAMAGE_LIE has the right sum. */
enum damage { DAMAGE_BIT, DAMAGE_LIE, DAMAGE_GONE };

static void block_damage(const char *part, uint64_t n, enum damage damage)
{
	char path[512];
	MDB_cursor *cur;
	MDB_val key, val;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	char *copy;

	snprintf(path, sizeof(path), "%s/%s", dir, part);
	assert_int_equal(mdb_env_create(&env) | mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, path, 0, 0600) | mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "columns", MDB_INTEGERKEY, &dbi), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cur), 0);
	for (uint64_t i = 0; i <= n; i++)
		assert_int_equal(mdb_cursor_get(cur, &key, &val, MDB_NEXT), 0);
	if (damage == DAMAGE_GONE) {
		assert_int_equal(mdb_cursor_del(cur, 0), 0);
	} else {
		copy = malloc(val.mv_size);
		memcpy(copy, val.mv_data, val.mv_size);
		copy[val.mv_size / 2] ^= 1;
		if (damage == DAMAGE_LIE)
			sum_renew(key, copy, val.mv_size);
		val.mv_data = copy;
		assert_int_equal(mdb_cursor_put(cur, &key, &val, MDB_CURRENT), 0);
		free(copy);
	}
	mdb_cursor_close(cur);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* A block that is damaged or missing: its spans come from their chunks. */
static void test_blocks(void **state)
{
	enum { CNT = 50000 };
	struct store_conf conf = {.dir = dir, .partition_ns = 24 * HOUR_NS};
	struct store *s = open_conf(&conf);
	uint64_t start_ns = clock_real_ns() - HOUR_NS / 100, unclean;
	char part[64] = "";
	struct dirent *de;
	DIR *d;

	(void)state;
	for (uint32_t n = 0; n < CNT; n++) {
		struct span sp = simple(n / 5, start_ns + n, "x");

		assert_int_equal(store_append(s, &sp, 1), 0);
		if (n % 17000 == 16999)
			assert_int_equal(store_flush(s), 0);
	}
	store_close(s);
	d = opendir(dir);
	while ((de = readdir(d)))
		if (de->d_name[0] == '2')
			snprintf(part, sizeof(part), "%.40s", de->d_name);
	closedir(d);
	assert_int_equal(blocks_cnt(), CNT);
	assert_int_equal(check(NULL).bad, 0);
	block_damage(part, 2, DAMAGE_LIE);
	assert_int_equal(check(NULL).bad, 1);
	block_damage(part, 2, DAMAGE_LIE);
	assert_int_equal(check(NULL).bad, 0);
	unclean = stat_of("store_unclean_total");
	block_damage(part, 1, DAMAGE_BIT);
	assert_int_equal(blocks_cnt(), CNT);
	assert_int_equal(stat_of("store_unclean_total"), unclean + 1);
	assert_int_equal(check(NULL).bad, 1);
	block_damage(part, 0, DAMAGE_GONE);
	assert_int_equal(blocks_cnt(), CNT);
	assert_int_equal(check(NULL).bad, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sound),
		TEST(test_parts_and_export),
		TEST(test_hostile),
		TEST(test_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

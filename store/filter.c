/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - the filter itself, a split-block Bloom filter as Parquet has it: a key chooses a block
 * of 256 bits (half a cache line) and sets one bit in each of its eight words. With BITS_A_KEY it is
 * wrong for about one key in a hundred. Called by parts.c (asking), seal.c (making) and check.c. */
#include "store/filter.h"
#include "store/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORDS = 8, BITS_A_KEY = 12, BITS_A_BLOCK = 32 * WORDS };

static const char MAGIC[8] = "wsfilter";

struct filter_block {
	uint32_t words[WORDS];
};

struct filter_head {
	char magic[8];
	uint64_t chunks, block_cnt, sum;
};

_Static_assert(sizeof(struct filter_head) == 32, "on-disk format");
_Static_assert(sizeof(struct filter_block) == 32, "on-disk format");

/* Keys begin with the time, and those of a partition alike. */
static uint64_t mixed(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return key ^ key >> 32;
}

static uint64_t block_of(uint64_t hash, uint64_t block_cnt)
{
	return (hash >> 32) * block_cnt >> 32;
}

static uint32_t bit_of(uint64_t hash, size_t word)
{
	static const uint32_t salts[WORDS] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
					      0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};

	return 1u << ((uint32_t)hash * salts[word] >> 27);
}

static uint64_t sum_of(const struct filter_head *h, const struct filter_block *blocks)
{
	return row_sum(SUM_FILTER, h->chunks, blocks, h->block_cnt * sizeof(*blocks));
}

/* --- asking --- */

static bool head_is_sound(const struct filter_head *h, size_t len)
{
	const struct filter_block *blocks = (const void *)(h + 1);

	return len >= sizeof(*h) && memcmp(h->magic, MAGIC, sizeof(MAGIC)) == 0 &&
	       h->block_cnt > 0 && h->block_cnt <= UINT32_MAX &&
	       len == sizeof(*h) + h->block_cnt * sizeof(*blocks) && h->sum == sum_of(h, blocks);
}

int filter_open(struct filter *f, int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;
	const struct filter_head *h = MAP_FAILED;
	struct stat st = {0};

	*f = (struct filter){0};
	if (!err && fstat(fd, &st) < 0)
		err = -errno;
	if (!err && (size_t)st.st_size < sizeof(*h))
		err = -EUCLEAN;
	if (!err)
		h = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (!err && h == MAP_FAILED)
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	if (!head_is_sound(h, (size_t)st.st_size)) {
		munmap((void *)h, (size_t)st.st_size);
		return -EUCLEAN;
	}
	*f = (struct filter){(const void *)(h + 1), h->block_cnt, h->chunks, (size_t)st.st_size};
	return 0;
}

void filter_close(struct filter *f)
{
	if (f->blocks)
		munmap((char *)f->blocks - sizeof(struct filter_head), f->map_len);
	*f = (struct filter){0};
}

bool filter_may_have(const struct filter *f, uint64_t key)
{
	uint64_t hash = mixed(key);
	const struct filter_block *b = &f->blocks[block_of(hash, f->block_cnt)];

	for (size_t i = 0; i < WORDS; i++)
		if (!(b->words[i] & bit_of(hash, i)))
			return false;
	return true;
}

/* --- making --- */

struct filter_maker {
	struct filter_head head;
	struct filter_block blocks[];
};

struct filter_maker *filter_maker_new(uint64_t key_cnt)
{
	uint64_t cnt = key_cnt * BITS_A_KEY / BITS_A_BLOCK + 1;
	struct filter_maker *m = calloc(1, sizeof(*m) + cnt * sizeof(m->blocks[0]));

	must(m && cnt <= UINT32_MAX);
	memcpy(m->head.magic, MAGIC, sizeof(MAGIC));
	m->head.block_cnt = cnt;
	return m;
}

void filter_maker_free(struct filter_maker *m)
{
	free(m);
}

void filter_add(struct filter_maker *m, uint64_t key)
{
	uint64_t hash = mixed(key);
	struct filter_block *b = &m->blocks[block_of(hash, m->head.block_cnt)];

	for (size_t i = 0; i < WORDS; i++)
		b->words[i] |= bit_of(hash, i);
}

static int write_whole(int fd, const void *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0)
			return -errno;
		p = (const char *)p + n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int filter_save(struct filter_maker *m, uint64_t chunks, int dir_fd, const char *path)
{
	char made[PART_NAME_MAX + 64];
	int fd, err;

	m->head.chunks = chunks;
	m->head.sum = sum_of(&m->head, m->blocks);
	snprintf(made, sizeof(made), "%s.new", path);
	fd = openat(dir_fd, made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	err = write_whole(fd, m, sizeof(*m) + m->head.block_cnt * sizeof(m->blocks[0]));
	close(fd);
	if (!err && renameat(dir_fd, made, dir_fd, path) < 0)
		err = -errno;
	if (err)
		unlinkat(dir_fd, made, 0);
	return err;
}

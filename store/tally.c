/* SPDX-License-Identifier: Apache-2.0 */
/* tally.c - the file of tally.h: two numbers, the machine's own u64. Written by memory stores alone,
 * so that counting costs no system call and an idle store writes nothing. Called by store.c. The
 * invariant: a full disk stops nothing: the file's room is taken before it is mapped, and where that
 * does not help (btrfs) fault.c does. */
#include "store/tally.h"
#include "store/base.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t lost_before(int fd)
{
	uint64_t was[2] = {0};

	if (pread(fd, was, sizeof(was), 0) != sizeof(was) || was[0] < was[1])
		return 0;
	return was[0] - was[1];
}

static struct tally *tally_map(int fd)
{
	static const char zero[sizeof(struct tally)];
	void *t;

	if (ftruncate(fd, sizeof(zero)) < 0 || pwrite(fd, zero, sizeof(zero), 0) != sizeof(zero))
		return MAP_FAILED;
	t = mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return t;
}

struct tally *tally_open(int dir_fd, uint64_t *ret_lost)
{
	int fd = openat(dir_fd, "tally", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	struct tally *t = MAP_FAILED;

	*ret_lost = 0;
	if (fd >= 0) {
		*ret_lost = lost_before(fd);
		t = tally_map(fd);
		close(fd);
	}
	if (t == MAP_FAILED)
		t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(t != MAP_FAILED);
	return t;
}

void tally_close(struct tally *t)
{
	if (t)
		munmap(t, sizeof(*t));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* writeback.c - the disk says no after write() has said yes. The kernel then calls the pages clean that
 * it could not write, tells one fsync() of it, and may not write them in a way that lasts when they
 * are written again (ext4 forgets that their place on the disk is still empty). So a partition whose
 * data.mdb had such an error takes nothing more; the next spans begin a new one. What it committed
 * before was on the disk but for its head, which LMDB leaves to the next sync (MDB_NOMETASYNC): that is
 * written again until the disk takes it. When the environment is closed the kernel is made to forget
 * what it has of the file, so that reads see what the disk has. Called by the committer's thread, and
 * by whoever closes a partition. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { HEADS = 2 };

void part_watch_writes(struct store *s, struct part *p)
{
	char path[PART_NAME_MAX + 16];

	if (p->data_fd >= 0)
		return;
	snprintf(path, sizeof(path), "%s/data.mdb", p->name);
	p->data_fd = openat(s->dir_fd, path, O_RDWR | O_CLOEXEC);
}

/* LMDB's fsync() was told; each open file is told for itself. */
bool part_lost_writes(const struct part *p)
{
	return p->data_fd >= 0 && fdatasync(p->data_fd) < 0;
}

void part_mistrust(struct store *s, struct part *p)
{
	if (!p->has_lost_writes)
		log_warn("store: the disk failed while it wrote %s/%s; what is committed there stays, new "
			 "spans begin another partition", s->conf.dir, p->name);
	p->has_lost_writes = p->is_full = p->is_head_unsure = true;
}

/* --- the head --- */

static int head_write(const struct part *p)
{
	uint8_t heads[HEADS * PAGE_MOST];
	MDB_stat st;
	size_t len;

	if (mdb_env_stat(p->env, &st) || st.ms_psize > PAGE_MOST)
		return -EINVAL;
	len = HEADS * st.ms_psize;
	if (pread(p->data_fd, heads, len, 0) != (ssize_t)len ||
	    pwrite(p->data_fd, heads, len, 0) != (ssize_t)len || fdatasync(p->data_fd) < 0)
		return -EIO;
	return 0;
}

void parts_write_heads(struct store *s)
{
	pthread_mutex_lock(&s->parts_lock);
	for (struct part *p = s->parts; p; p = p->next) {
		int err;

		if (!p->is_head_unsure || !p->env || p->data_fd < 0)
			continue;
		p->refs++;
		pthread_mutex_unlock(&s->parts_lock);
		err = head_write(p);
		pthread_mutex_lock(&s->parts_lock);
		p->is_head_unsure = err != 0;
		part_unuse(p);
	}
	pthread_mutex_unlock(&s->parts_lock);
}

/* --- the end --- */

static void pages_forget(struct part *p)
{
	if (fdatasync(p->data_fd) == 0)
		posix_fadvise(p->data_fd, 0, 0, POSIX_FADV_DONTNEED);
	p->has_lost_writes = false;
}

void part_close_env(struct part *p)
{
	if (p->is_head_unsure && p->env && p->data_fd >= 0)
		p->is_head_unsure = head_write(p) != 0;
	if (p->env)
		mdb_env_close(p->env);
	p->env = NULL;
	if (p->data_fd < 0)
		return;
	if (p->has_lost_writes)
		pages_forget(p);
	close(p->data_fd);
	p->data_fd = -1;
}

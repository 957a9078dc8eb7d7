/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_link.c - see cgroup_link.h. In a container it is the first process that has the node's view; where
 * we may not look through its eyes, our own must do. */
#include "agent/cgroup_link.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEN = 512, LINE_LEN = 4096 };

/* The folder of the first cgroup2 mount in a list of mounts, below root. False: none. */
static bool cgroup_find(const char *mounts, const char *root, char ret[PATH_LEN])
{
	FILE *f = setmntent(mounts, "re");
	char line[LINE_LEN];
	struct mntent m;
	bool found = false;

	while (f && !found && getmntent_r(f, &m, line, sizeof(line))) {
		found = !strcmp(m.mnt_type, "cgroup2");
		if (found)
			snprintf(ret, PATH_LEN, "%s%s", root, m.mnt_dir);
	}
	if (f)
		endmntent(f);
	return found;
}

static int cgroup_open(void)
{
	char path[PATH_LEN];
	int fd = -1;

	errno = ENOENT;
	if (cgroup_find("/proc/1/mounts", "/proc/1/root", path))
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && cgroup_find("/proc/self/mounts", "", path))
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

int cgroup_link_open(struct bpf_link **ret, struct bpf_program *p, struct strbuf *why)
{
	int fd = cgroup_open(), err = fd < 0 ? -errno : 0;

	*ret = err ? NULL : bpf_program__attach_cgroup(p, fd);
	err = err ?: *ret ? 0 : -errno;
	if (fd >= 0)
		close(fd);
	if (err)
		strbuf_printf(why,
			      "propagation: the connections of other processes cannot be seen "
			      "(%s); it takes a "
			      "mounted cgroup2 file system, or leave propagation.tcp_option and "
			      "propagation.headers off",
			      strerror(-err));
	return err;
}

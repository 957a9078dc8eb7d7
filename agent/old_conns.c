/* SPDX-License-Identifier: Apache-2.0 */
/* old_conns.c - see old_conns.h. A socket is reached through its process, whatever network
 * namespace it is in; that takes the right to trace the process, and changes nothing of it. The
 * invariant: a borrowed socket is given back at once. */
#include "agent/old_conns.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cgroup_link.h"
#include "kern/record.h"
#include "store/base.h"

enum { REST_NS = NS_PER_S };

struct old_conns {
	struct bpf_program *p;
	struct bpf_link *link; /* NULL: it rests */
	uint64_t used_ns;
	bool is_refused; /* it cannot be done here */
};

/* --- one socket --- */

static bool is_connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer), proto_len = sizeof(int);
	int proto;

	return !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &proto_len) &&
	       proto == IPPROTO_TCP && !getpeername(fd, (struct sockaddr *)&peer, &len);
}

/* -ENOTSUP: the kernel half cannot do it here; else: this process does not let us. */
static int fd_adopt(int process, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0), one = 1, err = 0;

	if (fd < 0)
		return errno == EBADF || errno == ESRCH ? 0 : -errno; /* closed meanwhile */
	if (is_connected(fd) && setsockopt(fd, IPPROTO_TCP, OPTION_ADOPT, &one, sizeof(one)))
		err = -ENOTSUP;
	close(fd);
	return err;
}

/* --- a process --- */

static bool is_socket(int dir, const char *name)
{
	char target[16];
	ssize_t len = readlinkat(dir, name, target, sizeof(target));

	return len > 8 && !memcmp(target, "socket:[", 8);
}

static int fds_adopt(int process, DIR *dir)
{
	struct dirent *e;
	int err = 0;

	while (!err && (e = readdir(dir)))
		if (is_socket(dirfd(dir), e->d_name))
			err = fd_adopt(process, atoi(e->d_name));
	return err;
}

static int process_adopt(uint32_t pid)
{
	int process = (int)syscall(SYS_pidfd_open, pid, 0), err = 0;
	char path[32];
	DIR *dir;

	if (process < 0)
		return errno == ESRCH ? 0 : -errno;
	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	if (dir) {
		err = fds_adopt(process, dir);
		closedir(dir);
	}
	close(process);
	return err;
}

/* --- public --- */

struct old_conns *old_conns_new(struct bpf_program *p)
{
	struct old_conns *o = calloc(1, sizeof(*o));

	must(o);
	o->p = p;
	return o;
}

void old_conns_free(struct old_conns *o)
{
	if (!o)
		return;
	bpf_link__destroy(o->link);
	free(o);
}

void old_conns_adopt(struct old_conns *o, uint32_t pid)
{
	struct strbuf why;
	int err = 0;

	if (o->is_refused || !pid)
		return;
	strbuf_init(&why);
	if (!o->p || (!o->link && cgroup_link_open(&o->link, o->p, &why)))
		err = -ENOTSUP;
	err = err ?: process_adopt(pid);
	o->is_refused = err == -ENOTSUP;
	if (o->is_refused)
		log_warn("propagation.tcp_option: connections that are older than their tracing go without it: "
			 "this kernel has no way to add it (%s)", why.len ? why.p : "Linux 6.12 has");
	else if (err)
		log_warn("propagation.tcp_option: older connections of process %u go without it: %s", pid,
			 strerror(-err));
	o->used_ns = clock_mono_ns();
	strbuf_fini(&why);
}

void old_conns_rest(struct old_conns *o)
{
	if (!o->link || clock_mono_ns() - o->used_ns < REST_NS)
		return;
	bpf_link__destroy(o->link);
	o->link = NULL;
}

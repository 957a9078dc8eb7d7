/* SPDX-License-Identifier: Apache-2.0 */
/* headers.c - see headers.h. A socket that headers are put into stands in a sockhash, and there some kernels
 * (6.6.128, 6.12.75, 6.18.14, 6.19 and later ones, until it was mended) say of received bytes, asked by
 * FIONREAD, that there are none. Programs that ask, such as nginx, then wait for what is there. So it
 * is tried, on a loopback connection of our own, before any program's socket is touched: what works
 * is taken, versions are never looked at. */
#include "agent/headers.h"
#include "agent/cgroup_link.h"
#include "agent/skeleton.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/stats.h"
#include "wirespan.skel.h"

#define KEY "propagation.headers"

enum { WAIT_MS = 2000, SENT = 1000, TAKEN = 400 };

/* --- a connection of our own --- */

static int listen_here(struct sockaddr_in *ret)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)&at, &len)) {
		int err = -errno;

		close(fd);
		return err;
	}
	*ret = at;
	return fd;
}

/* Strangers may connect to it as well: the other end is ours by its port. */
static int accept_own(int listener, int client)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct sockaddr_in own, other;
	socklen_t len = sizeof(own);

	if (getsockname(client, (struct sockaddr *)&own, &len))
		return -errno;
	while (poll(&p, 1, WAIT_MS) > 0) {
		int fd;

		len = sizeof(other);
		fd = accept4(listener, (struct sockaddr *)&other, &len, SOCK_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (other.sin_port == own.sin_port)
			return fd;
		close(fd);
	}
	return -ETIMEDOUT;
}

/* ends[0] has connected to ends[1]. 0 or -errno. */
static int pair_open(int ends[2])
{
	struct sockaddr_in at;
	int listener = listen_here(&at), err = 0;

	ends[0] = ends[1] = -1;
	if (listener < 0)
		return listener;
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ends[0] < 0 || connect(ends[0], (struct sockaddr *)&at, sizeof(at)))
		err = -errno;
	if (!err)
		ends[1] = accept_own(listener, ends[0]);
	close(listener);
	return err ?: ends[1] < 0 ? ends[1] : 0;
}

static void pair_close(int ends[2])
{
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
}

/* --- the trial --- */

/* Sends len bytes from one end, and waits until all of them can be read at the other. */
static int bytes_move(int from, int to, const char *bytes, size_t len)
{
	char there[SENT];
	struct pollfd p = {.fd = to, .events = POLLIN};

	if (send(from, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -EIO;
	for (int i = 0; i < SENT; i++) {
		ssize_t n;

		if (poll(&p, 1, WAIT_MS) <= 0)
			return -ETIMEDOUT;
		n = recv(to, there, sizeof(there), MSG_PEEK | MSG_DONTWAIT);
		if (n == (ssize_t)len)
			return memcmp(there, bytes, len) ? -EIO : 0;
		if (n <= 0)
			return -EIO;
	}
	return -EIO;
}

/* Does the kernel count what can be read, before and after a part of it was? */
static int bytes_counted(int fd, struct strbuf *why)
{
	char taken[TAKEN];
	int before = 0, after = 0;

	if (ioctl(fd, FIONREAD, &before) || recv(fd, taken, TAKEN, MSG_DONTWAIT) != TAKEN ||
	    ioctl(fd, FIONREAD, &after))
		return -errno;
	if (before == SENT && after == SENT - TAKEN)
		return 0;
	strbuf_printf(why,
		      "this kernel miscounts what can be read from a socket that headers are put into (FIONREAD: %d "
		      "for %d bytes), on which programs such as nginx would wait for ever; use propagation.tcp_option, "
		      "or a kernel that counts right",
		      before == SENT ? after : before, before == SENT ? SENT - TAKEN : SENT);
	return -ENOTSUP;
}

static int pair_try(const struct wirespan_bpf *skel, int ends[2], struct strbuf *why)
{
	uint64_t key = 0, client;
	char bytes[SENT];
	int err;

	memset(bytes, 'x', sizeof(bytes));
	err = pair_open(ends);
	client = (uint64_t)ends[0];
	if (!err && bpf_map_update_elem(bpf_map__fd(skel->maps.headed), &key, &client, BPF_ANY))
		err = -errno;
	err = err ?: bytes_move(ends[0], ends[1], bytes, sizeof(bytes));
	err = err ?: bytes_move(ends[1], ends[0], bytes, sizeof(bytes));
	return err ?: bytes_counted(ends[0], why);
}

static int messages_attach(const struct wirespan_bpf *skel)
{
	return bpf_prog_attach(bpf_program__fd(skel->progs.put_header), bpf_map__fd(skel->maps.headed),
			       BPF_SK_MSG_VERDICT, 0)
		       ? -errno
		       : 0;
}

/* An object with these programs alone. NULL: errno says why. */
static struct wirespan_bpf *trial_open(bool is_send)
{
	struct wirespan_bpf *skel = skeleton_open();
	struct bpf_program *p;
	int err;

	if (!skel)
		return NULL;
	bpf_object__for_each_program(p, skel->obj)
		bpf_program__set_autoload(p, false);
	headers_prepare(skel, true);
	bpf_program__set_autoload(skel->progs.send_headed, is_send);
	bpf_program__set_autoload(skel->progs.put_header, !is_send);
	bpf_program__set_autoload(skel->progs.headed_opened, !is_send);
	err = wirespan_bpf__load(skel);
	if (!err)
		return skel;
	wirespan_bpf__destroy(skel);
	errno = -err;
	return NULL;
}

static int try_messages(struct strbuf *why)
{
	struct wirespan_bpf *skel = trial_open(false);
	struct bpf_link *link = NULL;
	int ends[2] = {-1, -1}, err = skel ? messages_attach(skel) : -errno;

	err = err ?: pair_try(skel, ends, why);
	err = err ?: cgroup_link_open(&link, skel->progs.headed_opened, why);
	bpf_link__destroy(link);
	pair_close(ends);
	wirespan_bpf__destroy(skel);
	return err;
}

static int try_send(struct strbuf *why)
{
	struct wirespan_bpf *skel = trial_open(true);
	int err = skel ? 0 : -errno;
	struct bpf_link *link = skel ? bpf_program__attach(skel->progs.send_headed) : NULL;

	if (!err && !link)
		err = -errno;
	if (err)
		strbuf_printf(why, "this kernel does not show what is sent on such sockets (fentry/tcp_bpf_sendmsg: %s)",
			      strerror(-err));
	bpf_link__destroy(link);
	wirespan_bpf__destroy(skel);
	return err;
}

/* --- public --- */

bool headers_possible(void)
{
	struct strbuf why;
	int err;

	strbuf_init(&why);
	err = try_messages(&why);
	err = err ?: try_send(&why);
	if (err && !why.len)
		strbuf_printf(&why, "this kernel does not take it, or does it wrong: %s", strerror(-err));
	if (err)
		log_warn(KEY " is refused, and the rest goes on: %s", why.p);
	stats_note("providers", "headers: sk_msg", "%s%s", err ? "refused: " : "in use", err ? why.p : "");
	strbuf_fini(&why);
	return !err;
}

void headers_prepare(struct wirespan_bpf *skel, bool on)
{
	skel->rodata->headers_on = on;
	bpf_program__set_autoload(skel->progs.send_headed, on);
	bpf_program__set_autoload(skel->progs.put_header, on);
	bpf_program__set_autoload(skel->progs.headed_opened, on);
	bpf_map__set_autocreate(skel->maps.headed, on);
}

int headers_open(struct wirespan_bpf *skel, struct strbuf *why)
{
	int err = messages_attach(skel);

	if (err)
		strbuf_printf(why, KEY ": cannot see messages before they are sent: %s", strerror(-err));
	return err ?: cgroup_link_open(&skel->links.headed_opened, skel->progs.headed_opened, why);
}

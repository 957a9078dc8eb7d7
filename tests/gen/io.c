/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - every call by which a program may send to or read from a TCP socket, chosen at random. Calls
 * that keep the bytes from the program's memory (sendfile, splice, MSG_TRUNC) are used for dark
 * ranges alone. Nobody looks at what arrives: the truth is known, and TCP is trusted. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOM = 65536, SEGMENTS = 1000 };

static int file = -1; /* what sendfile sends */
static __thread char room[ROOM];
static __thread int pipe_fd[2] = { -1, -1 };

void io_init(void)
{
	static const char noise[ROOM];

	file = memfd_create("gen", 0);
	must(file >= 0 && write(file, noise, ROOM) == ROOM);
}

/* --- sending --- */

/* Cuts len bytes into pieces for a vector; some are empty. */
static int segments_make(struct iovec *v, int most, char *p, size_t len, struct rng *r)
{
	int n = 0;

	while (len && n < most - 1) {
		size_t k = rng_chance(r, 10) ? 0 : rng_between(r, 1, (uint32_t)(len / most * 2 + 1));

		k = k < len ? k : len;
		v[n++] = (struct iovec){ p, k };
		p += k;
		len -= k;
	}
	v[n++] = (struct iovec){ p, len };
	return n;
}

static int segment_cnt(struct rng *r)
{
	return rng_chance(r, 5) ? SEGMENTS : rng_between(r, 1, 9);
}

static ssize_t send_many(int fd, char *p, size_t len, struct rng *r)
{
	struct iovec v[4];
	struct mmsghdr m[4] = { 0 };
	int cnt = segments_make(v, 4, p, len, r), sent, used = 0;
	ssize_t sum = 0;

	for (int i = 0; i < cnt; i++) {
		if (!v[i].iov_len)
			continue;
		m[used].msg_hdr.msg_iov = &v[i];
		m[used++].msg_hdr.msg_iovlen = 1;
	}
	sent = sendmmsg(fd, m, used, MSG_NOSIGNAL);
	for (int i = 0; i < sent; i++)
		sum += m[i].msg_len;
	return sent < 0 ? sent : sum;
}

static ssize_t send_zerocopy(int fd, char *p, size_t len)
{
	int on = 1;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on));
	n = send(fd, p, len, MSG_NOSIGNAL | MSG_ZEROCOPY);
	return n < 0 && errno == ENOBUFS ? send(fd, p, len, MSG_NOSIGNAL) : n;
}

ssize_t io_send(int fd, const struct flow *f, uint32_t from, uint32_t to, enum how how, struct rng *r)
{
	char *p = f->bytes.p + from;
	size_t len = to - from;
	struct iovec v[SEGMENTS];
	struct msghdr h = { .msg_iov = v };
	off_t off = 0;

	switch (how) {
	case HOW_WRITE:
		return write(fd, p, len);
	case HOW_WRITEV:
		return writev(fd, v, segments_make(v, segment_cnt(r), p, len, r));
	case HOW_SENDMSG:
		h.msg_iovlen = segments_make(v, segment_cnt(r), p, len, r);
		return sendmsg(fd, &h, MSG_NOSIGNAL);
	case HOW_SENDMMSG:
		return send_many(fd, p, len, r);
	case HOW_ZEROCOPY:
		return send_zerocopy(fd, p, len);
	case HOW_FILE:
		return sendfile(fd, file, &off, len < ROOM ? len : ROOM);
	default:
		return send(fd, p, len, MSG_NOSIGNAL);
	}
}

void io_drain_errors(int fd)
{
	char control[256];
	struct msghdr h = { .msg_control = control };

	do {
		h.msg_controllen = sizeof(control);
	} while (recvmsg(fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
}

/* --- reading --- */

struct reader_habit io_habit(struct rng *r, const struct flow *f)
{
	struct reader_habit h = { .size = rng_below(r, READ_SIZES), .rng = { rng_next(r) } };

	if (h.size == READ_BYTES && flow_at(f) > 3000)
		h.size = READ_BYTE_FIRST;
	if (h.size == READ_SOME && flow_at(f) > 50000)
		h.size = READ_MUCH;
	h.varied = rng_chance(r, 40);
	h.dark = rng_chance(r, 15);
	return h;
}

static size_t to_next_mark(struct reader_habit *h, const struct flow *f, uint32_t got, bool *at_mark)
{
	while (h->mark < f->mark_cnt && f->marks[h->mark] <= got)
		h->mark++;
	*at_mark = h->mark && f->marks[h->mark - 1] == got;
	return (h->mark < f->mark_cnt ? f->marks[h->mark] : flow_at(f)) - got;
}

static size_t read_size(struct reader_habit *h, const struct flow *f, uint32_t got)
{
	bool at_mark;
	size_t left = to_next_mark(h, f, got, &at_mark);

	switch (h->size) {
	case READ_SOME:
		return rng_between(&h->rng, 1, 200);
	case READ_EXACT:
		return left ? left : ROOM;
	case READ_HEADER:
		return at_mark ? 5 : left ? left : ROOM;
	case READ_BYTE_FIRST:
		return at_mark ? 1 : 4096;
	case READ_BYTES:
		return 1;
	default:
		return ROOM;
	}
}

static ssize_t read_varied(int fd, size_t len, struct rng *r)
{
	struct iovec v[SEGMENTS];
	struct msghdr h = { .msg_iov = v };

	switch (rng_below(r, 5)) {
	case 0:
		return readv(fd, v, segments_make(v, segment_cnt(r), room, len, r));
	case 1:
		h.msg_iovlen = segments_make(v, segment_cnt(r), room, len, r);
		return recvmsg(fd, &h, MSG_DONTWAIT);
	case 2:
		if (recv(fd, room, rng_between(r, 1, (uint32_t)len), MSG_PEEK | MSG_DONTWAIT) < 0)
			return -1;
		return recv(fd, room, len, MSG_DONTWAIT);
	case 3:
		return recvfrom(fd, room, len, MSG_DONTWAIT, NULL, NULL);
	default:
		return preadv2(fd, v, segments_make(v, segment_cnt(r), room, len, r), -1, 0);
	}
}

/* How many dark bytes lie ahead. */
static size_t dark_ahead(struct reader_habit *h, const struct flow *f, uint32_t got)
{
	while (h->range < f->dark_cnt && f->dark[h->range].to <= got)
		h->range++;
	if (h->range >= f->dark_cnt || f->dark[h->range].from > got)
		return 0;
	return f->dark[h->range].to - got;
}

static ssize_t read_spliced(int fd, size_t len)
{
	ssize_t n;

	must(pipe_fd[0] >= 0 || !pipe2(pipe_fd, O_NONBLOCK));
	n = splice(fd, NULL, pipe_fd[1], NULL, len, SPLICE_F_NONBLOCK);
	for (ssize_t left = n, k; left > 0; left -= k) {
		k = read(pipe_fd[0], room, ROOM);
		must(k > 0);
	}
	return n;
}

static ssize_t read_many(int fd, size_t len)
{
	struct iovec v[2] = { { room, len / 2 }, { room, len - len / 2 } };
	struct mmsghdr m[2] = { { .msg_hdr = { .msg_iov = &v[0], .msg_iovlen = 1 } },
				{ .msg_hdr = { .msg_iov = &v[1], .msg_iovlen = 1 } } };
	int n = recvmmsg(fd, m, 2, MSG_DONTWAIT, NULL);

	if (n <= 0)
		return n;
	return m[0].msg_len + (n > 1 ? m[1].msg_len : 0);
}

static ssize_t read_dark(int fd, size_t len, bool tails, struct rng *r)
{
	len = len < ROOM ? len : ROOM;
	switch (rng_below(r, 3)) {
	case 0:
		return recv(fd, NULL, len, MSG_TRUNC | MSG_DONTWAIT);
	case 1:
		return len > 1 ? read_many(fd, len) : recv(fd, room, len, MSG_DONTWAIT);
	default:
		if (tails || len > 1)
			return read_spliced(fd, tails ? len : len - 1);
		return read(fd, room, len);
	}
}

ssize_t io_read(int fd, struct reader_habit *h, const struct flow *f, uint32_t got)
{
	size_t dark = h->dark ? dark_ahead(h, f, got) : 0, len = read_size(h, f, got);

	if (dark && rng_chance(&h->rng, 50))
		return read_dark(fd, dark, f->tails, &h->rng);
	if (len > ROOM)
		len = ROOM;
	return h->varied ? read_varied(fd, len, &h->rng) : read(fd, room, len);
}

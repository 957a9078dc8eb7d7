/* SPDX-License-Identifier: Apache-2.0 */
/* uring.c - one socket operation through io_uring, as a library that progs/peer.py loads. It
 * keeps no ring between two calls. Every function gives what the operation gave: bytes, or
 * -errno. */
#include <errno.h>
#include <liburing.h>
#include <unistd.h>

int uring_send(int fd, const void *buf, unsigned int len);
int uring_recv(int fd, void *buf, unsigned int len);
int uring_recv_in_read(int fd, void *buf, unsigned int len, int other, void *bait,
		       unsigned int bait_len);

static int ring_wait(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int err = io_uring_wait_cqe(ring, &cqe);

	if (!err) {
		err = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	return err;
}

int uring_send(int fd, const void *buf, unsigned int len)
{
	struct io_uring ring;
	int n = io_uring_queue_init(4, &ring, 0);

	if (n)
		return n;
	io_uring_prep_send(io_uring_get_sqe(&ring), fd, buf, len, 0);
	n = io_uring_submit(&ring);
	n = n < 0 ? n : ring_wait(&ring);
	io_uring_queue_exit(&ring);
	return n;
}

int uring_recv(int fd, void *buf, unsigned int len)
{
	struct io_uring ring;
	int n = io_uring_queue_init(4, &ring, 0);

	if (n)
		return n;
	io_uring_prep_recv(io_uring_get_sqe(&ring), fd, buf, len, 0);
	n = io_uring_submit(&ring);
	n = n < 0 ? n : ring_wait(&ring);
	io_uring_queue_exit(&ring);
	return n;
}

/* The bytes come while this thread waits in read() of another file: the kernel receives them on the
 * way out of that call, whose buffer (bait) is another one. Returns when that read does. */
int uring_recv_in_read(int fd, void *buf, unsigned int len, int other, void *bait,
		       unsigned int bait_len)
{
	struct io_uring ring;
	int n = io_uring_queue_init(4, &ring, 0);

	if (n)
		return n;
	io_uring_prep_recv(io_uring_get_sqe(&ring), fd, buf, len, 0);
	n = io_uring_submit(&ring);
	if (n > 0 && read(other, bait, bait_len) < 0)
		n = -errno;
	n = n < 0 ? n : ring_wait(&ring);
	io_uring_queue_exit(&ring);
	return n;
}

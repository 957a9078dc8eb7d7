/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - the many ways to send to and read from a socket; see io.c. */
#ifndef GEN_IO_H
#define GEN_IO_H

#include "script.h"

#include <sys/types.h>

enum read_size { READ_MUCH, READ_SOME, READ_EXACT, READ_HEADER, READ_BYTE_FIRST, READ_BYTES, READ_SIZES };

struct reader_habit {
	enum read_size size;
	bool varied; /* the call: readv, recvmsg, MSG_PEEK first … */
	bool dark;   /* throws away unread what it need not see */
	size_t mark, range; /* the next ones of the flow */
	struct rng rng;
};

void io_init(void);
struct reader_habit io_habit(struct rng *r, const struct flow *f);
/* As read(): bytes of the flow from place `got` on. */
ssize_t io_read(int fd, struct reader_habit *h, const struct flow *f, uint32_t got);
/* As write(). */
ssize_t io_send(int fd, const struct flow *f, uint32_t from, uint32_t to, enum how how, struct rng *r);
/* What MSG_ZEROCOPY reports is read away. */
void io_drain_errors(int fd);

#endif

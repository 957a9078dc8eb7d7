/* SPDX-License-Identifier: Apache-2.0 */
/* iter.c - see iter.h. What such a program has to say goes by its maps; the text that it could write is
 * thrown away. */
#include "agent/iter.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

int iter_run(struct bpf_program *p)
{
	struct bpf_link *link = bpf_program__attach_iter(p, NULL);
	char sink[256];
	int fd, err = 0;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0)
		err = -errno;
	while (!err && read(fd, sink, sizeof(sink)) > 0)
		;
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	return err;
}

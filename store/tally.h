/* SPDX-License-Identifier: Apache-2.0 */
/* tally.h - how many spans were accepted since the start, and how many of these committed, in a file
 * that is mapped: what a killed program had accepted and not committed, the next one can say. After a
 * power cut the numbers may be some seconds old. */
#ifndef WIRESPAN_STORE_TALLY_H
#define WIRESPAN_STORE_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

struct tally {
	_Atomic uint64_t accepted, committed;
};

/* Never NULL: when the file cannot be had, the tally is in memory alone. *ret_lost: what the program
 * before this one lost. tally_close also takes NULL. */
struct tally *tally_open(int dir_fd, uint64_t *ret_lost);
void tally_close(struct tally *t);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* gobin.h - is an executable a Go program, and does it keep its goroutine in a register? Reads ELF
 * headers and a few bytes, a bounded amount, and believes none of the file's numbers. */
#ifndef WIRESPAN_GOBIN_H
#define WIRESPAN_GOBIN_H

enum gobin {
	GOBIN_NO,   /* another language, or no ELF file */
	GOBIN_OLD,  /* Go before 1.18: the register is not sure to hold the goroutine */
	GOBIN_GOOD, /* Go 1.18 or later */
};

enum gobin gobin_of(int fd);

#endif

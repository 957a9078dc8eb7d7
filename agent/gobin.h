/* SPDX-License-Identifier: Apache-2.0 */
/* gobin.h - is an executable a Go program, does it keep its goroutine in a register, and where are its
 * functions? Reads a bounded amount of the file, and believes none of its numbers. */
#ifndef WIRESPAN_GOBIN_H
#define WIRESPAN_GOBIN_H

#include <stddef.h>
#include <stdint.h>

enum gobin {
	GOBIN_NO,   /* another language, or no ELF file */
	GOBIN_OLD,  /* Go before 1.18: the register is not sure to hold the goroutine */
	GOBIN_GOOD, /* Go 1.18 or later */
};

enum gobin gobin_of(int fd);
/* Where in the file the functions of these names can be hooked, cnt of both: where they begin or a little
 * further, all arguments still in their registers; 0 where there is none. A hook may run twice for a call
 * whose stack had to grow. Returns how many were found. Takes some milliseconds and, for the time, memory
 * for the program's table. */
unsigned gobin_functions(int fd, const char *const *names, unsigned cnt, uint64_t *ret_offsets);
/* How far from the beginning of a function with this code that place is: see gobin.c. */
size_t gobin_hook_at(const unsigned char *code, size_t len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* elf64.h - looks into an ELF file of a traced program: its sections, where an address lies in the file, its
 * dynamic symbols. The file is that program's: every number in it is checked, amounts are bounded. */
#ifndef WIRESPAN_ELF64_H
#define WIRESPAN_ELF64_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf64 {
	int fd; /* borrowed */
	Elf64_Ehdr eh;
};

/* False: not a 64-bit little-endian ELF file. */
bool elf64_open(struct elf64 *e, int fd);
/* All or nothing. */
bool elf64_read(const struct elf64 *e, void *to, size_t len, uint64_t off);
/* The first section of that name. */
bool elf64_section(const struct elf64 *e, const char *name, Elf64_Shdr *ret);
bool elf64_segment(const struct elf64 *e, unsigned i, Elf64_Phdr *ret);
/* Where in the file an address of the program lies; 0: nowhere. */
uint64_t elf64_offset(const struct elf64 *e, uint64_t address);
/* The contents of a section, at most most bytes, to be freed; NULL: too large or not there. */
unsigned char *elf64_load(const struct elf64 *e, const Elf64_Shdr *sh, size_t most);
/* Addresses of exported symbols by name, cnt of both; 0 where there is none. Returns how many were found. */
unsigned elf64_symbols(const struct elf64 *e, const char *const *names, unsigned cnt,
		       uint64_t *ret_addresses);

#endif

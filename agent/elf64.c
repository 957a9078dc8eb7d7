/* SPDX-License-Identifier: Apache-2.0 */
/* elf64.c - see elf64.h. Nothing is mapped: a file that is cut while we read gives a short read, not a
 * signal. */
#include "agent/elf64.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTIONS_MAX = 1024, SEGMENTS_MAX = 128, NAME_MAX_LEN = 64, TABLE_MAX = 32 << 20 };

bool elf64_read(const struct elf64 *e, void *to, size_t len, uint64_t off)
{
	return off <= INT64_MAX && pread(e->fd, to, len, (off_t)off) == (ssize_t)len;
}

bool elf64_open(struct elf64 *e, int fd)
{
	e->fd = fd;
	return elf64_read(e, &e->eh, sizeof(e->eh), 0) && !memcmp(e->eh.e_ident, ELFMAG, SELFMAG) &&
	       e->eh.e_ident[EI_CLASS] == ELFCLASS64 && e->eh.e_ident[EI_DATA] == ELFDATA2LSB;
}

static bool section_read(const struct elf64 *e, unsigned i, Elf64_Shdr *ret)
{
	uint64_t off;

	return !__builtin_add_overflow(e->eh.e_shoff, (uint64_t)i * sizeof(*ret), &off) &&
	       elf64_read(e, ret, sizeof(*ret), off);
}

bool elf64_section(const struct elf64 *e, const char *name, Elf64_Shdr *ret)
{
	size_t len = strlen(name) + 1;
	char is[NAME_MAX_LEN];
	Elf64_Shdr names;
	uint64_t off;

	if (!e->eh.e_shoff || e->eh.e_shentsize != sizeof(names) || e->eh.e_shnum > SECTIONS_MAX ||
	    len > sizeof(is) || !section_read(e, e->eh.e_shstrndx, &names))
		return false;
	for (unsigned i = 1; i < e->eh.e_shnum; i++)
		if (section_read(e, i, ret) &&
		    !__builtin_add_overflow(names.sh_offset, ret->sh_name, &off) &&
		    elf64_read(e, is, len, off) && !memcmp(is, name, len))
			return true;
	return false;
}

bool elf64_segment(const struct elf64 *e, unsigned i, Elf64_Phdr *ret)
{
	uint64_t off;

	return e->eh.e_phentsize == sizeof(*ret) && e->eh.e_phnum <= SEGMENTS_MAX && i < e->eh.e_phnum &&
	       !__builtin_add_overflow(e->eh.e_phoff, (uint64_t)i * sizeof(*ret), &off) &&
	       elf64_read(e, ret, sizeof(*ret), off);
}

uint64_t elf64_offset(const struct elf64 *e, uint64_t address)
{
	Elf64_Phdr ph;
	uint64_t off;

	for (unsigned i = 0; elf64_segment(e, i, &ph); i++)
		if (ph.p_type == PT_LOAD && address >= ph.p_vaddr && address - ph.p_vaddr < ph.p_filesz)
			return __builtin_add_overflow(ph.p_offset, address - ph.p_vaddr, &off) ? 0 : off;
	return 0;
}

unsigned char *elf64_load(const struct elf64 *e, const Elf64_Shdr *sh, size_t most)
{
	unsigned char *p = NULL;

	if (sh->sh_type != SHT_NOBITS && sh->sh_size && sh->sh_size <= most)
		p = malloc(sh->sh_size);
	if (p && !elf64_read(e, p, sh->sh_size, sh->sh_offset)) {
		free(p);
		p = NULL;
	}
	return p;
}

static void symbol_match(const char *name, size_t len, uint64_t address, const char *const *names,
			 unsigned cnt, uint64_t *ret)
{
	for (unsigned i = 0; i < cnt; i++)
		if (!ret[i] && strlen(names[i]) == len && !memcmp(names[i], name, len))
			ret[i] = address;
}

unsigned elf64_symbols(const struct elf64 *e, const char *const *names, unsigned cnt,
		       uint64_t *ret_addresses)
{
	unsigned char *syms = NULL, *texts = NULL;
	Elf64_Shdr sym_sh, text_sh;
	unsigned found = 0;

	memset(ret_addresses, 0, cnt * sizeof(*ret_addresses));
	if (elf64_section(e, ".dynsym", &sym_sh) && elf64_section(e, ".dynstr", &text_sh)) {
		syms = elf64_load(e, &sym_sh, TABLE_MAX);
		texts = elf64_load(e, &text_sh, TABLE_MAX);
	}
	for (size_t i = 0; syms && texts && i < sym_sh.sh_size / sizeof(Elf64_Sym); i++) {
		Elf64_Sym s;

		memcpy(&s, syms + i * sizeof(s), sizeof(s));
		if (s.st_shndx != SHN_UNDEF && s.st_name < text_sh.sh_size)
			symbol_match((char *)texts + s.st_name,
				     strnlen((char *)texts + s.st_name, text_sh.sh_size - s.st_name),
				     s.st_value, names, cnt, ret_addresses);
	}
	free(syms);
	free(texts);
	for (unsigned i = 0; i < cnt; i++)
		found += ret_addresses[i] != 0;
	return found;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* gobin.c - finds Go's build information in an ELF file: in its section, or, where the section
 * table was stripped, at the start of the first writable segment, where the linker puts it. The
 * version is not read: since Go 1.18 a bit says that the strings stand inline, and from 1.17 on the
 * goroutine is in a register, so that bit is proof enough (a 1.17 program is treated as older: it
 * gets the thread rule, which may say "none" but not "wrong"). The file belongs to the traced
 * program: every number in it is checked, and at most 64 KiB and a thousand headers are read. */
#include "agent/gobin.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum {
	SECTIONS_MAX = 1024,
	SEGMENTS_MAX = 128,
	SEARCH_MAX = 64 * 1024,
	INFO_LEN = 16,
	INFO_ALIGN = 16,
	INFO_FLAGS = 15, /* offset of the byte with the flags */
	FLAG_INLINE = 2,
};

static const char magic[] = "\xff Go buildinf:";
static const char section[] = ".go.buildinfo";

static bool read_at(int fd, void *to, size_t len, uint64_t off)
{
	return off <= INT64_MAX && pread(fd, to, len, (off_t)off) == (ssize_t)len;
}

static enum gobin info_kind(const unsigned char *info)
{
	if (memcmp(info, magic, sizeof(magic) - 1) != 0)
		return GOBIN_NO;
	return info[INFO_FLAGS] & FLAG_INLINE ? GOBIN_GOOD : GOBIN_OLD;
}

static bool header_read(int fd, Elf64_Ehdr *eh)
{
	return read_at(fd, eh, sizeof(*eh), 0) && memcmp(eh->e_ident, ELFMAG, SELFMAG) == 0 &&
	       eh->e_ident[EI_CLASS] == ELFCLASS64 && eh->e_ident[EI_DATA] == ELFDATA2LSB;
}

static bool section_read(int fd, const Elf64_Ehdr *eh, unsigned i, Elf64_Shdr *ret)
{
	uint64_t off;

	return !__builtin_add_overflow(eh->e_shoff, (uint64_t)i * sizeof(*ret), &off) &&
	       read_at(fd, ret, sizeof(*ret), off);
}

static enum gobin by_section(int fd, const Elf64_Ehdr *eh)
{
	unsigned char info[INFO_LEN];
	Elf64_Shdr names, sh;
	char name[sizeof(section)];
	uint64_t off;

	if (!eh->e_shoff || eh->e_shentsize != sizeof(sh) || eh->e_shnum > SECTIONS_MAX ||
	    !section_read(fd, eh, eh->e_shstrndx, &names))
		return GOBIN_NO;
	for (unsigned i = 1; i < eh->e_shnum; i++) {
		if (!section_read(fd, eh, i, &sh) ||
		    __builtin_add_overflow(names.sh_offset, sh.sh_name, &off) ||
		    !read_at(fd, name, sizeof(name), off) ||
		    memcmp(name, section, sizeof(section)) != 0)
			continue;
		return read_at(fd, info, sizeof(info), sh.sh_offset) ? info_kind(info) : GOBIN_NO;
	}
	return GOBIN_NO;
}

static enum gobin search(int fd, uint64_t off, uint64_t len)
{
	unsigned char buf[4096];
	enum gobin kind = GOBIN_NO;
	uint64_t end = len < SEARCH_MAX ? len : SEARCH_MAX;

	if (off > INT64_MAX - end)
		return GOBIN_NO;
	for (uint64_t at = 0; at < end && !kind; at += sizeof(buf)) {
		ssize_t n = pread(fd, buf, sizeof(buf), (off_t)(off + at));

		for (ssize_t i = 0; i + INFO_LEN <= n && !kind; i += INFO_ALIGN)
			kind = info_kind(buf + i);
		if (n < (ssize_t)sizeof(buf))
			break;
	}
	return kind;
}

static enum gobin by_segment(int fd, const Elf64_Ehdr *eh)
{
	Elf64_Phdr ph;
	uint64_t off;

	if (eh->e_phentsize != sizeof(ph) || eh->e_phnum > SEGMENTS_MAX)
		return GOBIN_NO;
	for (unsigned i = 0; i < eh->e_phnum; i++) {
		if (__builtin_add_overflow(eh->e_phoff, (uint64_t)i * sizeof(ph), &off) ||
		    !read_at(fd, &ph, sizeof(ph), off))
			return GOBIN_NO;
		if (ph.p_type == PT_LOAD && (ph.p_flags & (PF_W | PF_X)) == PF_W)
			return search(fd, ph.p_offset, ph.p_filesz);
	}
	return GOBIN_NO;
}

enum gobin gobin_of(int fd)
{
	enum gobin kind;
	Elf64_Ehdr eh;

	if (!header_read(fd, &eh))
		return GOBIN_NO;
	kind = by_section(fd, &eh);
	return kind ?: by_segment(fd, &eh);
}

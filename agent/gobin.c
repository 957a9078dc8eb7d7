/* SPDX-License-Identifier: Apache-2.0 */
/* gobin.c - finds Go's build information in an ELF file: in its section, or, where the section
 * table was stripped, at the start of the first writable segment, where the linker puts it. The
 * version is not read: since Go 1.18 a bit says that the strings stand inline, and from 1.17 on the
 * goroutine is in a register, so that bit is proof enough (a 1.17 program is treated as older: it
 * gets the thread rule, which may say "none" but not "wrong"). Functions are found in the table that
 * the runtime itself uses for stack traces (.gopclntab, the same since 1.18): it is there in stripped
 * programs, too. A function begins with the question whether its stack suffices: a comparison and a
 * jump. A hook on the comparison makes the kernel run it in single step, which takes a second trap; a
 * jump it does itself, so that is where hooks go. */
#include "agent/gobin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/elf64.h"

enum {
	SEARCH_MAX = 64 * 1024,
	INFO_LEN = 16,
	INFO_ALIGN = 16,
	INFO_FLAGS = 15, /* offset of the byte with the flags */
	FLAG_INLINE = 2,
	PCLN_MAX = 128 << 20,
};

/* Its header: magic, two zeros, instruction size, pointer size, then words of 8 bytes. */
enum pcln_word { PCLN_FUNC_CNT, PCLN_FILE_CNT, PCLN_TEXT, PCLN_NAMES, PCLN_CUS, PCLN_FILES, PCLN_PCS, PCLN_FUNCS, PCLN_WORDS };

static const char magic[] = "\xff Go buildinf:";

static enum gobin info_kind(const unsigned char *info)
{
	if (memcmp(info, magic, sizeof(magic) - 1) != 0)
		return GOBIN_NO;
	return info[INFO_FLAGS] & FLAG_INLINE ? GOBIN_GOOD : GOBIN_OLD;
}

static enum gobin by_section(const struct elf64 *e)
{
	unsigned char info[INFO_LEN];
	Elf64_Shdr sh;

	if (!elf64_section(e, ".go.buildinfo", &sh) || !elf64_read(e, info, sizeof(info), sh.sh_offset))
		return GOBIN_NO;
	return info_kind(info);
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

static enum gobin by_segment(const struct elf64 *e)
{
	Elf64_Phdr ph;

	for (unsigned i = 0; elf64_segment(e, i, &ph); i++)
		if (ph.p_type == PT_LOAD && (ph.p_flags & (PF_W | PF_X)) == PF_W)
			return search(e->fd, ph.p_offset, ph.p_filesz);
	return GOBIN_NO;
}

enum gobin gobin_of(int fd)
{
	struct elf64 e;

	if (!elf64_open(&e, fd))
		return GOBIN_NO;
	return by_section(&e) ?: by_segment(&e);
}

/* --- functions --- */

struct pcln {
	const unsigned char *p;
	uint64_t len, word[PCLN_WORDS];
};

static bool word32(const struct pcln *t, uint64_t at, uint32_t *ret)
{
	if (at > t->len || t->len - at < sizeof(*ret))
		return false;
	memcpy(ret, t->p + at, sizeof(*ret));
	return true;
}

static bool pcln_header(struct pcln *t)
{
	uint32_t version;

	if (t->len < 8 + sizeof(t->word) || !word32(t, 0, &version) ||
	    (version != 0xfffffff0 && version != 0xfffffff1) || t->p[7] != 8)
		return false;
	memcpy(t->word, t->p + 8, sizeof(t->word));
	return t->word[PCLN_NAMES] < t->len && t->word[PCLN_FUNCS] < t->len;
}

/* Of a program without a C runtime before it, Go's text is the section; else only the header knows. */
static bool pcln_text(const struct elf64 *e, struct pcln *t)
{
	Elf64_Shdr sh;

	if (t->word[PCLN_TEXT])
		return true;
	if (elf64_section(e, ".interp", &sh) || !elf64_section(e, ".text", &sh))
		return false;
	t->word[PCLN_TEXT] = sh.sh_addr;
	return true;
}

static const char *func_name(const struct pcln *t, uint64_t func, size_t *ret_len)
{
	uint32_t name;
	uint64_t at;

	if (!word32(t, t->word[PCLN_FUNCS] + func + 4, &name))
		return NULL;
	at = t->word[PCLN_NAMES] + name;
	if (at >= t->len)
		return NULL;
	*ret_len = strnlen((const char *)t->p + at, t->len - at);
	return (const char *)t->p + at;
}

static bool begins(const unsigned char *code, size_t len, const char *with, size_t n)
{
	return len >= n && !memcmp(code, with, n);
}
#define BEGINS(code, len, with) begins(code, len, with, sizeof(with) - 1)

/* cmp 16(r14), rsp; jbe …  Of a large frame: lea -n(rsp), r12; cmp 16(r14), r12; jbe … */
size_t gobin_hook_at(const unsigned char *code, size_t len)
{
	size_t at = 0;

	if (BEGINS(code, len, "\x4c\x8d\x64\x24"))
		at = 5;
	else if (BEGINS(code, len, "\x4c\x8d\xa4\x24"))
		at = 8;
	if (at + 6 > len || !(at ? BEGINS(code + at, len - at, "\x4d\x3b\x66\x10")
				 : BEGINS(code, len, "\x49\x3b\x66\x10")))
		return 0;
	at += 4;
	return BEGINS(code + at, len - at, "\x76") || BEGINS(code + at, len - at, "\x0f\x86") ? at : 0;
}

static uint64_t hook_offset(const struct elf64 *e, uint64_t begin)
{
	unsigned char code[16];

	if (!begin || e->eh.e_machine != EM_X86_64 || !elf64_read(e, code, sizeof(code), begin))
		return begin;
	return begin + gobin_hook_at(code, sizeof(code));
}

static void pcln_search(const struct elf64 *e, const struct pcln *t, const char *const *names,
			unsigned cnt, uint64_t *ret)
{
	for (uint64_t i = 0; i < t->word[PCLN_FUNC_CNT]; i++) {
		uint64_t at = t->word[PCLN_FUNCS] + i * 8;
		uint32_t entry, func;
		const char *name;
		size_t len;

		if (!word32(t, at, &entry) || !word32(t, at + 4, &func))
			return;
		name = func_name(t, func, &len);
		for (unsigned k = 0; name && k < cnt; k++)
			if (!ret[k] && strlen(names[k]) == len && !memcmp(names[k], name, len))
				ret[k] = hook_offset(e, elf64_offset(e, t->word[PCLN_TEXT] + entry));
	}
}

unsigned gobin_functions(int fd, const char *const *names, unsigned cnt, uint64_t *ret_offsets)
{
	struct pcln t = {.p = NULL};
	unsigned char *table = NULL;
	unsigned found = 0;
	struct elf64 e;
	Elf64_Shdr sh;

	memset(ret_offsets, 0, cnt * sizeof(*ret_offsets));
	if (elf64_open(&e, fd) && (elf64_section(&e, ".gopclntab", &sh) ||
				   elf64_section(&e, ".data.rel.ro.gopclntab", &sh)))
		table = elf64_load(&e, &sh, PCLN_MAX);
	if (table) {
		t.p = table;
		t.len = sh.sh_size;
		if (pcln_header(&t) && pcln_text(&e, &t))
			pcln_search(&e, &t, names, cnt, ret_offsets);
	}
	free(table);
	for (unsigned i = 0; i < cnt; i++)
		found += ret_offsets[i] != 0;
	return found;
}

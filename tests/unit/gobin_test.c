/* SPDX-License-Identifier: Apache-2.0 */
/* gobin_test.c - ELF files made here, byte for byte: with a section table, without, of old Go, cut
 * everywhere, and with each header byte turned hostile; and their tables of functions. */
#include "agent/gobin.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

enum { INFO_AT = 256, NAMES_AT = 320, SECTIONS_AT = 384, FILE_LEN = SECTIONS_AT + 3 * 64 };

struct image {
	_Alignas(8) unsigned char b[FILE_LEN];
};

static Elf64_Ehdr *header(struct image *im)
{
	return (Elf64_Ehdr *)im->b;
}

/* One writable segment, sections {null, .go.buildinfo, names}. flags: Go's. */
static struct image image_new(unsigned char flags)
{
	static struct image im;
	Elf64_Ehdr *eh = header(&im);
	Elf64_Phdr *ph = (Elf64_Phdr *)(im.b + sizeof(*eh));
	Elf64_Shdr *sh = (Elf64_Shdr *)(im.b + SECTIONS_AT);

	memset(&im, 0, sizeof(im));
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_phoff = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 1;
	eh->e_shoff = SECTIONS_AT;
	eh->e_shentsize = sizeof(*sh);
	eh->e_shnum = 3;
	eh->e_shstrndx = 2;
	*ph = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 240, .p_filesz = 64};
	memcpy(im.b + INFO_AT, "\xff Go buildinf:\x08", 15);
	im.b[INFO_AT + 15] = flags;
	memcpy(im.b + NAMES_AT, "\0.go.buildinfo\0.names", 22);
	sh[1] = (Elf64_Shdr){.sh_name = 1, .sh_offset = INFO_AT, .sh_size = 64};
	sh[2] = (Elf64_Shdr){.sh_name = 15, .sh_offset = NAMES_AT, .sh_size = 32};
	return im;
}

static enum gobin kind_of(const void *p, size_t len)
{
	FILE *f = tmpfile();
	enum gobin kind;

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	fflush(f);
	kind = gobin_of(fileno(f));
	fclose(f);
	return kind;
}

static void test_sections(void **state)
{
	struct image im = image_new(2);

	(void)state;
	assert_int_equal(kind_of(&im, sizeof(im)), GOBIN_GOOD);
	im = image_new(0);
	assert_int_equal(kind_of(&im, sizeof(im)), GOBIN_OLD);
}

static void test_stripped(void **state)
{
	struct image im = image_new(2);

	(void)state;
	header(&im)->e_shoff = 0;
	header(&im)->e_shnum = 0;
	assert_int_equal(kind_of(&im, SECTIONS_AT), GOBIN_GOOD);
	memset(im.b + INFO_AT, 0, 16);
	assert_int_equal(kind_of(&im, SECTIONS_AT), GOBIN_NO);
}

static void test_not_go(void **state)
{
	int self = open("/proc/self/exe", O_RDONLY);
	struct image im = image_new(2);

	(void)state;
	assert_int_equal(gobin_of(self), GOBIN_NO);
	close(self);
	assert_int_equal(kind_of("#!/bin/sh\n", 10), GOBIN_NO);
	assert_int_equal(kind_of("", 0), GOBIN_NO);
	header(&im)->e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(kind_of(&im, sizeof(im)), GOBIN_NO);
	assert_int_equal(gobin_of(-1), GOBIN_NO);
}

static void test_truncations(void **state)
{
	struct image im = image_new(2);

	(void)state;
	for (size_t len = 0; len < sizeof(im); len++)
		kind_of(&im, len);
}

/* Nothing to compare with: it must come back, in bounds, whatever the headers say. */
static void test_hostile_headers(void **state)
{
	static const unsigned char bytes[] = {0x00, 0x7f, 0xff};

	(void)state;
	for (size_t i = 0; i < FILE_LEN; i++)
		for (size_t k = 0; k < sizeof(bytes); k++) {
			struct image im = image_new(2);

			im.b[i] = bytes[k];
			kind_of(&im, sizeof(im));
		}
}

/* --- functions --- */

enum { TABLE_AT = 640, TABLE_LEN = 256, TABLE_FILE = TABLE_AT + TABLE_LEN, TEXT_AT = 0x401000 };

struct table {
	_Alignas(8) unsigned char b[TABLE_FILE];
};

/* runtime.newproc1 at the text's beginning + 0x40, main.main at + 0x80; the text is mapped from the file's
 * beginning on. */
static struct table table_new(uint32_t version, uint64_t text)
{
	static const char names[] = "runtime.newproc1\0main.main";
	const uint64_t words[] = {2, 0, text, 80, 0, 0, 0, 128};
	const uint32_t funcs[] = {0x40, 24, 0x80, 40, 0xc0, 0, 0x40, 0, 0, 0, 0x80, 17};
	struct image im = image_new(2);
	struct table t = {.b = {0}};
	Elf64_Shdr *sh = (Elf64_Shdr *)(t.b + SECTIONS_AT);
	Elf64_Phdr *ph = (Elf64_Phdr *)(t.b + sizeof(Elf64_Ehdr));
	unsigned char *p = t.b + TABLE_AT;

	memcpy(t.b, im.b, sizeof(im.b));
	*ph = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = TEXT_AT, .p_filesz = 0x1000};
	memcpy(t.b + NAMES_AT, "\0.gopclntab\0.text\0.names", 25);
	sh[1] = (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = TABLE_AT, .sh_size = TABLE_LEN};
	sh[2] = (Elf64_Shdr){.sh_name = 12, .sh_type = SHT_PROGBITS, .sh_addr = TEXT_AT, .sh_offset = NAMES_AT,
			     .sh_size = 32};
	memcpy(p, &version, sizeof(version));
	p[6] = 1;
	p[7] = 8;
	memcpy(p + 8, words, sizeof(words));
	memcpy(p + 80, names, sizeof(names));
	memcpy(p + 128, funcs, sizeof(funcs));
	return t;
}

static unsigned functions_of(const void *p, size_t len, uint64_t ret[2])
{
	static const char *const names[] = {"runtime.newproc1", "main.other"};
	FILE *f = tmpfile();
	unsigned found;

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	fflush(f);
	found = gobin_functions(fileno(f), names, 2, ret);
	fclose(f);
	return found;
}

static void test_functions(void **state)
{
	const struct { uint32_t version; uint64_t text; } good[] = {
		{0xfffffff0, TEXT_AT}, {0xfffffff1, TEXT_AT}, {0xfffffff1, 0},
	};
	uint64_t at[2];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct table t = table_new(good[i].version, good[i].text);

		assert_int_equal(functions_of(&t, sizeof(t), at), 1);
		assert_int_equal(at[0], 0x40);
		assert_int_equal(at[1], 0);
	}
	struct table old = table_new(0xfffffffa, TEXT_AT);

	assert_int_equal(functions_of(&old, sizeof(old), at), 0);
}

/* As Go 1.18 to 1.24 begin functions; each other code is hooked at its first byte, and none is read past
 * its end. */
static void test_hook_at(void **state)
{
	static const struct {
		const char *code;
		size_t len, at;
	} cases[] = {
		{"\x49\x3b\x66\x10\x76\x57\x48\x83\xec\x08", 10, 4},
		{"\x49\x3b\x66\x10\x0f\x86\x86\x03\x00\x00", 10, 4},
		{"\x4c\x8d\x64\x24\xe8\x4d\x3b\x66\x10\x0f\x86\xff\x00\x00\x00", 15, 9},
		{"\x4c\x8d\xa4\x24\xd0\xfd\xff\xff\x4d\x3b\x66\x10\x0f\x86\xc3\x0e", 16, 12},
		{"\x4c\x8d\xa4\x24\xd0\xfd\xff\xff\x49\x3b\x66\x10\x0f\x86\xc3\x0e", 16, 0},
		{"\x49\x3b\x66\x10\x77\x57\x48\x83\xec\x08", 10, 0},
		{"\x48\x83\xec\x08\x49\x3b\x66\x10\x76\x57", 10, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(gobin_hook_at((const unsigned char *)cases[i].code, cases[i].len),
				 cases[i].at);
		for (size_t len = 0; len < cases[i].len; len++) {
			unsigned char *cut = malloc(len + !len);
			size_t at;

			memcpy(cut, cases[i].code, len);
			at = gobin_hook_at(cut, len);
			assert_true(at == 0 || at == cases[i].at);
			free(cut);
		}
	}
}

static void test_functions_hostile(void **state)
{
	static const unsigned char bytes[] = {0x00, 0x7f, 0xff};
	uint64_t at[2];

	(void)state;
	for (size_t len = 0; len < TABLE_FILE; len++) {
		struct table t = table_new(0xfffffff1, TEXT_AT);

		functions_of(&t, len, at);
	}
	for (size_t i = 0; i < TABLE_FILE; i++)
		for (size_t k = 0; k < sizeof(bytes); k++) {
			struct table t = table_new(0xfffffff1, TEXT_AT);

			t.b[i] = bytes[k];
			functions_of(&t, sizeof(t), at);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hook_at),
		cmocka_unit_test(test_functions),	cmocka_unit_test(test_functions_hostile),
		cmocka_unit_test(test_sections),	cmocka_unit_test(test_stripped),
		cmocka_unit_test(test_not_go),		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_hostile_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

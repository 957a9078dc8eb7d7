/* SPDX-License-Identifier: Apache-2.0 */
/* gobin_test.c - ELF files made here, byte for byte: with a section table, without, of old Go, cut
 * everywhere, and with each header byte turned hostile. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections),	cmocka_unit_test(test_stripped),
		cmocka_unit_test(test_not_go),		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_hostile_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_test.c - the PostgreSQL machine by itself, both directions: what it says of messages of
 * many kinds, the same for whole, split in two at every byte, byte by byte and with what need not
 * be read passed over; every truncation says a beginning of it; any state over any bytes stays in
 * its window. */
#include "tests/shadow/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CASE(kind, bytes, says)                                                                    \
	{                                                                                          \
		MACHINE_##kind, bytes, sizeof(bytes) - 1, says                                     \
	}

/* Hashes of the names "p" and "s". */
#define HASH_P "af63ed4c8602096f"
#define HASH_S "af63ee4c86020b22"

static const struct machine_case cases[] = {
	CASE(FRONTEND, "Q\0\0\0\x0dselect 1\0", "head:51 sql0=select%201 msg:51 "),
	CASE(FRONTEND,
	     "Q\0\0\0\x05\0Q\0\0\0\x06"
	     "a\0",
	     "head:51 sql0= msg:51 head:51 sql0=a msg:51 "),
	CASE(FRONTEND, "P\0\0\0\x0b\0sel\0\0\0S\0\0\0\x04",
	     "head:50 sql0=sel msg:50,0,cbf29ce484222325 msg:53 "),
	CASE(FRONTEND, "P\0\0\0\x0cs\0sel\0\0\0",
	     "head:50 sql0=sel msg:50," HASH_S ",cbf29ce484222325 "),
	CASE(FRONTEND, "B\0\0\0\x12p\0s\0\0\0\0\1\0\0\0\2Q1",
	     "head:42 msg:42," HASH_P "," HASH_S " "),
	CASE(FRONTEND, "B\0\0\0\x0e\0\0\0\0\0\0\0\1\0\0", "head:42 msg:42,0,0 "),
	CASE(FRONTEND, "E\0\0\0\x0ap\0\0\0\0\7E\0\0\0\x09\0\0\0\0\0",
	     "head:45 msg:45," HASH_P ",cbf29ce484222325 head:45 msg:45,0,cbf29ce484222325 "),
	CASE(FRONTEND, "D\0\0\0\x06S\0D\0\0\0\x06P\0C\0\0\0\x07Sx\0",
	     "head:44 msg:44 head:44 msg:44 head:43 msg:43 "),
	CASE(FRONTEND, "D\0\0\0\x06X\0", "head:44 bad "),
	CASE(FRONTEND, "d\0\0\0\x09Q\0\0\0\5c\0\0\0\4f\0\0\0\6n\0", "msg:64 msg:63 msg:66 "),
	CASE(FRONTEND, "p\0\0\0\x0bsecret\0H\0\0\0\4X\0\0\0\4", "msg:70 msg:48 msg:58 "),
	CASE(FRONTEND, "F\0\0\0\x0e\0\0\4\xd2\0\0\0\0\0\1", "head:46 msg:46 "),
	CASE(FRONTEND, "Q\0\0\0\x07sel", "head:51 bad "),
	CASE(FRONTEND, "Q\0\0\0\4", "bad "),
	CASE(FRONTEND, "E\0\0\0\4", "bad "),
	CASE(FRONTEND, "Q\0\0\0\3", "bad "),
	CASE(FRONTEND, "Q\x7f\xff\xff\xff", "bad "),
	CASE(FRONTEND, "Z\0\0\0\5I", "bad "),
	CASE(FRONTEND_STARTUP, "\0\0\0\x21\0\3\0\0user\0bob\0database\0todos\0\0Q\0\0\0\6a\0",
	     "database0=bob database0=todos startup head:51 sql0=a msg:51 "),
	CASE(FRONTEND_STARTUP, "\0\0\0\x21\0\3\0\2database\0todos\0user\0bob\0\0",
	     "database0=todos startup "),
	CASE(FRONTEND_STARTUP,
	     "\0\0\0\x08\4\xd2\x16\x2f\0\0\0\x08\4\xd2\x16\x30\0\0\0\x09\0\3\0\0\0",
	     "ssl ssl startup "),
	CASE(FRONTEND_STARTUP, "\0\0\0\x10\4\xd2\x16\x2e\0\0\0\1\0\0\0\2", "cancel "),
	CASE(FRONTEND_STARTUP, "\0\0\0\x07\0\3\0\0", "bad "),
	CASE(FRONTEND_STARTUP, "\0\0\x7f\x09\0\3\0\0", "bad "),
	CASE(FRONTEND_STARTUP, "\0\0\0\x09\0\2\0\0\0", "bad "),
	CASE(BACKEND,
	     "R\0\0\0\x08\0\0\0\0S\0\0\0\x08"
	     "a\0b\0K\0\0\0\x0c\0\0\0\1\0\0\0\2Z\0\0\0\5I",
	     "msg:52 msg:53 msg:4b msg:5a "),
	CASE(BACKEND,
	     "T\0\0\0\x06\0\0D\0\0\0\6\0\0D\0\0\0\x0b\0\1\0\0\0\1xD\0\0\0\6\0\0C\0\0\0\x0dSELECT "
	     "3\0Z\0\0\0\5I",
	     "msg:54 msg:43,rows=3,tag=53454c msg:5a "),
	CASE(BACKEND,
	     "1\0\0\0\4"
	     "2\0\0\0\4"
	     "3\0\0\0\4n\0\0\0\4t\0\0\0\6\0\0s\0\0\0\4I\0\0\0\4",
	     "msg:31 msg:32 msg:33 msg:6e msg:74 msg:73 msg:49 "),
	CASE(BACKEND,
	     "E\0\0\0\x1cSERROR\0C42P01\0Mno C\0L1\0\0E\0\0\0\x0aSERR\0\0E\0\0\0\x09"
	     "C42\0\0",
	     "msg:45,code=42P01 msg:45,code= msg:45,code=42 "),
	CASE(BACKEND,
	     "E\0\0\0\x0e"
	     "C42P01XX\0\0C\0\0\0\6O\0",
	     "msg:45,code=42P01 msg:43,tag=4f00 "),
	CASE(BACKEND,
	     "N\0\0\0\x0c"
	     "C00000\0\0A\0\0\0\x0a\0\0\0\1"
	     "c\0G\0\0\0\7\0\0\0d\0\0\0\5xc\0\0\0\4H\0\0\0\4V\0\0\0\4",
	     "msg:4e msg:41 msg:47 msg:64 msg:63 msg:48 msg:56 "),
	CASE(BACKEND,
	     "Q\0\0\0\6"
	     "a\0",
	     "bad "),
	CASE(BACKEND, "D\0\0\0\6\0\0D\0\0\0\3", "bad "),
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void each(char *check(const struct machine_case *))
{
	for (int i = 0; i < CASES; i++) {
		char *why = check(&cases[i]);

		if (why)
			fail_msg("case %d, %s", i, why);
	}
}

static void every_split(void **state)
{
	(void)state;
	each(machine_splits);
}

static void every_truncation(void **state)
{
	(void)state;
	each(machine_truncations);
}

/* Rows of all sizes about that of a window, in one go and in pieces: each is counted. */
static void many_rows(void **state)
{
	static char bytes[5 * 5000 + 100 * 5000];
	struct machine_case x = {MACHINE_BACKEND, bytes, 0, NULL};

	(void)state;
	for (int size = 0; size < 5000; size += 1 + size / 16) {
		const char *want = "msg:43,rows=20,tag=53454c ";
		__u32 len = __builtin_bswap32(size + 4);
		char *whole, *split;

		x.len = 0;
		for (int i = 0; i < 20; i++, x.len += 5 + size) {
			memset(bytes + x.len, 'D', 5 + size);
			memcpy(bytes + x.len + 1, &len, 4);
		}
		memcpy(bytes + x.len, "C\0\0\0\x0dSELECT 9\0", 14);
		x.len += 14;
		whole = machine_says(&x, x.len, 0, false);
		split = machine_says(&x, x.len, x.len / 3, true);
		assert_string_equal(whole, want);
		assert_string_equal(split, want);
		free(whole);
		free(split);
	}
}

static void any_state(void **state)
{
	uint8_t bytes[512], from[sizeof(struct pgsql)];

	(void)state;
	srand(1);
	for (int i = 0; i < 200000; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = rand() % 4 ? "\0\0\0\4\5\6QPBEDTCZS12"[rand() % 17] : rand();
		for (size_t k = 0; k < sizeof(from); k++)
			from[k] = rand();
		((struct pgsql *)from)->state = i % (PGS_DEAD + 2);
		machine_shake(i & 64 ? MACHINE_FRONTEND : MACHINE_BACKEND, from, sizeof(from),
			      bytes, rand() % sizeof(bytes), rand());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(many_rows),
		cmocka_unit_test(any_state),
	};

	return cmocka_run_group_tests_name("pgsql", tests, NULL, NULL);
}

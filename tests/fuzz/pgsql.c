// SPDX-License-Identifier: Apache-2.0
// uses: tests/shadow/machine.c
/* pgsql.c - any bytes as a PostgreSQL stream in either direction, in any split: see machine_fuzz.
 */
#include "tests/shadow/machine.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	machine_fuzz(MACHINE_FRONTEND, MACHINE_KINDS - MACHINE_FRONTEND, data, len);
	return 0;
}

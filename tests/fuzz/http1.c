// SPDX-License-Identifier: Apache-2.0
// uses: tests/shadow/machine.c
/* http1.c - any bytes as an HTTP/1 stream in either direction, in any split: see machine_fuzz. */
#include "tests/shadow/machine.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	machine_fuzz(MACHINE_REQUEST, MACHINE_FRONTEND, data, len);
	return 0;
}

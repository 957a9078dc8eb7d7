/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_wire.c - the three small encodings of gRPC: the frame around a message, the timeout, the
 * message of a status. Pure functions on bytes of strangers. */
#include "web/grpc.h"

#include <errno.h>
#include <string.h>

enum { PREFIX = 5, STATUS_TEXT_MAX = 1024, TIMEOUT_DIGITS = 8 };

int grpc_unframe(struct str body, bool *ret_packed, struct str *ret)
{
	const uint8_t *p = (const uint8_t *)body.p;
	uint32_t len;

	if (body.len < PREFIX || p[0] > 1)
		return -EBADMSG;
	len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	if (len != body.len - PREFIX)
		return -EBADMSG;
	*ret_packed = p[0];
	*ret = (struct str){body.p + PREFIX, len};
	return 0;
}

uint64_t grpc_timeout_ns(struct str text)
{
	static const struct {
		char unit;
		uint64_t ns;
	} units[] = {
		{'n', 1},
		{'u', 1000},
		{'m', NS_PER_MS},
		{'S', NS_PER_S},
		{'M', 60 * (uint64_t)NS_PER_S},
		{'H', 3600 * (uint64_t)NS_PER_S},
	};
	uint64_t n = 0;
	size_t i = 0;

	for (; i < text.len && text.p[i] >= '0' && text.p[i] <= '9'; i++)
		n = i < TIMEOUT_DIGITS ? n * 10 + (uint64_t)(text.p[i] - '0') : n;
	if (i == 0 || i > TIMEOUT_DIGITS || i + 1 != text.len)
		return 0;
	for (size_t u = 0; u < ARRAY_SIZE(units); u++)
		if (units[u].unit == text.p[i])
			return n ? n * units[u].ns : 1;
	return 0;
}

void grpc_message_encode(struct strbuf *out, const char *text)
{
	for (const char *p = text; *p && out->len < STATUS_TEXT_MAX; p++) {
		if (*p >= ' ' && *p <= '~' && *p != '%')
			strbuf_addc(out, *p);
		else
			strbuf_printf(out, "%%%02X", (unsigned char)*p);
	}
}

// SPDX-License-Identifier: Apache-2.0
// uses: web/grpc_wire.c web/grpc_methods.c store/base.c build/proto/grpc.pb-c.c
// libs: -lprotobuf-c -lm
/* grpc.c - any bytes as the body of a call to the method that the first byte chooses: whatever the
 * message holds, the target stays one line of an URI with at most one question mark. */
#include "web/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

void reply_protobuf(struct reply *out, const ProtobufCMessage *m)
{
	(void)out, (void)m;
}

static const char *const methods[] = {
    "/tempopb.StreamingQuerier/Search",
    "/tempopb.StreamingQuerier/SearchTags",
    "/tempopb.StreamingQuerier/SearchTagValues",
    "/tempopb.StreamingQuerier/SearchTagValuesV2",
    "/tempopb.StreamingQuerier/MetricsQueryRange",
    "/tempopb.StreamingQuerier/MetricsQueryInstant",
};

static void check_target(struct str target)
{
	size_t marks = 0;

	for (size_t i = 0; i < target.len; i++) {
		must(target.p[i] > ' ' && target.p[i] <= '~');
		marks += target.p[i] == '?';
	}
	must(target.len && target.p[0] == '/' && marks <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct str message, body = {(const char *)data + 1, len - 1};
	struct request rq = {0};
	struct strbuf why;
	struct arena a;
	bool packed;

	if (!len)
		return 0;
	if (grpc_unframe(body, &packed, &message))
		message = body;
	grpc_timeout_ns(body);
	arena_init(&a, 0);
	strbuf_init(&why);
	rq.arena = &a;
	if (grpc_method_find(str_of(methods[data[0] % ARRAY_SIZE(methods)]))->ask(&rq, message, &why) == 0)
		check_target(rq.target);
	strbuf_clear(&why);
	grpc_message_encode(&why, (const char *)arena_str(&a, body.p, body.len).p);
	strbuf_fini(&why);
	arena_fini(&a);
	return 0;
}

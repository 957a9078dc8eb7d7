// SPDX-License-Identifier: Apache-2.0
// uses: store/otlp.c store/otlp_group.c store/otlp_json.c store/otlp_pb.c store/otlp_pb_encode.c
// uses: store/base.c store/span.c build/proto/otlp_trace.pb-c.c
// libs: -ljansson -lprotobuf-c -lm
/* otlp.c - any bytes as an OTLP request, protobuf or JSON by the first byte: what decodes can be encoded
 * in both forms, and the protobuf decodes to as many spans again. */
#include "store/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void encode(struct arena *a, const struct otlp_spans *spans)
{
	struct otlp_spans again;
	struct strbuf out;

	strbuf_init(&out);
	otlp_encode_json(&out, spans->at, spans->cnt);
	strbuf_clear(&out);
	otlp_encode_pb(&out, spans->at, spans->cnt);
	must(otlp_decode_pb(a, out.p, out.len, &again, NULL) == 0);
	must(again.cnt == spans->cnt && again.rejected == 0);
	strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct otlp_spans spans;
	struct arena a;
	int err;

	arena_init(&a, 0);
	if (len && data[0] == '{')
		err = otlp_decode_json(&a, (const char *)data, len, &spans, NULL);
	else
		err = otlp_decode_pb(&a, data, len, &spans, NULL);
	if (!err)
		encode(&a, &spans);
	arena_fini(&a);
	return 0;
}

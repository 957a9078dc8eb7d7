/* SPDX-License-Identifier: Apache-2.0 */
/* pb.c - what pb.h promises: attributes packed by store/otlp.h, messages into a strbuf. */
#include "web/pb.h"

#include "store/otlp.h"

ProtobufCBinaryData *pb_attrs(struct arena *a, const struct attrs *as)
{
	ProtobufCBinaryData *to = arena_array(a, ProtobufCBinaryData, as->cnt);
	struct strbuf packed;

	strbuf_init(&packed);
	for (uint32_t i = 0; i < as->cnt; i++) {
		strbuf_clear(&packed);
		otlp_pb_attr(&packed, &as->at[i]);
		to[i] = pb_bytes(arena_str(a, packed.p, packed.len));
	}
	strbuf_fini(&packed);
	return to;
}

struct append {
	ProtobufCBuffer base;
	struct strbuf *to;
};

static void append_bytes(ProtobufCBuffer *base, size_t len, const uint8_t *p)
{
	strbuf_add(((struct append *)base)->to, p, len);
}

void pb_append(struct strbuf *out, const ProtobufCMessage *m)
{
	struct append a = {{append_bytes}, out};

	protobuf_c_message_pack_to_buffer(m, &a.base);
}

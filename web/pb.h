/* SPDX-License-Identifier: Apache-2.0 */
/* pb.h - what the encoders of protobuf answers share. */
#ifndef WIRESPAN_PB_H
#define WIRESPAN_PB_H

#include <protobuf-c/protobuf-c.h>

#include "store/span.h"

static inline ProtobufCBinaryData pb_bytes(struct str s)
{
	return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)s.p};
}

/* KeyValue messages, as many as there are attributes; a must have no limit. */
ProtobufCBinaryData *pb_attrs(struct arena *a, const struct attrs *as);
/* Appends the message's bytes. */
void pb_append(struct strbuf *out, const ProtobufCMessage *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_out.h - the result of a metrics query as Tempo's QueryRangeResponse and
 * QueryInstantResponse, in JSON (HTTP) and protobuf (gRPC). Appends to out; nothing can fail. */
#ifndef WIRESPAN_METRICS_OUT_H
#define WIRESPAN_METRICS_OUT_H

#include "query/query.h"

void metrics_range_json(const struct metrics_result *r, struct strbuf *out);
void metrics_instant_json(const struct metrics_result *r, struct strbuf *out);
void metrics_range_protobuf(const struct metrics_result *r, struct strbuf *out);
void metrics_instant_protobuf(const struct metrics_result *r, struct strbuf *out);

#endif

// SPDX-License-Identifier: Apache-2.0
// uses: web/params.c web/numbers.c web/legacy.c web/access.c query/*.c store/*.c build/proto/otlp_trace.pb-c.c build/proto/parts.pb-c.c
// libs: -lpcre2-8 -llmdb -ljansson -lprotobuf-c -lz -lpthread -lm
/* params.c - any bytes as the query string of every endpoint, as a Host header and as legacy tags: no
 * crash, and an error always has a sentence. */
#include "web/access.h"
#include "web/legacy.h"
#include "web/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void said(int err, struct strbuf *why)
{
	must((err != 0) == (why->len != 0));
	strbuf_clear(why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct str text = {(const char *)data, len}, q;
	struct sockaddr_storage local = {.ss_family = AF_INET};
	struct search_params search;
	struct tag_params tags;
	struct strbuf why;
	struct params p;
	struct arena a;
	uint8_t id[16];

	arena_init(&a, 0);
	strbuf_init(&why);
	p = params_parse(&a, text);
	said(params_search(&p, 1795342500ull * NS_PER_S, &search, &why), &why);
	said(params_tags(&p, 1795342500ull * NS_PER_S, &tags, &why), &why);
	said(params_trace_range(&p, &why), &why);
	said(params_trace_id(text, id, &why), &why);
	said(legacy_query(&a, text, &q, &why), &why);
	access_host_ok(arena_str(&a, text.p, text.len).p, (struct sockaddr *)&local, NULL);
	strbuf_fini(&why);
	arena_fini(&a);
	return 0;
}

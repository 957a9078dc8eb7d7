// SPDX-License-Identifier: Apache-2.0
// uses: agent/span_build.c agent/http1_attrs.c agent/pgsql_attrs.c agent/route.c
// uses: agent/kube.c agent/kube_api.c agent/kube_objects.c agent/pod.c agent/runtime.c agent/names.c
// uses: agent/privileges.c store/stats.c
// uses: agent/stmt.c agent/sql.c agent/sql_lex.c agent/sql_query.c agent/sql_describe.c
// uses: agent/utf8.c store/base.c
// libs: -ljansson -lcurl -lpthread
/* record.c - any bytes as what comes out of the ring: records one after another, each behind its
 * length in two bytes. Spans that are built hold only valid UTF-8 and end behind their start. */
#include "agent/span_build.h"
#include "agent/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void text_check(struct str s)
{
	for (size_t i = 0, n; i < s.len; i += n)
		must((n = utf8_len(s.p + i, s.len - i)) > 0);
}

static void span_check(const struct span *sp)
{
	must(sp->end_ns >= sp->start_ns);
	text_check(sp->name);
	for (uint32_t i = 0; i < sp->attrs.cnt; i++) {
		if (sp->attrs.at[i].val.type == VAL_STR)
			text_check(sp->attrs.at[i].val.str);
	}
}

static void record(struct span_builder *b, const uint8_t *data, size_t len)
{
	static const struct proc_info pi = {.service = STR("fuzz")};
	const struct rec_head *h = (const struct rec_head *)data;
	struct arena a;
	struct span sp;

	arena_init(&a, 0);
	if (len > offsetof(struct rec_stmt, text) && h->type == REC_STMT)
		stmts_add(b->stmts, (const void *)data, len - offsetof(struct rec_stmt, text));
	else if (!span_build(b, &a, (const void *)data, len, &pi, &sp))
		span_check(&sp);
	arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct config conf = {.redact_query = len % 2};
	struct span_builder b = {.conf = &conf};

	if (routes_new(&b.routes, 8) || stmts_new(&b.stmts, 8, len % 3))
		abort();
	while (len >= 2) {
		size_t want = data[0] + data[1] * 256u, n = want < len - 2 ? want : len - 2;
		uint8_t *exact = malloc(n ? n : 1);

		memcpy(exact, data + 2, n);
		record(&b, exact, n);
		free(exact);
		data += 2 + n;
		len -= 2 + n;
	}
	routes_free(b.routes);
	stmts_free(b.stmts);
	return 0;
}

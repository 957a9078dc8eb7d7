// SPDX-License-Identifier: Apache-2.0
// uses: agent/sql.c agent/sql_lex.c agent/sql_query.c agent/sql_describe.c
// uses: agent/utf8.c store/base.c
/* sql.c - any bytes as a statement: the sanitised text is valid UTF-8, never longer than the input,
 * and the summary is bounded. */
#include "agent/sql.h"
#include "agent/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct str text = {(const char *)data, len}, op, coll, sum;
	struct strbuf out;
	struct arena a;

	strbuf_init(&out);
	arena_init(&a, 0);
	sql_sanitize(&out, text);
	must(out.len <= len + 1);
	for (size_t i = 0, n; i < out.len; i += n)
		must((n = utf8_len(out.p + i, out.len - i)) > 0);
	sql_describe(&a, text, &op, &coll, &sum);
	sql_describe(&a, (struct str){out.p, out.len}, &op, &coll, &sum);
	must(sum.len <= 3 * 255);
	arena_fini(&a);
	strbuf_fini(&out);
	return 0;
}

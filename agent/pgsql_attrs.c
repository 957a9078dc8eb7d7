/* SPDX-License-Identifier: Apache-2.0 */
/* pgsql_attrs.c - one PostgreSQL execution in the words of OpenTelemetry's database conventions.
 * The text of its statement comes from stmt.h, sanitised already; when the kernel half could not
 * send it the span says so. The conventions name client spans only; our server spans use the same
 * words. Called by span_build.c. The invariant: what stmt.h lends is copied, the span outlives it.
 */
#include "agent/span_attrs.h"
#include "agent/utf8.h"

#include <string.h>

/* Is it five characters, as the protocol has it, and not "successful completion"? */
static bool has_sqlstate(const struct rec_span *rs)
{
	size_t len = strnlen(rs->sqlstate, sizeof(rs->sqlstate));

	return len == 5 && memcmp(rs->sqlstate, "00000", 5);
}

static struct str sqlstate(const struct build *bd)
{
	if (!has_sqlstate(bd->rs))
		return STR("");
	return utf8_copy(bd->arena, (struct str){bd->rs->sqlstate, 5});
}

/* A skipped one did not fail: the error belongs to the one before it. */
static struct str error_of(const struct build *bd)
{
	struct str state = sqlstate(bd);

	if (build_has(bd, SPAN_SKIPPED))
		return STR("");
	if (state.len || !build_has(bd, SPAN_ABORTED))
		return state;
	return STR("connection_closed");
}

static void stmt_take(struct build *bd)
{
	struct pgsql *pg = &bd->pgsql;
	const struct stmt *st = NULL;

	if (build_has(bd, SPAN_STMT) && bd->rs->stmt != STMT_DATABASE)
		st = stmts_find(bd->b->stmts, bd->rs->conn, bd->rs->stmt);
	if (!st)
		return;
	pg->known = true;
	pg->stmt.text = utf8_copy(bd->arena, st->text);
	pg->stmt.operation = utf8_copy(bd->arena, st->operation);
	pg->stmt.collection = utf8_copy(bd->arena, st->collection);
	pg->stmt.summary = utf8_copy(bd->arena, st->summary);
	bd->cut = bd->cut || st->cut;
}

static void prepare(struct build *bd)
{
	struct pgsql *pg = &bd->pgsql;

	stmt_take(bd);
	pg->database = utf8_copy(bd->arena, stmts_database(bd->b->stmts, bd->rs->conn));
	bd->error = error_of(bd);
	bd->name = pg->stmt.summary.len	    ? pg->stmt.summary
		   : pg->stmt.operation.len ? pg->stmt.operation
					    : STR("postgresql");
}

static bool system_name(const struct build *bd, struct val *ret)
{
	(void)bd;
	return val_str(ret, STR("postgresql"));
}

static bool namespace(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->pgsql.database);
}

static bool operation(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->pgsql.stmt.operation);
}

static bool collection(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->pgsql.stmt.collection);
}

static bool query_text(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->pgsql.stmt.text);
}

static bool query_summary(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->pgsql.stmt.summary);
}

static bool status_code(const struct build *bd, struct val *ret)
{
	return !build_has(bd, SPAN_SKIPPED) && val_str(ret, sqlstate(bd));
}

static bool returned_rows(const struct build *bd, struct val *ret)
{
	return build_has(bd, SPAN_ROWS) && val_int(ret, bd->rs->rows);
}

static bool server_address(const struct build *bd, struct val *ret)
{
	return val_str(ret, build_server_address(bd));
}

static bool server_port(const struct build *bd, struct val *ret)
{
	return val_int(ret, build_server_port(bd)) && build_server_address(bd).len > 0;
}

/* A function call by its number has no text that one could know. */
static bool statement_unknown(const struct build *bd, struct val *ret)
{
	return !bd->pgsql.known && bd->rs->op != PG_FUNCTION && val_str(ret, STR("unknown"));
}

static const struct attr_maker makers[] = {
    {STR("db.system.name"), system_name},
    {STR("db.namespace"), namespace},
    {STR("db.operation.name"), operation},
    {STR("db.collection.name"), collection},
    {STR("db.query.text"), query_text},
    {STR("db.query.summary"), query_summary},
    {STR("db.response.status_code"), status_code},
    {STR("db.response.returned_rows"), returned_rows},
    {STR("server.address"), server_address},
    {STR("server.port"), server_port},
    {STR("wirespan.statement"), statement_unknown},
};

const struct proto_maker pgsql_maker = {prepare, makers, ARRAY_SIZE(makers)};

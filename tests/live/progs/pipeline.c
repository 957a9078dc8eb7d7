/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c - libpq's pipeline mode: `pipeline CONNINFO N FAIL SYNC BIND` waits for a byte on
 * standard input, sends N statements ("SELECT $1::text" with BIND as the value; number FAIL
 * divides by zero, 0: none) with a Sync behind every SYNC of them, reads all results, and
 * writes how many statements gave rows, failed, were skipped. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct counts {
	int rows, failed, skipped, syncs;
};

static int die(PGconn *c, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, PQerrorMessage(c));
	return 1;
}

static int batch_send(PGconn *c, int n, int fail, int sync, const char *bind)
{
	int i, syncs = 0;

	for (i = 1; i <= n; i++) {
		if (i == fail ? !PQsendQueryParams(c, "SELECT 1 / 0 AS bad", 0, NULL, NULL, NULL,
						   NULL, 0)
			      : !PQsendQueryParams(c, "SELECT $1::text AS good", 1, NULL, &bind,
						   NULL, NULL, 0))
			return -1;
		if (i % sync == 0 || i == n)
			syncs += PQpipelineSync(c);
	}
	return syncs;
}

static void result_count(PGresult *r, struct counts *k)
{
	switch (PQresultStatus(r)) {
	case PGRES_TUPLES_OK:
		k->rows++;
		break;
	case PGRES_PIPELINE_ABORTED:
		k->skipped++;
		break;
	case PGRES_PIPELINE_SYNC:
		k->syncs++;
		break;
	default:
		k->failed++;
	}
	PQclear(r);
}

int main(int argc, char **argv)
{
	struct counts k = {0, 0, 0, 0};
	int n = argc == 6 ? atoi(argv[2]) : 0, syncs, nothing = 0;
	PGresult *r;
	PGconn *c;
	char go;

	if (n < 1 || read(0, &go, 1) != 1)
		return 2;
	c = PQconnectdb(argv[1]);
	if (PQstatus(c) != CONNECTION_OK || !PQenterPipelineMode(c))
		return die(c, "connect");
	syncs = batch_send(c, n, atoi(argv[3]), atoi(argv[4]), argv[5]);
	if (syncs < 0 || PQflush(c) < 0)
		return die(c, "send");
	while (k.syncs < syncs && nothing < 2) {
		r = PQgetResult(c);
		nothing = r ? 0 : nothing + 1; /* one stands between two statements */
		if (r)
			result_count(r, &k);
	}
	printf("%d %d %d\n", k.rows, k.failed, k.skipped);
	PQfinish(c);
	return 0;
}

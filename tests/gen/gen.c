/* SPDX-License-Identifier: Apache-2.0 */
/* gen.c - plays random legal exchanges over loopback and writes down what was really said:
 *
 *   gen --ports HTTP,PGSQL [--exchanges N] [--seed S] [--round R] [--parallel P] [--only CONN [--show]]
 *
 * Standard output gets the truth as JSON lines, one per exchange and side, each connection's behind
 * a line with its ports. What connection n does depends on seed, round and n alone; --only plays that
 * one connection of the run, --show prints its script to standard error. */
#include "play.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct options {
	uint16_t ports[2];
	uint64_t seed;
	uint32_t exchanges, round, parallel;
	long only;
	bool exotic, http, pgsql, show;
};

enum { KIND_HTTP, KIND_PGSQL };

static int usage(void)
{
	fputs("gen --ports HTTP,PGSQL [--exchanges N] [--seed S] [--round R] [--parallel P]\n"
	      "    [--only CONN [--show]] [--protocol http|pgsql] [--exotic]\n",
	      stderr);
	return 2;
}

static int option_take(struct options *o, int c, char *arg)
{
	char *comma;

	switch (c) {
	case 'p':
		comma = strchr(arg, ',');
		o->ports[0] = (uint16_t)atoi(arg);
		o->ports[1] = (uint16_t)atoi(comma ? comma + 1 : arg);
		return 0;
	case 'n':
		o->exchanges = (uint32_t)strtoul(arg, NULL, 10);
		return 0;
	case 's':
		o->seed = strtoull(arg, NULL, 10);
		return 0;
	case 'r':
		o->round = (uint32_t)strtoul(arg, NULL, 10);
		return 0;
	case 'c':
		o->parallel = (uint32_t)strtoul(arg, NULL, 10);
		return 0;
	case 'o':
		o->only = strtol(arg, NULL, 10);
		return 0;
	case 'P':
		o->http = !strcmp(arg, "http");
		o->pgsql = !o->http;
		return 0;
	case 'S':
		o->show = true;
		return 0;
	case 'x':
		o->exotic = true;
		return 0;
	}
	return -1;
}

static int options_read(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{ "ports", 1, NULL, 'p' },    { "exchanges", 1, NULL, 'n' }, { "seed", 1, NULL, 's' },
		{ "round", 1, NULL, 'r' },    { "parallel", 1, NULL, 'c' },  { "only", 1, NULL, 'o' },
		{ "protocol", 1, NULL, 'P' }, { "exotic", 0, NULL, 'x' },    { "show", 0, NULL, 'S' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		if (option_take(o, c, optarg))
			return -1;
	return o->ports[0] && optind == argc && o->parallel ? 0 : -1;
}

/* What connection n of the run is to do. */
static struct script *script_make(const struct options *o, uint32_t n, int *ret_kind)
{
	struct script *s = calloc(1, sizeof(*s));

	must(s);
	s->rng = rng_of(o->seed ^ (uint64_t)o->round << 40, n);
	s->conn = n;
	s->round = o->round;
	s->exotic = o->exotic;
	*ret_kind = rng_chance(&s->rng, 50) ? KIND_HTTP : KIND_PGSQL;
	if (!o->http || !o->pgsql)
		*ret_kind = o->http ? KIND_HTTP : KIND_PGSQL;
	if (*ret_kind == KIND_HTTP)
		http_make(s);
	else
		pgsql_make(s);
	script_cut(s);
	return s;
}

static void play(const struct options *o, struct player *p, struct script *s, int kind)
{
	uint16_t client, server;
	struct text truth = s->truth;

	s->truth = (struct text){ 0 };
	printf("{\"conn\":%u,\"round\":%u,\"pipelined\":%d,\"heads\":%u,\"heads_split\":%u", s->conn,
	       o->round, s->pipelined, s->heads, s->heads_split);
	player_play(p, s, kind, &client, &server);
	printf(",\"client_port\":%u,\"server_port\":%u}\n", client, server);
	if (truth.len)
		fwrite(truth.p, 1, truth.len, stdout);
	free(truth.p);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .exchanges = 1000, .parallel = 48, .only = -1, .http = true,
			     .pgsql = true };
	struct player *p;
	uint32_t made = 0;

	if (options_read(&o, argc, argv))
		return usage();
	p = player_new(o.ports, o.parallel);
	for (uint32_t n = 0; made < o.exchanges; n++) {
		int kind;
		struct script *s = script_make(&o, n, &kind);

		made += s->exchanges;
		if (o.show && o.only == n)
			script_show(s, stderr);
		if (o.only >= 0 && o.only != n)
			script_free(s);
		else
			play(&o, p, s, kind);
		if (o.only == n)
			break;
	}
	return player_end(p) ? 1 : 0;
}

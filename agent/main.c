/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the program: sub-commands, exit statuses (0 well, 1 failed while working, 2 refused with
 * one sentence), and `run` as a list of ten named steps that are undone in reverse. It is the only
 * file that knows all folders, and it does nothing itself but put them together. The invariants: a
 * step that fails has written its sentence and leaves nothing of itself behind, signals are blocked
 * before the first thread is made, and every thread is made with the least privileges it can do
 * with. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/commands.h"
#include "agent/config.h"
#include "agent/drain.h"
#include "agent/load.h"
#include "agent/privileges.h"
#include "agent/term.h"
#include "query/query.h"
#include "store/store.h"
#include "store/tools.h"
#include "web/web.h"

static char **program_argv;

struct run {
	int argc;
	char **argv;
	struct config conf;
	struct store *store;
	struct web *web, *otlp, *otlp_grpc; /* the ports for OTLP alone, or NULL */
	struct loader *loader;
	struct drain *drain;
	bool is_ready;
	struct strbuf why;
	sigset_t signals;
};

struct step {
	const char *name;
	int (*fn)(struct run *r);
};

/* --- run: the steps --- */

/* In this order nothing is loaded into the kernel before folder and port are known to be ours. */
static int load_configuration(struct run *r)
{
	int err = config_load(&r->conf, r->argc, r->argv, &r->why);

	if (!err)
		log_set_level(r->conf.log_level);
	return err;
}

static int check_capabilities(struct run *r)
{
	return r->conf.capture ? privileges_check(r->conf.tcp_option || r->conf.headers, &r->why) : 0;
}

static void upgrade_say(void *arg, const char *part, const char *text)
{
	(void)arg;
	if (*part)
		log_info("store: partition %s: %s", part, text);
}

/* -EPROTO: of an older version, which a newer program on a node must mend without anybody's hand (killed
 * meanwhile, it goes on at the next start), or of a newer one, which both refuse. */
static int store_open_here(void *arg)
{
	struct run *r = arg;
	const struct store_conf conf = {
		.dir = r->conf.store,
		.max_bytes = r->conf.max_bytes,
		.max_age_ns = r->conf.max_age_ns,
	};
	int err = store_open(&r->store, &conf, &r->why);

	if (err != -EPROTO)
		return err;
	strbuf_clear(&r->why);
	err = store_upgrade(r->conf.store, upgrade_say, NULL, &r->why);
	return err ?: store_open(&r->store, &conf, &r->why);
}

/* With the kernel half it needs privileges anew, which it has given up by then: whoever watches over
 * the service starts it. */
static int open_the_store(struct run *r)
{
	if (!r->conf.capture)
		store_on_fault(true, program_argv);
	return privileges_run(PRIVILEGES_FILES, store_open_here, r, &r->why);
}

static int web_start_here(void *arg)
{
	struct run *r = arg;
	struct web_conf conf = {
		.listen = r->conf.listen,
		.store = r->store,
		.token_file = r->conf.token_file,
		.tls_cert_file = r->conf.tls_cert_file,
		.tls_key_file = r->conf.tls_key_file,
		.hosts = (const char *const *)r->conf.hosts,
		.insecure = r->conf.insecure,
		.peers = r->conf.peers,
		.ingest_commits = r->conf.otlp_commits,
	};
	int err = web_start(&r->web, &conf, &r->why);

	conf.ingest_only = true;
	conf.peers = NULL;
	conf.listen = r->conf.otlp_listen;
	if (!err && conf.listen)
		err = web_start(&r->otlp, &conf, &r->why);
	conf.tls_cert_file = conf.tls_key_file = NULL;
	conf.threads = 1;
	conf.listen = r->conf.otlp_grpc_listen;
	if (!err && conf.listen)
		err = web_start(&r->otlp_grpc, &conf, &r->why);
	return err;
}

static int start_the_web_server(struct run *r)
{
	return privileges_run(PRIVILEGES_NONE, web_start_here, r, &r->why);
}

static int load_the_kernel_half(struct run *r)
{
	return r->conf.capture ? loader_open(&r->loader, &r->conf, &r->why) : 0;
}

static int drain_start_here(void *arg)
{
	struct run *r = arg;

	return drain_start(&r->drain, r->loader, &r->conf, r->store, &r->why);
}

static int begin_draining(struct run *r)
{
	if (!r->conf.capture)
		return 0;
	return privileges_run(PRIVILEGES_READ_PROC, drain_start_here, r, &r->why);
}

static int drop_capabilities(struct run *r)
{
	return privileges_drop(PRIVILEGES_FILES, &r->why);
}

static int mark_ready(struct run *r)
{
	web_ready(r->web);
	if (r->otlp_grpc)
		web_ready(r->otlp_grpc);
	r->is_ready = true;
	log_info("Wirespan %s serves %s on port %u%s", VERSION, r->conf.store, web_port(r->web),
		 r->conf.capture ? "" : " and captures nothing");
	malloc_trim(0); /* the kernel's types were read to load programs */
	return 0;
}

static int wait_for_a_signal(struct run *r)
{
	int sig, err = sigwait(&r->signals, &sig);

	if (!err)
		log_info("%s: stopping", strsignal(sig));
	return -err;
}

/* Also undoes a start that failed half-way: what was not begun is NULL. */
static int stop_in_reverse(struct run *r)
{
	drain_stop(r->drain);
	loader_close(r->loader);
	web_stop(r->otlp);
	web_stop(r->otlp_grpc);
	web_stop(r->web);
	store_close(r->store);
	config_fini(&r->conf);
	return 0;
}

static const struct step steps[] = {
	{"load the configuration", load_configuration},
	{"check the capabilities", check_capabilities},
	{"open the store", open_the_store},
	{"start the web server", start_the_web_server},
	{"load and attach the kernel half", load_the_kernel_half},
	{"begin draining", begin_draining},
	{"drop capabilities", drop_capabilities},
	{"mark ready", mark_ready},
	{"wait for a signal", wait_for_a_signal},
	{"stop in reverse", stop_in_reverse},
};

/* --- the sub-commands --- */

/* Threads inherit the mask, so a signal waits for sigwait wherever it arrives. */
static void signals_block(struct run *r)
{
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&r->signals);
	sigaddset(&r->signals, SIGTERM);
	sigaddset(&r->signals, SIGINT);
	must(sigprocmask(SIG_BLOCK, &r->signals, NULL) == 0);
}

/* A read over weeks of partitions has hundreds of files open. */
static void open_files_raise(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* malloc gives each thread a heap, and each of a dozen threads comes to hold memory for its own worst
 * moment. Three heaps take about half as much, and no more time that could be measured. */
static void heaps_share(void)
{
	mallopt(M_ARENA_MAX, 3);
}

static int run_main(int argc, char **argv)
{
	struct run r = {.argc = argc, .argv = argv};
	int err = 0, status = EXIT_OK;

	strbuf_init(&r.why);
	signals_block(&r);
	open_files_raise();
	heaps_share();
	store_on_fault(true, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !err; i++) {
		log_debug("step %zu: %s", i + 1, steps[i].name);
		err = steps[i].fn(&r);
		if (err && !r.why.len)
			strbuf_printf(&r.why, "cannot %s: %s", steps[i].name, strerror(-err));
	}
	if (err) {
		status = command_complain(r.is_ready ? EXIT_FAILED : EXIT_REFUSED, "%s", r.why.p);
		stop_in_reverse(&r);
	}
	strbuf_fini(&r.why);
	return status;
}

/* Runs fn with the settings that the flags give. */
static int with_config(int argc, char **argv, int (*fn)(const struct config *c, const char *id),
		       const char *id)
{
	struct strbuf why;
	struct config c;
	int status;

	strbuf_init(&why);
	if (config_load(&c, argc, argv, &why)) {
		status = command_complain(EXIT_REFUSED, "%s", why.p);
	} else {
		status = fn(&c, id);
		config_fini(&c);
	}
	strbuf_fini(&why);
	return status;
}

/* Takes the trace's id, or --last, out of the arguments: the first that is neither a flag nor the
 * value of one. */
static bool take_id(int *argc, char **argv, const char **ret_id)
{
	for (int i = 0; i < *argc; i++) {
		bool is_flag = strncmp(argv[i], "--", 2) == 0, is_last = !strcmp(argv[i], "--last");

		if (is_flag && !is_last) {
			i += !strchr(argv[i], '=');
			continue;
		}
		*ret_id = is_last ? NULL : argv[i];
		memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i - 1) * sizeof(*argv));
		--*argc;
		return true;
	}
	return false;
}

static int trace_main(int argc, char **argv)
{
	const char *id = NULL;

	if (!take_id(&argc, argv, &id))
		return command_complain(EXIT_REFUSED, "which trace? `wirespan trace ID` or "
						      "`wirespan trace --last`");
	return with_config(argc, argv, trace_cmd, id);
}

/* --- query: without a running program, or beside one --- */

struct asking {
	const char *text;
	struct search_params search;
};

static void print_found(const struct search_trace *t)
{
	struct strbuf out;
	char id[33];

	strbuf_init(&out);
	hex_encode(id, t->trace_id, 16);
	strbuf_printf(&out, "%s  ", id);
	term_add_time(&out, t->start_ns);
	strbuf_adds(&out, "  ");
	term_add_duration(&out, t->end_ns - t->start_ns);
	strbuf_adds(&out, "  ");
	term_add(&out, t->root_service, 40);
	strbuf_addc(&out, ' ');
	term_add(&out, t->has_root ? t->root_name : STR("(no root)"), 80);
	puts(out.p);
	strbuf_fini(&out);
}

static int search_print(struct query *q, const struct asking *a)
{
	struct search_result found;
	int err = query_search(q, &a->search, &found);

	for (uint32_t i = 0; i < found.cnt && !err; i++)
		print_found(&found.traces[i]);
	if (!err && found.cnt == 0)
		return command_complain(EXIT_FAILED, "no trace matches");
	return err ? command_complain(EXIT_FAILED, "%s", query_error(q)) : EXIT_OK;
}

static int query_print(struct query *q, const struct asking *a)
{
	struct query_trace trace;
	uint8_t id[16];

	if (strlen(a->text) != 32 || hex_decode(id, a->text, 32))
		return search_print(q, a);
	if (query_trace(q, id, &trace))
		return command_complain(EXIT_FAILED, "%s", query_error(q));
	return trace_print(trace.spans, trace.cnt, a->text);
}

static int query_of(const struct asking *a, const char *dir, struct strbuf *why)
{
	const struct store_conf conf = {.dir = dir, .read_only = true};
	struct query *q = NULL;
	struct store *s;
	int status;

	if (store_open(&s, &conf, why))
		return command_complain(EXIT_REFUSED, "%s", why->p);
	if (query_begin(&q, s, &(struct query_limits){0}))
		status = command_complain(EXIT_FAILED, "the store in %s cannot be read", dir);
	else
		status = query_print(q, a);
	query_end(q);
	store_close(s);
	return status;
}

static int query_main(int argc, char **argv)
{
	struct asking a = {.search = {.to_ns = UINT64_MAX, .limit = 20, .spss = 3}};
	const char *limit = "20";
	struct strbuf why;
	struct config c;
	int status;

	if (command_take_time(&argc, argv, "--from", &a.search.from_ns) ||
	    command_take_time(&argc, argv, "--to", &a.search.to_ns))
		return EXIT_REFUSED;
	command_take_flag(&argc, argv, "--limit", &limit);
	a.search.limit = (uint32_t)strtoul(limit, NULL, 10);
	if (a.search.limit == 0 || a.search.limit > 100000)
		return command_complain(EXIT_REFUSED, "--limit: a number from 1 to 100000");
	if (!take_id(&argc, argv, &a.text) || !a.text)
		return command_complain(EXIT_REFUSED,
					"what shall be looked for? `wirespan query --store DIR "
					"\'{ status = error }\'`, or a trace id");
	a.search.q = str_of(a.text);
	log_set_level(LOG_ERROR);
	open_files_raise();
	store_on_fault(false, NULL);
	strbuf_init(&why);
	if (config_load(&c, argc, argv, &why)) {
		status = command_complain(EXIT_REFUSED, "%s", why.p);
	} else {
		status = query_of(&a, c.store, &why);
		config_fini(&c);
	}
	strbuf_fini(&why);
	return status;
}

static int status_of(const struct config *c, const char *id)
{
	(void)id;
	return status_cmd(c);
}

static int status_main(int argc, char **argv)
{
	return with_config(argc, argv, status_of, NULL);
}

static int say_good(const struct config *c, const char *id)
{
	(void)c;
	(void)id;
	puts("the settings are good");
	return EXIT_OK;
}

static int print_text(void (*fn)(struct strbuf *out))
{
	struct strbuf out;

	strbuf_init(&out);
	fn(&out);
	fputs(out.p, stdout);
	strbuf_fini(&out);
	return EXIT_OK;
}

static int config_main(int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "check") == 0)
		return with_config(argc - 1, argv + 1, say_good, NULL);
	if (argc == 1 && strcmp(argv[0], "sample") == 0)
		return print_text(config_sample);
	return command_complain(EXIT_REFUSED,
				"`wirespan config check` reads the settings, `wirespan "
				"config sample` prints a file of them");
}

static int version_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("wirespan " VERSION);
	return EXIT_OK;
}

static void help_text(struct strbuf *out)
{
	strbuf_adds(
		out,
		"Wirespan sees every HTTP and PostgreSQL exchange on this machine and keeps it as "
		"traces.\n\n"
		"  wirespan run [SETTING...]              capture, store and serve\n"
		"  wirespan trace ID|--last [SETTING...]  draw a trace\n"
		"  wirespan status [SETTING...]           what runs, what is traced, what was "
		"lost\n"
		"  wirespan query 'TRACEQL'|ID [--from T] [--to T] [--limit N] [SETTING...]\n"
		"                                         ask a store's folder, in use or not\n"
		"  wirespan store check|stats [DIR]       is every byte right? / sizes\n"
		"  wirespan store export --otlp FILE [--from T] [--to T] [DIR]\n"
		"                                         a copy: concatenated OTLP TracesData "
		"(protobuf)\n"
		"  wirespan store upgrade [DIR]           to this program's format\n"
		"  wirespan config check [SETTING...]     are the settings good?\n"
		"  wirespan config sample                 a file of settings, with comments\n"
		"  wirespan version\n"
		"  wirespan help\n\nSettings:\n");
	config_help(out);
}

static int help_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return print_text(help_text);
}

static const struct command {
	const char *name;
	int (*fn)(int argc, char **argv); /* without program and sub-command */
} commands[] = {
	{"query", query_main},	   {"store", store_cmd},	{"run", run_main},
	{"trace", trace_main},	   {"status", status_main},	{"config", config_main},
	{"version", version_main}, {"--version", version_main}, {"help", help_main},
	{"--help", help_main},	   {"-h", help_main},
};

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	program_argv = argv;
	if (argc < 2)
		return command_complain(EXIT_REFUSED, "what shall it do? `wirespan help` lists the "
						      "commands");
	if (asks_for_help(argc - 2, argv + 2))
		return help_main(0, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].fn(argc - 2, argv + 2);
	return command_complain(EXIT_REFUSED,
				"\"%.80s\" is not a command; `wirespan help` lists them", argv[1]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* store_cmd.c - `wirespan store check|stats|export|upgrade`: what tools.h does, in words. The
 * folder is the argument, or the setting `store`. It opens no store itself. Called by main.c. The
 * invariant: the status is 0 only when nothing is wrong and nothing was left out. */
#include "agent/commands.h"
#include "agent/config.h"
#include "agent/term.h"
#include "store/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define U64(v) ((unsigned long long)(v))

struct store_args {
	const char *dir, *otlp;
	uint64_t from_ns, to_ns;
};

static void say(void *arg, const char *part, const char *text)
{
	(void)arg;
	printf("%s%s%s\n", part, *part ? ": " : "", text);
	fflush(stdout);
}

static int failed(const struct strbuf *why, int err)
{
	bool refused = err == -EBUSY || err == -EPROTO || err == -ENOENT;

	return command_complain(refused ? EXIT_REFUSED : EXIT_FAILED, "%s",
				why->len ? why->p : strerror(-err));
}

/* --- check --- */

static int check_cmd(const struct store_args *a, struct strbuf *why)
{
	struct store_check sum;
	int err = store_check(a->dir, say, NULL, &sum, why);

	if (err)
		return failed(why, err);
	printf("%u partitions, %llu spans in %llu chunks: %u damaged", sum.partitions,
	       U64(sum.spans), U64(sum.chunks), sum.bad);
	printf(sum.set_aside ? ", %u set aside before\n" : "\n", sum.set_aside);
	return sum.bad ? EXIT_FAILED : EXIT_OK;
}

/* --- stats --- */

static const char *const table_names[] = {
#define X(name) #name,
	STORE_TABLES(X)
#undef X
};

static const char *const dict_names[] = {
#define X(name) #name,
	STORE_DICTS(X)
#undef X
};

struct stats_sum {
	uint64_t spans, bytes;
};

static void time_range(struct strbuf *out, const struct store_part *p)
{
	term_add_time(out, p->min_start_ns);
	strbuf_adds(out, " to ");
	term_add_time(out, p->max_start_ns);
}

static int part_print(void *arg, const struct store_part *p)
{
	struct stats_sum *sum = arg;
	double spans = p->spans ? (double)p->spans : 1;
	struct strbuf out;

	strbuf_init(&out);
	strbuf_printf(&out, "%s: ", p->name);
	if (p->is_aside) {
		strbuf_printf(&out, "set aside as damaged, %llu bytes\n", U64(p->bytes));
	} else {
		strbuf_printf(&out, "%llu spans in %llu chunks, %llu bytes, ", U64(p->spans),
			      U64(p->chunks), U64(p->bytes));
		if (p->spans)
			time_range(&out, p);
		strbuf_printf(&out, "\n  bytes a span: %.1f", (double)p->bytes / spans);
		for (size_t i = 0; i < ARRAY_SIZE(table_names); i++)
			if (p->table_bytes[i])
				strbuf_printf(&out, "  %s %.1f", table_names[i],
					      (double)p->table_bytes[i] / spans);
		strbuf_adds(&out, "\n  dictionary:");
		for (size_t i = 0; i < ARRAY_SIZE(dict_names); i++)
			strbuf_printf(&out, "  %s %u of %u", dict_names[i], p->dict_cnt[i],
				      p->dict_max[i]);
		strbuf_addc(&out, '\n');
	}
	fwrite(out.p, 1, out.len, stdout);
	strbuf_fini(&out);
	sum->spans += p->spans;
	sum->bytes += p->bytes;
	return 0;
}

static int stats_cmd(const struct store_args *a, struct strbuf *why)
{
	struct stats_sum sum = {0};
	int err = store_parts(a->dir, part_print, &sum, why);

	if (err)
		return failed(why, err);
	printf("in all: %llu spans, %llu bytes, %.1f a span\n", U64(sum.spans), U64(sum.bytes),
	       sum.spans ? (double)sum.bytes / (double)sum.spans : 0);
	return EXIT_OK;
}

/* --- export --- */

static int file_write(void *arg, const void *p, size_t len)
{
	return fwrite(p, 1, len, arg) == len ? 0 : -errno;
}

static int file_finish(FILE *f)
{
	int err = fflush(f) ? -errno : 0;

	if (!err && fsync(fileno(f)) && errno != EINVAL && errno != EROFS)
		err = -errno;
	return err;
}

static int export_report(const struct store_args *a, const struct store_export *ex)
{
	fprintf(stderr, "%llu spans in %llu messages, %llu bytes\n", U64(ex->spans),
		U64(ex->messages), U64(ex->bytes));
	if (ex->unclean)
		return command_complain(
			EXIT_FAILED,
			"%llu pieces of %s are damaged and were left out; `wirespan "
			"store check` says which",
			U64(ex->unclean), a->dir);
	return EXIT_OK;
}

/* A device or a pipe is written to as it is, and never replaced. */
static bool is_plain(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? errno == ENOENT : S_ISREG(st.st_mode);
}

static int export_to(FILE *f, struct store_export *ex, struct strbuf *why)
{
	int err = store_export(ex, file_write, f, why);

	err = err ?: file_finish(f);
	if (f != stdout && fclose(f) && !err)
		err = -errno;
	return err;
}

/* A file has another name until it is whole: nobody takes half a copy for one. */
static int export_to_file(const struct store_args *a, struct strbuf *why)
{
	struct store_export ex = {.dir = a->dir, .from_ns = a->from_ns, .to_ns = a->to_ns};
	bool is_stdout = strcmp(a->otlp, "-") == 0, is_file = !is_stdout && is_plain(a->otlp);
	char path[4096];
	FILE *f = stdout;
	int err;

	if (snprintf(path, sizeof(path), is_file ? "%s.part" : "%s", a->otlp) >= (int)sizeof(path))
		return command_complain(EXIT_REFUSED, "the file's name is too long");
	if (!is_stdout && !(f = fopen(path, is_file ? "wbx" : "wb")))
		return command_complain(EXIT_REFUSED, "cannot make the file %s: %s", path,
					strerror(errno));
	err = export_to(f, &ex, why);
	if (is_file && !err && rename(path, a->otlp) < 0)
		err = -errno;
	if (is_file && err)
		unlink(path);
	return err ? failed(why, err) : export_report(a, &ex);
}

static int export_cmd(const struct store_args *a, struct strbuf *why)
{
	if (!a->otlp)
		return command_complain(EXIT_REFUSED,
					"export to where? `wirespan store export --otlp FILE` (-: "
					"standard output)");
	return export_to_file(a, why);
}

/* --- upgrade --- */

static int upgrade_cmd(const struct store_args *a, struct strbuf *why)
{
	int err = store_upgrade(a->dir, say, NULL, why);

	return err ? failed(why, err) : EXIT_OK;
}

/* --- the command line --- */

static const struct verb {
	const char *name;
	int (*fn)(const struct store_args *a, struct strbuf *why);
} verbs[] = {
	{"check", check_cmd},
	{"stats", stats_cmd},
	{"export", export_cmd},
	{"upgrade", upgrade_cmd},
};

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static int with_dir(const struct verb *v, struct store_args *a, int argc, char **argv,
		    struct strbuf *why)
{
	struct config c;
	int status;

	if (argc == 1 && argv[0][0] != '-') {
		a->dir = argv[0];
		return v->fn(a, why);
	}
	if (config_load(&c, argc, argv, why))
		return command_complain(EXIT_REFUSED, "%s", why->p);
	a->dir = c.store;
	status = v->fn(a, why);
	config_fini(&c);
	return status;
}

int store_cmd(int argc, char **argv)
{
	const struct verb *v = argc > 0 ? verb_find(argv[0]) : NULL;
	struct store_args a = {.to_ns = UINT64_MAX};
	struct strbuf why;
	int status;

	if (!v)
		return command_complain(EXIT_REFUSED,
					"`wirespan store check|stats|export|upgrade`: which?");
	log_set_level(LOG_ERROR);
	store_on_fault(false, NULL);
	argc--;
	argv++;
	command_take_flag(&argc, argv, "--otlp", &a.otlp);
	if (command_take_time(&argc, argv, "--from", &a.from_ns) ||
	    command_take_time(&argc, argv, "--to", &a.to_ns))
		return EXIT_REFUSED;
	strbuf_init(&why);
	status = with_dir(v, &a, argc, argv, &why);
	strbuf_fini(&why);
	return status;
}

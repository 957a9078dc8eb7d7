/* SPDX-License-Identifier: Apache-2.0 */
/* program.c - two tables: interpreters (whose service is the script that they run) and the programs
 * of login sessions (which are never traced, or every curl from a shell becomes a span). It does
 * not read /proc; procs.c does and calls it. What it gets is the traced program's word: any bytes.
 * The invariant: a doubtful command line gives the executable's own name. */
#include "agent/program.h"
#include "agent/gobin.h"

#include <string.h>

/* Words stand between spaces. */
struct interpreter {
	const char *name;	/* of the executable, a version may follow */
	const char *language;	/* NULL: OpenTelemetry has no word for it */
	const char *with_value; /* options whose value is the next argument */
	const char *no_file;	/* options that carry the program themselves */
	const char *named_by;	/* options whose value names the program */
	char part_sep;		/* the name is what follows the last of these */
	const char *must_end;	/* what the program's argument must end with, or NULL */
};

static const struct interpreter interpreters[] = {
	{"python", "python", " -W -X --check-hash-based-pycs ", " -c ", " -m ", '/', NULL},
	{"pypy", "python", " -W -X ", " -c ", " -m ", '/', NULL},
	{"node", "nodejs", " -r --require --import --loader --experimental-loader -C --conditions ",
	 " -e --eval -p --print ", "", '/', NULL},
	{"nodejs", "nodejs", " -r --require --import --loader ", " -e --eval -p --print ", "", '/',
	 NULL},
	{"ruby", "ruby", " -I -r -C -E ", " -e ", "", '/', NULL},
	{"php", "php", " -c -d -z -t -S ", " -r ", " -f ", '/', NULL},
	{"perl", NULL, " -I ", " -e -E ", "", '/', NULL},
	{"java", "java",
	 " -cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules "
	 "--add-opens --add-exports --add-reads ",
	 "", " -jar -m --module ", '.', NULL},
	{"dotnet", "dotnet", "", "", "", '/', ".dll"},
};

static const char *const logins[] = {
	"systemd", "init",     "sshd", "sshd-session", "sshd-auth", "dropbear", "login", "getty",
	"agetty",  "mingetty", "su",   "sudo",	       "tmux",	    "screen",	"sh",	 "bash",
	"dash",	   "zsh",      "fish", "ksh",	       "mksh",	    "csh",	"tcsh",	 "ash",
};

static bool ends_with(struct str s, const char *end)
{
	size_t len = strlen(end);

	return s.len >= len && memcmp(s.p + s.len - len, end, len) == 0;
}

static struct str after_last(struct str s, char sep)
{
	const char *at = s.len ? memrchr(s.p, sep, s.len) : NULL;

	return at ? (struct str){at + 1, (size_t)(s.p + s.len - at - 1)} : s;
}

static struct str without_extension(struct str s)
{
	const char *dot = s.len ? memrchr(s.p, '.', s.len) : NULL;

	return dot && dot > s.p ? (struct str){s.p, (size_t)(dot - s.p)} : s;
}

static bool is_version(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] != '.' && (s.p[i] < '0' || s.p[i] > '9'))
			return false;
	return true;
}

static const struct interpreter *interpreter_of(struct str base)
{
	for (size_t i = 0; i < ARRAY_SIZE(interpreters); i++) {
		size_t len = strlen(interpreters[i].name);

		if (str_starts(base, str_of(interpreters[i].name)) &&
		    is_version((struct str){base.p + len, base.len - len}))
			return &interpreters[i];
	}
	return NULL;
}

static bool is_login(struct str base)
{
	for (size_t i = 0; i < ARRAY_SIZE(logins); i++)
		if (str_eq(base, str_of(logins[i])))
			return true;
	return false;
}

/* --- the command line of an interpreter --- */

static bool next_arg(struct str *rest, struct str *ret)
{
	const char *end = rest->len ? memchr(rest->p, '\0', rest->len) : NULL;

	if (!rest->len)
		return false;
	*ret = (struct str){rest->p, end ? (size_t)(end - rest->p) : rest->len};
	rest->p += ret->len + (end ? 1 : 0);
	rest->len -= ret->len + (end ? 1 : 0);
	return true;
}

static bool is_one_of(const char *words, struct str arg)
{
	const char *at = words;

	while (arg.len && (at = memmem(at, strlen(at), arg.p, arg.len))) {
		if (at > words && at[-1] == ' ' && at[arg.len] == ' ')
			return true;
		at++;
	}
	return false;
}

/* The argument that names the program; *by_option when an option (-m, -jar) announced it. */
static bool program_arg(const struct interpreter *in, struct str args, struct str *ret,
			struct str *by_option)
{
	struct str arg;

	*by_option = (struct str){NULL, 0};
	next_arg(&args, &arg);
	while (next_arg(&args, &arg)) {
		if (is_one_of(in->no_file, arg))
			return false;
		if (is_one_of(in->named_by, arg)) {
			*by_option = arg;
			return next_arg(&args, ret);
		}
		if (str_eq(arg, STR("--")))
			return next_arg(&args, ret);
		if (is_one_of(in->with_value, arg)) {
			next_arg(&args, &arg);
		} else if (!(arg.len && arg.p[0] == '-') &&
			   (!in->must_end || ends_with(arg, in->must_end))) {
			*ret = arg;
			return true;
		}
	}
	return false;
}

static struct str script_name(const struct interpreter *in, struct str cmdline)
{
	struct str arg, option, name;

	if (!program_arg(in, cmdline, &arg, &option))
		return STR("");
	if (str_eq(option, STR("-m")) && in->part_sep == '/')
		return arg; /* a Python module */
	name = after_last(arg, '/');
	if (in->part_sep == '/' || str_eq(option, STR("-jar")))
		return without_extension(name);
	return after_last(name, in->part_sep);
}

/* --- all together --- */

/* busybox is whatever its first argument says. */
static struct str role(struct str base, struct str cmdline)
{
	struct str arg;

	if (!str_eq(base, STR("busybox")) || !next_arg(&cmdline, &arg))
		return base;
	arg = after_last(arg, '/');
	if (arg.len && arg.p[0] == '-')
		arg = (struct str){arg.p + 1, arg.len - 1};
	return arg.len ? arg : base;
}

void program_describe(struct program *ret, struct str exe, int exe_fd, struct str cmdline)
{
	struct str base = after_last(exe, '/'), script = {NULL, 0};
	const struct interpreter *in = interpreter_of(base);
	enum gobin go = exe_fd >= 0 ? gobin_of(exe_fd) : GOBIN_NO;

	*ret = (struct program){.base = base, .name = role(base, cmdline)};
	ret->is_login = is_login(ret->name);
	ret->is_go = go == GOBIN_GOOD;
	if (go) {
		ret->language = "go";
	} else if (in) {
		ret->language = in->language;
		script = script_name(in, cmdline);
	} else if (str_starts(base, STR("php-fpm"))) {
		ret->language = "php";
	}
	if (script.len)
		ret->name = script;
}

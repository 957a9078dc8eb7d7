/* SPDX-License-Identifier: Apache-2.0 */
/* program_test.c - command lines of interpreters, login programs, hostile arguments. In the table
 * of cases arguments are parted by '|', which stands for the NUL that /proc has. */
#include "agent/program.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const struct {
	const char *exe, *cmdline, *name, *language;
} cases[] = {
	{"/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx|", "nginx", NULL},
	{"/usr/lib/postgresql/15/bin/postgres", "postgres: walwriter |", "postgres", NULL},
	{"/usr/bin/python3.11", "python3|/srv/app/todo.py|--port|80|", "todo", "python"},
	{"/usr/bin/python3.11", "python3|-W|ignore|-u|-X|dev|todo.py|", "todo", "python"},
	{"/usr/bin/python3.11", "python3|-m|uvicorn|app:app|", "uvicorn", "python"},
	{"/usr/bin/python3.11", "/usr/bin/python3|/usr/bin/gunicorn|app|", "gunicorn", "python"},
	{"/usr/bin/python3.11", "python3|-c|import this|", "python3.11", "python"},
	{"/usr/bin/python3.11", "python3|", "python3.11", "python"},
	{"/usr/bin/pythonista", "pythonista|x.py|", "pythonista", NULL},
	{"/usr/bin/node", "node|--require|./trace.js|--max-old-space-size=1|/srv/api.mjs|", "api",
	 "nodejs"},
	{"/usr/bin/node", "node|-e|1|", "node", "nodejs"},
	{"/usr/bin/nodejs", "nodejs|server.js|", "server", "nodejs"},
	{"/usr/bin/ruby3.1", "ruby|-I|lib|/usr/bin/puma|", "puma", "ruby"},
	{"/usr/bin/php8.2", "php|-S|0.0.0.0:80|-t|public|router.php|", "router", "php"},
	{"/usr/sbin/php-fpm8.2", "php-fpm: master process|", "php-fpm8.2", "php"},
	{"/usr/bin/perl", "perl|-w|/usr/bin/cgi.pl|", "cgi", NULL},
	{"/usr/lib/jvm/bin/java", "java|-Xmx1g|-cp|/a.jar:/b.jar|com.acme.Todo|x|", "Todo", "java"},
	{"/usr/lib/jvm/bin/java", "java|-jar|/srv/todo-1.2.jar|x|", "todo-1.2", "java"},
	{"/usr/lib/jvm/bin/java", "java|-p|mods|-m|acme/com.acme.Main|", "Main", "java"},
	{"/usr/bin/dotnet", "dotnet|exec|--roll-forward|Major|/srv/Todo.dll|", "Todo", "dotnet"},
	{"/usr/bin/dotnet", "dotnet|run|", "dotnet", "dotnet"},
	{"/usr/bin/busybox", "/bin/httpd|-f|", "httpd", NULL},
	{"/usr/bin/python3", "", "python3", "python"},
	{"/usr/bin/python3", "python3|-|", "python3", "python"},
	{"/usr/bin/python3", "python3|-m|", "python3", "python"},
	{"/usr/bin/python3", "python3|||", "python3", "python"},
	{"nosuch", "", "nosuch", NULL},
	{"", "", "", NULL},
};

/* A copy with NULs, flush against the end of its memory. */
static struct str args_new(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	for (size_t i = 0; i < len; i++)
		copy[i] = text[i] == '|' ? '\0' : text[i];
	return (struct str){copy, len};
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str args = args_new(cases[i].cmdline, strlen(cases[i].cmdline));
		struct program prog;

		program_describe(&prog, str_of(cases[i].exe), -1, args);
		if (!str_eq(prog.name, str_of(cases[i].name)))
			fail_msg("%s gives \"" STR_FMT "\"", cases[i].cmdline, STR_ARG(prog.name));
		if (cases[i].language)
			assert_string_equal(prog.language, cases[i].language);
		else
			assert_null(prog.language);
		assert_false(prog.is_login || prog.is_go);
		free((char *)args.p);
	}
}

static void test_truncations(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t len = 0; len <= strlen(cases[i].cmdline); len++) {
			struct str args = args_new(cases[i].cmdline, len);
			struct program prog;

			program_describe(&prog, str_of(cases[i].exe), -1, args);
			free((char *)args.p);
		}
}

static void test_login(void **state)
{
	static const char *const logins[] = {"/usr/sbin/sshd", "/bin/bash",
					     "/usr/bin/zsh",   "/lib/systemd/systemd",
					     "/sbin/agetty",   "/usr/bin/tmux"};
	static const char *const others[] = {"/usr/sbin/sshd2", "/usr/bin/bash-server",
					     "/lib/systemd/systemd-resolved"};
	struct program prog;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(logins); i++) {
		program_describe(&prog, str_of(logins[i]), -1, STR("x\0y\0"));
		assert_true(prog.is_login);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		program_describe(&prog, str_of(others[i]), -1, STR("x\0y\0"));
		assert_false(prog.is_login);
	}
	program_describe(&prog, STR("/bin/busybox"), -1, STR("-sh\0"));
	assert_true(prog.is_login);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_login),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the one way in which the program says no, a sentence on standard error, and how the
 * sub-commands take a flag of their own out of their arguments. It decides nothing; main.c and the
 * sub-commands call it. The invariant: the sentence may quote a path, an argument or an answer, and
 * still is one line that a terminal can bear. */
#include "agent/commands.h"
#include "agent/term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int command_complain(int exit_status, const char *fmt, ...)
{
	struct strbuf text, line;
	va_list ap;

	strbuf_init(&text);
	strbuf_init(&line);
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	term_add(&line, (struct str){text.p, text.len}, 0);
	fprintf(stderr, "wirespan: %s\n", line.p);
	strbuf_fini(&text);
	strbuf_fini(&line);
	return exit_status;
}

/* --- arguments --- */

bool command_take_flag(int *argc, char **argv, const char *name, const char **ret)
{
	size_t len = strlen(name);

	for (int i = 0; i < *argc; i++) {
		int gone = 1;

		if (strncmp(argv[i], name, len) != 0)
			continue;
		if (argv[i][len] == '=') {
			*ret = argv[i] + len + 1;
		} else if (argv[i][len] == '\0' && i + 1 < *argc) {
			*ret = argv[i + 1];
			gone = 2;
		} else {
			continue;
		}
		memmove(&argv[i], &argv[i + gone], (size_t)(*argc - i - gone) * sizeof(*argv));
		*argc -= gone;
		return true;
	}
	return false;
}

static bool time_parse(const char *text, uint64_t *ret_ns)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	unsigned long long sec;
	char *num_end;

	errno = 0;
	sec = strtoull(text, &num_end, 10);
	if (end && !*end)
		sec = (unsigned long long)timegm(&tm);
	else if (errno || *num_end || *text < '0' || *text > '9')
		return false;
	*ret_ns = sec * NS_PER_S;
	return sec < UINT64_MAX / NS_PER_S;
}

int command_take_time(int *argc, char **argv, const char *name, uint64_t *ret_ns)
{
	const char *text;

	if (!command_take_flag(argc, argv, name, &text) || time_parse(text, ret_ns))
		return 0;
	command_complain(EXIT_REFUSED,
			 "%s: \"%.80s\" is neither seconds since 1970 nor a time like "
			 "2026-01-31T12:00:00Z",
			 name, text);
	return -EINVAL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* unit.c - from a cgroup path to the name of a systemd service. It reads no file and asks no
 * systemd; procs.c calls it. A cgroup path is data of the host, but may hold what a container
 * runtime put there: every length is checked. The invariant: on doubt there is no name, since the
 * executable's name is a better one than that of a runtime or of a login session. */
#include "agent/unit.h"

#include <string.h>

static bool ends_with(struct str s, struct str end)
{
	return s.len >= end.len && memcmp(s.p + s.len - end.len, end.p, end.len) == 0;
}

static bool contains(struct str s, struct str part)
{
	return memmem(s.p, s.len, part.p, part.len) != NULL;
}

/* Cuts up to and without the first c off *rest. */
static struct str take_until(struct str *rest, char c)
{
	const char *end = rest->len ? memchr(rest->p, c, rest->len) : NULL;
	struct str got = {rest->p, end ? (size_t)(end - rest->p) : rest->len};
	size_t skip = got.len + (end ? 1 : 0);

	*rest = (struct str){rest->p + skip, rest->len - skip};
	return got;
}

/* A line is "hierarchy:controllers:path". systemd's own hierarchy goes before version 2's. */
static struct str systemd_path(struct str text)
{
	struct str path = {NULL, 0};

	while (text.len) {
		struct str line = take_until(&text, '\n');
		struct str hierarchy = take_until(&line, ':');
		struct str controllers = take_until(&line, ':');

		if (str_eq(controllers, STR("name=systemd")) && line.len > 1)
			return line;
		if (str_eq(hierarchy, STR("0")) && controllers.len == 0)
			path = line;
	}
	return path;
}

static bool is_long_hex(struct str s)
{
	size_t n = 0;

	while (n < s.len && strchr("0123456789abcdef", s.p[n]))
		n++;
	return n >= 32;
}

/* What container runtimes call the groups that they make. */
static bool is_container(struct str part)
{
	static const char *const words[] = {"kubepods", "docker",      "libpod",
					    "cri-",	"lxc.payload", "machine-"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (contains(part, str_of(words[i])) && !ends_with(part, STR(".service")))
			return true;
	return is_long_hex(part);
}

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* systemd writes unusual bytes as \x2d. */
static struct str unescape(struct str s, char *buf)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < UNIT_NAME_MAX - 1; i++) {
		if (s.len - i >= 4 && s.p[i] == '\\' && s.p[i + 1] == 'x' &&
		    hex_value(s.p[i + 2]) >= 0 && hex_value(s.p[i + 3]) >= 0) {
			buf[n++] = (char)(hex_value(s.p[i + 2]) << 4 | hex_value(s.p[i + 3]));
			i += 3;
		} else {
			buf[n++] = s.p[i];
		}
	}
	buf[n] = '\0';
	return (struct str){buf, n};
}

struct str unit_name(struct str cgroup, char buf[UNIT_NAME_MAX])
{
	struct str path = systemd_path(cgroup), service = {NULL, 0};

	while (path.len) {
		struct str part = take_until(&path, '/');

		if (ends_with(part, STR(".scope")) || is_container(part))
			return STR("");
		if (ends_with(part, STR(".service")))
			service = part;
	}
	if (!service.len || str_starts(service, STR("user@")))
		return STR("");
	service.len -= strlen(".service");
	return unescape(service, buf);
}

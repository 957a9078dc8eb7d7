/* SPDX-License-Identifier: Apache-2.0 */
/* pod.c - see pod.h. The rule that fits all runtimes: "pod" and a UUID (with - or _) or, for a static
 * pod, 32 hex digits is the pod; the last run of exactly 64 hex digits behind it is the container.
 * The lines of a version 1 host differ, and those of an outer container may say less: the first one
 * with a pod counts. The invariant: on doubt there is no pod. */
#include "agent/pod.h"

#include <string.h>

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static size_t hex_run(struct str s, size_t at)
{
	size_t n = 0;

	while (at + n < s.len && is_hex(s.p[at + n]))
		n++;
	return n;
}

/* 8-4-4-4-12 digits at the beginning of s, into out. */
static bool uuid_take(struct str s, char *out)
{
	static const size_t groups[] = {8, 4, 4, 4, 12};
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (i && (at >= s.len || (s.p[at] != '-' && s.p[at] != '_')))
			return false;
		at += i ? 1 : 0;
		if (hex_run(s, at) < groups[i])
			return false;
		at += groups[i];
	}
	if (hex_run(s, at))
		return false;
	for (size_t i = 0; i < POD_UID_LEN; i++)
		out[i] = s.p[i] == '_' ? '-' : s.p[i];
	out[POD_UID_LEN] = '\0';
	return true;
}

static bool static_uid_take(struct str s, char *out)
{
	if (hex_run(s, 0) != 32)
		return false;
	memcpy(out, s.p, 32);
	out[32] = '\0';
	return true;
}

/* Where the text behind the pod's uid begins; 0: there is none in this line. */
static size_t uid_find(struct str line, char *out)
{
	static const struct str word = STR("pod");

	for (size_t at = 0; at + word.len < line.len; at++) {
		struct str rest = {line.p + at + word.len, line.len - at - word.len};

		if (memcmp(line.p + at, word.p, word.len) != 0)
			continue;
		if (at && line.p[at - 1] != '/' && line.p[at - 1] != '-')
			continue; /* "kubepods" */
		if (uuid_take(rest, out) || static_uid_take(rest, out))
			return at + word.len + strlen(out);
	}
	return 0;
}

static void container_find(struct str line, size_t from, char *out)
{
	for (size_t at = from; at < line.len;) {
		size_t n = hex_run(line, at);

		if (n == CONTAINER_ID_LEN)
			memcpy(out, line.p + at, n);
		at += n ? n : 1;
	}
}

bool pod_of_cgroup(struct pod_ref *ret, struct str cgroup)
{
	*ret = (struct pod_ref){.uid = ""};
	while (cgroup.len) {
		const char *end = memchr(cgroup.p, '\n', cgroup.len);
		struct str line = {cgroup.p, end ? (size_t)(end - cgroup.p) : cgroup.len};
		size_t skip = line.len + (end ? 1 : 0), behind = uid_find(line, ret->uid);

		if (behind) {
			container_find(line, behind, ret->container);
			return true;
		}
		cgroup = (struct str){cgroup.p + skip, cgroup.len - skip};
	}
	return false;
}

/* --- owners --- */

/* Without the last part, if that is len characters (0: any number) out of these. */
static struct str part_cut(struct str s, size_t len, const char *of)
{
	const char *dash = s.len ? memrchr(s.p, '-', s.len) : NULL;
	size_t n = dash ? s.len - (size_t)(dash - s.p) - 1 : 0;

	if (!dash || dash == s.p || n == 0 || (len && n != len))
		return STR("");
	for (size_t i = 0; i < n; i++)
		if (!strchr(of, dash[1 + i]) || !dash[1 + i])
			return STR("");
	return (struct str){s.p, (size_t)(dash - s.p)};
}

struct str pod_owner_guess(struct str pod)
{
	/* What Kubernetes makes random names and template hashes of. */
	static const char safe[] = "bcdfghjklmnpqrstvwxz2456789";
	struct str set = part_cut(pod, 5, safe), hashed = part_cut(set, 0, safe);
	struct str numbered = part_cut(pod, 0, "0123456789");

	if (hashed.len && set.len - hashed.len - 1 >= 8 && set.len - hashed.len - 1 <= 10)
		return hashed;
	if (set.len)
		return set;
	return numbered.len ? numbered : pod;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* access.c - what access.h promises. A page in a browser can make a name of its own point at us,
 * but it cannot change the Host header: so a name that is not ours is refused, before routes and
 * tokens. The invariant: nothing here resolves a name, and no comparison of a token ends early. */
#include "web/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 255 };

/* --- addresses --- */

static int parse_address(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		ret->ss_family = AF_INET;
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		ret->ss_family = AF_INET6;
		return 0;
	}
	return -EINVAL;
}

/* IPv4-mapped IPv6 addresses are the IPv4 address that they carry. */
static bool as_ipv4(const struct sockaddr *sa, struct in_addr *ret)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	if (sa->sa_family == AF_INET) {
		*ret = ((const struct sockaddr_in *)sa)->sin_addr;
		return true;
	}
	if (sa->sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return false;
	memcpy(ret, &in6->sin6_addr.s6_addr[12], sizeof(*ret));
	return true;
}

bool access_is_loopback(const struct sockaddr *sa)
{
	struct in_addr v4;

	if (as_ipv4(sa, &v4))
		return ntohl(v4.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	struct in_addr a4, b4;
	bool a_is_4 = as_ipv4(a, &a4), b_is_4 = as_ipv4(b, &b4);

	if (a_is_4 || b_is_4)
		return a_is_4 && b_is_4 && a4.s_addr == b4.s_addr;
	return a->sa_family == AF_INET6 && b->sa_family == AF_INET6 &&
	       IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
				  &((const struct sockaddr_in6 *)b)->sin6_addr);
}

/* --- "host:port", "[host]:port" --- */

/* The host without brackets into name, what follows it into *rest; -EINVAL when it is malformed. */
static int split_host(const char *text, char name[HOST_MAX + 1], const char **rest)
{
	const char *end = *text == '[' ? strchr(text, ']') : text + strcspn(text, ":");
	size_t skip = *text == '[', len;

	if (!end)
		return -EINVAL;
	len = (size_t)(end - text) - skip;
	if (len == 0 || len > HOST_MAX)
		return -EINVAL;
	memcpy(name, text + skip, len);
	name[len] = '\0';
	*rest = end + skip;
	return 0;
}

static int parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long v;

	if (text[0] != ':' || text[1] < '0' || text[1] > '9')
		return -EINVAL;
	v = strtoul(text + 1, &end, 10);
	if (*end || v > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

int access_parse_listen(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_storage sa;
	char name[HOST_MAX + 1];
	const char *rest;
	uint16_t port = 0;

	if (split_host(text, name, &rest) || parse_port(rest, &port) ||
	    parse_address(strcmp(name, "localhost") == 0 ? "127.0.0.1" : name, &sa))
		return -EINVAL;
	if (sa.ss_family == AF_INET)
		((struct sockaddr_in *)&sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&sa)->sin6_port = htons(port);
	*ret = sa;
	return 0;
}

bool access_host_ok(const char *host, const struct sockaddr *local, const char *const *hosts)
{
	struct sockaddr_storage sa;
	char name[HOST_MAX + 1];
	const char *rest;

	if (split_host(host, name, &rest) || (*rest && *rest != ':'))
		return false;
	if (strcasecmp(name, "localhost") == 0)
		return true;
	for (; hosts && *hosts; hosts++)
		if (strcasecmp(name, *hosts) == 0)
			return true;
	return parse_address(name, &sa) == 0 && (access_is_loopback((struct sockaddr *)&sa) ||
						 same_address((struct sockaddr *)&sa, local));
}

/* --- the token --- */

bool access_token_ok(const char *authorization, struct str token)
{
	static const char scheme[] = "Bearer ";
	const char *given = authorization + strlen(scheme);
	unsigned char diff = 0;
	size_t len;

	if (strncasecmp(authorization, scheme, strlen(scheme)) != 0)
		return false;
	len = strlen(given);
	for (size_t i = 0; i < len; i++)
		diff |= (unsigned char)(given[i] ^ token.p[i % token.len]);
	return (diff | (len != token.len)) == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* access.h - who may ask: the Host header against DNS rebinding, and the bearer token. Pure
 * functions on header texts and addresses; server.c calls them before anything else is looked at.
 */
#ifndef WIRESPAN_ACCESS_H
#define WIRESPAN_ACCESS_H

#include <sys/socket.h>

#include "store/base.h"

/* "127.0.0.1:3200", "[::1]:0", "localhost:3200"; -EINVAL for anything else (names are not looked
 * up). */
int access_parse_listen(const char *text, struct sockaddr_storage *ret);
bool access_is_loopback(const struct sockaddr *sa);

/* host is the Host header. Ours are localhost, loopback addresses, `local` (the address at which
 * the connection arrived) and hosts (NULL-terminated, or NULL); ports do not matter. */
bool access_host_ok(const char *host, const struct sockaddr *local, const char *const *hosts);

/* authorization is the header, "" when not sent. Takes the same time for every wrong token. */
bool access_token_ok(const char *authorization, struct str token);

#endif

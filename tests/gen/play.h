/* SPDX-License-Identifier: Apache-2.0 */
/* play.h - plays scripts over real sockets; see play.c. */
#ifndef GEN_PLAY_H
#define GEN_PLAY_H

#include "script.h"

#include <stdio.h>

struct player;

/* Listens on the port of 127.0.0.1 and, where there is one, ::1. Up to `most` connections at once. */
struct player *player_new(const uint16_t ports[2], uint32_t most);
/* Opens a connection to ports[which] and plays the script, which it takes, on it; the two ports go to
 * ret_client and ret_server. Waits while too many are open. */
void player_play(struct player *p, struct script *s, int which, uint16_t *ret_client,
		 uint16_t *ret_server);
/* Waits until all connections are over; frees the player. 0, or -1 when one does not move (said on
 * stderr). */
int player_end(struct player *p);

#endif

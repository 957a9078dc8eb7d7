/* SPDX-License-Identifier: Apache-2.0 */
/* route.h - a low-cardinality guess of an HTTP route from a path: numbers, UUIDs, hex and long
 * random segments become {id}. A ceiling on the distinct routes of a service keeps a crawler or an
 * attacker from filling the dictionary: past it every new route is "{other}". */
#ifndef WIRESPAN_ROUTE_H
#define WIRESPAN_ROUTE_H

#include "store/base.h"

struct routes;

int routes_new(struct routes **ret, uint32_t max_per_service);
void routes_free(struct routes *r);
/* path without query. The result lives in the arena. */
struct str routes_guess(struct routes *r, struct arena *a, struct str service, struct str path);

#endif

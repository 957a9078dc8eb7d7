/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - the systemd unit that a process belongs to, from the text of its /proc/<pid>/cgroup,
 * when that unit is a service and says what the program is. Sessions, scopes, slices and containers
 * (which may sit below their runtime's service) name nothing. Pure: text in, name out. */
#ifndef WIRESPAN_UNIT_H
#define WIRESPAN_UNIT_H

#include "store/base.h"

enum { UNIT_NAME_MAX = 256 };

/* "nginx.service" gives "nginx". The name is written to buf; empty: none. */
struct str unit_name(struct str cgroup, char buf[UNIT_NAME_MAX]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* selector.h - does a process have all that a selector of the configuration asks for? What is not
 * known of a process (a pod's labels without the API) does not match. Pure; discover.c decides. */
#ifndef WIRESPAN_SELECTOR_H
#define WIRESPAN_SELECTOR_H

#include "agent/config.h"
#include "agent/procs.h"

/* port: one that it listens on, or 0. */
bool selector_matches(const struct selector *s, const struct proc_info *pi, uint16_t port);
/* The number of the first one that matches, from 1; 0: none does. */
uint32_t selectors_match(const struct selectors *all, const struct proc_info *pi, uint16_t port);
/* Would one match if it listened on a port of its choice? */
bool selectors_may_match(const struct selectors *all, const struct proc_info *pi);
/* Is this namespace asked for by its own name? */
bool selectors_name_namespace(const struct selectors *all, const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h - one registry for everything the program says of itself: counters and gauges (for
 * /metrics) and notes (for /status). The folders to the left register and set; the web folder walks.
 * Thread-safe. Registering the same name and labels twice returns the same cell. Cells live for ever. */
#ifndef WIRESPAN_STATS_H
#define WIRESPAN_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "store/base.h"

enum stat_kind { STAT_COUNTER, STAT_GAUGE };

typedef _Atomic uint64_t stat_cell;

/* name: Prometheus style without prefix ("lost_total"; "wirespan_" is put before it when shown);
 * labels: "" or `reason="ring_span"`, already escaped; help: one sentence, the first one registered
 * for a name counts. Never fails (aborts without memory). */
stat_cell *stats_cell(enum stat_kind kind, const char *name, const char *labels, const char *help);

static inline void stat_add(stat_cell *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline void stat_set(stat_cell *c, uint64_t n)
{
	atomic_store_explicit(c, n, memory_order_relaxed);
}

/* Called before each walk so that gauges and copied counters are fresh. At most 16 of them. */
void stats_on_read(void (*fn)(void *arg), void *arg);
/* Forgets a function given to stats_on_read (its owner goes away). */
void stats_off_read(void (*fn)(void *arg), void *arg);

struct stat_row {
	enum stat_kind kind;
	const char *name, *labels, *help;
	uint64_t value;
};

/* Walks all cells, those of one name together. */
void stats_walk(void (*fn)(void *arg, const struct stat_row *row), void *arg);

/* Notes: facts in words, by section and key, e.g. section "providers", key "will_send". Setting a
 * key again replaces its text. Text may hold anything; whoever shows it escapes it. */
void stats_note(const char *section, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void stats_note_drop(const char *section, const char *key);
/* Walks all notes, sections in order of first use, keys in order of first use. */
void stats_notes_walk(void (*fn)(void *arg, const char *section, const char *key, const char *text),
		      void *arg);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - the registry behind stats.h: two lists and a table of functions, each under a lock.
 *
 * Registering is rare and searches a list; counting is an atomic add in the caller and never comes
 * here. It formats nothing and knows no exposition format. The invariants: a cell never moves and
 * is never freed, cells of one name (notes of one section) stand together in their list, and the
 * functions of stats_on_read run before the list's lock is taken, so that they may register, set
 * and note. A function given to a walk runs under the lock and must not call back. */
#include "store/stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct cell {
	stat_cell value; /* first: callers hold its address */
	struct cell *next;
	enum stat_kind kind;
	char *name, *labels, *help;
};

struct note {
	struct note *next;
	char *section, *key, *text;
};

struct reader {
	void (*fn)(void *arg);
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cell *cells;
static struct note *notes;

static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct reader readers[16];
static size_t reader_cnt;

static char *dup_or_abort(const char *s)
{
	char *p = strdup(s);

	must(p);
	return p;
}

/* --- cells --- */

/* The place where a cell of this name goes: behind the last of its name, else at the end. Sets
 * *found when the very cell is there. */
static struct cell **cell_place(const char *name, const char *labels, struct cell **found)
{
	struct cell **at = &cells, **place = NULL;

	for (; *at; at = &(*at)->next) {
		if (strcmp((*at)->name, name) != 0)
			continue;
		place = &(*at)->next;
		if (strcmp((*at)->labels, labels) == 0)
			*found = *at;
	}
	return place ? place : at;
}

stat_cell *stats_cell(enum stat_kind kind, const char *name, const char *labels, const char *help)
{
	struct cell *c = NULL, **place;

	pthread_mutex_lock(&lock);
	place = cell_place(name, labels, &c);
	if (!c) {
		c = calloc(1, sizeof(*c));
		must(c);
		c->kind = kind;
		c->name = dup_or_abort(name);
		c->labels = dup_or_abort(labels);
		c->help = dup_or_abort(help);
		c->next = *place;
		*place = c;
	}
	pthread_mutex_unlock(&lock);
	return &c->value;
}

/* --- functions that freshen --- */

void stats_on_read(void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&readers_lock);
	must(reader_cnt < ARRAY_SIZE(readers));
	readers[reader_cnt++] = (struct reader){fn, arg};
	pthread_mutex_unlock(&readers_lock);
}

void stats_off_read(void (*fn)(void *arg), void *arg)
{
	size_t kept = 0;

	pthread_mutex_lock(&readers_lock);
	for (size_t i = 0; i < reader_cnt; i++)
		if (readers[i].fn != fn || readers[i].arg != arg)
			readers[kept++] = readers[i];
	reader_cnt = kept;
	pthread_mutex_unlock(&readers_lock);
}

static void readers_run(void)
{
	pthread_mutex_lock(&readers_lock);
	for (size_t i = 0; i < reader_cnt; i++)
		readers[i].fn(readers[i].arg);
	pthread_mutex_unlock(&readers_lock);
}

/* The help of the first one registered for a name counts. */
void stats_walk(void (*fn)(void *arg, const struct stat_row *row), void *arg)
{
	const struct cell *first = NULL;

	readers_run();
	pthread_mutex_lock(&lock);
	for (const struct cell *c = cells; c; c = c->next) {
		if (!first || strcmp(first->name, c->name) != 0)
			first = c;
		fn(arg, &(struct stat_row){
			    .kind = first->kind,
			    .name = c->name,
			    .labels = c->labels,
			    .help = first->help,
			    .value = atomic_load_explicit(&c->value, memory_order_relaxed),
			});
	}
	pthread_mutex_unlock(&lock);
}

/* --- notes --- */

/* Where the note is; or, when *found stays false, where it goes. */
static struct note **note_place(const char *section, const char *key, bool *found)
{
	struct note **at = &notes, **place = NULL;

	for (; *at; at = &(*at)->next) {
		if (strcmp((*at)->section, section) != 0)
			continue;
		if (strcmp((*at)->key, key) == 0) {
			*found = true;
			return at;
		}
		place = &(*at)->next;
	}
	return place ? place : at;
}

static struct note *note_new(const char *section, const char *key)
{
	struct note *n = calloc(1, sizeof(*n));

	must(n);
	n->section = dup_or_abort(section);
	n->key = dup_or_abort(key);
	return n;
}

void stats_note(const char *section, const char *key, const char *fmt, ...)
{
	bool found = false;
	struct note **at, *n;
	struct strbuf text;
	va_list ap;

	strbuf_init(&text);
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);

	pthread_mutex_lock(&lock);
	at = note_place(section, key, &found);
	if (!found) {
		n = note_new(section, key);
		n->next = *at;
		*at = n;
	}
	free((*at)->text);
	(*at)->text = strbuf_take(&text, NULL);
	pthread_mutex_unlock(&lock);
}

void stats_note_drop(const char *section, const char *key)
{
	bool found = false;
	struct note **at, *n;

	pthread_mutex_lock(&lock);
	at = note_place(section, key, &found);
	if (found) {
		n = *at;
		*at = n->next;
		free(n->section);
		free(n->key);
		free(n->text);
		free(n);
	}
	pthread_mutex_unlock(&lock);
}

void stats_notes_walk(void (*fn)(void *arg, const char *section, const char *key, const char *text),
		      void *arg)
{
	readers_run();
	pthread_mutex_lock(&lock);
	for (const struct note *n = notes; n; n = n->next)
		fn(arg, n->section, n->key, n->text);
	pthread_mutex_unlock(&lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* config_key.h - what the three files behind config.h share: a row of the table of keys (config.c),
 * the kinds of value that a row may have (config_value.c), and the door through which every reader
 * (defaults, file, environment, flags) gives a value to a key. Private to config*.c. The invariant:
 * readers know no key by name and kinds know no reader. */
#ifndef WIRESPAN_CONFIG_KEY_H
#define WIRESPAN_CONFIG_KEY_H

#include "agent/config.h"

struct config_key;
struct config_reader;

/* One key of a record and its value; a group below it is joined with dots. */
struct config_pair {
	char *name, *text;
};

struct config_kind {
	const char *meta; /* what --help shows in the place of the value */
	bool is_list;
	bool is_switch; /* a flag without a value means "on" */
	/* Writes one value, or adds one item of a list, at `field`. -EINVAL, -E2BIG: why says what
	 * is wrong with it, without saying where it stands. */
	int (*parse)(const struct config_key *key, void *field, const char *text,
		     struct strbuf *why);
	/* Adds one record of a list of records. NULL: the kind has none. */
	int (*parse_record)(void *field, const struct config_pair *pairs, size_t cnt,
			    struct strbuf *why);
	void (*clear)(void *field); /* back to empty, memory freed; NULL: nothing to free */
};

struct config_key {
	const char *name; /* as in the file; '.' makes groups */
	const struct config_kind *kind;
	size_t off; /* of the field in struct config; a list's count follows it */
	const char *def, *help;
	uint64_t min, max; /* numbers */
};

extern const struct config_kind config_address, config_address_or_none, config_when, config_text, config_path, config_name, config_switch,
	config_level, config_ports, config_globs, config_hosts, config_count, config_power_of_two,
	config_size, config_duration, config_ratio, config_paths, config_selectors;

/* The row, or NULL. */
const struct config_key *config_key_find(const char *name);
/* Is it the first part of some key's name ("retention")? */
bool config_key_is_group(const char *name);
/* Gives a key its value; where ("FILE:3: listen", "--listen") opens the sentence of an error. A
 * list given as one text is split at its commas. */
int config_put(struct config_reader *r, const struct config_key *key, const char *where,
	       const char *text);
int config_put_list(struct config_reader *r, const struct config_key *key, const char *where,
		    char *const *items, size_t cnt);
/* Empties a list that records come to, then adds one after the other. */
int config_put_records(struct config_reader *r, const struct config_key *key, const char *where);
int config_put_record(struct config_reader *r, const struct config_key *key, const char *where,
		      const struct config_pair *pairs, size_t cnt);
/* Writes the sentence and returns -EINVAL. */
int config_refuse(struct config_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Reads a YAML file (config_file.c). */
int config_file_read(struct config_reader *r, const char *path);

#endif

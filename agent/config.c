/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the one table of settings, and the readers that fill it: defaults, YAML file
 * (config_file.c), environment, flags, in this order, later ones win. The names of flags and
 * variables, the help and the sample file are made from the table and stand nowhere else. Called by
 * main.c. The invariants: *c is whole or untouched, and a list that a later reader gives replaces
 * the earlier one. */
#include "agent/config.h"
#include "agent/config_key.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_PREFIX "WIRESPAN_"
#define F(field)   offsetof(struct config, field)

static const struct config_key keys[] = {
	{"listen", &config_address, F(listen), "127.0.0.1:3200",
	 "Address and port to serve on; [::1]:3200 for IPv6.", 0, 0},
	{"otlp.listen", &config_address_or_none, F(otlp_listen), "",
	 "Take OTLP/HTTP here too, usually 127.0.0.1:4318.", 0, 0},
	{"otlp.answer", &config_when, F(otlp_commits), "accepted",
	 "Answer when spans are accepted, or on disk (committed).", 0, 0},
	{"otlp.grpc_listen", &config_address_or_none, F(otlp_grpc_listen), "",
	 "Take OTLP/gRPC here too, usually 127.0.0.1:4317.", 0, 0},
	{"store", &config_text, F(store), "/var/lib/wirespan", "Folder that holds the spans.", 0,
	 0},
	{"capture", &config_switch, F(capture), "on",
	 "off: serve what is stored, load nothing into the kernel, need no root.", 0, 0},
	{"open_ports", &config_ports, F(open_ports), "",
	 "Trace what listens on these TCP ports: 8080,8000-8100.", 0, 0},
	{"exe_path", &config_globs, F(exe_path), "",
	 "Trace programs by path: /usr/sbin/nginx,/opt/*/bin/*.", 0, 0},
	{"name", &config_globs, F(name), "",
	 "Trace by service name: api-*. Any of the three suffices; none: all listeners.", 0, 0},
	{"discovery.instrument", &config_selectors, F(instrument), "",
	 "Trace what has all that one of these asks for (README).", 0, 0},
	{"discovery.exclude_instrument", &config_selectors, F(exclude), "",
	 "Never trace what matches one of these.", 0, 0},
	{"discovery.services", &config_selectors, F(instrument), "",
	 "Older name of discovery.instrument.", 0, 0},
	{"discovery.exclude_services", &config_selectors, F(exclude), "",
	 "Older name of discovery.exclude_instrument.", 0, 0},
	{"ignore.ports", &config_ports, F(ignore_ports), "",
	 "Leave alone all connections from or to these TCP ports.", 0, 0},
	{"ignore.paths", &config_paths, F(ignore_paths), "",
	 "No spans for these paths, nor for what they call: /health,/ready.", 0, 0},
	{"sampling.ratio", &config_ratio, F(sample_below), "1",
	 "Share of traces to keep, 0 to 1; errors and slow ones always.", 0, 0},
	{"sampling.slow", &config_duration, F(slow_ns), "1s",
	 "An exchange that takes so long is slow.", 0, 0},
	{"query.peers", &config_name, F(peers), "",
	 "Other nodes that are asked too: node-b:3200,https://node-c:3200.", 0, 0},
	{"context.node", &config_switch, F(node), "off",
	 "on: ask Node.js processes, through their debugger, whose their calls are.", 0, 0},
	{"propagation.tcp_option", &config_switch, F(tcp_option), "off",
	 "on: traces go on across nodes, by a TCP option; needs CAP_NET_ADMIN.", 0, 0},
	{"propagation.headers", &config_switch, F(headers), "off",
	 "on: HTTP/1 requests get a traceparent; needs CAP_NET_ADMIN.", 0, 0},
	{"retention.max_age", &config_duration, F(max_age_ns), "7d",
	 "Older spans are deleted; 0: no limit.", 0, 0},
	{"retention.max_bytes", &config_size, F(max_bytes), "2GiB",
	 "Above this size the oldest spans are deleted; 0: no limit.", 0, 0},
	{"redact_query", &config_switch, F(redact_query), "on",
	 "Replace the values in URL queries by REDACTED.", 0, 0},
	{"sanitize_sql", &config_switch, F(sanitize_sql), "on", "Replace the literals in SQL by ?.",
	 0, 0},
	{"max_routes", &config_count, F(max_routes), "500",
	 "Distinct http.route values per service; more become {other}.", 1, 1000000},
	{"ring_kib", &config_power_of_two, F(ring_kib), "4096",
	 "Ring buffer between kernel and agent in KiB, a power of two.", 64, 1 << 20},
	{"k8s.node_name", &config_name, F(k8s_node_name), "",
	 "Name of this Kubernetes node; it is the host.name then.", 0, 0},
	{"k8s.api", &config_switch, F(k8s_api), "on",
	 "Ask the API server, where a service account is given.", 0, 0},
	{"k8s.api_server", &config_name, F(k8s_api_server), "",
	 "URL of the API server; empty: that of our cluster.", 0, 0},
	{"k8s.token_file", &config_path, F(k8s_token_file),
	 "/var/run/secrets/kubernetes.io/serviceaccount/token", "Token for it.", 0, 0},
	{"k8s.ca_file", &config_path, F(k8s_ca_file),
	 "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "Its CA (PEM).", 0, 0},
	{"k8s.cluster_name", &config_name, F(k8s_cluster_name), "",
	 "Name of the Kubernetes cluster, for k8s.cluster.name.", 0, 0},
	{"token_file", &config_path, F(token_file), "",
	 "File with the bearer token that clients must send.", 0, 0},
	{"tls.cert_file", &config_path, F(tls_cert_file), "",
	 "Certificate chain (PEM): serve HTTPS. Wants tls.key_file too.", 0, 0},
	{"tls.key_file", &config_path, F(tls_key_file), "", "Private key (PEM).", 0, 0},
	{"hosts", &config_hosts, F(hosts), "", "Further Host headers that are ours.", 0, 0},
	{"insecure", &config_switch, F(insecure), "off",
	 "Allow to listen beyond loopback without a token.", 0, 0},
	{"log_level", &config_level, F(log_level), "info", "error, warn, info or debug.", 0, 0},
};

struct config_reader {
	struct config conf;
	char *where[ARRAY_SIZE(keys)]; /* who gave a key its value; NULL: the default */
	struct strbuf *why;
};

/* --- the table --- */

const struct config_key *config_key_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

bool config_key_is_group(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strncmp(keys[i].name, name, len) == 0 && keys[i].name[len] == '.')
			return true;
	return false;
}

/* "retention.max_age" → "--retention-max-age" */
static void flag_name(const struct config_key *key, struct strbuf *out)
{
	strbuf_adds(out, "--");
	for (const char *p = key->name; *p; p++)
		strbuf_addc(out, *p == '.' || *p == '_' ? '-' : *p);
}

/* "retention.max_age" → "WIRESPAN_RETENTION_MAX_AGE" */
static void env_name(const struct config_key *key, struct strbuf *out)
{
	strbuf_adds(out, ENV_PREFIX);
	for (const char *p = key->name; *p; p++)
		strbuf_addc(out, *p == '.' ? '_' : (char)toupper((unsigned char)*p));
}

/* The key whose name, written as a flag or a variable, is these len bytes. */
static const struct config_key *
key_spelled(void (*spell)(const struct config_key *, struct strbuf *), const char *text, size_t len)
{
	const struct config_key *found = NULL;
	struct strbuf name;

	strbuf_init(&name);
	for (size_t i = 0; i < ARRAY_SIZE(keys) && !found; i++) {
		strbuf_clear(&name);
		spell(&keys[i], &name);
		if (name.len == len && memcmp(name.p, text, len) == 0)
			found = &keys[i];
	}
	strbuf_fini(&name);
	return found;
}

/* --- the door --- */

int config_refuse(struct config_reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(r->why, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void *field_of(struct config *c, const struct config_key *key)
{
	return (char *)c + key->off;
}

static void remember_where(struct config_reader *r, const struct config_key *key, const char *where)
{
	char **to = &r->where[key - keys];

	free(*to);
	*to = strdup(where);
	must(*to);
}

static int put_one(struct config_reader *r, const struct config_key *key, const char *where,
		   const char *text)
{
	struct strbuf what;
	int err;

	strbuf_init(&what);
	err = key->kind->parse(key, field_of(&r->conf, key), text, &what);
	if (err)
		err = config_refuse(r, "%s: %s", where, what.p);
	strbuf_fini(&what);
	return err;
}

static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t");
	end = text + strlen(text);
	while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	return text;
}

static int put_split(struct config_reader *r, const struct config_key *key, const char *where,
		     const char *text)
{
	char *copy = strdup(text), *rest = copy, *item;
	int err = 0;

	must(copy);
	key->kind->clear(field_of(&r->conf, key));
	if (*trim(copy))
		while (!err && (item = strsep(&rest, ",")))
			err = put_one(r, key, where, trim(item));
	free(copy);
	return err;
}

int config_put(struct config_reader *r, const struct config_key *key, const char *where,
	       const char *text)
{
	remember_where(r, key, where);
	return key->kind->is_list ? put_split(r, key, where, text) : put_one(r, key, where, text);
}

int config_put_list(struct config_reader *r, const struct config_key *key, const char *where,
		    char *const *items, size_t cnt)
{
	int err = 0;

	if (!key->kind->is_list)
		return config_refuse(r, "%s: this key wants one value, not a list", where);
	remember_where(r, key, where);
	key->kind->clear(field_of(&r->conf, key));
	for (size_t i = 0; i < cnt && !err; i++)
		err = put_one(r, key, where, items[i]);
	return err;
}

int config_put_records(struct config_reader *r, const struct config_key *key, const char *where)
{
	if (!key->kind->parse_record)
		return config_refuse(r, "%s: an item of this list is one plain value", where);
	remember_where(r, key, where);
	key->kind->clear(field_of(&r->conf, key));
	return 0;
}

int config_put_record(struct config_reader *r, const struct config_key *key, const char *where,
		      const struct config_pair *pairs, size_t cnt)
{
	struct strbuf what;
	int err;

	strbuf_init(&what);
	err = key->kind->parse_record(field_of(&r->conf, key), pairs, cnt, &what);
	if (err)
		err = config_refuse(r, "%s: %s", where, what.p);
	strbuf_fini(&what);
	return err;
}

/* --- the readers --- */

static void read_defaults(struct config_reader *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct config_key *key = &keys[i];

		must(!key->kind->is_list || !*key->def);
		if (!key->kind->is_list)
			must(key->kind->parse(key, field_of(&r->conf, key), key->def, r->why) == 0);
	}
}

static int read_variable(struct config_reader *r, const char *entry)
{
	const char *eq = strchr(entry, '=');
	const struct config_key *key;
	struct strbuf name;
	int err;

	if (!eq || strncmp(entry, ENV_PREFIX, strlen(ENV_PREFIX)) != 0)
		return 0;
	strbuf_init(&name);
	strbuf_add(&name, entry, (size_t)(eq - entry));
	key = key_spelled(env_name, name.p, name.len);
	err = key ? config_put(r, key, name.p, eq + 1) : 0;
	if (!key && strcmp(name.p, ENV_PREFIX "CONFIG") != 0)
		log_warn("the variable %s is none of Wirespan's and is ignored; `wirespan help` "
			 "lists them",
			 name.p);
	strbuf_fini(&name);
	return err;
}

/* Names under which Beyla and OpenTelemetry's eBPF instrumentation know the same. */
static int read_foreign(struct config_reader *r)
{
	static const char *const prefixes[] = {"BEYLA_", "OTEL_EBPF_"};
	static const char *const names[][2] = {
		{"OPEN_PORT", "open_ports"},
		{"AUTO_TARGET_EXE", "exe_path"},
		{"KUBE_CLUSTER_NAME", "k8s.cluster_name"},
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(prefixes) * ARRAY_SIZE(names) && !err; i++) {
		const char *const *name = names[i % ARRAY_SIZE(names)], *value;
		char variable[64];

		snprintf(variable, sizeof(variable), "%s%s", prefixes[i / ARRAY_SIZE(names)],
			 name[0]);
		value = getenv(variable);
		if (value && *value)
			err = config_put(r, config_key_find(name[1]), variable, value);
	}
	return err;
}

static int read_environment(struct config_reader *r)
{
	int err = read_foreign(r);

	for (char **at = environ; at && *at && !err; at++)
		err = read_variable(r, *at);
	return err;
}

struct flags {
	int argc;
	char **argv;
	int at;
};

/* The next flag, its name without value, and its value: behind '=' or in the next argument. */
struct flag {
	const char *text;
	size_t name_len;
	const char *value; /* NULL: none */
	bool value_is_next;
};

static bool next_flag(const struct flags *fs, struct flag *ret)
{
	const char *eq;

	if (fs->at >= fs->argc)
		return false;
	*ret = (struct flag){.text = fs->argv[fs->at]};
	eq = strchr(ret->text, '=');
	ret->name_len = eq ? (size_t)(eq - ret->text) : strlen(ret->text);
	if (eq) {
		ret->value = eq + 1;
	} else if (fs->at + 1 < fs->argc && strncmp(fs->argv[fs->at + 1], "--", 2) != 0) {
		ret->value = fs->argv[fs->at + 1];
		ret->value_is_next = true;
	}
	return true;
}

static bool flag_is(const struct flag *f, const char *name)
{
	return strlen(name) == f->name_len && strncmp(f->text, name, f->name_len) == 0;
}

static int read_flag(struct config_reader *r, const struct flag *f)
{
	const struct config_key *key = key_spelled(flag_name, f->text, f->name_len);
	struct strbuf name;
	int err;

	if (strncmp(f->text, "--", 2) != 0)
		return config_refuse(r,
				     "\"%.80s\": unexpected argument; settings are given as "
				     "--key value",
				     f->text);
	if (!key && !flag_is(f, "--config"))
		return config_refuse(r, "%.80s: unknown flag; `wirespan help` lists them", f->text);
	if (!f->value && !(key && key->kind->is_switch))
		return config_refuse(r, "%.80s: a value must follow this flag", f->text);
	if (!key)
		return 0;
	strbuf_init(&name);
	flag_name(key, &name);
	err = config_put(r, key, name.p, f->value ?: "on");
	strbuf_fini(&name);
	return err;
}

static int read_flags(struct config_reader *r, int argc, char **argv)
{
	struct flags fs = {.argc = argc, .argv = argv};
	struct flag f;
	int err = 0;

	while (!err && next_flag(&fs, &f)) {
		err = read_flag(r, &f);
		fs.at += 1 + f.value_is_next;
	}
	return err;
}

/* The file is read before the other flags are, so --config is looked for ahead of them. */
static const char *config_path_of(int argc, char **argv)
{
	struct flags fs = {.argc = argc, .argv = argv};
	const char *path = getenv(ENV_PREFIX "CONFIG");
	struct flag f;

	while (next_flag(&fs, &f)) {
		if (flag_is(&f, "--config") && f.value)
			path = f.value;
		fs.at += 1 + f.value_is_next;
	}
	return path && *path ? path : NULL;
}

/* --- what no key can say alone --- */

static const char *where_of(const struct config_reader *r, const char *name)
{
	const struct config_key *key = config_key_find(name);

	return r->where[key - keys];
}

static int check_together(struct config_reader *r)
{
	const struct config *c = &r->conf;

	if (!c->tls_cert_file != !c->tls_key_file)
		return config_refuse(
			r, "%s: tls.cert_file and tls.key_file go together; give both",
			where_of(r, c->tls_cert_file ? "tls.cert_file" : "tls.key_file"));
	return 0;
}

int config_load(struct config *c, int argc, char **argv, struct strbuf *why)
{
	struct config_reader r = {.why = why};
	const char *path = config_path_of(argc, argv);
	int err;

	read_defaults(&r);
	err = path ? config_file_read(&r, path) : 0;
	err = err ?: read_environment(&r);
	err = err ?: read_flags(&r, argc, argv);
	err = err ?: check_together(&r);
	for (size_t i = 0; i < ARRAY_SIZE(r.where); i++)
		free(r.where[i]);
	if (err)
		config_fini(&r.conf);
	else
		*c = r.conf;
	return err;
}

void config_fini(struct config *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].kind->clear)
			keys[i].kind->clear(field_of(c, &keys[i]));
}

/* --- the table as text --- */

void config_help(struct strbuf *out)
{
	struct strbuf flag;

	strbuf_init(&flag);
	strbuf_adds(out,
		    "  --config FILE                 YAML file with these settings, each key as "
		    "below\n                                (`wirespan config sample`)\n");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		strbuf_clear(&flag);
		flag_name(&keys[i], &flag);
		strbuf_printf(&flag, " %s", keys[i].kind->meta);
		strbuf_printf(out, "  %-29s %s%s%s%s\n", flag.p, keys[i].help,
			      *keys[i].def ? " (" : "", keys[i].def, *keys[i].def ? ")" : "");
	}
	strbuf_fini(&flag);
	strbuf_adds(out, "\nEach is also a variable: --retention-max-age is "
			 "WIRESPAN_RETENTION_MAX_AGE, --config is\nWIRESPAN_CONFIG. Flags win over "
			 "variables, variables over the file.\n");
}

void config_sample(struct strbuf *out)
{
	strbuf_adds(out,
		    "# Wirespan's settings with their defaults. To change one, take away the # in "
		    "front of its key.\n# The same settings are flags (--retention-max-age) and "
		    "variables (WIRESPAN_RETENTION_MAX_AGE):\n# flags win over variables, "
		    "variables over this file. `wirespan config check` reads it and says\n# what "
		    "is wrong with it.\n");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		strbuf_printf(out, "\n# %s\n#%s: %s\n", keys[i].help, keys[i].name,
			      *keys[i].def	      ? keys[i].def
			      : keys[i].kind->is_list ? "[]"
						      : "\"\"");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* config_test.c - the settings: each reader, who wins, every refusal with its place, and that the
 * sample file in deploy/ is what the table says. Runs from the repository's root (the makefile
 * does), writes only into a temporary folder, and compares sentences by their telling parts. */
#include "agent/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static char path[] = "/tmp/wirespan-config-XXXXXX";

static void file_write(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

/* Arguments end with NULL. */
static int load(struct config *c, struct strbuf *why, const char *const *args)
{
	char *argv[16];
	int argc = 0;

	for (; args[argc]; argc++)
		argv[argc] = (char *)args[argc];
	return config_load(c, argc, argv, why);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static struct config good(const char *const *args)
{
	struct strbuf why;
	struct config c;

	strbuf_init(&why);
	if (load(&c, &why, args))
		fail_msg("refused: %s", why.p);
	assert_string_equal(why.p, "");
	strbuf_fini(&why);
	return c;
}

static void bad(const char *sentence_part, const char *const *args)
{
	struct config c = {.ring_kib = 77};
	struct strbuf why;

	strbuf_init(&why);
	assert_int_equal(load(&c, &why, args), -EINVAL);
	if (!strstr(why.p, sentence_part))
		fail_msg("\"%s\" is not in: %s", sentence_part, why.p);
	assert_null(strchr(why.p, '\n'));
	assert_int_equal(c.ring_kib, 77); /* untouched */
	strbuf_fini(&why);
}

static struct config good_file(const char *text)
{
	file_write(text, strlen(text));
	return good(ARGS("--config", path));
}

/* where: ":LINE: …" is put behind the file's path. */
static void bad_file(const char *where, const char *text)
{
	char part[512];

	file_write(text, strlen(text));
	snprintf(part, sizeof(part), "%s%s", path, where);
	bad(part, ARGS("--config", path));
}

static void check_defaults(const struct config *c)
{
	assert_string_equal(c->listen, "127.0.0.1:3200");
	assert_string_equal(c->store, "/var/lib/wirespan");
	assert_true(c->capture && c->redact_query && c->sanitize_sql && !c->insecure);
	assert_int_equal(c->open_port_cnt + c->exe_path_cnt + c->name_cnt, 0);
	assert_null(c->otlp_listen);
	assert_false(c->otlp_commits);
	assert_null(c->token_file);
	assert_null(c->tls_cert_file);
	assert_null(c->hosts[0]);
	assert_int_equal(c->ring_kib, 4096);
	assert_int_equal(c->max_age_ns, 7ull * 86400 * NS_PER_S);
	assert_int_equal(c->max_bytes, 2ull << 30);
	assert_int_equal(c->log_level, LOG_INFO);
}

static void test_defaults(void **state)
{
	struct config c = good(ARGS());

	(void)state;
	check_defaults(&c);
	config_fini(&c);
}

static void test_file(void **state)
{
	struct config c = good_file("listen: '[::1]:0'\n"
				    "capture: off\n"
				    "open_ports: [8080, \"5432\", 8000-8100]\n"
				    "exe_path: /usr/sbin/nginx , /opt/*\n"
				    "name:\n  - 'api-*'\n  - a,b\n"
				    "retention:\n  max_age: 1d12h\n  max_bytes: 512MiB\n"
				    "tls.cert_file: /c\ntls:\n  key_file: /k\n"
				    "hosts: [tempo.local]\nlog_level: debug\n");

	(void)state;
	assert_string_equal(c.listen, "[::1]:0");
	assert_false(c.capture);
	assert_int_equal(c.open_port_cnt, 3);
	assert_int_equal(c.open_ports[1].from, 5432);
	assert_int_equal(c.open_ports[2].to, 8100);
	assert_int_equal(c.exe_path_cnt, 2);
	assert_string_equal(c.exe_path[0], "/usr/sbin/nginx");
	assert_string_equal(c.exe_path[1], "/opt/*");
	assert_int_equal(c.name_cnt, 2);
	assert_string_equal(c.name[1], "a,b");
	assert_int_equal(c.max_age_ns, 36ull * 3600 * NS_PER_S);
	assert_int_equal(c.max_bytes, 512 << 20);
	assert_string_equal(c.tls_cert_file, "/c");
	assert_string_equal(c.tls_key_file, "/k");
	assert_string_equal(c.hosts[0], "tempo.local");
	assert_null(c.hosts[1]);
	assert_int_equal(c.log_level, LOG_DEBUG);
	config_fini(&c);
}

static void test_empty_files(void **state)
{
	static const char *const texts[] = {"", "# only words\n", "---\n", "retention:\nhosts:\n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct config c = good_file(texts[i]);

		check_defaults(&c);
		config_fini(&c);
	}
}

static void test_who_wins(void **state)
{
	static const char text[] = "listen: 127.0.0.1:1\nstore: /file\nopen_ports: 1\n";
	struct config c;

	(void)state;
	file_write(text, sizeof(text) - 1);
	setenv("WIRESPAN_CONFIG", path, 1);
	setenv("WIRESPAN_LISTEN", "127.0.0.1:2", 1);
	setenv("WIRESPAN_OPEN_PORTS", "2,3", 1);
	setenv("WIRESPAN_RETENTION_MAX_AGE", "30m", 1);
	setenv("WIRESPAN_NO_SUCH", "only a warning", 1);
	c = good(ARGS("--listen", "127.0.0.1:3", "--log-level=warn", "--listen", "127.0.0.1:4"));
	assert_string_equal(c.listen, "127.0.0.1:4");
	assert_string_equal(c.store, "/file");
	assert_int_equal(c.open_port_cnt, 2);
	assert_int_equal(c.max_age_ns, 1800ull * NS_PER_S);
	assert_int_equal(c.log_level, LOG_WARN);
	config_fini(&c);

	setenv("WIRESPAN_OPEN_PORTS", "99999", 1);
	bad("WIRESPAN_OPEN_PORTS: \"99999\"", ARGS());
	unsetenv("WIRESPAN_CONFIG");
	unsetenv("WIRESPAN_LISTEN");
	unsetenv("WIRESPAN_OPEN_PORTS");
	unsetenv("WIRESPAN_RETENTION_MAX_AGE");
	unsetenv("WIRESPAN_NO_SUCH");
}

static void test_foreign_variables(void **state)
{
	struct config c;

	(void)state;
	setenv("BEYLA_OPEN_PORT", "80,8000-8100", 1);
	setenv("OTEL_EBPF_AUTO_TARGET_EXE", "*/api", 1);
	c = good(ARGS());
	assert_int_equal(c.open_port_cnt, 2);
	assert_string_equal(c.exe_path[0], "*/api");
	config_fini(&c);
	setenv("WIRESPAN_OPEN_PORTS", "1", 1);
	c = good(ARGS());
	assert_int_equal(c.open_port_cnt, 1);
	config_fini(&c);
	unsetenv("WIRESPAN_OPEN_PORTS");
	setenv("BEYLA_OPEN_PORT", "x", 1);
	bad("BEYLA_OPEN_PORT: \"x\"", ARGS());
	unsetenv("BEYLA_OPEN_PORT");
	unsetenv("OTEL_EBPF_AUTO_TARGET_EXE");
}

static void test_flags(void **state)
{
	struct config c = good(ARGS("--insecure", "--capture=off", "--open-ports", "8080,5432",
				    "--name", "", "--retention-max-bytes", "0", "--otlp-listen",
				    "127.0.0.1:4318", "--otlp-answer", "committed"));

	(void)state;
	assert_true(c.insecure);
	assert_false(c.capture);
	assert_int_equal(c.open_port_cnt, 2);
	assert_int_equal(c.max_bytes, 0);
	assert_string_equal(c.otlp_listen, "127.0.0.1:4318");
	assert_true(c.otlp_commits);
	config_fini(&c);
}

static void test_bad_flags(void **state)
{
	(void)state;
	bad("--lisen: unknown flag", ARGS("--lisen", "x"));
	bad("--listen: a value must follow", ARGS("--listen"));
	bad("--listen: a value must follow", ARGS("--listen", "--capture", "off"));
	bad("\"extra\": unexpected argument", ARGS("extra"));
	bad("--config: a value must follow", ARGS("--config"));
	bad("/no/such/file: the settings cannot be read: No such file",
	    ARGS("--config", "/no/such/file"));
	bad("/: the settings cannot be read: Is a directory", ARGS("--config", "/"));
	bad("--tls-cert-file: tls.cert_file and tls.key_file go together",
	    ARGS("--tls-cert-file", "/c"));
}

static void test_bad_values(void **state)
{
	static const char *const flags[][2] = {
		{"--listen", "3200"},
		{"--listen", ":3200"},
		{"--listen", "127.0.0.1:"},
		{"--listen", "127.0.0.1:65536"},
		{"--listen", "::1:3200"},
		{"--listen", "[::1:3200"},
		{"--otlp-listen", "4318"},
		{"--otlp-answer", "durable"},
		{"--store", ""},
		{"--capture", "maybe"},
		{"--open-ports", "0"},
		{"--open-ports", "80,,81"},
		{"--open-ports", "9-8"},
		{"--open-ports", "80-"},
		{"--open-ports", "80x"},
		{"--open-ports", "99999999999999999999999"},
		{"--ring-kib", "100"},
		{"--ring-kib", "32"},
		{"--ring-kib", "2097152"},
		{"--max-routes", "0"},
		{"--max-routes", "many"},
		{"--log-level", "loud"},
		{"--retention-max-age", "7"},
		{"--retention-max-age", "7w"},
		{"--retention-max-age", ""},
		{"--retention-max-age", "-7d"},
		{"--retention-max-age", "d"},
		{"--retention-max-age", "300000000d"},
		{"--retention-max-bytes", "2GG"},
		{"--retention-max-bytes", "99999999TiB"},
		{"--exe-path", "/a,,/b"},
	};
	char part[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		snprintf(part, sizeof(part), "%s: ", flags[i][0]);
		bad(part, ARGS(flags[i][0], flags[i][1]));
	}
}

static void test_bad_files(void **state)
{
	(void)state;
	bad_file(":2: unknown key \"lisen\"", "store: /x\nlisen: 127.0.0.1:1\n");
	bad_file(":3: unknown key \"retention.max_days\"", "\nretention:\n  max_days: 7\n");
	bad_file(":2: unknown key \"retentoin\"", "\nretentoin:\n  max_age: 7d\n");
	bad_file(":3: listen was given in line 1", "listen: a:1\n\nlisten: a:1\n");
	bad_file(":3: retention.max_age was given in line 1",
		 "retention.max_age: 1d\nretention:\n  max_age: 1d\n");
	bad_file(":2: open_ports: \"80x\" is not", "\nopen_ports: [80, 80x]\n");
	bad_file(":1: listen: this key wants one value, not a list", "listen: [a:1]\n");
	bad_file(":1: this key wants one value, not a group", "listen: {a: 1}\n");
	bad_file(":1: this is a group of keys", "retention: 7d\n");
	bad_file(":1: an item of a list", "name: [[a]]\n");
	bad_file(":1: put quotes around", "name: *api\n");
	bad_file(":2: this is not valid YAML", "store: [\n}");
	bad_file(":1: this is not valid YAML", "\xff\xfe\xff");
	bad_file(":1: the file is not a list", "- a\n- b\n");
	bad_file(":1: a NUL character", "store: \"a\\0b\"\n");
	bad_file(":1: a key is one word", "{[a]: b}\n");
	bad_file(":2: a second document", "store: /x\n---\nlisten: a:1\n");
	bad_file(":1: unknown key \"a\"", "a: {a: {a: {a: {a: {a: {a: {a: {a: b}}}}}}}}\n");
}

static void test_selectors(void **state)
{
	const struct selector *s;
	struct config c;

	(void)state;
	c = good_file("discovery:\n  instrument:\n  - k8s_namespace: app\n    open_ports: '80, 8080-8081'\n"
		      "  - k8s_pod_labels: {app: 'web*', tier: front}\n    open_ports: [1, 2-5]\n"
		      "  exclude_instrument:\n  - exe_path: '*/sh'\n");
	assert_int_equal(c.instrument.cnt, 2);
	s = c.instrument.at;
	assert_string_equal(s[0].globs[SELECT_k8s_namespace], "app");
	assert_int_equal(s[0].open_ports.cnt, 2);
	assert_int_equal(s[0].open_ports.at[1].to, 8081);
	assert_int_equal(s[1].label_cnt, 2);
	assert_string_equal(s[1].labels[0].key, "app");
	assert_string_equal(s[1].labels[0].glob, "web*");
	assert_int_equal(s[1].open_ports.at[1].from, 2);
	assert_string_equal(c.exclude.at[0].globs[SELECT_exe_path], "*/sh");
	config_fini(&c);
	c = good_file("discovery:\n  services:\n  - name: a\n");
	assert_string_equal(c.instrument.at[0].globs[SELECT_name], "a");
	config_fini(&c);
	c = good(ARGS("--discovery-instrument", "k8s_namespace=app open_ports=80,81;  name=api-*"));
	assert_int_equal(c.instrument.cnt, 2);
	assert_int_equal(c.instrument.at[0].open_ports.cnt, 2);
	assert_string_equal(c.instrument.at[1].globs[SELECT_name], "api-*");
	config_fini(&c);
	bad_file(":3: discovery.instrument: \"k8s_namspace\" is no key",
		 "discovery:\n  instrument:\n  - k8s_namspace: app\n");
	bad_file(":3: discovery.instrument: a selector asks for nothing",
		 "discovery:\n  instrument:\n  - {}\n");
	bad_file(":3: an item of this list is a group", "discovery:\n  instrument:\n  - app\n");
	bad_file(":3: discovery.instrument: \"99999\" is not a port",
		 "discovery:\n  instrument:\n  - open_ports: 99999\n");
	bad_file(":1: an item of a list is one plain value", "open_ports: [{a: b}]\n");
	bad("is not key=value", ARGS("--discovery-instrument", "app"));
	bad("asks for nothing", ARGS("--discovery-instrument", "name=a;"));
	bad("wants one pattern", ARGS("--discovery-instrument", "name=a name=b"));
}

static void test_large_file(void **state)
{
	size_t len = (1 << 20) + 2;
	char *text = malloc(len);

	(void)state;
	memset(text, '#', len);
	file_write(text, len);
	free(text);
	bad("the settings cannot be read: File too large", ARGS("--config", path));
}

static void test_too_many_items(void **state)
{
	struct strbuf text;

	(void)state;
	strbuf_init(&text);
	for (int i = 1; i <= PORTS_MAX + 1; i++)
		strbuf_printf(&text, "%s%d", i > 1 ? "," : "", i);
	bad("--open-ports: more than 256 entries", ARGS("--open-ports", text.p));
	strbuf_clear(&text);
	strbuf_adds(&text, "exe_path: [");
	for (int i = 0; i < 2000; i++)
		strbuf_adds(&text, "a, ");
	strbuf_adds(&text, "a]\n");
	bad_file(":1: this list is too long", text.p);
	strbuf_fini(&text);
}

static void test_prefixes_of_a_file(void **state)
{
	static const char text[] = "listen: 127.0.0.1:1\nopen_ports: [80, 90-91]\n"
				   "retention: {max_age: 7d, max_bytes: \"1GiB\"}\n";
	struct strbuf why;
	struct config c;

	(void)state;
	strbuf_init(&why);
	for (size_t len = 0; len < sizeof(text); len++) {
		file_write(text, len);
		strbuf_clear(&why);
		if (load(&c, &why, ARGS("--config", path)))
			assert_true(why.len > 0);
		else
			config_fini(&c);
	}
	strbuf_fini(&why);
}

/* --- help and sample --- */

static void test_help_names_every_flag(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out);
	config_help(&out);
	assert_non_null(strstr(out.p, "--listen ADDR:PORT"));
	assert_non_null(strstr(out.p, "--retention-max-age DURATION"));
	assert_non_null(strstr(out.p, "(2GiB)"));
	for (char *line = strtok(out.p, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 112);
	strbuf_fini(&out);
}

/* "#key: value" without its '#'; "# words" stay. */
static void uncomment(char *text)
{
	for (char *p = text; *p; p++)
		if (*p == '#' && p[1] != ' ' && (p == text || p[-1] == '\n'))
			*p = ' ';
}

static void test_sample_is_the_defaults(void **state)
{
	struct strbuf out;
	struct config c;

	(void)state;
	strbuf_init(&out);
	config_sample(&out);
	c = good_file(out.p);
	check_defaults(&c);
	config_fini(&c);
	uncomment(out.p);
	assert_non_null(strstr(out.p, "\n listen: 127.0.0.1:3200\n"));
	c = good_file(out.p);
	check_defaults(&c);
	config_fini(&c);
	strbuf_fini(&out);
}

static void test_deploy_has_the_sample(void **state)
{
	FILE *f = fopen("deploy/wirespan.yaml", "r");
	struct strbuf out;
	char *text;
	size_t n;

	(void)state;
	assert_non_null(f);
	strbuf_init(&out);
	config_sample(&out);
	text = calloc(1, out.len + 2);
	n = fread(text, 1, out.len + 1, f);
	fclose(f);
	assert_int_equal(n, out.len);
	assert_string_equal(text, out.p);
	free(text);
	strbuf_fini(&out);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	unsetenv("WIRESPAN_CONFIG");
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int drop_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_empty_files),
		cmocka_unit_test(test_who_wins),
		cmocka_unit_test(test_foreign_variables),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_bad_flags),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_large_file),
		cmocka_unit_test(test_too_many_items),
		cmocka_unit_test(test_prefixes_of_a_file),
		cmocka_unit_test(test_help_names_every_flag),
		cmocka_unit_test(test_sample_is_the_defaults),
		cmocka_unit_test(test_deploy_has_the_sample),
	};

	return cmocka_run_group_tests(tests, make_file, drop_file);
}

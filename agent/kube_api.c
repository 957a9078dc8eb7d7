/* SPDX-License-Identifier: Apache-2.0 */
/* kube_api.c - see kube_api.h. One thread and one connection per collection (libcurl). List in pages,
 * then watch from the list's version; bookmarks move the version on, so that a watch that ends goes on
 * where it was; a version that is too old (410, as a status or inside a good stream) means a new list.
 * Failures wait longer each time. The invariants: nothing is told twice as gone, a list that broke off
 * takes nothing away, and what the server can make us keep is bounded. */
#include "agent/kube_api.h"
#include "agent/privileges.h"
#include "store/stats.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE = 500,
	BODY_MAX = 64 << 20, /* of a page, or of a line of a watch */
	WATCH_SECONDS = 240,
	WAIT_FIRST_MS = 500,
	WAIT_MAX_MS = 30000,
	TOKEN_MAX = 16384,
};

#define SECTION "kubernetes"

struct kube_follower {
	char *server, *token_file, *ca_file, *name, *path, *selector;
	kube_event_fn *fn;
	void *arg;
	CURL *curl;
	char version[64];
	struct strbuf body;
	bool is_watching; /* the body is a line */
	bool is_told;	  /* of the failure that lasts */
	int watch_err;
	pthread_t thread;
	atomic_bool stop, settled;
};

/* --- one request --- */

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct kube_follower *f = arg;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&f->stop);
}

static void watch_line(struct kube_follower *f, struct str line);

/* The watch's body is one event a line, whatever pieces it comes in. */
static void lines_take(struct kube_follower *f)
{
	size_t at = 0;
	char *end;

	while ((end = memchr(f->body.p + at, '\n', f->body.len - at))) {
		watch_line(f, (struct str){f->body.p + at, (size_t)(end - f->body.p) - at});
		at = (size_t)(end - f->body.p) + 1;
	}
	memmove(f->body.p, f->body.p + at, f->body.len - at);
	f->body.len -= at;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct kube_follower *f = arg;
	long status = 0;

	if (f->body.len + size * n > BODY_MAX)
		return 0;
	strbuf_add(&f->body, p, size * n);
	curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
	if (f->is_watching && status == 200)
		lines_take(f);
	return f->is_watching && f->watch_err ? 0 : size * n;
}

/* The token as it is now: it is renewed every hour or so. */
static struct curl_slist *headers_make(const struct kube_follower *f)
{
	char buf[TOKEN_MAX + 32] = "Authorization: Bearer ";
	size_t at = strlen(buf);
	int fd = f->token_file ? open(f->token_file, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd < 0 ? -1 : read(fd, buf + at, TOKEN_MAX);
	struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json");

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return list;
	buf[at + (size_t)n] = '\0';
	buf[at + strcspn(buf + at, "\r\n")] = '\0';
	list = curl_slist_append(list, buf);
	explicit_bzero(buf, sizeof(buf));
	return list;
}

/* The HTTP status, or -errno with a sentence in why. */
static int request(struct kube_follower *f, const char *query, long seconds, struct strbuf *why)
{
	char error[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = headers_make(f);
	struct strbuf url;
	long status = 0;
	CURLcode code;

	strbuf_init(&url);
	strbuf_printf(&url, "%s%s?%s", f->server, f->path, query);
	strbuf_clear(&f->body);
	curl_easy_reset(f->curl);
	curl_easy_setopt(f->curl, CURLOPT_URL, url.p);
	curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(f->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(f->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(f->curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(f->curl, CURLOPT_TIMEOUT, seconds);
	curl_easy_setopt(f->curl, CURLOPT_ERRORBUFFER, error);
	curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(f->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(f->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(f->curl, CURLOPT_XFERINFODATA, f);
	curl_easy_setopt(f->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	if (f->ca_file)
		curl_easy_setopt(f->curl, CURLOPT_CAINFO, f->ca_file);
	code = curl_easy_perform(f->curl);
	curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	strbuf_fini(&url);
	if (code == CURLE_OK || (f->is_watching && status == 200))
		return (int)status;
	strbuf_printf(why, "%s", *error ? error : curl_easy_strerror(code));
	return -EIO;
}

static int refused(int status, struct strbuf *why)
{
	if (status == 401)
		strbuf_adds(why, "401: it does not accept our token");
	else if (status == 403)
		strbuf_adds(why, "403: the service account needs get, list and watch of it");
	else
		strbuf_printf(why, "status %d", status);
	return status == 410 ? -ESTALE : -EACCES;
}

static const char *text_of(const json_t *object, const char *group, const char *key)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, group), key));

	return text ? text : "";
}

static void version_set(struct kube_follower *f, const json_t *object)
{
	const char *v = text_of(object, "metadata", "resourceVersion");

	if (*v && strlen(v) < sizeof(f->version))
		memcpy(f->version, v, strlen(v) + 1);
}

static void query_add(struct kube_follower *f, struct strbuf *query, const char *key, const char *text)
{
	char *escaped = curl_easy_escape(f->curl, text, 0);

	must(escaped);
	strbuf_printf(query, "&%s=%s", key, escaped);
	curl_free(escaped);
}

/* --- list --- */

/* One page. 0, or -errno with why; *more: the token of the next one, or NULL. */
static int page_get(struct kube_follower *f, char **more, struct strbuf *why)
{
	const json_t *item;
	struct strbuf query;
	json_t *page;
	size_t i;
	int status;

	strbuf_init(&query);
	strbuf_printf(&query, "limit=%d", PAGE);
	if (*f->selector)
		query_add(f, &query, "fieldSelector", f->selector);
	if (*more)
		query_add(f, &query, "continue", *more);
	f->is_watching = false;
	status = request(f, query.p, 60, why);
	strbuf_fini(&query);
	if (status != 200)
		return status < 0 ? status : refused(status, why);
	page = json_loadb(f->body.p, f->body.len, 0, NULL);
	if (!json_is_array(json_object_get(page, "items"))) {
		json_decref(page);
		strbuf_adds(why, "its answer is no list");
		return -EBADMSG;
	}
	json_array_foreach(json_object_get(page, "items"), i, item)
		f->fn(f->arg, KUBE_PUT, item);
	version_set(f, page);
	free(*more);
	*more = *text_of(page, "metadata", "continue")
			? strdup(text_of(page, "metadata", "continue"))
			: NULL;
	json_decref(page);
	return 0;
}

static int list(struct kube_follower *f, struct strbuf *why)
{
	char *more = NULL;
	int err;

	f->fn(f->arg, KUBE_LIST_BEGINS, NULL);
	do
		err = page_get(f, &more, why);
	while (!err && more);
	free(more);
	if (err)
		f->version[0] = '\0';
	else
		f->fn(f->arg, KUBE_LIST_ENDS, NULL);
	return err;
}

/* --- watch --- */

static void watch_line(struct kube_follower *f, struct str line)
{
	json_t *event = json_loadb(line.p, line.len, 0, NULL), *object = json_object_get(event, "object");
	const char *type = json_string_value(json_object_get(event, "type"));

	if (!type || !json_is_object(object))
		f->watch_err = -EBADMSG;
	else if (strcmp(type, "ERROR") == 0)
		f->watch_err = json_integer_value(json_object_get(object, "code")) == 410 ? -ESTALE
											  : -EIO;
	else if (strcmp(type, "DELETED") == 0)
		f->fn(f->arg, KUBE_GONE, object);
	else if (strcmp(type, "BOOKMARK") != 0)
		f->fn(f->arg, KUBE_PUT, object);
	if (!f->watch_err)
		version_set(f, object);
	json_decref(event);
}

/* 0: it ended as watches do; go on from the version. */
static int watch(struct kube_follower *f, struct strbuf *why)
{
	struct strbuf query;
	int status;

	strbuf_init(&query);
	strbuf_printf(&query, "watch=1&allowWatchBookmarks=true&timeoutSeconds=%d", WATCH_SECONDS);
	if (*f->selector)
		query_add(f, &query, "fieldSelector", f->selector);
	query_add(f, &query, "resourceVersion", f->version);
	f->is_watching = true;
	f->watch_err = 0;
	status = request(f, query.p, WATCH_SECONDS + 60, why);
	strbuf_fini(&query);
	if (status != 200)
		return status < 0 ? status : refused(status, why);
	if (f->watch_err && f->watch_err != -ESTALE)
		strbuf_adds(why, "its stream holds something that is no event");
	return f->watch_err;
}

/* --- the thread --- */

/* Less than a quarter of a second late for a stop. */
static void wait_ms(const struct kube_follower *f, unsigned ms)
{
	for (; ms && !atomic_load(&f->stop); ms -= ms < 200 ? ms : 200)
		nanosleep(&(struct timespec){.tv_nsec = (long)(ms < 200 ? ms : 200) * 1000000}, NULL);
}

static void tell(struct kube_follower *f, int err, const char *why)
{
	if (!err) {
		stats_note(SECTION, f->name, "watching");
		f->is_told = false;
		return;
	}
	stats_note(SECTION, f->name, "%s cannot be had from %s: %s", f->name, f->server, why);
	if (!f->is_told)
		log_warn("kubernetes: %s cannot be had from %s: %s; going on with what is known", f->name,
			 f->server, why);
	f->is_told = true;
}

static void *follower_run(void *arg)
{
	struct kube_follower *f = arg;
	unsigned pause = WAIT_FIRST_MS;
	struct strbuf why;

	strbuf_init(&why);
	if (privileges_drop(PRIVILEGES_NONE, &why)) /* who talks to the network needs none */
		log_warn("kubernetes: %s", why.p);
	while (!atomic_load(&f->stop)) {
		int err;

		strbuf_clear(&why);
		err = *f->version ? 0 : list(f, &why);
		atomic_store(&f->settled, true);
		if (!err) {
			tell(f, 0, NULL);
			err = watch(f, &why);
		}
		if (atomic_load(&f->stop))
			break;
		if (err == -ESTALE || err == -EBADMSG)
			f->version[0] = '\0';
		if (err && err != -ESTALE)
			tell(f, err, why.p);
		pause = !err || err == -ESTALE	   ? WAIT_FIRST_MS
			: pause * 2 < WAIT_MAX_MS ? pause * 2
						  : WAIT_MAX_MS;
		/* Not all nodes at the same moment; a watch that ended is no reason to hurry either. */
		wait_ms(f, pause / 2 + (unsigned)(clock_mono_ns() % (pause / 2 + 1)));
	}
	strbuf_fini(&why);
	return NULL;
}

static char *copy(const char *text)
{
	char *p = text ? strdup(text) : NULL;

	must(p || !text);
	return p;
}

static void follower_free(struct kube_follower *f)
{
	curl_easy_cleanup(f->curl);
	strbuf_fini(&f->body);
	free(f->server);
	free(f->token_file);
	free(f->ca_file);
	free(f->name);
	free(f->path);
	free(f->selector);
	free(f);
}

int kube_follow(struct kube_follower **ret, const struct kube_api_conf *c, const char *name,
		const char *path, const char *selector, kube_event_fn *fn, void *arg)
{
	struct kube_follower *f = calloc(1, sizeof(*f));
	int err;

	must(f);
	*f = (struct kube_follower){.server = copy(c->server), .token_file = copy(c->token_file),
				    .ca_file = copy(c->ca_file), .name = copy(name),
				    .path = copy(path), .selector = copy(selector), .fn = fn,
				    .arg = arg};
	strbuf_init(&f->body);
	f->curl = curl_easy_init();
	err = f->curl ? -pthread_create(&f->thread, NULL, follower_run, f) : -ENOMEM;
	if (err) {
		follower_free(f);
		return err;
	}
	*ret = f;
	return 0;
}

bool kube_follower_settled(const struct kube_follower *f)
{
	return atomic_load(&f->settled);
}

void kube_follower_stop(struct kube_follower *f)
{
	if (!f)
		return;
	atomic_store(&f->stop, true);
	pthread_join(f->thread, NULL);
	follower_free(f);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* route_test.c - routes guessed from paths: a table of segments, and the ceilings. */
#include "agent/route.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct routes *open_routes(uint32_t max)
{
	struct routes *r = NULL;

	assert_int_equal(routes_new(&r, max), 0);
	return r;
}

static const struct {
	const char *path, *route;
} cases[] = {
    {"/", "/"},
    {"/api/todos", "/api/todos"},
    {"/api/todos/", "/api/todos/"},
    {"/api//todos", "/api//todos"},
    {"/api/todos/42", "/api/todos/{id}"},
    {"/api/todos/42/notes/7", "/api/todos/{id}/notes/{id}"},
    {"/api/v1/s3/oauth2/k8s", "/api/v1/s3/oauth2/k8s"},
    {"/-17/1.5/2024-01-31", "/{id}/{id}/{id}"},
    {"/u/550e8400-e29b-41d4-a716-446655440000", "/u/{id}"},
    {"/u/550E8400E29B41D4A716446655440000", "/u/{id}"},
    {"/c/deadbee1", "/c/{id}"},
    {"/c/deadbeef", "/c/deadbeef"},
    {"/c/decade", "/c/decade"},
    {"/o/ORD-2024-0001", "/o/{id}"},
    {"/t/dGhpcyBpcyBhIHRva2Vu", "/t/{id}"},
    {"/t/x8Fh3kQ_zL-92mNbVcXa", "/t/{id}"},
    {"/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x", "/t/{id}"},
    {"/t/QwXzPlKtRbNmVcGhJdSf", "/t/{id}"},
    {"/m/findAllCustomersByName", "/m/findAllCustomersByName"},
    {"/m/getting-started-with-grafana-dashboards", "/m/getting-started-with-grafana-dashboards"},
    {"/m/list_objects_v2_by_prefix", "/m/list_objects_v2_by_prefix"},
    {"/u/joe@example.com/x", "/u/{id}/x"},
    {"/u/joe%40example.com", "/u/{id}"},
    {"/@scope/@me", "/@scope/@me"},
    {"/s/%D0%BF%D1%80%D0%B8", "/s/{id}"},
    {"/s/a%20b", "/s/a%20b"},
    {"/s/\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82\xd0\xbc\xd0\xb8\xd1\x80", "/s/{id}"},
    {"/s/\xc3\xa4", "/s/\xc3\xa4"},
    {"/app.js", "/app.js"},
    {"/static/jquery-3.6.0.min.js", "/static/jquery-3.6.0.min.js"},
    {"/static/main.3f2a9c1b.js", "/static/{id}"},
    {"/static/index-BX8fj2K9.css", "/static/{id}"},
    {"/img/12345.png", "/img/{id}"},
    {"/.well-known/openid-configuration", "/.well-known/openid-configuration"},
    {"/app;jsessionid=0A1B2C/list", "/app/list"},
    {"/a/b/c/d/e/f/g/h", "/a/b/c/d/e/f/g/h"},
    {"/a/b/c/d/e/f/g/h/", "/a/b/c/d/e/f/g/h/"},
    {"/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*"},
    {"/1/2/3/4/5/6/7/8/9", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*"},
    {"*", ""},
    {"", ""},
    {"example.com:443", ""},
};

static void test_cases(void **state)
{
	struct routes *r = open_routes(1000);
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str route = routes_guess(r, &a, STR("api"), str_of(cases[i].path));

		if (!str_eq(route, str_of(cases[i].route)))
			fail_msg("%s -> " STR_FMT ", not %s", cases[i].path, STR_ARG(route),
				 cases[i].route);
	}
	arena_fini(&a);
	routes_free(r);
	routes_free(NULL);
}

static struct str guess(struct routes *r, struct arena *a, const char *service, uint32_t n)
{
	char path[64];

	/* letters only: no part of it is an identifier */
	snprintf(path, sizeof(path), "/%c%c%c%c", 'g' + n % 16, 'g' + n / 16 % 16,
		 'g' + n / 256 % 16, 'g' + n / 4096 % 16);
	return routes_guess(r, a, str_of(service), str_of(path));
}

static void test_ceiling(void **state)
{
	struct routes *r = open_routes(100);
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (uint32_t n = 0; n < 1000; n++)
		assert_int_equal(str_eq(guess(r, &a, "api", n), STR("{other}")), n >= 100);
	assert_true(str_eq(guess(r, &a, "api", 7), STR("/nggg")));
	assert_true(str_eq(guess(r, &a, "web", 999), STR("/nujg")));
	arena_fini(&a);
	routes_free(r);
}

static void test_service_ceiling(void **state)
{
	struct routes *r = open_routes(500);
	char service[32];
	struct arena a;
	uint32_t known = 0;

	(void)state;
	arena_init(&a, 0);
	for (uint32_t s = 0; s < 1000; s++) {
		snprintf(service, sizeof(service), "service-%u", s);
		for (uint32_t n = 0; n < 100; n++)
			known += !str_eq(guess(r, &a, service, n), STR("{other}"));
		arena_reset(&a);
	}
	assert_in_range(known, 5000, 90000);
	arena_fini(&a);
	routes_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_ceiling),
	    cmocka_unit_test(test_service_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - see route.h. A path is taken apart at its slashes; a segment that looks like an
 * identifier (number, UUID, hash, token, address) becomes {id}. It learns nothing from traffic: the
 * same path always has the same route, as long as its service is below the ceiling. Called by
 * span_build.c on the drain thread. The invariant: at most max_per_service routes per service,
 * SERVICE_MAX services and ROUTE_BYTES_MAX in all, whatever is asked for. */
#include "agent/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SERVICE_MAX = 256,	   /* past it services share one set */
	ROUTE_BYTES_MAX = 1 << 20, /* of all known routes together */
	SEGMENT_MAX = 8,	   /* deeper segments are one * */
	HEX_MIN = 8,
	DIGITS_MIN = 5,	  /* ORD-2024-0001 is a number with ornaments, http2 and v1 are names */
	FOREIGN_MIN = 16, /* percent-encoded or non-ASCII */
	RANDOM_MIN = 20,
	LONG_MIN = 64,
	EXTENSION_MAX = 5,
	BUCKET_MAX = 256,
};

struct route {
	struct route *chain;
	uint64_t hash;
	struct str path;
	char bytes[];
};

struct service {
	struct str name;
	struct route **buckets;
	uint32_t cnt;
};

struct routes {
	uint32_t max, bucket_cnt;
	size_t bytes;
	uint32_t service_cnt;
	struct service services[SERVICE_MAX];
};

/* --- segments --- */

struct census {
	size_t digits, lower, upper, hex_letters, vowels, marks, percents, foreign, ats, turns;
};

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static void census_letter(struct census *c, char ch)
{
	bool lower = ch >= 'a';

	c->lower += lower;
	c->upper += !lower;
	c->hex_letters += (ch | 0x20) <= 'f';
	c->vowels += strchr("aeiouy", ch | 0x20) != NULL;
}

static void census_byte(struct census *c, char ch)
{
	if (ch >= '0' && ch <= '9')
		c->digits++;
	else if (is_letter(ch))
		census_letter(c, ch);
	else if ((unsigned char)ch >= 0x80)
		c->foreign++;
	else if (ch == '%')
		c->percents++;
	else if (ch == '@')
		c->ats++;
	else
		c->marks++;
}

/* How often upper and lower case follow each other: random tokens do it all the time. */
static size_t case_turns(struct str seg)
{
	size_t turns = 0;

	for (size_t i = 1; i < seg.len; i++) {
		bool both = is_letter(seg.p[i]) && is_letter(seg.p[i - 1]);

		turns += both && (seg.p[i] ^ seg.p[i - 1]) & 0x20;
	}
	return turns;
}

static struct census census_of(struct str seg)
{
	struct census c = {0};

	for (size_t i = 0; i < seg.len; i++)
		census_byte(&c, seg.p[i]);
	c.turns = case_turns(seg);
	return c;
}

/* Hex digits with a decimal one among them, perhaps with the hyphens of a UUID. */
static bool is_hex(struct str seg, const struct census *c)
{
	bool only_hex =
	    c->hex_letters == c->lower + c->upper && !c->foreign && !c->percents && !c->ats;

	return only_hex && c->digits > 0 && c->digits + c->hex_letters >= HEX_MIN &&
	       (c->marks == 0 || (c->marks == 4 && seg.len == 36));
}

/* Case changes at random and vowels are rare: no camelCase. */
static bool is_letter_salad(struct str seg, const struct census *c)
{
	return c->turns * (c->digits ? 5 : 3) >= seg.len && c->vowels * 4 <= seg.len;
}

static bool is_random(struct str seg, const struct census *c)
{
	if (is_hex(seg, c))
		return true;
	if (seg.len >= RANDOM_MIN && c->lower + c->upper)
		return (c->digits && !c->marks) || c->digits > 2 || is_letter_salad(seg, c);
	return seg.len >= HEX_MIN && c->digits > 1 && c->upper > 1 && c->lower > 1;
}

static bool is_mail(struct str seg)
{
	const char *at = memchr(seg.p, '@', seg.len);
	const char *coded = memmem(seg.p, seg.len, "%40", 3);

	if (at)
		return at > seg.p && at + 1 < seg.p + seg.len;
	return coded && coded > seg.p && coded + 3 < seg.p + seg.len;
}

static bool is_id(struct str seg)
{
	struct census c = census_of(seg);

	if (c.digits && c.digits + c.marks == seg.len)
		return true;
	if (c.digits >= DIGITS_MIN || seg.len >= LONG_MIN || is_mail(seg))
		return true;
	if (seg.len >= FOREIGN_MIN && (c.percents || c.foreign))
		return true;
	return is_random(seg, &c);
}

/* The bytes of name.ext before the last dot; all of it when that is no file name. */
static struct str file_stem(struct str seg)
{
	const char *dot = memrchr(seg.p, '.', seg.len);
	size_t ext = dot ? seg.p + seg.len - dot - 1 : 0;
	struct census c;

	if (!dot || dot == seg.p || ext == 0 || ext > EXTENSION_MAX)
		return seg;
	c = census_of((struct str){dot + 1, ext});
	if (c.digits + c.lower + c.upper != ext || c.lower + c.upper == 0)
		return seg;
	return (struct str){seg.p, dot - seg.p};
}

/* main.3f2a9c1b.js and index-BX8fj2K9.css: a piece of the stem is random. */
static bool has_random_piece(struct str stem)
{
	size_t from = 0;

	for (size_t i = 0; i <= stem.len; i++) {
		struct str piece = {stem.p + from, i - from};
		struct census c;

		if (i < stem.len && !strchr(".-_", stem.p[i]))
			continue;
		c = census_of(piece);
		if (is_random(piece, &c))
			return true;
		from = i + 1;
	}
	return false;
}

static bool segment_is_id(struct str seg)
{
	struct str stem = file_stem(seg);

	if (stem.len == seg.len)
		return is_id(seg);
	return is_mail(seg) || is_id(stem) || has_random_piece(stem);
}

/* --- paths --- */

static struct str segment_at(struct str path, size_t at)
{
	const char *slash = memchr(path.p + at, '/', path.len - at);
	size_t len = (slash ? slash : path.p + path.len) - (path.p + at);

	return (struct str){path.p + at, len};
}

/* What is behind ; are parameters of the segment, not its name. */
static struct str without_params(struct str seg)
{
	const char *semicolon = memchr(seg.p, ';', seg.len);

	return semicolon ? (struct str){seg.p, semicolon - seg.p} : seg;
}

static char *put(char *at, struct str s)
{
	memcpy(at, s.p, s.len);
	return at + s.len;
}

/* path begins with a slash; at has room for every segment to become {id}. Returns its end. */
static char *route_make(char *at, struct str path)
{
	uint32_t cnt = 0;

	for (size_t from = 1; from <= path.len;) {
		struct str seg = segment_at(path, from);
		struct str name = without_params(seg);

		at = put(at, STR("/"));
		if (seg.len && ++cnt > SEGMENT_MAX)
			return put(at, STR("*"));
		at = put(at, name.len && segment_is_id(name) ? STR("{id}") : name);
		from += seg.len + 1;
	}
	return at;
}

/* --- the ceiling --- */

static uint64_t hash_of(struct str s)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3u;
	return h ^ h >> 32;
}

static int service_init(struct routes *r, struct service *sv, struct str name)
{
	char *copy = malloc(name.len + 1);

	sv->buckets = calloc(r->bucket_cnt, sizeof(struct route *));
	if (!copy || !sv->buckets) {
		free(copy);
		free(sv->buckets);
		return -ENOMEM;
	}
	memcpy(copy, name.p, name.len);
	sv->name = (struct str){copy, name.len};
	r->bytes += name.len + r->bucket_cnt * sizeof(struct route *);
	r->service_cnt++;
	return 0;
}

/* NULL: no memory. */
static struct service *service_get(struct routes *r, struct str name)
{
	for (uint32_t i = 0; i < r->service_cnt; i++) {
		if (str_eq(r->services[i].name, name))
			return &r->services[i];
	}
	if (r->service_cnt == SERVICE_MAX)
		return &r->services[SERVICE_MAX - 1];
	if (service_init(r, &r->services[r->service_cnt], name))
		return NULL;
	return &r->services[r->service_cnt - 1];
}

static bool route_add(struct routes *r, struct service *sv, struct str path, uint64_t hash)
{
	struct route **bucket = &sv->buckets[hash & (r->bucket_cnt - 1)];
	size_t size = sizeof(struct route) + path.len;
	struct route *new;

	if (sv->cnt >= r->max || r->bytes + size > ROUTE_BYTES_MAX)
		return false;
	new = malloc(size);
	if (!new)
		return false;
	*new = (struct route){*bucket, hash, {new->bytes, path.len}};
	memcpy(new->bytes, path.p, path.len);
	*bucket = new;
	sv->cnt++;
	r->bytes += size;
	return true;
}

/* Known, or known from now on; false: past the ceiling. */
static bool route_admit(struct routes *r, struct str service, struct str path)
{
	struct service *sv = service_get(r, service);
	uint64_t hash = hash_of(path);
	struct route *known = sv ? sv->buckets[hash & (r->bucket_cnt - 1)] : NULL;

	if (!sv)
		return false;
	for (; known; known = known->chain) {
		if (known->hash == hash && str_eq(known->path, path))
			return true;
	}
	return route_add(r, sv, path, hash);
}

struct str routes_guess(struct routes *r, struct arena *a, struct str service, struct str path)
{
	struct str route;
	char *out;

	if (path.len == 0 || path.p[0] != '/')
		return STR("");
	out = arena_alloc(a, path.len + (SEGMENT_MAX + 1) * strlen("/{id}"));
	if (!out)
		return STR("");
	route = (struct str){out, route_make(out, path) - out};
	return route_admit(r, service, route) ? route : STR("{other}");
}

/* --- life --- */

int routes_new(struct routes **ret, uint32_t max_per_service)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->max = max_per_service;
	r->bucket_cnt = 16;
	while (r->bucket_cnt < max_per_service && r->bucket_cnt < BUCKET_MAX)
		r->bucket_cnt *= 2;
	*ret = r;
	return 0;
}

static void service_fini(struct routes *r, struct service *sv)
{
	for (uint32_t i = 0; i < r->bucket_cnt; i++) {
		while (sv->buckets[i]) {
			struct route *gone = sv->buckets[i];

			sv->buckets[i] = gone->chain;
			free(gone);
		}
	}
	free(sv->buckets);
	free((char *)sv->name.p);
}

void routes_free(struct routes *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->service_cnt; i++)
		service_fini(r, &r->services[i]);
	free(r);
}

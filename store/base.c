/* SPDX-License-Identifier: Apache-2.0 */
/* base.c - what base.h promises: must, str, arena, strbuf, log, clock, hex.
 *
 * Everything here is plain memory and one write(2) for a log line; nothing takes a lock, so an
 * arena or a strbuf belongs to one thread at a time. Called by everybody. The invariants: memory
 * from an arena is zeroed even when its block was used before, a strbuf is NUL-terminated at p[len]
 * even before its first byte, and a log line holds no control characters, whatever was put into it
 * (it ends on terminals and may quote what strangers sent). */
#include "store/base.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ARENA_BLOCK_MIN = 4096, ARENA_BLOCK_MAX = 256 * 1024, LOG_LINE_MAX = 2048 };

/* --- must --- */

_Noreturn void must_failed(const char *file, int line, const char *expr)
{
	log_error("%s:%d: this cannot happen: !(%s)", file, line, expr);
	abort();
}

static void *memory_or_abort(void *p)
{
	if (!p) {
		log_error("out of memory");
		abort();
	}
	return p;
}

/* --- str --- */

struct str str_of(const char *nul_terminated)
{
	return (struct str){nul_terminated, strlen(nul_terminated)};
}

bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

int str_cmp(struct str a, struct str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int c = len ? memcmp(a.p, b.p, len) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_eq((struct str){s.p, prefix.len}, prefix);
}

/* Only the last * needs to be remembered: an earlier one can take what a later one gives back. */
bool str_glob(const char *pattern, struct str s)
{
	const char *star = NULL;
	size_t i = 0, star_i = 0;

	while (i < s.len) {
		if (*pattern == '*') {
			star = ++pattern;
			star_i = i;
		} else if (*pattern && (*pattern == '?' || *pattern == s.p[i])) {
			pattern++;
			i++;
		} else if (star) {
			pattern = star;
			i = ++star_i;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* --- arena --- */

struct arena_block {
	struct arena_block *next;
	size_t len, off;
	char data[];
};

static struct arena_block *block_new(size_t len)
{
	struct arena_block *b = memory_or_abort(malloc(sizeof(*b) + len));

	*b = (struct arena_block){.len = len};
	return b;
}

static void blocks_free(struct arena_block *b)
{
	while (b) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
}

void arena_init(struct arena *a, size_t limit)
{
	*a = (struct arena){.limit = limit};
}

void arena_fini(struct arena *a)
{
	blocks_free(a->head);
	a->head = NULL;
	a->used = 0;
}

void arena_reset(struct arena *a)
{
	a->used = 0;
	if (!a->head)
		return;
	blocks_free(a->head->next);
	a->head->next = NULL;
	a->head->off = 0;
}

/* The block that has room for len. A large piece gets a block of its own behind the head, so that
 * the head keeps filling and arena_reset never keeps a giant. */
static struct arena_block *arena_room(struct arena *a, size_t len)
{
	struct arena_block *b, *head = a->head;
	size_t want;

	if (!head)
		head = a->head = block_new(ARENA_BLOCK_MIN);
	if (head->len - head->off >= len)
		return head;
	want = head->len * 2 < ARENA_BLOCK_MAX ? head->len * 2 : ARENA_BLOCK_MAX;
	if (len > want / 4) {
		b = block_new(len);
		b->next = head->next;
		head->next = b;
		return b;
	}
	b = block_new(want);
	b->next = head;
	a->head = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t len)
{
	struct arena_block *b;
	size_t whole = (len + 7) & ~(size_t)7;
	void *p;

	if (whole < len)
		memory_or_abort(NULL);
	if (a->limit && (whole > a->limit || a->used > a->limit - whole))
		return NULL;
	b = arena_room(a, whole);
	p = b->data + b->off;
	b->off += whole;
	a->used += whole;
	return memset(p, 0, whole);
}

struct str arena_str(struct arena *a, const void *p, size_t len)
{
	char *to = arena_alloc(a, len + 1);

	if (!to)
		return (struct str){NULL, 0};
	if (len)
		memcpy(to, p, len);
	return (struct str){to, len};
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	must(len >= 0);
	to = arena_alloc(a, (size_t)len + 1);
	if (!to)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(to, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return to;
}

/* --- strbuf: cap 0 means that p is not ours (the empty string, or NULL in a zeroed struct) --- */

static char strbuf_empty[1];

void strbuf_init(struct strbuf *b)
{
	*b = (struct strbuf){.p = strbuf_empty};
}

void strbuf_fini(struct strbuf *b)
{
	if (b->cap)
		free(b->p);
	strbuf_init(b);
}

void strbuf_clear(struct strbuf *b)
{
	b->len = 0;
	if (b->cap)
		b->p[0] = '\0';
}

static void strbuf_grow(struct strbuf *b, size_t more)
{
	size_t need = b->len + more + 1, cap = b->cap ? b->cap : 64;

	if (need <= more)
		memory_or_abort(NULL);
	if (need <= b->cap)
		return;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	b->p = memory_or_abort(realloc(b->cap ? b->p : NULL, cap));
	b->cap = cap;
}

void strbuf_add(struct strbuf *b, const void *p, size_t len)
{
	strbuf_grow(b, len);
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
	b->p[b->len] = '\0';
}

void strbuf_addc(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void strbuf_adds(struct strbuf *b, const char *nul_terminated)
{
	strbuf_add(b, nul_terminated, strlen(nul_terminated));
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(b, fmt, ap);
	va_end(ap);
}

void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	must(len >= 0);
	strbuf_grow(b, (size_t)len);
	vsnprintf(b->p + b->len, (size_t)len + 1, fmt, ap);
	b->len += (size_t)len;
}

char *strbuf_take(struct strbuf *b, size_t *ret_len)
{
	char *p;

	strbuf_grow(b, 0);
	p = b->p;
	p[b->len] = '\0';
	if (ret_len)
		*ret_len = b->len;
	strbuf_init(b);
	return p;
}

/* --- log --- */

static _Atomic int log_level = LOG_INFO;
static const char *const log_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
	log_level = (int)level;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
		if (strcmp(text, log_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static size_t log_head(char *line, size_t cap, enum log_level level)
{
	uint64_t now = clock_real_ns();
	time_t sec = (time_t)(now / NS_PER_S);
	char stamp[32];
	struct tm tm;

	gmtime_r(&sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	return (size_t)snprintf(line, cap, "%s.%03uZ %-5s ", stamp,
				(unsigned)(now % NS_PER_S / NS_PER_MS), log_names[level]);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	size_t head, len;
	va_list ap;
	int saved = errno, n;

	if ((int)level > log_level)
		return;
	head = log_head(line, sizeof(line), level);
	va_start(ap, fmt);
	n = vsnprintf(line + head, sizeof(line) - head, fmt, ap);
	va_end(ap);
	len = head + (n > 0 ? (size_t)n : 0);
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	for (size_t i = head; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* There is nobody left to tell. */
	}
	errno = saved;
}

/* --- clock --- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	must(clock_gettime(id, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

/* --- threads --- */

void thread_yields(void)
{
	const struct sched_param none = {0};

	/* Where it is not allowed, the thread goes on as it was. */
	(void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
}

/* --- hex --- */

void hex_encode(char *out, const uint8_t *in, size_t in_len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < in_len; i++) {
		*out++ = digits[in[i] >> 4];
		*out++ = digits[in[i] & 15];
	}
	*out = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(uint8_t *out, const char *in, size_t in_len)
{
	if (in_len % 2)
		return -EINVAL;
	for (size_t i = 0; i < in_len; i += 2) {
		int hi = hex_digit(in[i]), lo = hex_digit(in[i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		*out++ = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

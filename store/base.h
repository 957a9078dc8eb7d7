/* SPDX-License-Identifier: Apache-2.0 */
/* base.h - the few hundred lines that everybody needs: must, arena, strbuf, str, log, clock, hex.
 * Nothing here knows of spans, files or sockets. Not a place for "utilities": what only one folder
 * uses lives in that folder. */
#ifndef WIRESPAN_BASE_H
#define WIRESPAN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* --- must: cannot happen; always compiled in, says where, aborts. Never on untrusted input. --- */
#define must(x) ((x) ? (void)0 : must_failed(__FILE__, __LINE__, #x))
_Noreturn void must_failed(const char *file, int line, const char *expr);

/* --- str: borrowed bytes with a length, not NUL-terminated --- */
struct str {
	const char *p;
	size_t len;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).p

struct str str_of(const char *nul_terminated);
bool str_eq(struct str a, struct str b);
int str_cmp(struct str a, struct str b); /* bytewise; a prefix sorts first */
bool str_starts(struct str s, struct str prefix);
/* Glob with * and ?, whole string. */
bool str_glob(const char *pattern, struct str s);

/* --- arena: many small allocations, freed in one call. Memory is zeroed, 8-byte aligned. --- */
struct arena {
	struct arena_block *head;
	size_t used;  /* bytes handed out */
	size_t limit; /* 0: none */
};

void arena_init(struct arena *a, size_t limit);
void arena_fini(struct arena *a);
/* Keeps the newest block for reuse. */
void arena_reset(struct arena *a);
/* NULL when the limit is reached; aborts when the machine has no memory. */
void *arena_alloc(struct arena *a, size_t len);
struct str arena_str(struct arena *a, const void *p, size_t len); /* copies; p NULL on limit */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define arena_new(a, type) ((type *)arena_alloc(a, sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc(a, sizeof(type) * (n)))

/* --- strbuf: a growing byte buffer; always NUL-terminated at p[len] --- */
struct strbuf {
	char *p;
	size_t len, cap;
};

void strbuf_init(struct strbuf *b);
void strbuf_fini(struct strbuf *b);
void strbuf_clear(struct strbuf *b);
void strbuf_add(struct strbuf *b, const void *p, size_t len);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_adds(struct strbuf *b, const char *nul_terminated);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap);
/* Hands over the buffer, to be freed with free(); *b is empty afterwards. */
char *strbuf_take(struct strbuf *b, size_t *ret_len);

/* --- log: one line to stderr: time, level, text; below the level nothing is formatted --- */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_set_level(enum log_level level);
int log_level_parse(const char *text, enum log_level *ret); /* error warn info debug; -EINVAL */
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* --- clock --- */
enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };
uint64_t clock_real_ns(void); /* since 1970 */
uint64_t clock_mono_ns(void); /* never goes back; for deadlines */
uint64_t clock_boot_ns(void); /* the same, with the time that the machine slept; the kernel half's */

/* --- threads --- */
void thread_yields(void); /* from now on the caller, when it wakes, lets others finish their turn */

/* --- hex --- */
void hex_encode(char *out, const uint8_t *in, size_t in_len); /* 2 * in_len + NUL, lower case */
int hex_decode(uint8_t *out, const char *in, size_t in_len);  /* in_len even; 0 or -EINVAL */

#endif

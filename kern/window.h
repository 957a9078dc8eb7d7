/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* window.h - the bytes a parser looks at: one piece of a stream, copied out of the traced program,
 * with a cursor. Parsers advance `at`, note where a token began in `tok`, and name a finished piece
 * by `from` and `to`. Every index is masked, so that the verifier (and a reader) can see that no
 * access leaves the buffer. A line end is found eight bytes at a time: 0.7 ns a byte instead of 2.7.
 * Compiled into the BPF object and, unchanged, into the tests. */
#ifndef WIRESPAN_WINDOW_H
#define WIRESPAN_WINDOW_H

enum {
	WINDOW = 4096, /* bytes parsed at a time; a power of two */
	WINDOW_PAD = 80, /* held bytes in front (see feed.h) and the tail of a word scan */
	SCAN = 64,       /* bytes looked at by one window_scan */
	GLANCE = 24,     /* bytes that the word-wise short cuts need to see */
	COPY = 32,       /* bytes that window_copy copies */
};

struct window {
	__u32 n;        /* bytes in b */
	__u32 at;       /* the next one to look at */
	__u32 tok;      /* where the token began that is being captured */
	__u32 from, to; /* the piece that a mark speaks of */
	__u32 pad;
	__u8 b[WINDOW + WINDOW_PAD];
};

/* A global function the verifier looks at once and by itself, whatever it is called with. A static one it
 * follows at each call, from every state in which that is reached: the four biggest programs needed
 * 710,000 instructions like that, and 158,000 with these. Its arguments are numbers or plain memory that
 * may be NULL, for all the verifier knows. */
#ifdef __bpf__
#define VERIFIED_ALONE __noinline
#else
#define VERIFIED_ALONE static __noinline
#endif

/* Unaligned is fine where BPF's JIT runs. Of an expression that names an array of bytes clang knows
 * better, and loads eight times one byte: hence a function. */
static __always_inline __u64 load64(const void *p)
{
#ifdef __bpf__
	return *(const __u64 *)p;
#else
	__u64 v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
#endif
}

static __always_inline void store64(void *p, __u64 v)
{
#ifdef __bpf__
	*(__u64 *)p = v;
#else
	__builtin_memcpy(p, &v, sizeof(v));
#endif
}

#define EACH_BYTE(c) ((__u64)(__u8)(c) * 0x0101010101010101ull)

static __always_inline const __u8 *window_at(const struct window *w)
{
	return &w->b[w->at & (WINDOW - 1)];
}

static __always_inline int window_has(const struct window *w, __u32 n)
{
	return w->n - w->at >= n;
}

/* COPY bytes from `from` on, whether or not so many are wanted: cheaper than a helper's call. */
static __always_inline void window_copy(void *to, const struct window *w, __u32 from)
{
	const __u8 *p = &w->b[from & (WINDOW - 1)];
	__u32 k;

	for (k = 0; k < COPY; k += 8)
		store64((__u8 *)to + k, load64(p + k));
}

static __always_inline __u8 window_byte(const struct window *w, __u32 i)
{
	return w->b[i & (WINDOW - 1)];
}

/* The n <= 8 bytes of a literal as one word, first byte lowest, and the bits in which its letters
 * differ in case. Both fold to constants. */
static __always_inline __u64 word_of(const char *s, __u32 n)
{
	__u64 v = 0;
	__u32 i;

	for (i = 0; i < n; i++)
		v |= (__u64)(__u8)s[i] << (8 * i);
	return v;
}

static __always_inline __u64 word_case(const char *s, __u32 n)
{
	__u64 v = 0;
	__u32 i;

	for (i = 0; i < n; i++)
		if (s[i] >= 'a' && s[i] <= 'z')
			v |= 0x20ull << (8 * i);
	return v;
}

/* Do the bytes at p begin with the n <= 8 of a literal? Lower-case letters match either case. */
static __always_inline int bytes_are(const __u8 *p, const char *s, __u32 n)
{
	__u64 keep = n == 8 ? ~0ull : (1ull << (8 * n & 63)) - 1;

	return ((load64(p) | word_case(s, n)) & keep) == word_of(s, n);
}
#define BYTES_ARE(p, s) bytes_are(p, s, sizeof(s) - 1)

/* High bit of the first byte of v that equals the byte pat is made of (higher ones may lie). */
static __always_inline __u64 word_match(__u64 v, __u64 pat)
{
	__u64 x = v ^ pat;

	return (x - EACH_BYTE(1)) & ~x & EACH_BYTE(0x80);
}

/* Index of the lowest byte with its high bit set; BPF has no count-trailing-zeros. */
static __always_inline __u32 word_first(__u64 high_bits)
{
	__u64 below = (high_bits & -high_bits) - 1;

	return (__u32)((below & EACH_BYTE(1)) * EACH_BYTE(1) >> 56) - 1;
}

/* The first byte c within SCAN bytes from the cursor: its index, or how far was looked (never past
 * n); the caller tells the two apart by looking. */
static __noinline __u32 window_find(const struct window *w, __u8 c)
{
	__u32 base = w->at & (WINDOW - 1), found = SCAN, k;
	__u64 pat = EACH_BYTE(c);

	for (k = 0; k < SCAN / 8; k++) {
		__u64 hit = word_match(load64(&w->b[base + 8 * k]), pat);

		if (hit) {
			found = 8 * k + word_first(hit);
			break;
		}
	}
	found += w->at;
	return found < w->n ? found : w->n;
}

/* The same for the first of two. */
static __noinline __u32 window_find2(const struct window *w, __u8 c, __u8 d)
{
	__u32 base = w->at & (WINDOW - 1), found = SCAN, k;

	for (k = 0; k < SCAN / 8; k++) {
		__u64 v = load64(&w->b[base + 8 * k]);
		__u64 hit = word_match(v, EACH_BYTE(c)) | word_match(v, EACH_BYTE(d));

		if (hit) {
			found = 8 * k + word_first(hit);
			break;
		}
	}
	found += w->at;
	return found < w->n ? found : w->n;
}

enum { HASHED_MAX = 256 };

static __always_inline __u64 hash_word(__u64 h, __u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

/* A hash of the n <= HASHED_MAX bytes from `from` on; 0 for none or for more. */
VERIFIED_ALONE __u64 window_hash(const struct window *w, __u32 from, __u32 n)
{
	__u64 h = n;
	__u32 k;

	if (!w || !n || n > HASHED_MAX) /* it may be called with anything, as far as the verifier knows */
		return 0;
	for (k = 0; k + 8 <= n && k < HASHED_MAX; k += 8)
		h = hash_word(h, load64(&w->b[(from + k) & (WINDOW - 1)]));
	if (n & 7)
		h = hash_word(h, load64(&w->b[(from + k) & (WINDOW - 1)]) & ((1ull << (8 * (n & 7))) - 1));
	return h | 1;
}

#endif

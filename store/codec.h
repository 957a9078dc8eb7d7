/* SPDX-License-Identifier: Apache-2.0 */
/* codec.h - spans to bytes (encode.c) and back (codec.c), as keys.h says. Both sides see the
 * dictionary only through one function, so neither knows LMDB, and both can be tested and fuzzed
 * without a file. Called by append.c and read.c. The invariant: whatever the bytes and whatever the
 * dictionary answers, decoding gives spans or an error and reads nothing outside of them. */
#ifndef WIRESPAN_STORE_CODEC_H
#define WIRESPAN_STORE_CODEC_H

#include "store/base.h"
#include "store/keys.h"
#include "store/span.h"
#include "store/store.h"

/* --- encode --- */

enum { DICT_NO_ID = UINT32_MAX };

/* Whose value a string is: a field id, or one of these. */
enum dict_owner {
	OWNER_NAME = DICT_OTHERS_MAX,
	OWNER_KEY,  /* keys that are not fields: in kvlists, or for want of room */
	OWNER_TEXT, /* everything else */
	OWNER_COUNT,
};

/* The id of these bytes, made when they are new and may go in; else DICT_NO_ID. */
typedef uint32_t dict_put_fn(void *arg, enum dict_kind kind, uint32_t owner, struct str bytes);

enum { ENCODER_SLOTS = 64, ENCODER_FIELDS = 256, ENCODER_STRINGS = 1024 };

struct encoder {
	dict_put_fn *put;
	void *arg;
	struct strbuf bodies, entry;
	struct str noted[NOTED_MAX];
	uint32_t noted_cnt;
	bool is_noting;
	/* What the pointers of one transaction were found to be: a batch has one copy of most
	 * strings. */
	struct encoder_slot {
		const void *p;
		uint32_t id;
		uint32_t what; /* of a string the length, of a field its scope and type */
	} slots[ENCODER_SLOTS], fields[ENCODER_FIELDS], strings[ENCODER_STRINGS];
};

void encoder_init(struct encoder *e, dict_put_fn *put, void *arg);
void encoder_fini(struct encoder *e);
/* Forgets all pointers: before their memory is used for others. */
void encoder_forget(struct encoder *e);
/* Appends one chunk with the first of cnt spans of one trace; returns how many went in (>= 1). */
uint32_t encode_chunk(struct encoder *e, struct strbuf *out, const struct span *const *spans,
		      uint32_t cnt);

/* --- decode --- */

/* 0 and the bytes, valid as long as the decoder; or -errno. */
typedef int dict_get_fn(void *arg, enum dict_kind kind, uint32_t id, struct str *ret);

struct decoder {
	dict_get_fn *get;
	void *arg;
	struct arena own; /* fields, shapes, resources, scopes */
	struct str *strings;
	void **others[DICT_KIND_COUNT];
	uint32_t caps[DICT_KIND_COUNT];
};

void decoder_init(struct decoder *d, dict_get_fn *get, void *arg);
void decoder_fini(struct decoder *d);
/* The spans of a chunk, in order of arrival. Structs in the arena, strings borrowed from the chunk
 * and the dictionary, resources and scopes from the arena or the decoder. 0, -EUCLEAN, -ENOMEM. */
int decode_chunk(struct decoder *d, struct arena *a, struct str chunk, struct span **ret,
		 uint32_t *ret_cnt);
/* A resource or scope of the dictionary, as long as the decoder; NULL: there is none. */
const void *decoder_shared(struct decoder *d, enum dict_kind kind, uint32_t id);
/* The id of one that a span came with; DICT_NO_ID: it stood in its chunk. */
uint32_t decoder_shared_id(const struct decoder *d, enum dict_kind kind, const void *shared);
/* NULL: too short to be a chunk. */
const uint8_t *chunk_trace_id(struct str chunk);
/* The parts of a FIELD dictionary entry: 0 or -EUCLEAN. */
int field_parse(struct str entry, enum tag_scope *ret_scope, uint8_t *ret_type,
		struct str *ret_key);

#endif

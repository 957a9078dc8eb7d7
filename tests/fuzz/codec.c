// SPDX-License-Identifier: Apache-2.0
// uses: store/codec.c store/encode.c store/base.c
/* codec.c - any bytes as a chunk, with a dictionary made of the same bytes: ends in spans that can
 * be encoded and decoded again, or in an error. */
#include <errno.h>

#include "store/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The entry starts with its length; where it starts depends on kind and id. */
static int dict_get(void *arg, enum dict_kind kind, uint32_t id, struct str *ret)
{
	const struct str *all = arg;
	size_t at = (size_t)kind * 37 + (size_t)id * 11, left;

	if (at >= all->len)
		return -EUCLEAN;
	left = all->len - at - 1;
	*ret = (struct str){all->p + at + 1, (uint8_t)all->p[at]};
	if (ret->len > left)
		ret->len = left;
	return 0;
}

static uint32_t dict_full(void *arg, enum dict_kind kind, uint32_t owner, struct str bytes)
{
	(void)arg;
	(void)kind;
	(void)owner;
	(void)bytes;
	return DICT_NO_ID;
}

static void encode_again(struct decoder *d, struct arena *a, const struct span *spans, uint32_t cnt)
{
	const struct span **list = arena_array(a, const struct span *, cnt);
	struct encoder e;
	struct strbuf out;
	struct span *back;
	uint32_t some, back_cnt;

	if (!list)
		return;
	for (uint32_t i = 0; i < cnt; i++)
		list[i] = &spans[i];
	strbuf_init(&out);
	encoder_init(&e, dict_full, NULL);
	some = encode_chunk(&e, &out, list, cnt);
	switch (decode_chunk(d, a, (struct str){out.p, out.len}, &back, &back_cnt)) {
	case 0:
		must(back_cnt == some && back[0].start_ns == spans[0].start_ns);
		break;
	default:
		must(a->used > a->limit / 2); /* no room for it twice */
	}
	encoder_fini(&e);
	strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct str all = {(const char *)data, len};
	struct decoder d;
	struct span *spans;
	struct arena a;
	uint32_t cnt;

	arena_init(&a, 64 << 20);
	decoder_init(&d, dict_get, &all);
	if (decode_chunk(&d, &a, all, &spans, &cnt) == 0 && cnt <= 64)
		encode_again(&d, &a, spans, cnt);
	decoder_fini(&d);
	arena_fini(&a);
	return 0;
}

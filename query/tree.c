/* SPDX-License-Identifier: Apache-2.0 */
/* tree.c - builds the tree of a trace in linear time without recursion: parent ids come from
 * strangers, so there may be no root, many, circles, and spans that are their own parents. A span
 * whose parent was not received is the top of its own tree: unlike Tempo, which then knows no
 * relations at all, relations hold inside such a tree, since with a root on another node that is
 * the usual case. It is no root, though: its nestedSetParent is 0, not -1. */
#include "query/tree.h"

#include <string.h>

struct slot {
	uint64_t id;
	uint32_t span; /* + 1; 0: empty */
};

struct build {
	struct tree *t;
	const struct span *spans;
	struct slot *slots; /* by span id; for each id one chain by probing */
	uint32_t mask;
	uint64_t seed;		   /* so that nobody can choose ids that collide */
	uint32_t *first, *sibling; /* children as lists, in the trace's order */
};

static uint64_t id_of(const uint8_t id[8])
{
	uint64_t v;

	memcpy(&v, id, sizeof(v));
	return v;
}

static uint32_t hash(const struct build *b, uint64_t id)
{
	uint64_t h = (id ^ b->seed) * 0xff51afd7ed558ccdull;

	h = (h ^ (h >> 33) ^ b->seed) * 0xc4ceb9fe1a85ec53ull;
	return (uint32_t)(h >> 32);
}

static void index_spans(struct build *b)
{
	for (uint32_t i = 0; i < b->t->cnt; i++) {
		uint64_t id = id_of(b->spans[i].span_id);
		uint32_t h = hash(b, id);

		/* one id, one or two spans: client and server may share it (Zipkin); no more are
		 * kept, or a trace of equal ids would cost the square of its size */
		for (uint32_t same = 0;; h++) {
			struct slot *s = &b->slots[h & b->mask];

			if (!s->span) {
				*s = (struct slot){id, i + 1};
				break;
			}
			same += s->id == id;
			if (same == 2)
				break;
		}
	}
}

/* Of two spans with the parent's id the server is meant, unless the child is that server itself. */
static uint32_t parent_of(const struct build *b, uint32_t child)
{
	uint64_t id = id_of(b->spans[child].parent_id);
	uint32_t found = TREE_NONE;

	for (uint32_t h = hash(b, id);; h++) {
		const struct slot *s = &b->slots[h & b->mask];

		if (!s->span)
			return found;
		if (s->id != id || s->span - 1 == child)
			continue;
		if (found == TREE_NONE || b->spans[s->span - 1].kind == KIND_SERVER)
			found = s->span - 1;
	}
}

/* The server half of a shared id is the client half's child. */
static uint32_t shared_parent(const struct build *b, uint32_t child)
{
	uint64_t id = id_of(b->spans[child].span_id);

	if (b->spans[child].kind != KIND_SERVER)
		return TREE_NONE;
	for (uint32_t h = hash(b, id);; h++) {
		const struct slot *s = &b->slots[h & b->mask];

		if (!s->span)
			return TREE_NONE;
		if (s->id == id && s->span - 1 != child &&
		    b->spans[s->span - 1].kind == KIND_CLIENT)
			return s->span - 1;
	}
}

static void link_parents(struct build *b)
{
	for (uint32_t i = b->t->cnt; i-- > 0;) {
		struct tree_node *n = &b->t->nodes[i];

		n->parent = shared_parent(b, i);
		if (n->parent == TREE_NONE && !span_is_root(&b->spans[i]))
			n->parent = parent_of(b, i);
		if (n->parent == TREE_NONE)
			continue;
		b->t->nodes[n->parent].child_cnt++;
		b->sibling[i] = b->first[n->parent];
		b->first[n->parent] = i;
	}
}

/* Children of one received parent are a family, so are all roots, so are spans that name the same
 * parent that was not received. */
static void name_families(struct build *b)
{
	memset(b->slots, 0, (b->mask + 1ull) * sizeof(*b->slots));
	for (uint32_t i = 0; i < b->t->cnt; i++) {
		struct tree_node *n = &b->t->nodes[i];
		uint64_t id = id_of(b->spans[i].parent_id);

		if (n->parent != TREE_NONE) {
			n->family = n->parent;
			continue;
		}
		for (uint32_t h = hash(b, id);; h++) {
			struct slot *s = &b->slots[h & b->mask];

			if (!s->span)
				*s = (struct slot){id, i + 1};
			if (s->id == id) {
				n->family = b->t->cnt + s->span - 1;
				break;
			}
		}
	}
}

static void number_from(struct build *b, uint32_t top, uint32_t *next)
{
	struct tree *t = b->t;
	uint32_t i = top;

	t->nodes[i].parent_left = span_is_root(&b->spans[i]) ? -1 : 0;
	for (;;) {
		struct tree_node *n = &t->nodes[i];

		if (!n->left) {
			n->left = ++*next;
			t->order[t->order_cnt++] = i;
		}
		if (b->first[i] != TREE_NONE) { /* down to the next child, taking it off the list */
			uint32_t child = b->first[i];

			b->first[i] = b->sibling[child];
			t->nodes[child].parent_left = n->left;
			i = child;
			continue;
		}
		n->right = ++*next;
		if (i == top)
			return;
		i = n->parent;
	}
}

static bool build_alloc(struct build *b, struct arena *a, uint32_t cnt)
{
	uint32_t slots = 8;

	while (slots < cnt * 2ull)
		slots *= 2;
	b->mask = slots - 1;
	b->slots = arena_array(a, struct slot, slots);
	b->first = arena_array(a, uint32_t, cnt + 1);
	b->sibling = arena_array(a, uint32_t, cnt + 1);
	b->t->nodes = arena_array(a, struct tree_node, cnt + 1);
	b->t->order = arena_array(a, uint32_t, cnt + 1);
	return b->slots && b->first && b->sibling && b->t->nodes && b->t->order;
}

struct tree *tree_new(struct arena *a, const struct span *spans, uint32_t cnt)
{
	struct build b = {.spans = spans, .t = arena_new(a, struct tree), .seed = clock_mono_ns()};
	uint32_t next = 0;

	if (!b.t || !build_alloc(&b, a, cnt))
		return NULL;
	b.t->cnt = cnt;
	memset(b.first, 0xff, cnt * sizeof(*b.first));
	memset(b.sibling, 0xff, cnt * sizeof(*b.sibling));
	index_spans(&b);
	link_parents(&b);
	name_families(&b);
	for (uint32_t i = 0; i < cnt; i++)
		if (b.t->nodes[i].parent == TREE_NONE)
			number_from(&b, i, &next);
	return b.t;
}

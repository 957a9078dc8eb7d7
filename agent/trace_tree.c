/* SPDX-License-Identifier: Apache-2.0 */
/* trace_tree.c - spans → parents and children → lines. It asks nobody and prints nothing itself;
 * trace_cmd.c does. Spans may come from anybody (OTLP), so ids may repeat, parents may be missing
 * or go in circles, ends may lie before starts: every span is drawn exactly once, and without
 * recursion, however deep the tree. Nothing from a span reaches the output but through term.h. */
#include "agent/trace_tree.h"
#include "agent/term.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { BAR_COLS = 40, LABEL_MAX = 72, DEPTH_SHOWN = 24 };

struct node {
	struct str id, parent_id, service, name, kind, status; /* borrowed from the JSON */
	uint64_t start_ns, end_ns;
	struct node *up, *down, *next; /* parent, first child, next child of the same parent */
	struct node *last;	       /* child */
	bool is_error, is_orphan, is_drawn;
};

struct tree {
	struct node *nodes;
	size_t cnt, cap;
	uint64_t from_ns, to_ns;
	size_t label_cols;
};

/* --- JSON → nodes --- */

static struct str text_of(const json_t *j)
{
	return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)}
				 : STR("");
}

/* 64-bit numbers are decimal strings in this JSON. */
static uint64_t number_of(const json_t *j)
{
	return json_is_string(j) ? strtoull(json_string_value(j), NULL, 10)
				 : (uint64_t)json_integer_value(j);
}

static const json_t *attribute(const json_t *attributes, const char *key)
{
	const json_t *one;
	size_t i;

	json_array_foreach(attributes, i, one)
		if (str_eq(text_of(json_object_get(one, "key")), str_of(key)))
			return json_object_get(one, "value");
	return NULL;
}

static struct str attribute_text(const json_t *attributes, const char *key)
{
	const json_t *value = attribute(attributes, key);
	struct str s = text_of(json_object_get(value, "stringValue"));

	return s.len ? s : text_of(json_object_get(value, "intValue"));
}

static struct str without(struct str s, struct str prefix)
{
	return str_starts(s, prefix) ? (struct str){s.p + prefix.len, s.len - prefix.len} : s;
}

static struct str status_text(const json_t *attributes)
{
	struct str s = attribute_text(attributes, "http.response.status_code");

	s = s.len ? s : attribute_text(attributes, "db.response.status_code");
	return s.len ? s : attribute_text(attributes, "error.type");
}

static struct node *node_add(struct tree *t)
{
	if (t->cnt == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->nodes = realloc(t->nodes, t->cap * sizeof(*t->nodes));
		must(t->nodes);
	}
	t->nodes[t->cnt] = (struct node){.is_drawn = false};
	return &t->nodes[t->cnt++];
}

static void span_add(struct tree *t, const json_t *span, struct str service)
{
	const json_t *attributes = json_object_get(span, "attributes");
	const json_t *status = json_object_get(span, "status");
	struct node *n = node_add(t);

	n->id = text_of(json_object_get(span, "spanId"));
	n->parent_id = text_of(json_object_get(span, "parentSpanId"));
	n->service = service;
	n->name = text_of(json_object_get(span, "name"));
	n->kind = without(text_of(json_object_get(span, "kind")), STR("SPAN_KIND_"));
	n->status = status_text(attributes);
	n->is_error = str_eq(text_of(json_object_get(status, "code")), STR("STATUS_CODE_ERROR"));
	n->start_ns = number_of(json_object_get(span, "startTimeUnixNano"));
	n->end_ns = number_of(json_object_get(span, "endTimeUnixNano"));
	if (n->end_ns < n->start_ns)
		n->end_ns = n->start_ns;
}

static void spans_add(struct tree *t, const json_t *trace)
{
	const json_t *rs, *ss, *span;
	size_t i, j, k;

	json_array_foreach(json_object_get(trace, "resourceSpans"), i, rs) {
		const json_t *res = json_object_get(rs, "resource");
		struct str service =
			attribute_text(json_object_get(res, "attributes"), "service.name");

		json_array_foreach(json_object_get(rs, "scopeSpans"), j, ss)
			json_array_foreach(json_object_get(ss, "spans"), k, span)
				span_add(t, span, service);
	}
}

/* --- nodes → tree --- */

static int by_start(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	return x->start_ns != y->start_ns
		       ? (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns)
		       : (x->end_ns < y->end_ns) - (x->end_ns > y->end_ns);
}

static int by_id(const void *a, const void *b)
{
	const struct node *const *x = a, *const *y = b;
	int c = str_cmp((*x)->id, (*y)->id);

	return c ? c : (*x > *y) - (*x < *y);
}

/* The first span with this id. */
static struct node *find(struct node **sorted, size_t cnt, struct str id)
{
	size_t low = 0, high = cnt;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (str_cmp(sorted[mid]->id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < cnt && str_eq(sorted[low]->id, id) ? sorted[low] : NULL;
}

static void link_child(struct node *parent, struct node *child)
{
	child->up = parent;
	if (parent->last)
		parent->last->next = child;
	else
		parent->down = child;
	parent->last = child;
}

static void tree_link(struct tree *t)
{
	struct node **sorted = malloc((t->cnt + 1) * sizeof(*sorted));

	must(sorted);
	qsort(t->nodes, t->cnt, sizeof(*t->nodes), by_start);
	for (size_t i = 0; i < t->cnt; i++)
		sorted[i] = &t->nodes[i];
	qsort(sorted, t->cnt, sizeof(*sorted), by_id);
	t->from_ns = t->nodes[0].start_ns;
	for (size_t i = 0; i < t->cnt; i++) {
		struct node *n = &t->nodes[i], *parent;

		parent = n->parent_id.len ? find(sorted, t->cnt, n->parent_id) : NULL;
		n->is_orphan = n->parent_id.len && (!parent || parent == n);
		if (parent && parent != n)
			link_child(parent, n);
		if (n->end_ns > t->to_ns)
			t->to_ns = n->end_ns;
	}
	free(sorted);
}

/* Makes the topmost of a circle of parents an orphan. */
static void cut_loose(struct node *n)
{
	struct node *parent = n->up, *before = NULL;

	for (struct node *c = parent->down; c != n; c = c->next)
		before = c;
	*(before ? &before->next : &parent->down) = n->next;
	if (parent->last == n)
		parent->last = before;
	n->up = n->next = NULL;
	n->is_orphan = true;
}

/* --- tree → lines --- */

static bool is_deeper_than_shown(const struct node *n)
{
	size_t depth = 0;

	while ((n = n->up) && depth <= DEPTH_SHOWN)
		depth++;
	return depth > DEPTH_SHOWN;
}

/* "│  └─ ": one piece for each ancestor, the nearest DEPTH_SHOWN of them. */
static size_t add_branches(struct strbuf *out, const struct node *n)
{
	const struct node *path[DEPTH_SHOWN];
	size_t cnt = 0;

	for (const struct node *at = n; at->up && cnt < DEPTH_SHOWN; at = at->up)
		path[cnt++] = at;
	for (size_t i = cnt; i-- > 0;) {
		bool more = path[i]->next != NULL;

		strbuf_adds(out, i ? (more ? "│  " : "   ") : (more ? "├─ " : "└─ "));
	}
	return cnt * 3;
}

static size_t add_label(struct strbuf *out, const struct node *n)
{
	size_t cols = add_branches(out, n);

	if (n->is_orphan) {
		strbuf_adds(out, "? ");
		cols += 2;
	}
	cols += term_add(out, n->service.len ? n->service : STR("(no service)"), 32);
	strbuf_addc(out, ' ');
	return cols + 1 + term_add(out, n->name, LABEL_MAX - 32);
}

static void add_pad(struct strbuf *out, size_t have, size_t want)
{
	for (; have < want; have++)
		strbuf_addc(out, ' ');
}

static void add_bar(struct strbuf *out, const struct tree *t, const struct node *n)
{
	double whole = (double)(t->to_ns - t->from_ns), scale = whole > 0 ? BAR_COLS / whole : 0;
	size_t from = (size_t)((double)(n->start_ns - t->from_ns) * scale);
	size_t to = (size_t)((double)(n->end_ns - t->from_ns) * scale + 0.999);

	if (from > BAR_COLS - 1)
		from = BAR_COLS - 1;
	if (to > BAR_COLS)
		to = BAR_COLS;
	if (to <= from)
		to = from + 1;
	strbuf_adds(out, "▕");
	add_pad(out, 0, from);
	for (size_t i = from; i < to; i++)
		strbuf_adds(out, "█");
	add_pad(out, to, BAR_COLS);
	strbuf_adds(out, "▏");
}

static void add_line(struct strbuf *out, const struct tree *t, const struct node *n)
{
	struct strbuf part;
	size_t cols = add_label(out, n);

	strbuf_init(&part);
	add_pad(out, cols, t->label_cols + 2);
	cols = term_add(out, n->kind.len ? n->kind : STR("-"), 8);
	add_pad(out, cols, 9);
	term_add_duration(&part, n->end_ns - n->start_ns);
	add_pad(out, part.len, 8);
	strbuf_add(out, part.p, part.len);
	strbuf_adds(out, "  ");
	add_bar(out, t, n);
	strbuf_adds(out, n->is_error ? "  ERROR" : "");
	if (n->status.len) {
		strbuf_adds(out, n->is_error ? " " : "  ");
		term_add(out, n->status, 40);
	}
	strbuf_addc(out, '\n');
	strbuf_fini(&part);
}

/* The next one in drawing order below the same top, or NULL. */
static struct node *next_node(struct node *n)
{
	if (n->down)
		return n->down;
	while (n && !n->next)
		n = n->up;
	return n ? n->next : NULL;
}

/* Orders all nodes: tops by their start, each followed by what is below it. */
static void tree_order(struct tree *t, struct node **order)
{
	size_t cnt = 0;

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < t->cnt; i++) {
			struct node *n = &t->nodes[i];

			if (n->is_drawn || (n->up && pass == 0))
				continue;
			if (n->up)
				cut_loose(n);
			for (; n; n = next_node(n)) {
				n->is_drawn = true;
				order[cnt++] = n;
			}
		}
	must(cnt == t->cnt);
}

static size_t label_cols(struct node **order, size_t cnt)
{
	struct strbuf scratch;
	size_t max = 0;

	strbuf_init(&scratch);
	for (size_t i = 0; i < cnt; i++) {
		size_t cols;

		strbuf_clear(&scratch);
		cols = add_label(&scratch, order[i]);
		max = cols > max ? cols : max;
	}
	strbuf_fini(&scratch);
	return max;
}

static void add_head(struct strbuf *out, const struct tree *t, struct str id)
{
	strbuf_adds(out, "trace ");
	term_add(out, id, 0);
	strbuf_printf(out, "  %zu span%s  ", t->cnt, t->cnt == 1 ? "" : "s");
	term_add_duration(out, t->to_ns - t->from_ns);
	strbuf_adds(out, "  ");
	term_add_time(out, t->from_ns);
	strbuf_addc(out, '\n');
}

static void tree_draw(struct strbuf *out, struct tree *t, struct str id)
{
	struct node **order = malloc((t->cnt + 1) * sizeof(*order));
	bool has_orphan = false;

	must(order);
	tree_order(t, order);
	t->label_cols = label_cols(order, t->cnt);
	add_head(out, t, id);
	for (size_t i = 0; i < t->cnt; i++) {
		has_orphan |= order[i]->is_orphan;
		if (is_deeper_than_shown(order[i]))
			strbuf_adds(out, "…");
		add_line(out, t, order[i]);
	}
	if (has_orphan)
		strbuf_adds(out, "? the parent of this span is not in the trace\n");
	free(order);
}

int trace_tree_format(struct strbuf *out, struct str json, struct str id)
{
	json_t *root = json_loadb(json.p, json.len, JSON_ALLOW_NUL, NULL);
	const json_t *trace = json_object_get(root, "trace");
	struct tree t = {.cnt = 0};
	int err = json_is_object(trace) ? 0 : -EBADMSG;

	if (!err) {
		spans_add(&t, trace);
		err = t.cnt ? 0 : -ENOENT;
	}
	if (!err) {
		tree_link(&t);
		tree_draw(out, &t, id);
	}
	free(t.nodes);
	json_decref(root);
	return err;
}

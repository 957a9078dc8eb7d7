/* SPDX-License-Identifier: Apache-2.0 */
/* span_build.c - see span_build.h: checks a record, turns ids, times and addresses, and runs the
 * attribute table of its protocol (http1_attrs.c, pgsql_attrs.c) and the one of all protocols. It
 * keeps nothing between two spans. Called by drain.c. The invariants: no byte past len is read, no
 * length of the record is believed, and nothing in the span points into the record, which belongs
 * to the ring buffer. */
#include "agent/span_build.h"
#include "agent/span_attrs.h"
#include "agent/utf8.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum { ATTRS_MAX = 32 };

/* OTLP's Span.flags: the W3C trace flags, and whether the parent's context came over the wire. */
enum { FLAG_SAMPLED = 0x01, FLAG_HAS_REMOTE = 0x100, FLAG_REMOTE = 0x200 };

static const struct scope scope = {
    .name = {"wirespan", 8},
    .version = {VERSION, sizeof(VERSION) - 1},
    .schema_url = {SEMCONV_SCHEMA_URL, sizeof(SEMCONV_SCHEMA_URL) - 1},
};

static const struct proto_maker *const protos[PROTO_COUNT] = {
#define X(id, name) [PROTO_##id] = &name##_maker,
    PROTOCOLS(X)
#undef X
};

/* --- for makers --- */

bool val_str(struct val *ret, struct str s)
{
	*ret = (struct val){.type = VAL_STR, .str = s};
	return s.len > 0;
}

bool val_int(struct val *ret, int64_t i)
{
	*ret = (struct val){.type = VAL_INT, .i = i};
	return true;
}

static bool val_true(struct val *ret)
{
	*ret = (struct val){.type = VAL_BOOL, .b = true};
	return true;
}

bool build_is_server(const struct build *bd)
{
	return bd->rs->role == ROLE_SERVER;
}

bool build_has(const struct build *bd, uint16_t flag)
{
	return bd->rs->flags & flag;
}

struct str build_server_address(const struct build *bd)
{
	return build_is_server(bd) ? bd->local : bd->service.len ? bd->service : bd->remote;
}

uint16_t build_server_port(const struct build *bd)
{
	return build_is_server(bd) ? bd->rs->local_port : bd->rs->remote_port;
}

/* --- what every protocol says --- */

static bool peer_address(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->remote);
}

static bool peer_port(const struct build *bd, struct val *ret)
{
	return val_int(ret, bd->rs->remote_port) && bd->remote.len > 0;
}

static bool error_type(const struct build *bd, struct val *ret)
{
	return val_str(ret, bd->error);
}

/* From the request's first byte to the response's. */
static bool first_byte(const struct build *bd, struct val *ret)
{
	const struct rec_span *rs = bd->rs;

	return rs->first_ns >= rs->start_ns && rs->first_ns <= rs->end_ns &&
	       val_int(ret, rs->first_ns - rs->start_ns);
}

static bool parent_how(const struct build *bd, struct val *ret)
{
	static const struct str names[] = {
#define X(id, name) [PARENT_##id] = {#name, sizeof(#name) - 1},
	    PARENTS(X)
#undef X
	};

	return bd->rs->parent < ARRAY_SIZE(names) && val_str(ret, names[bd->rs->parent]);
}

static bool is_cut(const struct build *bd, struct val *ret)
{
	return bd->cut && val_true(ret);
}

static bool is_skipped(const struct build *bd, struct val *ret)
{
	return build_has(bd, SPAN_SKIPPED) && val_true(ret);
}

static const struct attr_maker common_makers[] = {
    {STR("network.peer.address"), peer_address},
    {STR("network.peer.port"), peer_port},
    {STR("error.type"), error_type},
    {STR("wirespan.first_byte_ns"), first_byte},
    {STR("wirespan.parent"), parent_how},
    {STR("wirespan.cut"), is_cut},
    {STR("wirespan.skipped"), is_skipped},
};

/* --- the record --- */

/* Do the pieces of text fit into what is there? */
static int text_check(const struct rec_span *rs, size_t len)
{
	size_t left = len - offsetof(struct rec_span, text), sum = 0;

	for (uint32_t i = 0; i < TEXT_COUNT; i++)
		sum += rs->text_len[i];
	return sum <= left && sum <= TEXT_MAX ? 0 : -EBADMSG;
}

static int record_check(const struct rec_span *rs, size_t len)
{
	if (len < offsetof(struct rec_span, text) || rs->head.type != REC_SPAN)
		return -EBADMSG;
	if (rs->head.version != RECORD_VERSION || rs->head.len > len ||
	    rs->head.len < offsetof(struct rec_span, text))
		return -EBADMSG;
	if (rs->proto == PROTO_UNKNOWN || rs->proto >= PROTO_COUNT)
		return -EBADMSG;
	if (rs->role != ROLE_SERVER && rs->role != ROLE_CLIENT)
		return -EBADMSG;
	if (rs->end_ns < rs->start_ns || !rs->span_id || !(rs->trace_id[0] | rs->trace_id[1]))
		return -EBADMSG;
	return text_check(rs, rs->head.len);
}

static void text_take(struct build *bd)
{
	static const enum rec_text usual[TEXT_COUNT] = {TEXT_METHOD, TEXT_TARGET, TEXT_HOST,
							TEXT_AGENT};
	static const enum rec_text agent_first[TEXT_COUNT] = {TEXT_METHOD, TEXT_TARGET, TEXT_AGENT,
							      TEXT_HOST};
	const enum rec_text *order = build_has(bd, SPAN_AGENT_FIRST) ? agent_first : usual;
	const char *at = bd->rs->text;

	for (uint32_t i = 0; i < TEXT_COUNT; i++) {
		size_t len = bd->rs->text_len[order[i]];

		bd->text[order[i]] = utf8_copy(bd->arena, (struct str){at, len});
		at += len;
	}
}

static void address_write(struct address_name *to, const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
	bool v4 = !memcmp(addr, mapped, sizeof(mapped));

	memcpy(to->addr, addr, sizeof(to->addr));
	must(inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + 12 : addr, to->text, sizeof(to->text)));
	to->len = (uint8_t)strlen(to->text);
}

/* Empty for :: as well: a socket without addresses, such as a Unix-domain one. */
static struct str address_text(struct span_builder *b, struct arena *a, const uint8_t addr[16])
{
	static const uint8_t none[16];
	uint32_t at = (addr[15] ^ addr[14] * 7u ^ addr[13] * 31u) % ADDRESS_NAMES;
	struct address_name *name = &b->addresses[at];

	if (!memcmp(addr, none, sizeof(none)))
		return STR("");
	if (!name->len || memcmp(name->addr, addr, sizeof(name->addr)) != 0)
		address_write(name, addr);
	return arena_str(a, name->text, name->len);
}

static uint32_t attrs_make(const struct build *bd, const struct attr_maker *makers, uint32_t cnt,
			   struct attr *at)
{
	uint32_t made = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		at[made].key = makers[i].key;
		made += makers[i].make(bd, &at[made].val);
	}
	return made;
}

static int attrs_fill(const struct build *bd, struct attrs *as)
{
	const struct proto_maker *proto = protos[bd->rs->proto];

	must(proto->maker_cnt + ARRAY_SIZE(common_makers) <= ATTRS_MAX);
	as->at = arena_array(bd->arena, struct attr, ATTRS_MAX);
	if (!as->at)
		return -ENOMEM;
	as->cnt = attrs_make(bd, proto->makers, proto->maker_cnt, as->at);
	as->cnt += attrs_make(bd, common_makers, ARRAY_SIZE(common_makers), as->at + as->cnt);
	return 0;
}

static void ids_fill(const struct build *bd, struct span *sp)
{
	const struct rec_span *rs = bd->rs;

	memcpy(sp->trace_id, rs->trace_id, sizeof(sp->trace_id));
	memcpy(sp->span_id, &rs->span_id, sizeof(sp->span_id));
	memcpy(sp->parent_id, &rs->parent_id, sizeof(sp->parent_id));
	sp->start_ns = rs->start_ns + bd->b->boot_to_real_ns;
	sp->end_ns = rs->end_ns + bd->b->boot_to_real_ns;
	sp->flags = FLAG_SAMPLED | FLAG_HAS_REMOTE;
	sp->flags |= build_has(bd, SPAN_PARENT_REMOTE) ? FLAG_REMOTE : 0;
}

/* Work that a request left behind when it was answered. */
static int links_fill(const struct build *bd, struct span *sp)
{
	struct link *l;

	if (!bd->rs->left_span)
		return 0;
	l = arena_array(bd->arena, struct link, 1);
	if (!l)
		return -ENOMEM;
	*l = (struct link){.flags = FLAG_SAMPLED};
	memcpy(l->trace_id, bd->rs->left_trace, sizeof(l->trace_id));
	memcpy(l->span_id, &bd->rs->left_span, sizeof(l->span_id));
	sp->links = l;
	sp->link_cnt = 1;
	return 0;
}

int span_build(struct span_builder *b, struct arena *a, const struct rec_span *rs, size_t len,
	       const struct proc_info *pi, struct span *ret)
{
	struct build bd = {.b = b, .arena = a, .rs = rs, .pi = pi};
	struct span sp = {.res = &pi->res, .scope = &scope};
	int err = record_check(rs, len);

	if (err)
		return err;
	text_take(&bd);
	bd.local = address_text(b, a, rs->local_addr);
	bd.remote = address_text(b, a, rs->remote_addr);
	if (!build_is_server(&bd))
		bd.service = kube_service_at(b->kube, a, bd.remote);
	bd.cut = build_has(&bd, SPAN_CUT);
	protos[rs->proto]->prepare(&bd);
	err = attrs_fill(&bd, &sp.attrs);
	err = err ?: links_fill(&bd, &sp);
	if (err)
		return err;
	ids_fill(&bd, &sp);
	sp.kind = build_is_server(&bd) ? KIND_SERVER : KIND_CLIENT;
	sp.status = bd.error.len ? STATUS_ERROR : STATUS_UNSET;
	sp.name = bd.name;
	*ret = sp;
	return 0;
}

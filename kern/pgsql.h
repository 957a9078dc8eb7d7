/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* pgsql.h - the PostgreSQL protocol (3.x) as a resumable machine, one per direction. It walks from
 * message to message in any split of the stream and looks only into those that say what runs: SQL
 * text, names of statements and portals, the database at startup, a command's tag, an error's
 * SQLSTATE. Passwords, bind values and rows are counted past, never read. Which answer belongs to
 * which request is pgsql_conn.h's business; this file knows nothing of sockets, maps or time. */
#ifndef WIRESPAN_PGSQL_H
#define WIRESPAN_PGSQL_H

#include "kern/record.h"
#include "kern/window.h"

enum pgsql_state {
	PGS_STARTUP,  /* length and code of a packet without type */
	PGS_PARAM,    /* name of a startup parameter */
	PGS_PARAM_VALUE,
	PGS_ANSWER,   /* backend: one byte that answers SSLRequest or GSSENCRequest */
	PGS_TYPE,     /* start of a message */
	PGS_LENGTH,   /* its length, when the header is split */
	PGS_SKIP,     /* the rest of a message */
	PGS_NAME,     /* a name, as a hash */
	PGS_KIND,     /* Describe, Close: 'S'tatement or 'P'ortal */
	PGS_TEXT,     /* SQL text up to its NUL */
	PGS_TEXT_END, /* the NUL itself */
	PGS_TAG,      /* CommandComplete: the first three letters of the tag */
	PGS_FIELD,    /* ErrorResponse: the code of a field */
	PGS_FIELD_VALUE,
	PGS_SQLSTATE, /* the value of field C */
	PGS_DEAD,
};

enum pgsql_mark {
	PGM_NONE,
	PGM_HEAD,     /* frontend: a message of a type that starts work has begun: type is known */
	PGM_TEXT,     /* from..to is SQL text; more follows */
	PGM_TEXT_END, /* from..to is the end of the SQL text */
	PGM_DATABASE, /* from..to is the database's name (or, before that, the user's) */
	PGM_MSG,      /* the message is complete */
	PGM_SSL,      /* SSLRequest, GSSENCRequest: one byte answers it */
	PGM_CANCEL,   /* CancelRequest: nothing more will come */
	PGM_STARTUP,  /* StartupMessage is complete: typed messages follow */
	PGM_ANSWER,   /* the answering byte is in type */
	PGM_BAD,
};

struct pgsql {
	__u64 names[2]; /* hashes of the current message's names: B portal and statement, E portal, P and
			 * D statement */
	__u32 left;     /* bytes of the message still to come */
	__u32 acc;      /* a number that is being read; a parameter name's hash; a tag's letters */
	__u32 text_off; /* SQL text bytes before the piece that the mark names */
	__u32 rows;     /* DataRows since the owner took them; the first one is marked, the others not */
	__u8 state;     /* enum pgsql_state */
	__u8 type;      /* of the message */
	__u8 col;       /* position in a small field */
	__u8 field;     /* which name */
	__u8 backend;   /* set once by the owner: this direction comes from the server */
	char sqlstate[6];
	__u8 pad[5];
};

enum { PGSQL_LENGTH_MAX = 1 << 30 }; /* 1 GiB is PostgreSQL's own limit */

#define NAME_HASH_START 0xcbf29ce484222325ull
#define NAME_HASHED (1ull << 63) /* told apart from statement numbers */
#define NAME_NONE 1ull /* what no name hashes to */

static __always_inline __u64 name_hash_byte(__u64 h, __u8 c)
{
	return (h ^ c) * 0x100000001b3ull;
}

/* The unnamed statement and portal hash to 0. */
static __always_inline __u64 name_hash_end(__u64 h)
{
	return h == NAME_HASH_START ? 0 : h | NAME_HASHED;
}

static __always_inline int pgsql_bad(struct pgsql *m)
{
	m->state = PGS_DEAD;
	return PGM_BAD;
}

static __always_inline int letter_in(__u8 c, __u64 from_at, __u64 from_backquote)
{
	if (c >= 0x40 && c < 0x60)
		return from_at >> (c - 0x40) & 1;
	if (c >= 0x60 && c < 0x80)
		return from_backquote >> (c - 0x60) & 1;
	return 0;
}

#define AT(c) (1ull << ((c) - 0x40))
#define BQ(c) (1ull << ((c) - 0x60))

static __always_inline int pgsql_type_known(const struct pgsql *m, __u8 c)
{
	if (m->backend)
		return c == '1' || c == '2' || c == '3' ||
		       letter_in(c, AT('A') | AT('C') | AT('D') | AT('E') | AT('G') | AT('H') |
					    AT('I') | AT('K') | AT('N') | AT('R') | AT('S') | AT('T') |
					    AT('V') | AT('W') | AT('Z'),
				 BQ('c') | BQ('d') | BQ('n') | BQ('s') | BQ('t') | BQ('v'));
	return letter_in(c, AT('B') | AT('C') | AT('D') | AT('E') | AT('F') | AT('H') | AT('P') |
				    AT('Q') | AT('S') | AT('X'),
			 BQ('c') | BQ('d') | BQ('f') | BQ('p'));
}

static __always_inline int pgsql_msg_end(struct pgsql *m)
{
	m->state = PGS_TYPE;
	if (m->type == 'D' && m->backend && m->rows++)
		return PGM_NONE;
	return PGM_MSG;
}

/* The client's messages that cannot be empty: those that PGM_HEAD announces. */
static __always_inline int pgsql_has_payload(__u8 t)
{
	return letter_in(t, AT('B') | AT('C') | AT('D') | AT('E') | AT('F') | AT('P') | AT('Q'), 0);
}

/* The header is read: what to do with the payload. */
static __always_inline int pgsql_payload(struct pgsql *m, __u32 len)
{
	__u8 t = m->type;

	if (len < 4 || len > PGSQL_LENGTH_MAX)
		return pgsql_bad(m);
	m->left = len - 4;
	m->col = 0;
	m->field = 0;
	m->text_off = 0;
	m->acc = 0;
	m->state = PGS_SKIP;
	if (!m->left)
		return m->backend || !pgsql_has_payload(t) ? pgsql_msg_end(m) : pgsql_bad(m);
	if (m->backend) {
		if (t == 'C')
			m->state = PGS_TAG;
		if (t == 'E') {
			m->state = PGS_FIELD;
			__builtin_memset(m->sqlstate, 0, sizeof(m->sqlstate));
		}
		return PGM_NONE;
	}
	if (t == 'Q')
		m->state = PGS_TEXT;
	else if (t == 'P' || t == 'B' || t == 'E')
		m->state = PGS_NAME;
	else if (t == 'D' || t == 'C')
		m->state = PGS_KIND;
	else if (t != 'F')
		return PGM_NONE;
	m->names[0] = NAME_HASH_START;
	m->names[1] = NAME_HASH_START;
	return PGM_HEAD;
}

static __always_inline __u32 be32(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

/* n of the message's bytes are behind us. */
static __always_inline int pgsql_consume(struct pgsql *m, struct window *w, __u32 n)
{
	w->at += n;
	m->left -= n;
	return m->left ? PGM_NONE : pgsql_msg_end(m);
}

static __always_inline __u32 pgsql_available(const struct pgsql *m, const struct window *w)
{
	__u32 k = w->n - w->at;

	return k < m->left ? k : m->left;
}

static __always_inline int pgsql_skip_rest(struct pgsql *m, struct window *w)
{
	return pgsql_consume(m, w, pgsql_available(m, w));
}

enum { ROWS_STEP = 8 };

/* Steps over rows behind the first that are whole in the window, a few at a time. */
static __always_inline int pgsql_glance_rows(struct pgsql *m, struct window *w)
{
	__u32 i, at = w->at, len;

	for (i = 0; i < ROWS_STEP; i++) {
		const __u8 *p = &w->b[at & (WINDOW - 1)];

		if (at + 5 > w->n || p[0] != 'D')
			break;
		len = be32(p + 1);
		if (len < 4 || len > w->n - at - 1)
			break;
		at += 1 + len;
	}
	m->rows += i;
	w->at = at;
	return i;
}

static __always_inline int pgsql_type(struct pgsql *m, struct window *w, __u8 c)
{
	const __u8 *p = &w->b[w->at & (WINDOW - 1)];
	int mark;

	if (c == 'D' && m->backend && m->rows && pgsql_glance_rows(m, w))
		return PGM_NONE;

	if (!pgsql_type_known(m, c))
		return pgsql_bad(m);
	m->type = c;
	if (w->n - w->at < 5) {
		m->state = PGS_LENGTH;
		m->acc = 0;
		m->col = 0;
		w->at++;
		return PGM_NONE;
	}
	w->at += 5;
	w->tok = w->at;
	mark = pgsql_payload(m, be32(p + 1));
	if (mark != PGM_NONE || m->state != PGS_SKIP || w->at >= w->n)
		return mark;
	return pgsql_skip_rest(m, w); /* rows and the like: one step a message */
}

static __always_inline int pgsql_length(struct pgsql *m, struct window *w, __u8 c)
{
	w->at++;
	w->tok = w->at;
	m->acc = m->acc << 8 | c;
	return ++m->col == 4 ? pgsql_payload(m, m->acc) : PGM_NONE;
}

static __always_inline int pgsql_name_end(struct pgsql *m, struct window *w)
{
	m->names[m->field & 1] = name_hash_end(m->names[m->field & 1]);
	m->field++;
	if (m->type == 'P')
		m->state = PGS_TEXT;
	else if (m->type != 'B' || m->field == 2)
		m->state = PGS_SKIP;
	if (m->state == PGS_TEXT)
		w->tok = w->at + 1;
	return pgsql_consume(m, w, 1);
}

static __always_inline int pgsql_name(struct pgsql *m, struct window *w, __u8 c)
{
	if (!c)
		return pgsql_name_end(m, w);
	m->names[m->field & 1] = name_hash_byte(m->names[m->field & 1], c);
	return pgsql_consume(m, w, 1);
}

static __always_inline int pgsql_text(struct pgsql *m, struct window *w)
{
	__u32 most = pgsql_available(m, w), k = window_find(w, 0) - w->at;

	if (k >= most)
		k = most; /* a NUL behind the message is not ours */
	else if (!window_byte(w, w->at + k))
		m->state = PGS_TEXT_END;
	w->at += k;
	m->left -= k;
	if (!m->left)
		return pgsql_bad(m);
	if (m->state == PGS_TEXT && w->at - w->tok < STMT_CHUNK - SCAN)
		return PGM_NONE;
	w->from = w->tok;
	w->to = w->at;
	w->tok = w->at;
	return m->state == PGS_TEXT_END ? PGM_TEXT_END : PGM_TEXT;
}

/* acc becomes the tag's first three letters: enough to know SELECT from SET. */
static __always_inline int pgsql_tag(struct pgsql *m, struct window *w, __u8 c)
{
	m->acc = m->acc << 8 | c;
	if (++m->col == 3)
		m->state = PGS_SKIP;
	return pgsql_consume(m, w, 1);
}

static __always_inline int pgsql_field(struct pgsql *m, struct window *w, __u8 c)
{
	m->col = 0;
	m->state = c == 'C' ? PGS_SQLSTATE : c ? PGS_FIELD_VALUE : PGS_SKIP;
	return pgsql_consume(m, w, 1);
}

static __always_inline int pgsql_field_value(struct pgsql *m, struct window *w)
{
	__u32 most = pgsql_available(m, w), k = window_find(w, 0) - w->at;

	if (k >= most)
		return pgsql_consume(m, w, most);
	if (!window_byte(w, w->at + k)) {
		m->state = PGS_FIELD;
		k++;
	}
	return pgsql_consume(m, w, k);
}

static __always_inline int pgsql_sqlstate(struct pgsql *m, struct window *w, __u8 c)
{
	if (!c)
		m->state = PGS_FIELD;
	else if (m->col < 5)
		m->sqlstate[m->col++ & 7] = (char)c;
	return pgsql_consume(m, w, 1);
}

static __always_inline int pgsql_kind(struct pgsql *m, struct window *w, __u8 c)
{
	m->field = 0;
	m->state = c == 'S' && m->type == 'D' ? PGS_NAME : c == 'S' || c == 'P' ? PGS_SKIP : PGS_DEAD;
	return m->state == PGS_DEAD ? PGM_BAD : pgsql_consume(m, w, 1);
}

enum { PG_PROTOCOL_3 = 3, PG_CANCEL = 80877102, PG_SSL = 80877103, PG_GSSENC = 80877104 };

/* Eight bytes: the packet's length, then what it asks. */
static __always_inline int pgsql_startup(struct pgsql *m, struct window *w, __u8 c)
{
	w->at++;
	m->acc = m->acc << 8 | c;
	if (++m->col == 4) {
		m->left = m->acc;
		m->acc = 0;
		return m->left < 8 || m->left > 10240 ? pgsql_bad(m) : PGM_NONE;
	}
	if (m->col < 8)
		return PGM_NONE;
	m->left -= 8;
	m->col = 0;
	c = m->left == 0;
	if (m->acc == PG_CANCEL) {
		m->state = PGS_DEAD;
		return PGM_CANCEL;
	}
	if ((m->acc == PG_SSL || m->acc == PG_GSSENC) && c) {
		m->acc = 0; /* the next packet is a startup again, unless the answer is yes */
		return PGM_SSL;
	}
	if (m->acc >> 16 != PG_PROTOCOL_3 || c)
		return pgsql_bad(m);
	m->state = PGS_PARAM;
	m->acc = 0;
	return PGM_NONE;
}

/* A byte behind which more must follow: the parameters end with an empty name, the packet there. */
static __always_inline int pgsql_startup_byte(struct pgsql *m, struct window *w)
{
	w->at++;
	return --m->left ? PGM_NONE : pgsql_bad(m);
}

static __always_inline int pgsql_startup_end(struct pgsql *m, struct window *w)
{
	w->at++;
	if (--m->left)
		return pgsql_bad(m);
	m->state = PGS_TYPE;
	return PGM_STARTUP;
}

enum { PG_PARAM_USER = 1, PG_PARAM_DATABASE };

/* Names are told apart by their letters' 32-bit hash. */
static __always_inline int pgsql_param(struct pgsql *m, struct window *w, __u8 c)
{
	const __u32 user = ((('u' * 31 + 's') * 31) + 'e') * 31 + 'r';
	const __u64 database =
		((((((('d' * 31ull + 'a') * 31 + 't') * 31 + 'a') * 31 + 'b') * 31 + 'a') * 31) + 's') *
			31 + 'e';

	if (c) {
		m->acc = m->acc * 31 + c;
		return pgsql_startup_byte(m, w);
	}
	if (!m->acc)
		return pgsql_startup_end(m, w);
	m->field = m->acc == user ? PG_PARAM_USER : m->acc == (__u32)database ? PG_PARAM_DATABASE : 0;
	if (m->field == PG_PARAM_USER && m->type == PG_PARAM_DATABASE)
		m->field = 0; /* the user's name is the database's only where that is not given */
	if (m->field)
		m->type = m->field;
	m->acc = 0;
	m->text_off = 0;
	m->state = PGS_PARAM_VALUE;
	w->tok = w->at + 1;
	return pgsql_startup_byte(m, w);
}

static __always_inline int pgsql_param_value(struct pgsql *m, struct window *w, __u8 c)
{
	int mark;

	if (c)
		return pgsql_startup_byte(m, w);
	m->state = PGS_PARAM;
	w->from = w->tok;
	w->to = w->at;
	mark = pgsql_startup_byte(m, w);
	return mark == PGM_NONE && m->field ? PGM_DATABASE : mark;
}

static __always_inline int pgsql_answer(struct pgsql *m, struct window *w, __u8 c)
{
	if (c == 'E') { /* an old server refuses with an ErrorResponse */
		m->state = PGS_TYPE;
		return PGM_NONE;
	}
	w->at++;
	m->type = c;
	m->state = PGS_TYPE;
	return PGM_ANSWER;
}

/* One step: at least one byte is there. */
static __always_inline int pgsql_step(struct pgsql *m, struct window *w)
{
	__u8 c = window_byte(w, w->at);

	switch (m->state) {
	case PGS_TYPE:
		return pgsql_type(m, w, c);
	case PGS_LENGTH:
		return pgsql_length(m, w, c);
	case PGS_SKIP:
		return pgsql_skip_rest(m, w);
	case PGS_NAME:
		return pgsql_name(m, w, c);
	case PGS_KIND:
		return pgsql_kind(m, w, c);
	case PGS_TEXT:
		return pgsql_text(m, w);
	case PGS_TEXT_END:
		m->state = PGS_SKIP;
		return pgsql_consume(m, w, 1);
	case PGS_TAG:
		return pgsql_tag(m, w, c);
	case PGS_FIELD:
		return pgsql_field(m, w, c);
	case PGS_FIELD_VALUE:
		return pgsql_field_value(m, w);
	case PGS_SQLSTATE:
		return pgsql_sqlstate(m, w, c);
	case PGS_STARTUP:
		return pgsql_startup(m, w, c);
	case PGS_PARAM:
		return pgsql_param(m, w, c);
	case PGS_PARAM_VALUE:
		return pgsql_param_value(m, w, c);
	case PGS_ANSWER:
		return pgsql_answer(m, w, c);
	default:
		w->at = w->n;
		return PGM_NONE;
	}
}

/* Is text being captured that goes on in the next window? Its start is window.tok. The mark for what
 * is there of it; PGM_NONE: no. */
static __always_inline int pgsql_capturing(const struct pgsql *m)
{
	if (m->state == PGS_PARAM_VALUE && m->field)
		return PGM_DATABASE;
	return m->state == PGS_TEXT ? PGM_TEXT : PGM_NONE;
}

/* How many of the coming bytes need not be looked at. */
static __always_inline __u64 pgsql_skippable(const struct pgsql *m)
{
	if (m->state == PGS_SKIP)
		return m->left;
	return m->state == PGS_DEAD ? ~0ull : 0;
}

/* k bytes, at most pgsql_skippable, went by unseen. */
static __always_inline int pgsql_skip(struct pgsql *m, __u64 k)
{
	if (m->state != PGS_SKIP)
		return PGM_NONE;
	m->left -= (__u32)k;
	return m->left ? PGM_NONE : pgsql_msg_end(m);
}

#endif

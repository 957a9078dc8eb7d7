/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - other nodes that are asked the same question (query.peers), so that any of a handful of nodes
 * answers for all. Each is asked with a header that says who asks: it does not ask on, and whoever hears
 * himself (a name that stands for all nodes is ours too) has nothing to add. A peer that does not answer
 * in time makes the answer partial, not an error. */
#ifndef WIRESPAN_PEERS_H
#define WIRESPAN_PEERS_H

#include "query/query.h"
#include "store/base.h"

#define PEER_HEADER "X-Wirespan-Peer"

struct peers;

/* list: "host:port,https://host:port"; a name with several addresses is that many peers. token: for them, or
 * empty. -EINVAL with a sentence. */
int peers_new(struct peers **ret, const char *list, struct str token, struct strbuf *why);
void peers_free(struct peers *p);
/* Is it this program that asks, by the header's value? */
bool peers_is_self(const struct peers *p, const char *header);

/* What the peers said to one question. Bodies live in the arena. */
struct peers_said {
	struct str *bodies; /* of those who had something: status 200 */
	uint32_t cnt;
	uint32_t asked, answered; /* … something or nothing */
	struct strbuf missing; /* which did not answer, in a sentence; empty: all did */
};

/* Text as it stands in the query of a target. */
void peers_escape(struct strbuf *target, struct str text);
/* target: path and query, as sent to us; accept: what form they shall answer in. */
void peers_ask(const struct peers *p, struct arena *a, struct str target, const char *accept,
	       struct peers_said *ret);

/* --- answers into ours --- */

/* Adds the spans of a trace (protobuf) that are not there yet. 0, -EBADMSG, -ENOMEM at the arena's limit. */
int peers_merge_trace(struct arena *a, struct str body, struct query_trace *t);
/* Adds traces (the JSON of /api/search), newest first, at most limit; of one that is there already its spans. */
int peers_merge_search(struct arena *a, struct str body, uint32_t limit, uint32_t spss,
		       struct search_result *res);

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tcp_option.h - context between nodes, in a TCP option (kind 253, RFC 6994) of the segment in which a
 * request begins: no byte of the payload changes, and a host that does not know it skips it. The
 * client's request waits in `leaving` until its first byte is acknowledged, so a retransmission
 * carries it again; the server's end keeps the last ones in `arrived`, where the reader finds them by
 * the sequence number. Room for the option is taken from the MSS of every segment of such a
 * connection from its first on: a segment that is made when no request waits may be sent when one
 * does, and one that does not fit would never arrive. On a connection that is older than that a request
 * waits only when nothing from before is on its way (options_leave). */
#ifndef WIRESPAN_TCP_OPTION_H
#define WIRESPAN_TCP_OPTION_H

enum { OPTION_KIND = 253, OPTION_ID = 0x5753, OPTION_ID_QUIET = 0x5754 };

struct option {
	__u8 kind, len;
	__be16 id; /* OPTION_ID_QUIET: the sender keeps no span of it */
	__u64 trace[2], span;
} __attribute__((packed));

enum { OPTION_LEN = sizeof(struct option), CURRENT_MSS = 1 /* BPF_WRITE_HDR_TCP_CURRENT_MSS */ };

_Static_assert(OPTION_LEN == 28, "what timestamps leave of the 40 bytes for options");

static __always_inline void option_flags(struct bpf_sock_ops *o, int more)
{
	bpf_sock_ops_cb_flags_set(o, o->bpf_sock_ops_cb_flags | more);
}

/* The connection is up. A client's is known when its process is traced: connect() has noted it. */
static __always_inline void option_opened(struct bpf_sock_ops *o)
{
	struct bpf_sock *sk = o->sk;

	if (sk && bpf_sk_storage_get(&conns, sk, 0, 0))
		option_flags(o, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/* Is a request on its way whose first byte was not acknowledged? */
static __always_inline struct request_link *option_pending(struct bpf_sock_ops *o)
{
	struct bpf_sock *sk = o->sk;
	struct request_link *l = sk ? bpf_sk_storage_get(&leaving, sk, 0, 0) : NULL;
	struct tcp_sock *tp = l && l->span ? bpf_skc_to_tcp_sock(sk) : NULL;

	return tp && (__s32)(l->pos - tp->snd_una) >= 0 ? l : NULL;
}

static __always_inline void option_reserve(struct bpf_sock_ops *o)
{
	struct bpf_sock *sk = o->sk;

	if (!sk || !bpf_sk_storage_get(&conns, sk, 0, 0))
		return; /* another tracer's */
	if (o->args[0] == CURRENT_MSS || (o->skb_len && option_pending(o)))
		bpf_reserve_hdr_opt(o, OPTION_LEN, 0);
}

/* The sequence number of the segment's first byte; 0: its header is not there. */
static __always_inline int option_seq(struct bpf_sock_ops *o, __u32 *ret)
{
	__be32 *head = o->skb_data;

	if ((void *)(head + 2) > o->skb_data_end)
		return -1;
	*ret = bpf_ntohl(head[1]);
	return 0;
}

static __always_inline void option_write(struct bpf_sock_ops *o)
{
	struct request_link *l = option_pending(o);
	struct option opt = { .kind = OPTION_KIND, .len = OPTION_LEN };
	__u32 seq;

	if (!l || option_seq(o, &seq) || seq != l->pos)
		return;
	opt.id = bpf_htons(l->quiet ? OPTION_ID_QUIET : OPTION_ID);
	opt.trace[0] = l->trace[0];
	opt.trace[1] = l->trace[1];
	opt.span = l->span;
	if (!bpf_store_hdr_opt(o, &opt, sizeof(opt), 0))
		l->written = 1;
}

static __always_inline void option_read(struct bpf_sock_ops *o)
{
	struct option opt = { .kind = OPTION_KIND, .len = 4, .id = bpf_htons(OPTION_ID) };
	struct arrived_links *a;
	struct bpf_sock *sk = o->sk;
	struct request_link *l;
	__u8 quiet = 0;
	__u32 seq;

	if (bpf_load_hdr_opt(o, &opt, sizeof(opt), 0) < 0) {
		opt = (struct option){ .kind = OPTION_KIND, .len = 4, .id = bpf_htons(OPTION_ID_QUIET) };
		quiet = 1;
		if (bpf_load_hdr_opt(o, &opt, sizeof(opt), 0) < 0)
			return;
	}
	a = sk && opt.len == OPTION_LEN && !option_seq(o, &seq) ?
		    bpf_sk_storage_get(&arrived, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) :
		    NULL;
	if (!a)
		return;
	l = &a->at[a->next++ & (ARRIVED_MAX - 1)];
	l->pos = seq;
	l->trace[0] = opt.trace[0];
	l->trace[1] = opt.trace[1];
	l->span = opt.span;
	l->quiet = quiet;
}

/* --- connections that were there before --- */

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak; /* 6.2 */

enum { SOCK_OPS_CB_FLAGS = 1008 /* TCP_BPF_SOCK_OPS_CB_FLAGS, 6.12 */ };

/* 0 when this kernel cannot do it. */
static __always_inline int option_adopt(struct bpf_sock *sk)
{
	int client = conn_looks_opened(bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct inet_connection_sock)));
	int more = client ? BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG : BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG;
	int flags = 0;

	if (client && !bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE))
		return 1; /* counted with its first request */
	if (bpf_getsockopt(sk, IPPROTO_TCP_, SOCK_OPS_CB_FLAGS, &flags, sizeof(flags)))
		return 0;
	flags |= more;
	return !bpf_setsockopt(sk, IPPROTO_TCP_, SOCK_OPS_CB_FLAGS, &flags, sizeof(flags));
}

/* The agent has got hold of a traced process's connection, and shows it to us. The socket is locked. */
SEC("?cgroup/setsockopt")
int tcp_option_adopt(struct bpf_sockopt *o)
{
	if (o->level != IPPROTO_TCP_ || o->optname != OPTION_ADOPT ||
	    task_agent_pid(bpf_get_current_task_btf()) != agent_pid) {
		if (o->optlen > 4096)
			o->optlen = 0; /* take it as it was: until 6.5 a value of more than a page fails here */
		return 1;
	}
	o->optlen = -1; /* the kernel itself does not know the option */
	return o->sk && o->sk->protocol == IPPROTO_TCP_ ? option_adopt(o->sk) : 1;
}

SEC("?sockops")
int tcp_option(struct bpf_sock_ops *o)
{
	switch (o->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		option_opened(o);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		option_flags(o, BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG);
		option_read(o); /* an ACK was lost: the first data completes the handshake */
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		option_reserve(o);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		option_write(o);
		break;
	case BPF_SOCK_OPS_PARSE_HDR_OPT_CB:
		option_read(o);
		break;
	}
	return 1;
}

#endif

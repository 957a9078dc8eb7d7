/* SPDX-License-Identifier: Apache-2.0 */
/* pair.c - see pair.h. Here the kernel half is compiled for the host, unchanged. The numbers are made
 * as TCP makes them: the opener's first data byte comes one behind its initial sequence number, the
 * end of the stream takes a number too, and they begin shortly before they wrap. */
#include "tests/shadow/pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "kern/wirespan.bpf.c"
#pragma GCC diagnostic pop

enum { ISN_CLIENT = 0xffffff80u, ISN_SERVER = 0xfffffff0u, PORT_CLIENT = 40000, PORT_SERVER = 8080 };
enum { NR_NONE = 232 /* epoll_wait: its registers describe no bytes */ };

static struct pid_namespace first_ns;
static struct party idle = { .task = { .flags = PF_KTHREAD_ } };

void pair_boot(void)
{
	shadow_reset();
	memset(lost_cnt, 0, sizeof(lost_cnt));
	memset(undecoded_cnt, 0, sizeof(undecoded_cnt));
	memset(conn_cnt, 0, sizeof(conn_cnt));
	shadow_task = &idle.task;
}

void party_thread(struct party *who, const struct party *process, int tid)
{
	*who = *process;
	who->task.pid = tid;
	who->task.group_leader = process->task.group_leader;
}

void party_init(struct party *who, int pid, __u32 flags)
{
	memset(who, 0, sizeof(*who));
	who->task.pid = who->task.tgid = pid;
	who->task.group_leader = &who->task;
	who->task.thread_pid = &who->pid;
	who->task.start_boottime = 7;
	who->pid.numbers[0].nr = pid;
	who->pid.numbers[0].ns = &first_ns;
	proc_track(&who->task, PROC_TRACKED | flags);
}

/* --- sockets --- */

static struct sock *sock_of(struct pair *p, int end)
{
	return &p->end[end].tp.inet_conn.sk;
}

static void end_init(struct pair *p, int end)
{
	struct pair_end *x = &p->end[end];
	struct sock_common *sc = &x->tp.inet_conn.sk.__sk_common;
	__u32 own = end == CLIENT ? ISN_CLIENT : ISN_SERVER;
	__u32 peer = end == CLIENT ? ISN_SERVER : ISN_CLIENT;

	x->tp.inet_conn.sk.sk_protocol = IPPROTO_TCP_;
	sc->skc_family = AF_INET_;
	sc->skc_state = BPF_TCP_ESTABLISHED;
	sc->skc_daddr = sc->skc_rcv_saddr = bpf_htonl(0x7f000001);
	sc->skc_num = end == CLIENT ? PORT_CLIENT : PORT_SERVER;
	sc->skc_dport = __builtin_bswap16(end == CLIENT ? PORT_SERVER : PORT_CLIENT);
	x->bucket.fastreuse = end == CLIENT ? -1 : 0;
	x->tp.inet_conn.icsk_bind_hash = &x->bucket;
	x->tp.write_seq = x->tp.snd_una = own + 1;
	x->tp.copied_seq = x->tp.rcv_nxt = peer + 1;
	x->tp.bytes_acked = end == CLIENT; /* its SYN */
}

static void state_set(struct pair *p, int end, int state)
{
	struct sock *sk = sock_of(p, end);
	int old = sk->__sk_common.skc_state;

	sk->__sk_common.skc_state = state;
	sock_state(NULL, sk, old, state);
}

static void run_as(struct pair *p, int end)
{
	shadow_task = p->end[end].party ? &p->end[end].party->task : &idle.task;
}

void pair_trace(struct pair *p, int end, struct party *who)
{
	p->end[end].party = who;
}

void pair_open(struct pair *p, struct party *client, struct party *server)
{
	memset(p, 0, sizeof(*p));
	p->end[CLIENT].party = client;
	p->end[SERVER].party = server;
	end_init(p, CLIENT);
	end_init(p, SERVER);
	run_as(p, CLIENT);
	if (client)
		state_set(p, CLIENT, BPF_TCP_SYN_SENT);
	sock_of(p, CLIENT)->__sk_common.skc_state = BPF_TCP_ESTABLISHED;
}

struct conn *pair_conn(struct pair *p, int end)
{
	return bpf_sk_storage_get(&conns, sock_of(p, end), 0, 0);
}

size_t pair_spilled(void)
{
	return shadow_count(&spill);
}

size_t pair_leftovers(void)
{
	return shadow_count(&spill) + shadow_count(&contexts) + shadow_count(&links);
}

/* --- bytes --- */

/* A copy that ends where its allocation ends. */
static void *exact_new(const void *bytes, size_t len)
{
	void *to = malloc(len ? len : 1);

	if (!to)
		abort();
	return memcpy(to, bytes, len);
}

/* An entry for each byte; every fourth is followed by an empty one. */
static struct iovec *vector_new(void *bytes, size_t len, size_t *ret_cnt)
{
	struct iovec *v = calloc(2 * len + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		abort();
	for (size_t i = 0; i < len; i++) {
		v[n++] = (struct iovec){ (char *)bytes + i, 1 };
		if (i % 4 == 0)
			v[n++] = (struct iovec){ (char *)bytes + i + 1, 0 };
	}
	*ret_cnt = n;
	return v;
}

static void send_hook(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
		      int vector)
{
	void *copy = exact_new(bytes, len);
	size_t cnt = 0;
	struct iovec *v = vector ? vector_new(copy, len, &cnt) : NULL;
	struct msghdr msg = { .msg_iter = { .iter_type = ITER_UBUF, .count = len, .ubuf = copy } };

	if (vector) {
		msg.msg_iter.iter_type = ITER_IOVEC;
		msg.msg_iter.__iov = v;
		msg.msg_iter.nr_segs = cnt;
	}
	if (how == HOW_OPAQUE)
		msg.msg_iter.iter_type = ITER_BVEC;
	if (how == HOW_FAULT)
		msg.msg_iter.ubuf = NULL;
	run_as(p, from);
	send_tp(NULL, sock_of(p, from), &msg);
	free(v);
	free(copy);
}

void pair_send(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
	       enum pair_form form)
{
	struct tcp_sock *tp = &p->end[from].tp, *peer = &p->end[!from].tp;
	size_t taken = form == FORM_RETRY ? len / 2 : 0;

	if (p->end[from].party && how != HOW_MISSED) {
		send_hook(p, from, bytes, len, how, form == FORM_VECTOR);
		if (form == FORM_RETRY)
			send_hook(p, from, bytes, len, how, 1);
		if (taken) {
			tp->write_seq += taken;
			send_hook(p, from, (const char *)bytes + taken, len - taken, how, 0);
		}
		tp->write_seq -= taken;
	}
	tp->write_seq += len;
	tp->snd_una += len;
	tp->bytes_acked += len;
	peer->rcv_nxt += len;
	peer->bytes_received += len;
}

static void receive_hook(struct pair *p, int to, const void *bytes, size_t len, enum pair_how how,
			 enum pair_form form)
{
	void *copy = exact_new(bytes, len);
	size_t cnt = 0;
	struct iovec *v = vector_new(copy, len, &cnt);
	struct user_msghdr h = { v, cnt };
	struct pt_regs *r;

	run_as(p, to);
	r = &shadow_task->regs;
	*r = (struct pt_regs){ .r14 = r->r14, .orig_ax = NR_READ, .si = (unsigned long)copy, .dx = len };
	if (form == FORM_VECTOR)
		*r = (struct pt_regs){ .r14 = r->r14, .orig_ax = NR_READV, .si = (unsigned long)v, .dx = cnt };
	if (form == FORM_RETRY)
		*r = (struct pt_regs){ .r14 = r->r14, .orig_ax = NR_RECVMSG, .si = (unsigned long)&h };
	if (how == HOW_OPAQUE)
		r->orig_ax = NR_NONE;
	if (how == HOW_FAULT)
		r->si = 0;
	receive_tp(NULL, sock_of(p, to), len, 0);
	free(v);
	free(copy);
}

static void fin_arrives(struct pair *p, int to)
{
	sock_of(p, to)->__sk_common.skc_flags |= SOCK_DONE_;
	sock_of(p, to)->sk_shutdown |= 1;
	p->end[to].tp.rcv_nxt++;
}

void pair_receive(struct pair *p, int to, const void *bytes, size_t len, enum pair_how how,
		  enum pair_form form)
{
	struct tcp_sock *tp = &p->end[to].tp;

	tp->copied_seq += len;
	if (form == FORM_FIN) {
		fin_arrives(p, to);
		tp->copied_seq++;
		p->end[to].fin_read = true;
	}
	if (p->end[to].party && how != HOW_MISSED)
		receive_hook(p, to, bytes, len, how, form);
}

void pair_move(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
	       enum pair_form form)
{
	pair_send(p, from, bytes, len, how, form);
	pair_receive(p, !from, bytes, len, how, form);
}

/* --- the end --- */

void pair_fin(struct pair *p, int who)
{
	int peer = !who;

	if (p->end[who].fin_sent)
		return;
	p->end[who].fin_sent = true;
	run_as(p, who);
	state_set(p, who, p->end[who].fin_read ? BPF_TCP_LAST_ACK : BPF_TCP_FIN_WAIT1);
	if (!p->end[peer].fin_read) {
		fin_arrives(p, peer);
		p->end[peer].tp.copied_seq++;
		p->end[peer].fin_read = true;
	}
	run_as(p, peer);
	if (p->end[peer].party)
		receive_tp(NULL, sock_of(p, peer), 0, 0);
}

/* The last state comes in softirq, whoever runs. */
static void end_gone(struct pair *p, int end)
{
	shadow_task = &idle.task;
	state_set(p, end, BPF_TCP_CLOSE);
	shadow_storage_free(sock_of(p, end));
}

void pair_close(struct pair *p, int who)
{
	pair_fin(p, who);
	pair_fin(p, !who);
	end_gone(p, !who);
	end_gone(p, who);
}

void pair_reset(struct pair *p)
{
	run_as(p, CLIENT);
	if (p->end[CLIENT].party)
		receive_tp(NULL, sock_of(p, CLIENT), -ECONNRESET, 0);
	end_gone(p, CLIENT);
	end_gone(p, SERVER);
}

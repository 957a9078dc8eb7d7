/* SPDX-License-Identifier: Apache-2.0 */
/* pair.c - see pair.h. Here the kernel half is compiled for the host, unchanged. The numbers are
 * made as TCP makes them: the opener's first data byte comes one behind its initial sequence
 * number, the end of the stream takes a number too, and they begin shortly before they wrap. */
#include "tests/shadow/pair.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "kern/wirespan.bpf.c"
#pragma GCC diagnostic pop

enum {
	ISN_CLIENT = 0xffffff80u,
	ISN_SERVER = 0xfffffff0u,
	ISN_STEP = 0x10000000,
	PORT_CLIENT = 40000,
	PORT_SERVER = 8080
};
enum { TAKEN_AT_ONCE = 32768 /* what tcp_sendmsg_locked copies in one turn */ };
enum { SENDS = -1 };
enum { NR_NONE = 232 /* epoll_wait: its registers describe no bytes */ };

static struct pid_namespace first_ns;
static __u32 opened; /* connections since boot: each has numbers of its own */
static struct party idle = {.task = {.flags = PF_KTHREAD_}};

/* Read-only data of the kernel half: as the agent does, it is written before anything runs. */
void pair_set(const volatile void *at, const void *value, size_t len)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), from = (uintptr_t)at & -page;

	if (mprotect((void *)from, (uintptr_t)at + len - from, PROT_READ | PROT_WRITE))
		abort();
	memcpy((void *)at, value, len);
}

void pair_ignore(const char *path)
{
	struct path_key k = {};
	__u8 yes = 1;

	strncpy(k.path, path, sizeof(k.path) - 1);
	bpf_map_update_elem(&ignored, &k, &yes, BPF_ANY);
	PAIR_SET(ignore_paths, 1);
}

static void defaults_set(void)
{
	PAIR_SET(sample_below, ~0ull);
	PAIR_SET(slow_ns, 1000000000ull);
	PAIR_SET(ring_wake_bytes, 1u << 19);
	PAIR_SET(ring_tight_bytes, 1u << 20);
	PAIR_SET(ring_lasting_bytes, 3u << 19);
	PAIR_SET(ignore_paths, 0);
}

void pair_boot(void)
{
	shadow_reset();
	memset(lost_cnt, 0, sizeof(lost_cnt));
	memset(undecoded_cnt, 0, sizeof(undecoded_cnt));
	memset(conn_cnt, 0, sizeof(conn_cnt));
	places_given = links_spilled = procs_gen = 0;
	opened = unix_on = unix_seen = ring_tight = loops_on = loops_seen = 0;
	dropped_cnt = 0;
	defaults_set();
	shadow_task = &idle.task;
}

void party_thread(struct party *who, const struct party *process, int tid)
{
	*who = *process;
	who->task.pid = tid;
	who->task.group_leader = process->task.group_leader;
}

void party_thread_made(struct party *who, const struct party *process, int tid)
{
	party_thread(who, process, tid);
	shadow_task = (struct task_struct *)&process->task;
	thread_begins(&who->task);
	shadow_task = &idle.task;
}

static void call_returns(struct party *who, __u64 nr, __u64 arg4)
{
	struct pt_regs r = who->task.regs;

	r.orig_ax = nr;
	r.r10 = arg4;
	shadow_task = &who->task;
	call_done(NULL, &r, 1);
	shadow_task = &idle.task;
}

void party_turn(struct party *who, int wait_ms)
{
	loops_on = 1;
	call_returns(who, NR_EPOLL_WAIT, (__u64)wait_ms);
}

void party_reads(struct party *who)
{
	call_returns(who, NR_READ, 0);
}

void party_goes(struct party *who, __u64 goroutine)
{
	const __u64 gobuf[] = {0, 0, goroutine};
	struct pt_regs r = {.bx = who->task.regs.r14};

	shadow_task = &who->task;
	go_starts(&r);
	r.ax = (__u64)gobuf;
	go_started(&r);
	shadow_task = &idle.task;
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
	proc_set(&who->task, PROC_TRACKED | flags);
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
	__u32 own = (end == CLIENT ? ISN_CLIENT : ISN_SERVER) + opened * ISN_STEP;
	__u32 peer = (end == CLIENT ? ISN_SERVER : ISN_CLIENT) + opened * ISN_STEP;

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

struct unix_sock *bpf_skc_to_unix_sock(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_UNIX_ ? &((struct pair_end *)sk)->unix_sock : NULL;
}

__u64 bpf_get_socket_cookie(const struct sock *sk)
{
	return ((const struct pair_end *)sk)->cookie;
}

/* Which of a hook's two programs run: 1 the first, 2 its twin, 3 both. What the first one says of a
 * Unix-domain socket the twin must hear. */
static unsigned programs(const struct sock *sk)
{
	static unsigned turn;

	if (!tracepoints_preempt)
		return 1;
	turn++;
	return sk->__sk_common.skc_family == AF_UNIX_ ? 2 + turn % 2 : 1 + turn % 3;
}

/* A connection's states have both on every kernel. */
static unsigned state_programs(const struct sock *sk)
{
	return tracepoints_preempt ? programs(sk) : 3;
}

#define RUN_THESE(which, first, ...)                 \
	do {                                         \
		unsigned which_ = (which);           \
						     \
		if (which_ & 1)                      \
			first(NULL, __VA_ARGS__);    \
		if (which_ & 2)                      \
			first##_twin(NULL, __VA_ARGS__); \
	} while (0)
#define RUN_TWINS(first, sk, ...) RUN_THESE(programs(sk), first, sk, __VA_ARGS__)
#define RUN_STATE_TWINS(first, sk, ...) RUN_THESE(state_programs(sk), first, sk, ##__VA_ARGS__)

static void state_set(struct pair *p, int end, int state)
{
	struct sock *sk = sock_of(p, end);
	int old = sk->__sk_common.skc_state;

	sk->__sk_common.skc_state = state;
	RUN_STATE_TWINS(sock_state, sk, old, state);
}

static void run_as(struct pair *p, int end)
{
	shadow_task = p->end[end].party ? &p->end[end].party->task : &idle.task;
}

void pair_trace(struct pair *p, int end, struct party *who)
{
	p->end[end].party = who;
}

static void pair_init(struct pair *p, struct party *client, struct party *server)
{
	memset(p, 0, sizeof(*p));
	p->end[CLIENT].party = client;
	p->end[SERVER].party = server;
	end_init(p, CLIENT);
	end_init(p, SERVER);
	opened++;
}

void pair_open_unix(struct pair *p, struct party *client, struct party *server)
{
	pair_init(p, client, server);
	p->is_unix = true;
	unix_on = 1;
	for (int end = 0; end < ENDS; end++) {
		sock_of(p, end)->__sk_common.skc_family = AF_UNIX_;
		sock_of(p, end)->sk_protocol = 0;
		sock_of(p, end)->sk_type = SOCK_STREAM_;
		p->end[end].unix_sock.peer = sock_of(p, !end);
		p->end[end].cookie = 2 * opened + end;
	}
}

void pair_open(struct pair *p, struct party *client, struct party *server)
{
	pair_init(p, client, server);
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

void pair_places_clear(void)
{
	for (__u32 i = 0; i < LINK_PLACES; i++) {
		struct peer_link *at = bpf_map_lookup_elem(&link_places, &i);

		if (at)
			memset(at, 0, sizeof(*at));
	}
}

static size_t leftover(const char *name, size_t cnt)
{
	if (cnt)
		fprintf(stderr, "left in %s: %zu\n", name, cnt);
	return cnt;
}

/* Those that may stay for a while. */
static void links_left_drop(void)
{
	for (__u32 i = 0; i < LINKS_LEFT; i++) {
		__u64 *key = bpf_map_lookup_elem(&links_left, &i);

		if (key && *key)
			link_unspill(*key);
		if (key)
			*key = 0;
	}
}

size_t pair_leftovers(void)
{
	links_left_drop();
	return leftover("spill", shadow_count(&spill)) +
	       leftover("contexts", shadow_count(&contexts)) +
	       leftover("links", shadow_count(&links)) + leftover("links_spilled", links_spilled) +
	       leftover("link_places", shadow_count(&link_places));
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
		v[n++] = (struct iovec){(char *)bytes + i, 1};
		if (i % 4 == 0)
			v[n++] = (struct iovec){(char *)bytes + i + 1, 0};
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
	struct msghdr msg = {.msg_iter = {.iter_type = ITER_UBUF, .count = len, .ubuf = copy}};

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
	if (vector)
		send_fentry(NULL, sock_of(p, from), &msg);
	else
		RUN_TWINS(send_tp, sock_of(p, from), &msg);
	free(v);
	free(copy);
}

/* The tracepoint is passed again for every piece that the kernel takes; fentry only once. */
static void send_hooks(struct pair *p, int from, const char *bytes, size_t len, enum pair_how how,
		       int vector)
{
	__u32 *seq = &p->end[from].tp.write_seq, first = *seq;
	size_t off = 0;

	do {
		*seq = first + off;
		send_hook(p, from, bytes + off, len - off, how, vector);
		off += TAKEN_AT_ONCE;
	} while (!vector && off < len);
	*seq = first;
}

/* The system call's registers, for a call that has moved the bytes. */
static void call_is(void *copy, struct user_msghdr *h, size_t len, enum pair_how how,
		    enum pair_form form, int sends)
{
	struct pt_regs *r = &shadow_task->regs;

	*r = (struct pt_regs){.r14 = r->r14,
			      .ax = -ENOSYS,
			      .orig_ax = sends ? NR_WRITE : NR_READ,
			      .si = (unsigned long)copy,
			      .dx = len};
	if (form == FORM_VECTOR)
		*r = (struct pt_regs){.r14 = r->r14,
				      .ax = -ENOSYS,
				      .orig_ax = sends ? NR_WRITEV : NR_READV,
				      .si = (unsigned long)h->msg_iov,
				      .dx = h->msg_iovlen};
	if (form == FORM_RETRY)
		*r = (struct pt_regs){.r14 = r->r14,
				      .ax = -ENOSYS,
				      .orig_ax = sends ? NR_SENDMSG : NR_RECVMSG,
				      .si = (unsigned long)h};
	if (how == HOW_OPAQUE || how == HOW_MISSED)
		r->orig_ax = NR_NONE;
	if (how == HOW_FAULT)
		r->si = 0;
}

static void receive_run(struct sock *sk, size_t len, enum pair_form form, int flags)
{
	struct socket so = {.sk = sk};

	if (form != FORM_VECTOR)
		RUN_TWINS(receive_tp, sk, len, flags);
	else if (sk->__sk_common.skc_family == AF_UNIX_)
		receive_unix_fexit((unsigned long long[]){len}, &so, NULL, len, flags);
	else
		receive_fexit((unsigned long long[]){len}, sk, NULL, len, flags);
}

static void send_unix_run(struct sock *sk, size_t len, enum pair_form form)
{
	struct socket so = {.sk = sk};

	if (form == FORM_VECTOR)
		send_unix_fexit((unsigned long long[]){len}, &so, NULL, len);
	else
		RUN_TWINS(send_unix_tp, sk, len, 0);
}

/* A call that has moved bytes is seen at its end; flags: of a receive, or SENDS. */
static void done_hook(struct pair *p, int end, const void *bytes, size_t len, enum pair_how how,
		      enum pair_form form, int flags)
{
	void *copy = exact_new(bytes, len);
	size_t cnt = 0;
	struct iovec *v = form == FORM_FLAT ? NULL : vector_new(copy, len, &cnt);
	struct user_msghdr h = {.msg_iov = v, .msg_iovlen = cnt};

	run_as(p, end);
	call_is(copy, &h, len, how, form, flags == SENDS);
	if (flags == SENDS)
		send_unix_run(sock_of(p, end), len, form);
	else
		receive_run(sock_of(p, end), len, form, flags);
	free(v);
	free(copy);
}

void pair_send(struct pair *p, int from, const void *bytes, size_t len, enum pair_how how,
	       enum pair_form form)
{
	struct tcp_sock *tp = &p->end[from].tp, *peer = &p->end[!from].tp;
	size_t taken = form == FORM_RETRY ? len / 2 : 0;

	if (p->is_unix) {
		if (p->end[from].party)
			done_hook(p, from, bytes, len, how, form, SENDS);
		return;
	}
	if (p->end[from].party && how != HOW_MISSED) {
		send_hooks(p, from, bytes, len, how, form == FORM_VECTOR);
		if (form == FORM_RETRY)
			send_hooks(p, from, bytes, len, how, 1);
		if (taken) {
			tp->write_seq += taken;
			send_hooks(p, from, (const char *)bytes + taken, len - taken, how, 0);
			tp->write_seq -= taken;
		}
	}
	tp->write_seq += len;
	tp->snd_una += len;
	tp->bytes_acked += len;
	peer->rcv_nxt += len;
	peer->bytes_received += len;
}

static void fin_arrives(struct pair *p, int to)
{
	sock_of(p, to)->__sk_common.skc_flags |= SOCK_DONE_;
	sock_of(p, to)->sk_shutdown |= 1;
	p->end[to].tp.rcv_nxt++;
	p->end[to].tp.bytes_received++; /* tcp_rcv_nxt_update counts it */
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
	if (p->end[to].party && (how != HOW_MISSED || p->is_unix))
		done_hook(p, to, bytes, len, how, form, 0);
}

void pair_peek(struct pair *p, int to, const void *bytes, size_t len)
{
	done_hook(p, to, bytes, len, HOW_SEEN, FORM_FLAT, MSG_PEEK_);
}

void pair_discard(struct pair *p, int to, size_t len)
{
	void *other = calloc(1, len);

	if (!other)
		abort();
	p->end[to].tp.copied_seq += len;
	done_hook(p, to, other, len, HOW_SEEN, FORM_FLAT, MSG_TRUNC_);
	free(other);
}

void pair_receive_nothing(struct pair *p, int to)
{
	done_hook(p, to, "", 0, HOW_SEEN, FORM_FLAT, 0);
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
	if (!p->is_unix)
		state_set(p, who, p->end[who].fin_read ? BPF_TCP_LAST_ACK : BPF_TCP_FIN_WAIT1);
	if (!p->end[peer].fin_read) {
		fin_arrives(p, peer);
		p->end[peer].tp.copied_seq++;
		p->end[peer].fin_read = true;
	}
	run_as(p, peer);
	if (p->end[peer].party)
		RUN_TWINS(receive_tp, sock_of(p, peer), 0, 0);
}

/* The last state comes in softirq, whoever runs. */
static void end_gone(struct pair *p, int end)
{
	shadow_task = &idle.task;
	if (!p->is_unix) {
		state_set(p, end, BPF_TCP_CLOSE);
		RUN_STATE_TWINS(sock_destroyed, sock_of(p, end));
	}
	shadow_storage_free(sock_of(p, end));
}

void pair_close(struct pair *p, int who)
{
	pair_fin(p, who);
	pair_fin(p, !who);
	end_gone(p, !who);
	end_gone(p, who);
}

void pair_abandon(struct pair *p)
{
	p->end[CLIENT].fin_sent = true;
	run_as(p, CLIENT);
	state_set(p, CLIENT, BPF_TCP_FIN_WAIT1);
	end_gone(p, CLIENT);
}

void pair_reset(struct pair *p)
{
	run_as(p, CLIENT);
	if (p->end[CLIENT].party)
		receive_tp(NULL, sock_of(p, CLIENT), -ECONNRESET, 0);
	end_gone(p, CLIENT);
	end_gone(p, SERVER);
}

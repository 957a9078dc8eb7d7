/* SPDX-License-Identifier: Apache-2.0 */
/* privileges.c - capabilities by their system calls, so that no library decides for us. It knows
 * nothing of users and groups: root without capabilities is nobody special to the kernel half, and
 * anybody with the four is as good as root. Called by main.c alone. The invariants: what was
 * dropped cannot come back (permitted, inheritable, ambient and bounding sets, no_new_privs), and a
 * thread that reads what strangers send over the network is made without any. */
#include "agent/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (1ull << (cap))

/* A capability, what it is for, and the wider one that includes it. */
static const struct need {
	const char *name;
	int cap, or_cap;
} needs[] = {
	{"CAP_BPF", CAP_BPF, CAP_SYS_ADMIN},
	{"CAP_PERFMON", CAP_PERFMON, CAP_SYS_ADMIN},
	{"CAP_SYS_PTRACE", CAP_SYS_PTRACE, CAP_SYS_PTRACE},
	{"CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE},
	{"CAP_NET_ADMIN", CAP_NET_ADMIN, CAP_NET_ADMIN}, /* the last: only for some settings */
};

static const uint64_t masks[] = {
	[PRIVILEGES_NONE] = 0,
	[PRIVILEGES_FILES] = BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_DAC_OVERRIDE),
	[PRIVILEGES_READ_PROC] =
		BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_SYS_PTRACE),
};

struct caps {
	uint64_t effective, permitted, inheritable;
};

static int caps_get(struct caps *ret)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &head, d))
		return -errno;
	*ret = (struct caps){
		.effective = d[0].effective | (uint64_t)d[1].effective << 32,
		.permitted = d[0].permitted | (uint64_t)d[1].permitted << 32,
		.inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32,
	};
	return 0;
}

static int caps_set(const struct caps *c)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	for (int i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(c->effective >> 32 * i),
			.permitted = (uint32_t)(c->permitted >> 32 * i),
			.inheritable = (uint32_t)(c->inheritable >> 32 * i),
		};
	return syscall(SYS_capset, &head, d) ? -errno : 0;
}

/* "A", "A and B", "A, B and C" */
static unsigned list_missing(uint64_t have, size_t cnt, struct strbuf *out)
{
	unsigned missing = 0, said = 0;

	for (size_t i = 0; i < cnt; i++)
		missing += !(have & (BIT(needs[i].cap) | BIT(needs[i].or_cap)));
	for (size_t i = 0; i < cnt; i++) {
		if (have & (BIT(needs[i].cap) | BIT(needs[i].or_cap)))
			continue;
		if (said++)
			strbuf_adds(out, said == missing ? " and " : ", ");
		strbuf_adds(out, needs[i].name);
	}
	return missing;
}

int privileges_check(bool net_admin, struct strbuf *why)
{
	struct caps have = {0};
	struct strbuf names;
	int err = caps_get(&have);

	if (err) {
		strbuf_printf(why, "the capabilities of this process cannot be read: %s",
			      strerror(-err));
		return err;
	}
	strbuf_init(&names);
	if (list_missing(have.effective, ARRAY_SIZE(needs) - !net_admin, &names)) {
		strbuf_printf(
			why,
			"to see what processes exchange, Wirespan needs %s, which this process "
			"does not have; start it as root or by its systemd unit, or use "
			"--capture off to serve what is stored",
			names.p);
		err = -EPERM;
	}
	strbuf_fini(&names);
	return err;
}

/* Without CAP_SETPCAP the bounding set stays; no_new_privs then keeps programs from using it. */
static int bounding_drop(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		if (keep & BIT(cap) || prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return errno == EPERM ? 0 : -errno;
	}
	return 0;
}

static int ambient_drop(void)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ? -errno : 0;
}

static int no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int privileges_drop(enum privileges keep, struct strbuf *why)
{
	uint64_t mask = masks[keep];
	struct caps c;
	int err = caps_get(&c);

	err = err ?: bounding_drop(mask);
	err = err ?: ambient_drop();
	err = err ?: no_new_privileges();
	if (!err) {
		c = (struct caps){.effective = c.effective & mask, .permitted = c.permitted & mask};
		err = caps_set(&c);
	}
	if (err)
		strbuf_printf(why,
			      "the capabilities that are not needed any more cannot be given "
			      "up: %s",
			      strerror(-err));
	return err;
}

struct job {
	enum privileges keep;
	int (*fn)(void *arg);
	void *arg;
	struct strbuf *why;
	int err;
};

static void *job_main(void *p)
{
	struct job *j = p;

	j->err = privileges_drop(j->keep, j->why);
	if (!j->err)
		j->err = j->fn(j->arg);
	return NULL;
}

int privileges_run(enum privileges keep, int (*fn)(void *arg), void *arg, struct strbuf *why)
{
	struct job j = {.keep = keep, .fn = fn, .arg = arg, .why = why};
	pthread_t thread;
	int err = pthread_create(&thread, NULL, job_main, &j);

	if (err) {
		strbuf_printf(why, "no thread can be made: %s", strerror(err));
		return -err;
	}
	must(pthread_join(thread, NULL) == 0);
	return j.err;
}

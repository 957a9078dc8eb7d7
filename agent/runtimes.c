/* SPDX-License-Identifier: Apache-2.0 */
/* runtimes.c - see runtimes.h. Go's functions are in the table of its stack traces; Python's are exported,
 * all but Context.run, to which the exported type of context objects leads: a type's place for its
 * methods and a method's form are parts of Python's stable interface. A file is known by its device
 * and inode. */
#include "agent/runtimes.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/elf64.h"
#include "agent/gobin.h"
#include "agent/inspector.h"
#include "store/stats.h"

enum {
	LINKS_MAX = 8,	/* functions of one file */
	PATHS_MAX = 4200,
	METHODS_MAX = 64,
	TYPE_METHODS = 232, /* PyTypeObject.tp_methods */
};

struct file {
	struct file *next;
	dev_t dev;
	ino_t ino;
	uint32_t users;
	unsigned cnt;
	struct hook_link *links[LINKS_MAX];
};

struct user {
	uint32_t key, pid;
	struct file *file; /* NULL: of a process that is asked */
};

/* A Node.js process that is being asked, in a thread of its own: it takes its time. */
struct asking {
	struct asking *next;
	pthread_t thread;
	_Atomic bool done;
	bool begun;
	const char *root;
	uint32_t key, pid;
	uint64_t start_ns;
	struct strbuf why;
	int err;
};

struct runtimes {
	struct asking *asking; /* the first is being asked, if it has begun */
	char *root;
	struct runtimes_attacher to;
	struct file *files;
	struct user *users;
	uint32_t user_cnt, user_max;
};

/* PyMethodDef */
struct py_method {
	uint64_t name, function;
	int64_t flags;
	uint64_t doc;
};

/* --- files --- */

static struct file *file_find(struct runtimes *r, const struct stat *st)
{
	struct file *f = r->files;

	while (f && (f->dev != st->st_dev || f->ino != st->st_ino))
		f = f->next;
	return f;
}

static struct file *file_new(struct runtimes *r, const struct stat *st)
{
	struct file *f = calloc(1, sizeof(*f));

	must(f);
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	f->next = r->files;
	r->files = f;
	return f;
}

static void file_free(struct runtimes *r, struct file *f)
{
	struct file **at = &r->files;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	for (unsigned i = 0; i < f->cnt; i++)
		r->to.detach(r->to.arg, f->links[i]);
	free(f);
}

static void attach(struct runtimes *r, struct file *f, enum hook hook, const char *path,
		   uint64_t offset)
{
	struct hook_link *l = NULL;

	if (offset && f->cnt < LINKS_MAX)
		l = r->to.attach(r->to.arg, hook, path, offset);
	if (l)
		f->links[f->cnt++] = l;
}

/* --- Go --- */

static void go_attach(struct runtimes *r, struct file *f, const char *path, int fd)
{
	static const char *const names[] = {"runtime.newproc1", "runtime.gostartcallfn",
					    "runtime.gostartcall", "net/http.(*persistConn).roundTrip"};
	uint64_t at[ARRAY_SIZE(names)];

	gobin_functions(fd, names, ARRAY_SIZE(names), at);
	at[1] = at[1] ?: at[2];
	if (at[0] && at[1]) {
		attach(r, f, HOOK_GO_STARTS, path, at[0]);
		attach(r, f, HOOK_GO_STARTED, path, at[1]);
	}
	attach(r, f, HOOK_GO_ROUND_TRIP, path, at[3]);
}

/* --- Python --- */

static bool mem_read(int mem, void *to, size_t len, uint64_t at)
{
	return at <= INT64_MAX && pread(mem, to, len, (off_t)at) == (ssize_t)len;
}

/* Where Context.run begins in the process's memory; 0: not to be found. */
static uint64_t context_run(int mem, uint64_t type)
{
	uint64_t methods;
	char name[4];

	if (!mem_read(mem, &methods, sizeof(methods), type + TYPE_METHODS))
		return 0;
	for (unsigned i = 0; i < METHODS_MAX; i++) {
		struct py_method m;

		if (!mem_read(mem, &m, sizeof(m), methods + i * sizeof(m)) || !m.name)
			return 0;
		if (mem_read(mem, name, sizeof(name), m.name) && !memcmp(name, "run", 4))
			return m.function;
	}
	return 0;
}

static void python_attach(struct runtimes *r, struct file *f, const struct proc_info *pi,
			  const char *path, int fd, uint64_t base)
{
	static const char *const names[] = {"PyContext_CopyCurrent", "PyContext_Enter", "PyContext_Type"};
	uint64_t at[ARRAY_SIZE(names)], run = 0;
	char mem_path[PATHS_MAX];
	struct elf64 e;
	int mem;

	if (!elf64_open(&e, fd) || elf64_symbols(&e, names, ARRAY_SIZE(names), at) < ARRAY_SIZE(names))
		return;
	base = e.eh.e_type == ET_DYN ? base : 0;
	snprintf(mem_path, sizeof(mem_path), "%s/%u/mem", r->root, pi->pid);
	mem = open(mem_path, O_RDONLY | O_CLOEXEC);
	if (mem >= 0) {
		run = context_run(mem, base + at[2]);
		close(mem);
	}
	if (!run)
		return;
	attach(r, f, HOOK_SCOPE_COPIED, path, elf64_offset(&e, at[0]));
	attach(r, f, HOOK_SCOPE_ENTERED, path, elf64_offset(&e, run - base));
	attach(r, f, HOOK_SCOPE_ENTERED, path, elf64_offset(&e, at[1]));
}

/* The interpreter's code is in the executable or in a library; where it was mapped from its beginning, and
 * how we can open it. */
static bool python_find(struct runtimes *r, const struct proc_info *pi, const struct stat *exe,
			char path[PATHS_MAX], uint64_t *ret_base)
{
	char line[PATHS_MAX + 128], maps[64];
	bool found = false;
	FILE *f;

	snprintf(maps, sizeof(maps), "%s/%u/maps", r->root, pi->pid);
	f = fopen(maps, "re");
	snprintf(path, PATHS_MAX, "%s/%u/exe", r->root, pi->pid);
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long start, off, ino;
		int at = 0;

		if (sscanf(line, "%llx-%*x %*s %llx %*s %llu %n", &start, &off, &ino, &at) < 3 || off)
			continue;
		line[strcspn(line, "\n")] = 0;
		if (strstr(line + at, "/libpython3")) {
			*ret_base = start;
			snprintf(path, PATHS_MAX, "%s/%u/root%s", r->root, pi->pid, line + at);
			found = true;
			break;
		}
		if (ino == exe->st_ino && !found) {
			*ret_base = start;
			found = true;
		}
	}
	if (f)
		fclose(f);
	return found;
}

/* --- Node.js --- */

__asm__(".section .rodata\n"
	"node_hook: .incbin \"agent/node_hook.js\"\n"
	".byte 0\n"
	".previous\n");
extern const char node_hook[];

static void *asking_run(void *arg)
{
	struct asking *a = arg;

	a->err = inspector_evaluate(a->root, a->pid, node_hook, &a->why);
	a->done = true;
	return NULL;
}

static void node_ask(struct runtimes *r, const struct proc_info *pi)
{
	struct asking *a = calloc(1, sizeof(*a)), **end = &r->asking;

	must(a);
	a->root = r->root;
	a->key = pi->key;
	a->pid = pi->pid;
	a->start_ns = pi->start_ns;
	strbuf_init(&a->why);
	while (*end)
		end = &(*end)->next;
	*end = a;
}

static void asking_free(struct runtimes *r, struct asking *a)
{
	r->asking = a->next;
	strbuf_fini(&a->why);
	free(a);
}

static void asking_end(struct runtimes *r, struct asking *a)
{
	char key[16];

	pthread_join(a->thread, NULL);
	snprintf(key, sizeof(key), "%u", a->pid);
	if (!a->err)
		r->to.told(r->to.arg, a->key, a->start_ns);
	if (a->err)
		log_warn("the Node.js process %u does not tell whose its calls are: %s", a->pid, a->why.p);
	stats_note("hooks", key, "%s", a->err ? a->why.p : "tells whose its calls are");
	asking_free(r, a);
}

void runtimes_attend(struct runtimes *r)
{
	struct asking *a = r->asking;

	if (a && a->begun && a->done)
		asking_end(r, a);
	a = r->asking;
	if (!a || a->begun)
		return;
	a->begun = true;
	if (pthread_create(&a->thread, NULL, asking_run, a))
		asking_free(r, a);
}

/* --- processes --- */

static void note(const struct proc_info *pi, const struct file *f)
{
	char key[16];

	snprintf(key, sizeof(key), "%u", pi->pid);
	stats_note("hooks", key, "%u functions of " STR_FMT, f->cnt, STR_ARG(pi->exe));
}

static void note_drop(uint32_t pid)
{
	char key[16];

	snprintf(key, sizeof(key), "%u", pid);
	stats_note_drop("hooks", key);
}

static void user_add(struct runtimes *r, const struct proc_info *pi, struct file *f)
{
	if (r->user_cnt == r->user_max) {
		r->user_max = r->user_max ? r->user_max * 2 : 64;
		r->users = reallocarray(r->users, r->user_max, sizeof(*r->users));
		must(r->users);
	}
	r->users[r->user_cnt++] = (struct user){pi->key, pi->pid, f};
	if (!f)
		return;
	f->users++;
	note(pi, f);
}

static bool is_user(const struct runtimes *r, uint32_t key)
{
	for (uint32_t i = 0; i < r->user_cnt; i++)
		if (r->users[i].key == key)
			return true;
	return false;
}

void runtimes_watch(struct runtimes *r, const struct proc_info *pi, bool runs)
{
	char path[PATHS_MAX];
	uint64_t base = 0;
	struct stat st;
	struct file *f;
	int fd;

	if (pi->is_node && r->to.node && runs && pi->pid && !is_user(r, pi->key)) {
		user_add(r, pi, NULL);
		node_ask(r, pi);
	}
	if (!pi->pid || is_user(r, pi->key) || !(pi->is_go || (pi->is_python && runs)))
		return;
	snprintf(path, sizeof(path), "%s/%u/exe", r->root, pi->pid);
	if (stat(path, &st) || (pi->is_python && !python_find(r, pi, &st, path, &base)))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	f = file_find(r, &st);
	if (!f) {
		f = file_new(r, &st);
		if (pi->is_go)
			go_attach(r, f, path, fd);
		else
			python_attach(r, f, pi, path, fd, base);
	}
	close(fd);
	user_add(r, pi, f);
}

void runtimes_leave(struct runtimes *r, uint32_t key)
{
	for (uint32_t i = 0; i < r->user_cnt; i++) {
		struct file *f = r->users[i].file;

		if (r->users[i].key != key)
			continue;
		note_drop(r->users[i].pid);
		r->users[i] = r->users[--r->user_cnt];
		if (f && !--f->users)
			file_free(r, f);
		return;
	}
}

struct runtimes *runtimes_new(const char *proc_root, const struct runtimes_attacher *to)
{
	struct runtimes *r = calloc(1, sizeof(*r));

	must(r);
	r->root = strdup(proc_root);
	must(r->root);
	r->to = *to;
	return r;
}

void runtimes_free(struct runtimes *r)
{
	if (!r)
		return;
	while (r->asking) {
		if (r->asking->begun)
			pthread_join(r->asking->thread, NULL);
		asking_free(r, r->asking);
	}
	while (r->files)
		file_free(r, r->files);
	free(r->users);
	free(r->root);
	free(r);
}

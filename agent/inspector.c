/* SPDX-License-Identifier: Apache-2.0 */
/* inspector.c - see inspector.h. Signals only a process that catches SIGUSR1 (one that does not would die of
 * it) and shares our network, and talks only to a debugger that says it is that process: another
 * one may have the port. The WebSocket is as much of RFC 6455 as one request and one answer need. */
#include "agent/inspector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PORT = 9229,
	OPEN_TRIES = 100,	/* for the debugger to open … */
	TRY_MS = 20,
	ANSWER_MS = 2000,
	ANSWER_MAX = 64 * 1024,
	FRAME_MAX = 65535,
};

/* --- may it be done? --- */

static bool same_network(const char *root, uint32_t pid)
{
	struct stat ours, theirs;
	char path[256];

	snprintf(path, sizeof(path), "%s/%u/ns/net", root, pid);
	return !stat("/proc/self/ns/net", &ours) && !stat(path, &theirs) && ours.st_ino == theirs.st_ino;
}

static bool catches_signal(const char *root, uint32_t pid)
{
	unsigned long long caught = 0;
	char path[256], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u/status", root, pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigCgt: %llx", &caught) == 1)
			break;
	if (f)
		fclose(f);
	return caught >> (SIGUSR1 - 1) & 1;
}

/* --- a connection to the debugger --- */

static int dial(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool send_all(int fd, const void *p, size_t len)
{
	return send(fd, p, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Appends what comes until `until` is in it, or the other end closes. Its length; what: NUL-terminated. */
static size_t receive(int fd, char *buf, size_t len, const char *until)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = 1;

	while (n > 0 && len + 1 < ANSWER_MAX && !(until && memmem(buf, len, until, strlen(until))) &&
	       poll(&p, 1, ANSWER_MS) == 1) {
		n = recv(fd, buf + len, ANSWER_MAX - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	buf[len] = 0;
	return len;
}

/* The path of the first target's WebSocket: the process's own main thread. False: no debugger yet. */
static bool target_find(char *buf, char path[128])
{
	static const char ask[] = "GET /json/list HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
	int fd = dial();
	const char *at;
	bool found = false;

	if (fd < 0)
		return false;
	if (send_all(fd, ask, sizeof(ask) - 1)) {
		receive(fd, buf, 0, "} ]");
		at = strstr(buf, "\"webSocketDebuggerUrl\": \"ws://");
		found = at && sscanf(at + 30, "%*[^/]%127[^\"]", path) == 1;
	}
	close(fd);
	return found;
}

static bool target_await(char *buf, char path[128])
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		if (target_find(buf, path))
			return true;
		usleep(TRY_MS * 1000);
	}
	return false;
}

static int websocket_open(char *buf, const char *path)
{
	char ask[512];
	int fd = dial(), n;

	n = snprintf(ask, sizeof(ask), "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
		     "Connection: Upgrade\r\nSec-WebSocket-Key: d2lyZXNwYW4td2lyZXNwYQ==\r\n"
		     "Sec-WebSocket-Version: 13\r\n\r\n", path);
	if (fd >= 0 && send_all(fd, ask, (size_t)n) && receive(fd, buf, 0, "\r\n\r\n") &&
	    strstr(buf, " 101 "))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool websocket_send(int fd, const char *text)
{
	size_t len = strlen(text);
	unsigned char *frame, mask[4];
	bool sent;

	if (len > FRAME_MAX || getrandom(mask, sizeof(mask), 0) != sizeof(mask))
		return false;
	frame = malloc(8 + len);
	must(frame);
	frame[0] = 0x81; /* the only frame of a text */
	frame[1] = 0x80 | 126; /* masked; the length follows */
	frame[2] = (unsigned char)(len >> 8);
	frame[3] = (unsigned char)len;
	memcpy(frame + 4, mask, sizeof(mask));
	for (size_t i = 0; i < len; i++)
		frame[8 + i] = (unsigned char)text[i] ^ mask[i & 3];
	sent = send_all(fd, frame, 8 + len);
	free(frame);
	return sent;
}

/* Has it evaluated the script? The script's value is a word. */
static bool evaluate(int fd, char *buf, const char *script)
{
	json_t *ask = json_pack("{s:i, s:s, s:{s:s, s:b, s:b}}", "id", 1, "method", "Runtime.evaluate",
				"params", "expression", script, "includeCommandLineAPI", 1,
				"returnByValue", 1);
	char *text = json_dumps(ask, JSON_COMPACT);
	bool done;

	must(ask && text);
	done = websocket_send(fd, text) && receive(fd, buf, 0, "\"id\":1") &&
	       strstr(buf, "\"type\":\"string\"");
	free(text);
	json_decref(ask);
	return done;
}

/* --- all together --- */

/* The process's number as it knows it itself. */
static uint32_t own_number(const char *root, uint32_t pid)
{
	char path[256], line[256];
	uint32_t number = pid;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u/status", root, pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const char *last = strncmp(line, "NSpid:", 6) ? NULL : strrchr(line, '\t');

		if (last)
			number = (uint32_t)strtoul(last, NULL, 10);
	}
	if (f)
		fclose(f);
	return number;
}

/* Evaluated in that process alone: another one's debugger may have the port. */
static char *guarded(const char *script, uint32_t number)
{
	struct strbuf s;

	strbuf_init(&s);
	strbuf_printf(&s, "process.pid === %u ? %s : 0", number, script);
	return s.p;
}

static int talk(uint32_t number, const char *script, char *buf, struct strbuf *why)
{
	char path[128], *expression;
	bool done = false;
	int fd;

	if (!target_await(buf, path)) {
		strbuf_adds(why, "its debugger did not open");
		return -ETIMEDOUT;
	}
	fd = websocket_open(buf, path);
	expression = guarded(script, number);
	if (fd >= 0) {
		done = evaluate(fd, buf, expression);
		close(fd);
	}
	free(expression);
	if (!done)
		strbuf_adds(why, "its debugger did not do as asked, or belongs to another process");
	return done ? 0 : -EPROTO;
}

int inspector_evaluate(const char *proc_root, uint32_t pid, const char *script, struct strbuf *why)
{
	char path[128], *buf;
	int err;

	if (!same_network(proc_root, pid)) {
		strbuf_adds(why, "it has a network namespace of its own, where its debugger cannot be reached");
		return -ENOTSUP;
	}
	if (!catches_signal(proc_root, pid)) {
		strbuf_adds(why, "it does not listen to SIGUSR1");
		return -ENOTSUP;
	}
	buf = malloc(ANSWER_MAX);
	must(buf);
	if (target_find(buf, path)) {
		strbuf_printf(why, "port %d, where its debugger would open, is in use", PORT);
		err = -EADDRINUSE;
	} else if (kill((pid_t)pid, SIGUSR1)) {
		err = -errno;
		strbuf_printf(why, "it cannot be sent SIGUSR1: %s", strerror(errno));
	} else {
		err = talk(own_number(proc_root, pid), script, buf, why);
	}
	free(buf);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* late.c - a web server that is as late as programs are that load libraries and settings first: it
 * listens 100 ms after its start. Knows no path; one connection and one request at a time. Part of the
 * image that cri-pods runs. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answer(int fd)
{
	static const char no[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	char head[4096];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(head) - 1 && (n = read(fd, head + len, sizeof(head) - 1 - len)) > 0) {
		len += (size_t)n;
		head[len] = '\0';
		if (strstr(head, "\r\n\r\n"))
			break;
	}
	if (write(fd, no, sizeof(no) - 1) > 0)
		shutdown(fd, SHUT_WR);
	while (read(fd, head, sizeof(head)) > 0)
		;
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : "80"))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	signal(SIGPIPE, SIG_IGN);
	usleep(100000);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 64))
		return 1;
	for (;;)
		answer(accept(fd, NULL, NULL));
}

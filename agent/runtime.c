/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - see runtime.h. The files are the runtime's, but what stands in their annotations came
 * from whoever made the pod: it is cleaned like any other name, and a file that is too long is no
 * file of ours. Called by kube.c. */
#include "agent/runtime.h"
#include "agent/names.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

static const char *const places[] = {
	"%s/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json",
	"%s/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json",
	"%s/run/containers/storage/overlay-containers/%s/userdata/config.json",
	"%s/var/lib/containers/storage/overlay-containers/%s/userdata/config.json",
};

static const struct {
	const char *key;
	size_t field;
} annotations[] = {
	{"io.kubernetes.cri.sandbox-namespace", offsetof(struct runtime_names, pod_namespace)},
	{"io.kubernetes.cri.sandbox-name", offsetof(struct runtime_names, pod)},
	{"io.kubernetes.cri.sandbox-uid", offsetof(struct runtime_names, pod_uid)},
	{"io.kubernetes.cri.container-name", offsetof(struct runtime_names, container)},
	{"io.kubernetes.cri.image-name", offsetof(struct runtime_names, image)},
	{"io.kubernetes.pod.namespace", offsetof(struct runtime_names, pod_namespace)},
	{"io.kubernetes.pod.name", offsetof(struct runtime_names, pod)},
	{"io.kubernetes.pod.uid", offsetof(struct runtime_names, pod_uid)},
	{"io.kubernetes.container.name", offsetof(struct runtime_names, container)},
	{"io.kubernetes.cri-o.ImageName", offsetof(struct runtime_names, image)},
};

static int file_open(const char *root, const char *id)
{
	char path[512];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int fd, n = snprintf(path, sizeof(path), places[i], root, id);

		if (n >= (int)sizeof(path))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

static int file_load(int fd, struct strbuf *out)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 && out->len <= FILE_MAX)
		strbuf_add(out, buf, (size_t)n);
	return n < 0 || out->len > FILE_MAX ? -EINVAL : 0;
}

static int annotations_take(struct runtime_names *to, struct arena *a, const json_t *config)
{
	const json_t *said = json_object_get(config, "annotations");

	for (size_t i = 0; i < ARRAY_SIZE(annotations); i++) {
		const json_t *v = json_object_get(said, annotations[i].key);
		struct str *field = (struct str *)((char *)to + annotations[i].field);

		if (json_is_string(v) && !field->len)
			*field = names_clean(a, (struct str){json_string_value(v),
							     json_string_length(v)});
	}
	return to->pod.len && to->pod_namespace.len ? 0 : -EINVAL;
}

int runtime_describe(struct runtime_names *ret, struct arena *a, const char *root, const char *id)
{
	int fd = file_open(root, id), err;
	struct strbuf text;
	json_t *config;

	*ret = (struct runtime_names){.pod = STR("")};
	if (fd < 0)
		return fd;
	strbuf_init(&text);
	err = file_load(fd, &text);
	close(fd);
	config = err ? NULL : json_loadb(text.p, text.len, 0, NULL);
	err = config ? annotations_take(ret, a, config) : -EINVAL;
	json_decref(config);
	strbuf_fini(&text);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the settings of `wirespan run`: one table (config.c) names each key once, with
 * default, parser and help; the YAML file, the environment (WIRESPAN_…) and the flags (--…) are
 * three readers of that table, later ones win. `--help` and the sample file come from the same
 * table. */
#ifndef WIRESPAN_CONFIG_H
#define WIRESPAN_CONFIG_H

#include "store/base.h"

enum { PORTS_MAX = 256, GLOBS_MAX = 64, PATH_LEN_MAX = 64, HOSTS_MAX = 16 };
enum { SELECTORS_MAX = 32, SELECTOR_PAIRS_MAX = 8 };

struct port_range {
	uint16_t from, to; /* inclusive */
};

struct port_list {
	struct port_range at[PORTS_MAX];
	uint32_t cnt;
};

/* What a selector may ask of a process: the key, as Beyla has it. */
#define SELECTOR_GLOBS(X)                                                                          \
	X(exe_path)                                                                                \
	X(name)                                                                                    \
	X(k8s_namespace)                                                                           \
	X(k8s_pod_name)                                                                            \
	X(k8s_container_name)                                                                      \
	X(k8s_owner_name)                                                                          \
	X(k8s_deployment_name)                                                                     \
	X(k8s_replicaset_name)                                                                     \
	X(k8s_statefulset_name)                                                                    \
	X(k8s_daemonset_name)

enum selector_glob {
#define X(name) SELECT_##name,
	SELECTOR_GLOBS(X)
#undef X
		SELECT_CNT,
};

struct selector_pair {
	char *key, *glob;
};

/* All that it asks for must be so. */
struct selector {
	struct port_list open_ports;
	char *globs[SELECT_CNT]; /* NULL: not asked */
	struct selector_pair labels[SELECTOR_PAIRS_MAX], annotations[SELECTOR_PAIRS_MAX];
	uint32_t label_cnt, annotation_cnt;
};

struct selectors {
	struct selector *at;
	uint32_t cnt;
};

struct config {
	char *listen;		/* 127.0.0.1:3200 */
	char *otlp_listen;	/* a second port for OTLP/HTTP alone; NULL: none */
	bool otlp_commits;	/* otlp.answer: committed */
	char *otlp_grpc_listen; /* a further port for OTLP/gRPC alone; NULL: none */
	char *store;		/* folder */
	bool capture;		/* off: serve the store, load no BPF, need no root */
	bool insecure;		/* listen beyond loopback without a token */
	enum log_level log_level;
	struct port_range open_ports[PORTS_MAX]; /* "8080,5432,8000-8100" */
	uint32_t open_port_cnt;
	char *exe_path[GLOBS_MAX]; /* globs over the executable's path */
	uint32_t exe_path_cnt;
	char *name[GLOBS_MAX]; /* globs over the service name */
	uint32_t name_cnt;
	struct selectors instrument, exclude; /* any that matches suffices; exclusions win */
	struct port_range
		ignore_ports[PORTS_MAX]; /* connections from or to these are not looked at */
	uint32_t ignore_port_cnt;
	char *ignore_paths[GLOBS_MAX]; /* HTTP requests with these paths give no spans */
	uint32_t ignore_path_cnt;
	uint64_t sample_below; /* sampling.ratio as a share of UINT64_MAX */
	uint64_t slow_ns;      /* sampling.slow: always kept */
	char *peers;	       /* query.peers, or NULL */
	bool node;	       /* context.node: have Node.js processes tell whose their calls are */
	bool tcp_option; /* propagation.tcp_option: contexts go to and come from other nodes */
	bool headers;	 /* propagation.headers: contexts go to other nodes */
	char *hosts[HOSTS_MAX + 1]; /* further Host headers that are ours, NULL-terminated */
	char *token_file, *tls_cert_file, *tls_key_file; /* NULL: none */
	bool redact_query;			/* values of url.query → REDACTED; default on */
	bool sanitize_sql;			/* literals → ?; default on */
	uint32_t ring_kib;			/* power of two; default 2048 */
	uint32_t max_routes;			/* distinct http.route values per service */
	uint64_t max_age_ns;			/* retention.max_age, default 7 days */
	uint64_t max_bytes;			/* retention.max_bytes, default 2 GiB */
	char *k8s_node_name, *k8s_cluster_name; /* NULL: not said */
	bool k8s_api;				/* ask the API server for pods and services */
	char *k8s_api_server;			/* NULL: the one that a pod's environment names */
	char *k8s_token_file, *k8s_ca_file;
};

/* Fills *c from defaults, --config FILE (or WIRESPAN_CONFIG), environment, flags. argv without
 * program and sub-command. -EINVAL: why has one sentence with file and line, or variable, or flag.
 */
int config_load(struct config *c, int argc, char **argv, struct strbuf *why);
void config_fini(struct config *c);
/* The table as text for --help, and as a commented YAML sample. */
void config_help(struct strbuf *out);
void config_sample(struct strbuf *out);

#endif

# SPDX-License-Identifier: Apache-2.0
# Wirespan's one Makefile: `make` builds build/wirespan, `make test` runs everything that CI runs.
# Nothing is downloaded here; scripts/setup installs the Debian packages. V=1 shows the commands.

PREFIX  ?= /usr/local
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
LLVM_STRIP ?= llvm-strip
B       := build
ARCH    := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(shell uname -m)))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

WARN   := -Wall -Wextra -Wmissing-prototypes -Wshadow -Wstrict-prototypes -Wvla -Werror
CFLAGS ?= -O2 -g
BASE   := -std=gnu11 -D_GNU_SOURCE -I. -I$(B) $(WARN)
PKGS   := libbpf libelf libcurl jansson libmicrohttpd libnghttp2 libprotobuf-c yaml-0.1 libpcre2-8 zlib
LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -llmdb -lpthread -lm
SAN    := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

ifeq ($(V),1)
Q :=
msg :=
else
Q := @
msg = @printf '  %-8s %s\n' '$(1)' '$(2)';
endif

FOLDERS := agent store query web
SRCS    := $(foreach d,$(FOLDERS),$(wildcard $(d)/*.c))
PROTOS  := $(wildcard store/proto/*.proto)
PB_C    := $(PROTOS:store/proto/%.proto=$(B)/proto/%.pb-c.c)
PB_H    := $(PB_C:.c=.h)
SKEL    := $(B)/wirespan.skel.h $(B)/probe.skel.h
OBJS    := $(SRCS:%.c=$(B)/%.o) $(PB_C:%.c=%.o)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: soak hook-cost kind-test bench-pairs bench-query bench-store context-table all install clean setup quick test live k8s vm-test bench demo fuzz fmt unit check

all: $(B)/wirespan

# --- the kernel half ---
# Of what -g gives only BTF is needed: DWARF would be a quarter of the object.
$(B)/%.bpf.o: kern/%.bpf.c $(wildcard kern/*.h)
	@mkdir -p $(@D)
	$(call msg,BPF,$@)$(CLANG) -g -O2 -mcpu=v3 --target=bpf -D__TARGET_ARCH_$(ARCH) -Wall -Wextra -Wno-unused-parameter \
		-Werror -I. -I/usr/include/$(shell uname -m)-linux-gnu -c $< -o $@
	@$(LLVM_STRIP) -g $@

$(B)/%.skel.h: $(B)/%.bpf.o
	$(call msg,SKEL,$@)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

# --- the program ---
$(B)/proto/%.pb-c.c $(B)/proto/%.pb-c.h: store/proto/%.proto
	@mkdir -p $(@D)
	$(call msg,PROTO,$<)protoc-c --proto_path=store/proto --c_out=$(B)/proto $<

$(B)/proto/%.o: $(B)/proto/%.c $(PB_H)
	$(call msg,CC,$@)$(CC) -std=gnu11 -I$(B)/proto -I$(B) $(CFLAGS) -c $< -o $@

$(B)/%.o: %.c | $(SKEL) $(PB_H)
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) $(BASE) $(CFLAGS) -DVERSION='"$(VERSION)"' -MMD -MP -c $< -o $@

$(B)/wirespan: $(OBJS)
	$(call msg,LD,$@)$(CC) $(CFLAGS) -o $@ $^ $(LIBS)

# --- unit tests: tests/unit/<module>_test.c against what <module>'s folder may use, under ASan ---
ALLOWED_store := store
ALLOWED_agent := agent store
ALLOWED_query := query store
ALLOWED_web   := web query store
ALLOWED_kern  := tests/shadow
TESTS   := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*_test.c))
folder   = $(firstword $(foreach d,$(FOLDERS),$(if $(wildcard $(d)/$(1:_test=).[ch]),$(d))) kern)
san_objs = $(foreach d,$(ALLOWED_$(call folder,$(1))),$(patsubst %.c,$(B)/san/%.o,$(filter-out agent/main.c agent/load.c agent/drain.c,$(wildcard $(d)/*.c)))) \
	$(if $(filter kern,$(call folder,$(1))),,$(patsubst $(B)/%.c,$(B)/san/%.o,$(PB_C)))

$(B)/san/proto/%.o: $(B)/proto/%.c $(PB_H)
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) -std=gnu11 -I$(B)/proto -I$(B) -g -O1 $(SAN) -c $< -o $@

$(B)/san/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) $(BASE) -g -O1 $(SAN) -DVERSION='"test"' -MMD -MP -c $< -o $@

$(B)/san/tests/%.o: BASE += -Itests/shadow

.SECONDEXPANSION:
$(B)/san/%_test: $(B)/san/tests/unit/%_test.o $$(call san_objs,$$*)
	$(call msg,LD,$@)$(CC) -g $(SAN) -o $@ $^ $(LIBS) -lcmocka

unit: $(TESTS:%=$(B)/san/%)
	@scripts/run-units $(TESTS:%=$(B)/san/%)

# --- the targets of LAYOUT ---
setup:
	@scripts/setup build test demo vm

check:
	@scripts/check-includes && scripts/check-style

# All but the replay of every wire scenario at every split, which takes one to two minutes.
QUICK := $(filter-out wire_test,$(TESTS))
quick: all check $(QUICK:%=$(B)/san/%)
	@scripts/run-units $(QUICK:%=$(B)/san/%)

test:
	@scripts/test

live: all
	@tests/live/run

k8s: all
	@tests/k8s/run

vm-test: all
	@scripts/setup vm && tests/vm/run $(KERNEL)

kind-test: all
	@scripts/kind-test

bench: all
	@tests/bench/run

bench-query: all
	@tests/bench/query $(SPANS)

bench-store: all
	@tests/bench/store $(MILLIONS)

soak: all
	@tests/soak/run $(MINUTES)

bench-pairs: all
	@tests/bench/pairs

context-table: all
	@scripts/setup demo runtimes context && tests/context/run

hook-cost: all
	@scripts/setup build demo test && tests/context/cost

demo:
	@scripts/setup build demo && $(MAKE) --no-print-directory all && scripts/demo

fuzz:
	@tests/fuzz/run

install: all
	install -D -m 0755 $(B)/wirespan $(DESTDIR)$(PREFIX)/bin/wirespan
	install -D -m 0644 deploy/wirespan.service $(DESTDIR)/lib/systemd/system/wirespan.service
	test -e $(DESTDIR)/etc/wirespan.yaml || install -D -m 0640 deploy/wirespan.yaml $(DESTDIR)/etc/wirespan.yaml

fmt:
	-git clang-format --force --quiet HEAD -- '*.c' '*.h'

clean:
	rm -rf $(B)

-include $(wildcard $(B)/*/*.d $(B)/san/*/*.d $(B)/san/tests/*/*.d)

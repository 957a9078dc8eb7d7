/* SPDX-License-Identifier: Apache-2.0 */
/* bpf_core_read.h - relocatable reads on the host: plain member access. Every field, enumerator and
 * type exists. */
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#include <string.h>

#define CORE_1(s, a) ((s)->a)
#define CORE_2(s, a, b) ((s)->a->b)
#define CORE_3(s, a, b, c) ((s)->a->b->c)
#define CORE_PICK(_1, _2, _3, name, ...) name
#define BPF_CORE_READ(s, ...)                                                                      \
	CORE_PICK(__VA_ARGS__, CORE_3, CORE_2, CORE_1, )((s), __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, s, a) memcpy((to), &(s)->a, sizeof(*(to)))
#define bpf_core_read(to, len, from) ({ memcpy((to), (from), (len)); 0; })
#define bpf_core_field_exists(field) 1
#define bpf_core_enum_value_exists(type, value) 1
#define bpf_core_enum_value(type, value) (value)

#endif

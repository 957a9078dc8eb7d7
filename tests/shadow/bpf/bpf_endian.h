/* SPDX-License-Identifier: Apache-2.0 */
/* bpf_endian.h - byte order on the host. */
#ifndef __BPF_ENDIAN__
#define __BPF_ENDIAN__

#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_ntohs(x) __builtin_bswap16(x)

#endif

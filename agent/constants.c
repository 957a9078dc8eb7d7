/* SPDX-License-Identifier: Apache-2.0 */
/* constants.c - see constants.h. Ports become bitmaps: the kernel half asks for one with each socket. */
#include "agent/constants.h"
#include "agent/discover.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wirespan.skel.h"

static void set_bits(uint64_t bitmap[1024], const struct port_range *ranges, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		for (uint32_t p = ranges[i].from; p <= ranges[i].to; p++)
			bitmap[p >> 6] |= 1ull << (p & 63);
}

/* The ports on which something that is selected may listen. */
static void set_candidates(uint64_t bitmap[1024], const struct config *c)
{
	static const struct port_range any = { 0, UINT16_MAX };

	if (c->exe_path_cnt || c->name_cnt)
		set_bits(bitmap, &any, 1);
	for (uint32_t i = 0; i < c->instrument.cnt; i++) {
		const struct port_list *ports = &c->instrument.at[i].open_ports;

		set_bits(bitmap, ports->cnt ? ports->at : &any, ports->cnt ? ports->cnt : 1);
	}
}

static void set_selection(struct wirespan_bpf *skel, const struct config *c)
{
	set_bits((uint64_t *)skel->rodata->track_ports, c->open_ports, c->open_port_cnt);
	set_candidates((uint64_t *)skel->rodata->candidate_ports, c);
	set_bits((uint64_t *)skel->rodata->ignore_ports, c->ignore_ports, c->ignore_port_cnt);
	skel->rodata->track_listeners = discover_all_listeners(c);
	skel->rodata->track_programs = discover_by_program(c);
	skel->rodata->ignore_paths = c->ignore_path_cnt > 0;
	skel->rodata->tcp_option_on = c->tcp_option;
	skel->rodata->sample_below = c->sample_below;
	skel->rodata->slow_ns = c->slow_ns;
}

int constants_set(struct wirespan_bpf *skel, const struct config *c)
{
	uint64_t seed;
	struct stat st;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed) || stat("/proc/self/ns/pid", &st))
		return -errno;
	skel->rodata->id_seed = seed;
	skel->rodata->boot_to_real_ns = clock_real_ns() - clock_boot_ns();
	skel->rodata->agent_pidns = (uint32_t)st.st_ino;
	skel->rodata->agent_pid = (uint32_t)getpid();
	skel->rodata->ring_wake_bytes = c->ring_kib * 1024 / 4;
	skel->rodata->ring_tight_bytes = c->ring_kib * 1024 / 8 * 7;
	skel->rodata->ring_lasting_bytes = c->ring_kib * 1024 / 16 * 15;
	set_selection(skel, c);
	return bpf_map__set_max_entries(skel->maps.ring, c->ring_kib * 1024);
}

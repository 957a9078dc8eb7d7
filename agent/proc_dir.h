/* SPDX-License-Identifier: Apache-2.0 */
/* proc_dir.h - the files of one process under /proc/<pid>, all read through one open folder, so that
 * a pid that is given away meanwhile reads as gone and never as somebody else. What is in them is
 * the traced program's word: any bytes. */
#ifndef WIRESPAN_PROC_DIR_H
#define WIRESPAN_PROC_DIR_H

#include "store/base.h"

/* The folder, for the caller to close, and whose child it is; -ESRCH: it is gone, or the pid belongs
 * to one that began at another time. root: "/proc"; start_ns: since boot, 0 when not known. */
int proc_dir_open(const char *root, uint32_t pid, uint64_t start_ns, uint32_t *ppid);
/* A file in it, or below it, in buf, cut at size; empty when it cannot be read. */
struct str proc_dir_read(int dir, const char *name, char *buf, size_t size);
/* Path of its program as it sees it itself, in buf; empty for a kernel thread, for one that has
 * ended and for one that we may not look at. */
struct str proc_dir_exe(int dir, char *buf, size_t size);

#endif

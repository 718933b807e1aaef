/* Files: read whole, map, make folders, and replace so that a crash leaves the old or the new, never half.
 * In:  paths. Out: bytes, or ERROR_IO with the path and the system's reason.
 */
#ifndef FSM_BASE_FILE_H
#define FSM_BASE_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { FSM_PATH_BYTES = 4096 }; /* longest path, the 0 included */

/* The whole file, with a 0 byte after it; the caller frees *bytes. */
fsmoe_status fsm_file_read(const char *path, char **bytes, size_t *size);

/* A read-only map of the file; an empty file maps to {NULL, 0}. */
typedef struct fsm_file_map {
    const char *bytes;
    size_t size;
    bool of_file; /* and not of a copy, which a file needs that cannot be mapped */
} fsm_file_map;
fsmoe_status fsm_file_map_open(const char *path, fsm_file_map *map);
void fsm_file_map_close(fsm_file_map *map);

/* What has been read counts as this process's memory no longer; it can be read again. first: where a page begins. */
void fsm_file_map_forget(const fsm_file_map *map, size_t first, size_t bytes);

/* Writes what path stands for as base/output.h says: a new file beside it, synced, read back, and renamed over it; or
 * straight into it where it is no file. */
fsmoe_status fsm_file_replace(const char *path, const void *bytes, size_t size);

/* Whether fsm_file_replace would be let write there; changes nothing. For outputs that long work stands before. */
fsmoe_status fsm_file_can_write(const char *path);

/* fsync of a file or a folder by name. */
fsmoe_status fsm_file_sync(const char *path);

/* mkdir -p */
fsmoe_status fsm_file_make_dirs(const char *path);

/* rm -r; a path that does not exist is fine. */
fsmoe_status fsm_file_remove_tree(const char *path);

/* True also where that cannot be told: whoever then opens it says why not. */
bool fsm_file_exists(const char *path);

/* open() that is not interrupted; close-on-exec, and 0666 for what is made. -1: errno says why. */
int fsm_file_open(const char *path, int flags);

/* The folder that path lies in, as a path. */
void fsm_file_parent(const char *path, char folder[FSM_PATH_BYTES]);

/* "cannot VERB 'path': " and what errno says; returns ERROR_IO. */
fsmoe_status fsm_file_failed(const char *verb, const char *path);

/* "folder/name" into path. ERROR_IO when it is too long. */
fsmoe_status fsm_file_path(const char *folder, const char *name, char path[FSM_PATH_BYTES]);

/* "folder/name" in fresh memory that the caller frees; NULL when memory is out. */
char *fsm_file_join(const char *folder, const char *name);

#endif

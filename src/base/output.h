/* An output under way: bytes go into a new file beside the one they are for, and it takes that one's name once all of
 * them are on disk, so that a crash or a full disk leaves the old or the new, never half and never a file of another
 * name.
 * In:  a path that somebody gave, and bytes. Out: a file, or ERROR_IO with the path and the system's reason.
 * One rule for every path: a symbolic link stays, and what it leads to is written; a regular file, or nothing, is
 * replaced; a device, a FIFO or a descriptor (/dev/stdout) is written to and stays what it is; a folder is an error.
 */
#ifndef FSM_BASE_OUTPUT_H
#define FSM_BASE_OUTPUT_H

#include "base/file.h"

#include <stdint.h>

enum { FSM_OUTPUT_BUFFER_BYTES = 1 << 14 };

typedef struct fsm_output {
    int fd;                               /* -1: none */
    int through;                          /* what is written to at the end; -1: the target is replaced */
    char path[FSM_PATH_BYTES];            /* as it was given, for messages */
    char target[FSM_PATH_BYTES];          /* behind links */
    char temporary[FSM_PATH_BYTES];       /* "": none, since the target is written to */
    char buffer[FSM_OUTPUT_BUFFER_BYTES]; /* small pieces wait here */
    size_t buffered;
} fsm_output;

/* Waits for a reader where path is a FIFO. After a failure there is nothing to end. */
fsmoe_status fsm_output_begin(const char *path, fsm_output *output);

/* Goes on where the last one ended. */
fsmoe_status fsm_output_write(fsm_output *output, const void *bytes, size_t size);

/* Back to the first byte, to write it anew. */
fsmoe_status fsm_output_rewind(fsm_output *output);

/* XXH3 of `size` bytes from `offset` on, as they now are on disk. ERROR_IO: they are not there. */
fsmoe_status fsm_output_read_back(fsm_output *output, size_t offset, size_t size, uint64_t *xxh3);

/* Puts the output where it belongs, or, when `status` is a failure, leaves everything as it was. Returns `status`, or
 * what failed here. */
fsmoe_status fsm_output_end(fsm_output *output, fsmoe_status status);

#endif

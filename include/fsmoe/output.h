/* Where outputs may go. Every function that takes the path of an output follows one rule: a symbolic link stays and
 * what it leads to is written; a regular file is replaced at once by a whole one; a device, a FIFO or /dev/stdout is
 * written to and stays what it is; a folder is an error.
 * In:  the path of an output. Out: whether it could be written.
 */
#ifndef FSMOE_OUTPUT_H
#define FSMOE_OUTPUT_H

#include <fsmoe/export.h>
#include <fsmoe/status.h>

/* Changes nothing; for asking before long work. ERROR_IO names the path and says why not. Thread-safe. */
FSMOE_API fsmoe_status fsmoe_can_write(const char *path);

#endif

/* Text that is put together by printing.
 * In:  what is printed into a stream. Out: all of it as text or in a file, or ERROR_MEMORY.
 * No print needs a look: a failed one is remembered. (glibc's open_memstream() forgets that its buffer could not grow,
 * and fclose() then gives the beginning of the text.)
 */
#ifndef FSM_BASE_PRINT_H
#define FSM_BASE_PRINT_H

#include "base/status.h"

#include <stdio.h>

typedef struct fsm_print {
    FILE *out;
    char *bytes; /* [capacity], `size` of them printed */
    size_t size, capacity;
} fsm_print;

/* `print` stays where it is until its end. After a failure there is nothing to end. */
fsmoe_status fsm_print_begin(fsm_print *print);

/* Returns `status`, or that memory ran out while `what` was printed. The caller frees *text; NULL after a failure. */
fsmoe_status fsm_print_end(fsm_print *print, fsmoe_status status, const char *what, char **text);

/* The same into a file (fsm_file_replace), which nothing happens to after a failure. */
fsmoe_status fsm_print_write(fsm_print *print, fsmoe_status status, const char *path);

#endif

/* Status codes of every fallible fsmoe function, and the text of the last failure.
 * In:  nothing.
 * Out: a code; fsmoe_last_error() has the sentence that says what went wrong, with names and values.
 * The list below is the only place where codes, texts and process exit codes are written.
 */
#ifndef FSMOE_STATUS_H
#define FSMOE_STATUS_H

#include <fsmoe/export.h>

/* X(name, exit code of the command, text) */
#define FSMOE_STATUS_LIST(X)                                      \
    X(OK, 0, "success")                                           \
    X(ERROR_INTERNAL, 1, "internal error")                        \
    X(ERROR_USAGE, 2, "wrong use of the command line")            \
    X(ERROR_CONFIG, 3, "invalid configuration")                   \
    X(ERROR_IO, 4, "input or output failed")                      \
    X(ERROR_FORMAT, 5, "malformed file")                          \
    X(ERROR_LAYOUT, 6, "impossible layout of ranks")              \
    X(ERROR_NUMERIC, 7, "value is not finite")                    \
    X(ERROR_MEMORY, 8, "out of memory")                           \
    X(ERROR_COMM, 9, "communication failed")                      \
    X(ERROR_UNSUPPORTED, 10, "not supported")

typedef enum fsmoe_status {
#define FSMOE_STATUS_ENUM(name, exit_code, text) FSMOE_##name,
    FSMOE_STATUS_LIST(FSMOE_STATUS_ENUM)
#undef FSMOE_STATUS_ENUM
} fsmoe_status;

/* The text of a code, static storage; "unknown status" for a number that is none. */
FSMOE_API const char *fsmoe_status_text(fsmoe_status status);

/* The exit code that the `fsmoe` command ends with for a status. */
FSMOE_API int fsmoe_status_exit_code(fsmoe_status status);

/* What went wrong in the latest failed call of this thread, one sentence without a newline; "" if nothing did.
 * Owned by the library, valid until the next failure on the same thread (like errno, with words). */
FSMOE_API const char *fsmoe_last_error(void);

#endif

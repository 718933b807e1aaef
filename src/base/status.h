/* How code inside fsmoe reports a failure: the place that detects it says the cause once with fsm_fail(),
 * every caller above passes the code up with FSM_TRY().
 * In:  a code and a printf-like sentence, no full stop, no newline, naming the file, key or tensor.
 * Out: the same code; the sentence waits in fsmoe_last_error().
 */
#ifndef FSM_BASE_STATUS_H
#define FSM_BASE_STATUS_H

#include <fsmoe/status.h>

/* Records the sentence for this thread and returns `status`. */
FSMOE_API fsmoe_status fsm_fail(fsmoe_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the recorded sentence; returns `status`. For callers that know a name the detector did not. */
FSMOE_API fsmoe_status fsm_fail_within(fsmoe_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Returns from the calling function when `call` fails. */
#define FSM_TRY(call)                                            \
    do {                                                         \
        fsmoe_status fsm_try_status_ = (call);                   \
        if (fsm_try_status_ != FSMOE_OK) return fsm_try_status_; \
    } while (0)

/* Jumps to `label` when `call` fails, leaving the code in `status`. */
#define FSM_TRY_GOTO(status, call, label)     \
    do {                                      \
        (status) = (call);                    \
        if ((status) != FSMOE_OK) goto label; \
    } while (0)

#endif

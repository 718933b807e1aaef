/* What machine this is, for people who read a run's files.
 * In:  nothing. Out: a name.
 */
#ifndef FSM_BASE_MACHINE_H
#define FSM_BASE_MACHINE_H

#include <stddef.h>

/* The processor's name as the system gives it, cut to the buffer; "unknown CPU" if it does not. */
void fsm_machine_cpu(char *name, size_t size);

#endif

/* What machine this is, for people who read a run's files; and how busy it is.
 * In:  nothing. Out: a name; numbers of the system, which say nothing (0) where it gives none.
 */
#ifndef FSM_BASE_MACHINE_H
#define FSM_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* The processor's name as the system gives it, cut to the buffer; "unknown CPU" if it does not. */
void fsm_machine_cpu(char *name, size_t size);

typedef struct fsm_machine_load {
    double busy_s;  /* of all cores together since the machine began, whoever used them */
    int64_t boot_s; /* when that was: who sees the same number is on the same machine, whatever it is called */
} fsm_machine_load;

fsm_machine_load fsm_machine_read_load(void);

#endif

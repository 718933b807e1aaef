/* What machine this is, for people who read a run's files; and how busy it is.
 * In:  nothing. Out: a name; numbers of the system, which say nothing (0) where it gives none.
 */
#ifndef FSM_BASE_MACHINE_H
#define FSM_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* The processor's name as the system gives it, cut to the buffer; "unknown CPU" if it does not. */
void fsm_machine_cpu(char *name, size_t size);

/* Of all cores together since the machine began, whoever used them. */
double fsm_machine_busy_s(void);

/* Main memory, whoever uses it. */
double fsm_machine_memory_bytes(void);

/* What a process may still take: what the system calls available, or what is left of a group's limit if that is
 * less. */
double fsm_machine_available_bytes(void);

/* Memory of this process that is in no file, now and at its peak. */
double fsm_machine_held_bytes(void);
double fsm_machine_peak_bytes(void);

/* Who gets the same number is on the same machine, whatever it is called and in whatever namespaces: a hash of when it
 * began and of its installation. */
uint64_t fsm_machine_id(void);

#endif

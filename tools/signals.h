/* SIGINT, SIGTERM and SIGUSR1 while a model is trained: the first asks to stop after the present step, another one ends
 * the process at once. Before the first step they end it as ever, since nothing is lost; after the last the first one is
 * answered with a word, while the end is saved.
 * In:  who this rank is. Out: callbacks of fsmoe_train_options; which signal stopped the run.
 * No handler runs: a thread waits for signals that all others block. A handler's frame would be put where the stack
 * pointer is, and oneDNN's kernels have it in the heap at times. A process has one set of signals, so this is one state.
 * SIGUSR1 is there for launchers: Open MPI's mpirun hands it on at once and leaves it at that, while it kills what has not
 * ended a second after SIGTERM.
 */
#ifndef FSMOE_TOOLS_SIGNALS_H
#define FSMOE_TOOLS_SIGNALS_H

#include <fsmoe/train.h>

/* Before any other thread is made, and so before the world. */
void signals_begin(void);

/* Once the world and the number of steps are known. */
void signals_prepare(const fsmoe_world *world, int64_t steps);

int signals_should_stop(void *user, int64_t step);
void signals_on_pause(void *user, bool begins);
void signals_on_stop(void *user, int reason, int64_t step);

/* The signal that stopped the run, on whichever rank it arrived; 0: it was not stopped. */
int signals_stopped_by(void);

/* Says on stderr that the run was stopped, after which step, and how to go on. */
void signals_tell(void);

#endif

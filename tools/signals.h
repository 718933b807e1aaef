/* SIGINT, SIGTERM, SIGHUP and SIGUSR1 while a model is trained, and a reader of the messages that goes away: the first
 * asks to stop after the present step, another signal ends the process at once. Before the first step they end it as
 * ever, since nothing is lost; after the last the first one is answered with a word, while the end is written.
 * In:  who this rank is. Out: callbacks of fsmoe_train_options; which signal stopped the run.
 * No handler runs: a thread waits for signals that all others block. A handler's frame would be put where the stack
 * pointer is, and oneDNN's kernels have it in the heap at times. A process has one set of signals, so this is one
 * state. The same thread watches that the run goes on (tools/patience.h).
 * SIGUSR1 is there for launchers: Open MPI's mpirun hands it on at once and leaves it at that, while it kills what has
 * not ended a second after SIGTERM.
 */
#ifndef FSMOE_TOOLS_SIGNALS_H
#define FSMOE_TOOLS_SIGNALS_H

#include <fsmoe/train.h>

/* Before any other thread is made, and so before the world. */
void signals_begin(void);

/* Once the world is known. */
void signals_prepare(const fsmoe_world *world);

int signals_should_stop(void *user, int64_t step);
void signals_on_stage(void *user, fsmoe_train_stage stage, int64_t step, double usual_s);
void signals_on_stop(void *user, int reason, int64_t step);

/* Nobody reads the messages any more (a pipe whose reader has ended): asks to stop as SIGPIPE would. */
void signals_lost_reader(void);

/* The signal that stopped the run, on whichever rank it arrived; 0: it was not stopped. */
int signals_stopped_by(void);

/* After a run that was stopped has been saved: by what, after which step, and how to go on. */
void signals_tell(const char *resume_command);

#endif

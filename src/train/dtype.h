/* What train.compute_dtype auto is: bf16 where products of bf16 are faster on this machine, else fp32; on a run that
 * goes on, what it has been.
 * In:  a derived configuration whose compute_dtype was auto (`open`); the checkpoint that a run goes on from.
 * Out: the configuration with what the first rank chose, on all ranks, and a sentence that says what and why.
 */
#ifndef FSM_TRAIN_DTYPE_H
#define FSM_TRAIN_DTYPE_H

#include "comm/comm.h"

#include <fsmoe/config.h>

enum { FSM_DTYPE_TOLD_BYTES = 192 };

/* gflops of rows of fp32 and of bf16; 0 and 0 where the processor has no arithmetic of bf16. */
bool fsm_dtype_is_bf16(const double gflops[2]);

/* checkpoint NULL: there is none. Measuring, on all ranks at once, takes under a second. `told` is empty where nothing
 * was open. Collective, also where ranks differ in what is open. ERROR_MEMORY, ERROR_FORMAT, ERROR_IO, ERROR_COMM. */
fsmoe_status fsm_dtype_choose(fsmoe_config *config, bool open, fsm_comm *world, const char *checkpoint,
                              char told[FSM_DTYPE_TOLD_BYTES]);

#endif

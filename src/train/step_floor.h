/* What decoding steps cannot be faster than: the weights they must read, at the speed of memory.
 * In:  a model after a step without MP, EP or ESP.
 * Out: bytes that steps read; bytes read in turns with them and what that took, so that whatever else the machine does
 *      slows both alike.
 */
#ifndef FSM_TRAIN_STEP_FLOOR_H
#define FSM_TRAIN_STEP_FLOOR_H

#include "model/model.h"

typedef struct fsm_step_floor {
    double weight_bytes;       /* every weight but rows of embeddings, and of experts those that a token chose */
    double read_bytes, read_s; /* read beside the steps, at most 0.2 s in all */
    int64_t next;              /* where the next piece begins */
} fsm_step_floor;

/* After a step: adds its weights, and reads a piece of the model. {0} before the first. */
void fsm_step_floor_add(fsm_step_floor *floor, const fsm_model *model);

#endif

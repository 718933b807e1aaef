/* Experts that no token goes to any more.
 * In:  how many (token, choice) pairs each expert of each layer kept, a step.
 * Out: a sentence, once an expert, when it has had none for so many steps in a row.
 */
#ifndef FSM_TRAIN_IDLE_EXPERTS_H
#define FSM_TRAIN_IDLE_EXPERTS_H

#include "model/model.h"

typedef struct fsm_idle_experts {
    int64_t limit; /* steps; 0: nobody is watched */
    int64_t count; /* moe_layers E, or 0 where nobody is watched */
    int64_t *idle; /* [count] steps in a row without a token; -1: it has been warned of */
} fsm_idle_experts;

/* ERROR_MEMORY. */
fsmoe_status fsm_idle_experts_create(const fsm_model *model, int64_t limit, fsm_idle_experts *experts);
void fsm_idle_experts_destroy(fsm_idle_experts *experts);

/* Counts one step (`sums`: of all ranks). True: `sentence` names the experts that have now been idle for `limit`
 * steps. */
enum { FSM_IDLE_SENTENCE_BYTES = 512 };
bool fsm_idle_experts_count(fsm_idle_experts *experts, const fsm_model *model, const double *sums,
                            char sentence[FSM_IDLE_SENTENCE_BYTES]);

#endif

/* One token from logits.
 * In:  logits on the host, temperature, top-p, a uniform number.
 * Out: an id.
 */
#ifndef FSM_TRAIN_DRAW_H
#define FSM_TRAIN_DRAW_H

#include <stdint.h>

typedef struct fsm_candidate {
    int32_t id;
    double probability; /* times what all of them sum to */
} fsm_candidate;

/* By temperature and nucleus (Holtzman et al. 2020): the fewest likeliest tokens whose probabilities reach top_p, drawn
 * in proportion; ties to the lower id. temperature 0: the likeliest. uniform in [0, 1). candidates: [n] scratch. */
int32_t fsm_draw_token(const float *logits, int64_t n, double temperature, double top_p, double uniform,
                       fsm_candidate *candidates);

#endif

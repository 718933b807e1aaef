/* The logistic function and its integral, of one number.
 * sigmoid(s) = 1 / (1 + e^-s);  softplus(s) = log(1 + e^s), whose derivative it is.
 */
#ifndef FSM_BASE_SIGMOID_H
#define FSM_BASE_SIGMOID_H

#include <math.h>

static inline float fsm_sigmoid(float s)
{
    return 1.0f / (1.0f + expf(-s));
}

static inline float fsm_softplus(float s)
{
    return s > 20.0f ? s : log1pf(expf(s));
}

#endif

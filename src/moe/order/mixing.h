/* Tokens into slots and back by products with matrices: GShard's one-hot einsum, and gates that mix tokens (soft).
 *   slots [E S, M] = dispatch^T x,  y += combine (slots' outputs)   for each group of tokens
 * A slot is what the rest of the layer sees: it has one expert and one row, as a token with one choice has.
 * In:  x [n, M]; the matrices, of a route or of the gate. Out: slots; y; their backward.
 */
#ifndef FSM_MOE_MIXING_H
#define FSM_MOE_MIXING_H

#include "moe/gate/gate.h"
#include "moe/order/order.h"

/* What layers share, since one is in flight at a time. */
typedef struct fsm_mixing_scratch {
    float *matrix;                 /* [G, E S] of a route, built for a group at a time: zeros between uses */
    float *d_dispatch, *d_combine; /* as what they are gradients of; of a route the second alone, [G, E S] */
    float *slots;                  /* [groups E S, M]; in backward first their outputs' gradient, then their own */
} fsm_mixing_scratch;

typedef struct fsm_mixing {
    const fsm_mixing_scratch *scratch; /* of the staging */
    int64_t slots;                     /* S of an expert in a group */
    int64_t group;                     /* tokens of a group */
    int64_t columns;                   /* E S */
    int64_t count;                     /* slots of all groups in the latest forward */
    float *dispatch, *combine;         /* [N, E S] saved, of a gate that mixes */
    float *out;                        /* [groups E S, M] saved outputs */
    int32_t *choice, *row;             /* [groups E S] a slot's expert, and row as fsm_route has it */
} fsm_mixing;

/* Sizes for groups of `group` tokens with `slots` slots an expert each. */
void fsm_mixing_take(fsm_arena *arena, const fsm_gate *gate, int64_t max_tokens, int64_t group, int64_t slots,
                     fsm_mixing *mixing);
void fsm_mixing_scratch_take(fsm_arena *arena, bool mixes, int64_t hidden, int64_t max_tokens, int64_t group,
                             int64_t columns, fsm_mixing_scratch *scratch);

/* The matrices of a gate that mixes; counts and places of the slots for n tokens. `rows` [E] become what each expert
 * gets. */
void fsm_mixing_begin(fsm_mixing *mixing, fsm_gate *gate, const fsm_gate_input *input, int64_t *rows);

/* scratch->slots = those of x. route: NULL where the gate mixes. */
void fsm_mixing_dispatch(fsm_mixing *mixing, const fsm_gate *gate, const fsm_gate_input *input, const fsm_route *route);
/* y [n, M] += from out. */
void fsm_mixing_combine(fsm_mixing *mixing, const fsm_gate *gate, const fsm_gate_input *input, const fsm_route *route,
                        float *y);
/* scratch->slots = gradient of out; dweight [n, choices] of a route. */
void fsm_mixing_combine_backward(fsm_mixing *mixing, const fsm_gate *gate, const fsm_gate_input *input,
                                 const fsm_route *route, const float *dy, float *dweight);
/* dx [n, M] += from scratch->slots, the slots' gradient. */
void fsm_mixing_dispatch_backward(fsm_mixing *mixing, const fsm_gate *gate, const fsm_gate_input *input,
                                  const fsm_route *route, float *dx);
/* Of a gate that mixes: its parameters' gradients, and dx += through the matrices. */
void fsm_mixing_gate_backward(fsm_mixing *mixing, fsm_gate *gate, const fsm_gate_input *input, float *dx);

#endif

/* Tokens into slots and back by products with matrices: GShard's one-hot einsum, and gates that mix tokens (soft).
 *   slots [E S, M] = dispatch^T x,  y += combine (slots' outputs)   for each group of tokens
 * A slot is what the rest of the layer sees: it has one expert and one row, as a token with one choice has.
 * In:  x [n, M]; the matrices, of a route or of the gate. Out: slots; y; their backward.
 */
#ifndef FSM_MOE_MIXING_H
#define FSM_MOE_MIXING_H

#include "moe/gate/gate.h"
#include "moe/order/order.h"

/* Scratch of one task: all passes of all layers have the same. */
typedef struct fsm_mixing_scratch {
    fsm_real *matrix;   /* [G, E S] of a route, built for a group at a time: zeros between uses */
    fsm_real *d_matrix; /* [G, E S] of a route */
    fsm_row *slots;     /* [groups E S, M]; in backward first their outputs' gradient, then their own */
} fsm_mixing_scratch;

/* Of a gate that mixes: gradients of its matrices on their way back to it, [N, E S], those of one layer at a time. */
typedef struct fsm_mixing_grads {
    fsm_real *d_dispatch, *d_combine;
} fsm_mixing_grads;

/* One pass of tokens. */
typedef struct fsm_mixing {
    const fsm_mixing_scratch *scratch;
    const fsm_mixing_grads *grads;
    int64_t slots;                /* S of an expert in a group */
    int64_t group;                /* tokens of a group */
    int64_t columns;              /* E S */
    int64_t count;                /* slots of all groups in the latest forward */
    fsm_real *dispatch, *combine; /* [N, E S] saved, of a gate that mixes */
    fsm_row *out;                 /* [groups E S, M] saved outputs */
    fsm_index *choice, *row;      /* [groups E S] a slot's expert, and row as fsm_route has it */
} fsm_mixing;

/* What makes rows of tokens by products, for up to max_tokens in groups of `group` with `slots` slots an expert
 * each. */
typedef struct fsm_mixing_sizes {
    int64_t max_tokens, group, slots;
} fsm_mixing_sizes;

/* Memory (measured or real). */
void fsm_mixing_scratch_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                             fsm_mixing_scratch *scratch);
void fsm_mixing_grads_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                           fsm_mixing_grads *grads);
void fsm_mixing_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                     const fsm_mixing_scratch *scratch, const fsm_mixing_grads *grads, fsm_mixing *mixing);

/* Rows that every expert gets of n tokens. */
int64_t fsm_mixing_rows(const fsm_mixing *mixing, int64_t n);

/* The matrices of a gate that mixes; counts and places of the slots for the gate's input. `rows` [E] become what each
 * expert gets. */
void fsm_mixing_begin(fsm_mixing *mixing, fsm_gate_pass *gate, int64_t *rows);

/* scratch->slots = those of x. route: NULL where the gate mixes. */
void fsm_mixing_dispatch(const fsm_mixing *mixing, const fsm_gate_pass *gate, const fsm_route *route);
/* y [n, M] += from out. */
void fsm_mixing_combine(const fsm_mixing *mixing, const fsm_gate_pass *gate, const fsm_route *route, fsm_real *y);
/* scratch->slots = gradient of out; dweight [n, choices] of a route. */
void fsm_mixing_combine_backward(const fsm_mixing *mixing, const fsm_gate_pass *gate, const fsm_route *route,
                                 const fsm_real *dy, fsm_real *dweight);
/* dx [n, M] += from scratch->slots, the slots' gradient. */
void fsm_mixing_dispatch_backward(const fsm_mixing *mixing, const fsm_gate_pass *gate, const fsm_route *route,
                                  fsm_real *dx);
/* Of a gate that mixes: its parameters' gradients, and dx += through the matrices. */
void fsm_mixing_gate_backward(const fsm_mixing *mixing, fsm_gate_pass *gate, fsm_real *dx);

#endif

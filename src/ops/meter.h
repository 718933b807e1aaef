/* A table of operations that counts another's work: how often each kind of operation was called, what it took, what it
 * had to do.
 * In:  the table that does the work. Out: a table with the same contract and the same results, and counts by kind.
 * FLOPs are those of products and of attention (causal: only keys that a query sees), two for a multiply-add; bytes are
 * those of everything else, what an operation reads and writes counted once however often it is touched.
 * A slot that is missing here does not compile: slots.h has a line for each.
 */
#ifndef FSM_OPS_METER_H
#define FSM_OPS_METER_H

#include "base/status.h"
#include "ops/ops.h"

/* X(kind, what people call it) */
#define FSM_OP_KIND_LIST(X)                            \
    X(PRODUCT, "products forward")                     \
    X(PRODUCT_INPUT, "products, gradient of inputs")   \
    X(PRODUCT_WEIGHT, "products, gradient of weights") \
    X(ATTENTION, "attention")                          \
    X(ROTARY, "rotary positions")                      \
    X(NORM, "norms")                                   \
    X(ACTIVATION, "activations and biases")            \
    X(GATE, "gate")                                    \
    X(RANDOM, "random numbers")                        \
    X(PLACES, "places and maps")                       \
    X(ROWS, "gather and combine")                      \
    X(EMBEDDING, "embeddings")                         \
    X(CROSS_ENTROPY, "cross entropy")                  \
    X(OPTIMIZER, "optimizer")                          \
    X(SUMS, "sums")                                    \
    X(COPIES, "copies, zeros and packing")

typedef enum fsm_op_kind {
#define FSM_OP_ENUM(kind, name) FSM_OP_##kind,
    FSM_OP_KIND_LIST(FSM_OP_ENUM)
#undef FSM_OP_ENUM
        FSM_OP_KIND_COUNT
} fsm_op_kind;

/* Of one kind. */
typedef struct fsm_op_count {
    double calls, s, flops, bytes;
} fsm_op_count;

const char *fsm_op_kind_name(fsm_op_kind kind);

/* Takes `inner` over: it is destroyed with *metered. Nothing is counted until fsm_meter_turn. ERROR_MEMORY: `inner`
 * stays the caller's. */
fsmoe_status fsm_meter_create(fsm_ops *inner, fsm_ops **metered);

/* Of a table that fsm_meter_create made; not while one of its operations runs. */
void fsm_meter_turn(fsm_ops *metered, bool on);
void fsm_meter_reset(fsm_ops *metered);
const fsm_op_count *fsm_meter_counts(const fsm_ops *metered); /* [FSM_OP_KIND_COUNT] */

#endif

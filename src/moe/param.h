/* What a sub-module (gate, expert) says of its parameters, and how it gets them back.
 * In:  a list of specs a kind: names, global shapes, how they are split, how they start.
 * Out: one view a spec: this rank's shard of value and gradient.
 * The model owns the memory and the names' prefixes; a sub-module only knows suffixes like "weight".
 */
#ifndef FSM_MOE_PARAM_H
#define FSM_MOE_PARAM_H

#include "ops/ops.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum fsm_shard { FSM_SHARD_NONE, FSM_SHARD_ROWS, FSM_SHARD_COLS } fsm_shard;
typedef enum fsm_init {
    FSM_INIT_ZERO,
    FSM_INIT_ONE,
    FSM_INIT_NORMAL,
    FSM_INIT_NORMAL_RESIDUAL,
    FSM_INIT_TEMPERATURE, /* 0.3, of X-MoE's base models */
} fsm_init;

enum { FSM_MAX_PARAMS_A_MODULE = 8 };

typedef struct fsm_param_spec {
    const char *name;   /* suffix of the tensor's name */
    int64_t rows, cols; /* global shape; a vector has rows = 1 and rank 1 */
    int rank;           /* 1 or 2 */
    fsm_shard shard;    /* over the ranks that share the module (ESP for an expert) */
    fsm_init init;
    bool decay; /* weight decay: matrices only */
} fsm_param_spec;

typedef struct fsm_param_view {
    fsm_real *value, *grad; /* [rows, cols] of this rank */
    int64_t rows, cols;
} fsm_param_view;

#endif

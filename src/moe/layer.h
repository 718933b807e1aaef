/* One MoE layer on one rank: gate, order, dispatch, experts, combine, inverse order, forward and backward.
 * In:  x [n, M], the tokens this rank holds (any n, also 0); the layer's parameters.
 * Out: y += the layer's output; backward: dx += , parameter gradients +=.
 * Each function below is one task of the step's graph (plan/graph.h). Those that take `first` work on one chunk: the rows
 * from nominal row `first` to the next cut of that phase's wire. Calls of one phase go from top to bottom; calls of
 * different chunks may interleave, or run at the same time: they touch different rows. Collective ones only begin
 * (comm/op.h) and are marked with their group.
 */
#ifndef FSM_MOE_LAYER_H
#define FSM_MOE_LAYER_H

#include "comm/op.h"
#include "moe/dispatch/alltoall.h"
#include "moe/dispatch/wire.h"
#include "moe/expert/expert.h"
#include "moe/gate/gate.h"
#include "moe/hook/hook.h"
#include "moe/order/mixing.h"
#include "moe/shared.h"

/* Buffers that layers share, since one layer is in flight at a time. Rows of width M unless said otherwise. */
typedef struct fsm_moe_staging {
    float *send;   /* [max_rows] wire order at the source */
    float *recv;   /* rows received from my EP group */
    float *gather; /* [max_expert_rows] rows gathered from my ESP group */
    float *y;      /* [max_expert_rows] experts' output (backward: dx), expert order */
    float *dy;     /* [max_expert_rows] expert order */
    float *dact;   /* [max_expert_rows, H] */
    fsm_mixing_scratch mixing;
} fsm_moe_staging;

typedef struct fsm_moe {
    const fsmoe_moe_config *config;
    const fsm_ops *ops;
    fsm_comm *ep, *esp, *expert_group;
    const fsm_order_kind *order;
    const fsm_expert_kind *expert;
    fsm_alltoall *alltoall;                   /* of ep; layers share it, as they do staging */
    const fsm_hooks *hooks;                   /* of the model */
    int64_t wire_width[2][2][FSM_MAX_CHUNKS]; /* floats of a row under way: by phase, dispatched and combined, chunk */
    fsm_moe_staging *staging;
    int64_t hidden, width; /* M, local H */
    int64_t local_experts;
    fsm_expert_weights *experts; /* [local_experts] */
    fsm_gate gate;
    fsm_gate_input input; /* of the latest forward */
    fsm_route route;
    fsm_mixing mixing;
    fsm_shared shared;
    const float *dy;  /* of the present backward */
    bool by_products; /* in the latest forward tokens became rows by products with matrices */
    int64_t *counts;  /* [ep * esp, E] rows each member sends to each expert */
    fsm_wire wire[2]; /* by phase */
    /* counts of what is under way: [ep] of the all-to-all's, [esp] of the ESP group's */
    int64_t *send_elems, *recv_elems, *gather_elems;
    float *x, *pre, *act; /* expert order, saved for backward */
    float *returned;      /* [max_rows] experts' outputs back at the source, forward wire order, saved */
    float *dweight;       /* [N, choices] */
} fsm_moe;

/* Static sizes of a layer for ranks that hold at most max_tokens. */
void fsm_moe_shape(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index, int64_t max_tokens,
                   fsm_wire_shape *shape);

/* The products with matrices that make rows of n tokens (order/mixing.h): GEMMs, one a group of tokens, and the
 * matrices' columns E S. 0, 0: rows are copied. */
void fsm_moe_products(const fsmoe_moe_config *config, int64_t n, int *gemms, int64_t *columns);

/* Names are looked up here: ERROR_CONFIG for an unknown kind. Fields config, ops, groups, alltoall, staging, hidden,
 * width and gate's parameters are set by the model. */
fsmoe_status fsm_moe_select(const fsmoe_moe_config *config, fsm_moe *moe);

/* The layer's memory, and the shared staging. */
void fsm_moe_take(fsm_arena *arena, const fsm_wire_shape *shape, fsm_moe *moe);
void fsm_moe_staging_take(fsm_arena *arena, const fsmoe_moe_config *config, const fsm_wire_shape *shape, int64_t hidden,
                          int64_t width, fsm_moe_staging *staging);

/* The memory of the all-to-alls, which layers share. */
void fsm_moe_alltoall_take(fsm_arena *arena, const fsm_wire_shape *shape, int64_t hidden, fsm_alltoall *alltoall);

/* forward */
/* Gate and row assignment. Places are given by capacity in training, and else if `drops`. input->group and capacity are
 * set here. */
void fsm_moe_gate_forward(fsm_moe *moe, const fsm_gate_input *input, bool drops, fsm_gate_sums *sums);
fsmoe_status fsm_moe_start_counts(fsm_moe *moe, fsm_comm_op *op); /* EP x ESP */
void fsm_moe_order_forward(fsm_moe *moe);
/* both phases, one chunk */
fsmoe_status fsm_moe_start_dispatch(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op);      /* EP */
fsmoe_status fsm_moe_start_allgather(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op);     /* ESP */
fsmoe_status fsm_moe_start_reducescatter(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op); /* ESP */
fsmoe_status fsm_moe_start_combine(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op);       /* EP */
void fsm_moe_expert_forward(fsm_moe *moe, int64_t first);
void fsm_moe_expert_backward(fsm_moe *moe, int64_t first);
void fsm_moe_weight_grad(fsm_moe *moe, int64_t first);
/* y [n, M] += */
void fsm_moe_iorder_forward(fsm_moe *moe, float *y);
/* backward */
void fsm_moe_iorder_backward(fsm_moe *moe, const float *dy);
void fsm_moe_order_backward(fsm_moe *moe, float *dx); /* dx [n, M] += */
void fsm_moe_gate_backward(fsm_moe *moe, const fsm_gate_loss_grad *loss, float *dx);

#endif

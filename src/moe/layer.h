/* One MoE layer on one rank: gate, order, dispatch, experts, combine, inverse order, forward and backward.
 * In:  x [n, M], the tokens this rank holds (any n, also 0); the layer's parameters.
 * Out: y += the layer's output; backward: dx += , parameter gradients +=.
 * The layer is what it has, parameters, groups and kinds; a pass is what one pass of tokens through it holds, from the
 * gate's forward to its backward and the weights' gradients. Several passes may be under way in one layer.
 * Each function below is one task of the step's graph (plan/graph.h). Those that take `first` work on one chunk: the
 * rows from nominal row `first` to the next cut of that phase's wire. Calls of one phase of a pass go from top to
 * bottom; calls of different chunks may interleave, or run at the same time: they touch different rows. Collective ones
 * only begin (comm/op.h) and are marked with their group.
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

typedef struct fsm_moe {
    const fsmoe_moe_config *config;
    const fsm_ops *ops;
    const fsm_ops *link_ops; /* where communication is moved */
    fsm_comm *ep, *esp, *expert_group;
    const fsm_order_kind *order;
    const fsm_expert_kind *expert;
    fsm_alltoall *alltoall; /* of ep; layers share it */
    const fsm_hooks *hooks; /* of the model */
    int64_t hidden, width;  /* M, local H */
    int64_t local_experts;
    fsm_experts experts; /* [local_experts] */
    fsm_gate gate;
    fsm_shared shared;
} fsm_moe;

/* Scratch of one task: all passes of all layers have the same. */
typedef struct fsm_moe_scratch {
    fsm_real *dlogits; /* [max_tokens, E] */
    fsm_row *dact;     /* [max_expert_rows, H] */
    fsm_shared_scratch shared;
    fsm_mixing_scratch mixing;
    fsm_wire_tables wire;
} fsm_moe_scratch;

/* Buffers that a pass of tokens takes from layer to layer, since it is in one at a time. Rows of width M. */
typedef struct fsm_moe_staging {
    fsm_row *send;   /* [max_rows] wire order at the source */
    fsm_row *recv;   /* rows received from my EP group */
    fsm_row *gather; /* [max_expert_rows] rows gathered from my ESP group */
    fsm_row *y;      /* [max_expert_rows] experts' output (backward: dx), expert order */
    fsm_mixing_grads mixing;
    float *hook_rows[FSM_HOOK_POINT_COUNT]; /* on the host, where hooks look at what is elsewhere */
} fsm_moe_staging;

typedef struct fsm_moe_pass {
    const fsm_moe *moe;
    const fsm_moe_scratch *scratch;
    const fsm_moe_staging *staging;
    int lane;              /* for hooks */
    const int64_t *tokens; /* [ep * esp] n of every member of the expert group in this forward; NULL: it is not known */
    fsm_gate_pass gate;
    fsm_route route;
    fsm_mixing mixing;
    fsm_shared_pass shared;
    const fsm_real *dy; /* of the present backward */
    bool drops;         /* in forward places were given by capacity */
    bool by_products;   /* in forward tokens became rows by products with matrices */
    int64_t *counts;    /* [ep * esp, E] rows each member sends to each expert */
    fsm_wire wire[2];   /* by phase */
    int64_t wire_width[2][2]
                      [FSM_MAX_CHUNKS]; /* elements of a row under way: by phase, dispatched and combined, chunk */
    /* counts of what is under way: [ep] of the all-to-all's, [esp] of the ESP group's */
    int64_t *send_elems, *recv_elems, *gather_elems;
    fsm_row *x, *pre, *act; /* expert order, saved for backward */
    /* [max_expert_rows, M] expert order, kept until the weights' gradients; set by whoever owns it */
    fsm_row *expert_dy;
    fsm_row *returned; /* [max_rows] experts' outputs back at the source, forward wire order, saved */
    fsm_real *dweight; /* [N, choices] */
} fsm_moe_pass;

/* Static sizes of a layer for ranks that hold at most max_tokens, and in evaluation, where nothing is dropped, as
 * many. */
void fsm_moe_shape(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index, int64_t max_tokens,
                   fsm_wire_shape *shape);

/* The same for at most eval_tokens in evaluation. */
void fsm_moe_shape_within(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index,
                          int64_t max_tokens, int64_t eval_tokens, fsm_wire_shape *shape);

/* Rows that this rank is expected to compute, of max_expert_rows that it has room for: where choices decide, as many as
 * the busiest rank of a young router, FSM_MOE_UNEVEN of the mean. */
#define FSM_MOE_UNEVEN 1.3
int64_t fsm_moe_expected_rows(const fsmoe_moe_config *config, int64_t eval_tokens, const fsm_wire_shape *shape);

/* The products with matrices that make rows of n tokens (order/mixing.h): GEMMs, one a group of tokens, and the
 * matrices' columns E S. 0, 0: rows are copied. */
void fsm_moe_products(const fsmoe_moe_config *config, int64_t n, int *gemms, int64_t *columns);

/* Names are looked up here: ERROR_CONFIG for an unknown kind. */
fsmoe_status fsm_moe_select(const fsmoe_moe_config *config, fsm_moe *moe);

/* The rest of a selected layer but its parameters: where it stands in the layout, and what it borrows. width: H of all
 * shards. */
void fsm_moe_place(const fsm_ops *ops, const fsm_ops *link_ops, const fsm_topo *topo,
                   fsm_comm *const groups[FSM_GROUP_COUNT], fsm_alltoall *alltoall, const fsm_hooks *hooks,
                   int64_t hidden, int64_t width, fsm_moe *moe);

/* Memory (measured or real): of the weights' descriptions; of the scratch and of a staging, for all layers like this
 * one; of a pass, with one chunk each way and without expert_dy, which backward alone needs. */
void fsm_moe_weights_take(fsm_memory *memory, fsm_moe *moe);
void fsm_moe_scratch_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape,
                          fsm_moe_scratch *scratch);
void fsm_moe_staging_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape,
                          fsm_moe_staging *staging);
void fsm_moe_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape, const fsm_moe_scratch *scratch,
                  const fsm_moe_staging *staging, fsm_moe_pass *pass);
fsm_row *fsm_moe_take_dy(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape); /* a pass's expert_dy */

/* The memory of the all-to-alls, which layers share. */
void fsm_moe_alltoall_take(fsm_memory *memory, const fsm_wire_shape *shape, int64_t hidden, fsm_alltoall *alltoall);

/* forward */
/* Gate and row assignment. Places are given by capacity in training, and else if `drops`. input->group and capacity are
 * set here. */
void fsm_moe_gate_forward(fsm_moe_pass *pass, const fsm_gate_input *input, bool drops, fsm_gate_sums *sums);
/* What each member sends to each expert: exchanged, unless `tokens` and the order say it beforehand; then nothing is
 * begun. */
fsmoe_status fsm_moe_start_counts(fsm_moe_pass *pass, fsm_comm_op *op); /* EP x ESP */
void fsm_moe_order_forward(fsm_moe_pass *pass);
/* both phases, one chunk */
fsmoe_status fsm_moe_start_dispatch(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op);      /* EP */
fsmoe_status fsm_moe_start_allgather(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op);     /* ESP */
fsmoe_status fsm_moe_start_reducescatter(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op); /* ESP */
fsmoe_status fsm_moe_start_combine(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op);       /* EP */
void fsm_moe_expert_forward(fsm_moe_pass *pass, int64_t first);
void fsm_moe_expert_backward(fsm_moe_pass *pass, int64_t first);
void fsm_moe_weight_grad(fsm_moe_pass *pass, int64_t first);
/* y [n, M] += */
void fsm_moe_iorder_forward(fsm_moe_pass *pass, fsm_real *y);
/* backward */
void fsm_moe_iorder_backward(fsm_moe_pass *pass, const fsm_real *dy);
void fsm_moe_order_backward(fsm_moe_pass *pass, fsm_real *dx); /* dx [n, M] += */
void fsm_moe_gate_backward(fsm_moe_pass *pass, const fsm_gate_loss_grad *loss, fsm_real *dx);

#endif

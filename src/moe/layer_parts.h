/* What the files of a layer share (moe/layer.h).
 * In:  a pass of tokens between two of its tasks. Out: where rows are; hooks called.
 */
#ifndef FSM_MOE_LAYER_PARTS_H
#define FSM_MOE_LAYER_PARTS_H

#include "moe/layer.h"

/* How places are given to n tokens: by capacity if it `drops`. */
fsm_order_problem fsm_moe_order_problem(const fsmoe_moe_config *config, int64_t n, bool drops);

/* Where rows are put that are to be sent: with one source and one chunk, where experts read them. */
fsm_row *fsm_moe_send_buffer(const fsm_moe_pass *pass, fsm_phase phase);

/* A tensor of rows `n` elements further on. */
static inline fsm_row *fsm_moe_at(const fsm_moe_pass *pass, const fsm_row *rows, int64_t n)
{
    return fsm_row_at(rows, pass->moe->ops->row_bytes, n);
}

/* Tells the hooks of rows [n, M], or of fp32 [n, M], at a point; returns what a row takes now. ops: the instance of
 * whoever calls, the layer's in a task, that of its links where communication begins. */
int64_t fsm_moe_tell(const fsm_ops *ops, const fsm_moe_pass *pass, fsm_hook_point point, fsm_phase phase, int chunk,
                     int64_t rows, fsm_matrix data, int64_t width);

/* Hooks of rows that have come, before anybody looks at them; and of all chunks' that are back. */
void fsm_moe_after_dispatch(const fsm_ops *ops, fsm_moe_pass *pass, fsm_phase phase, int chunk);
void fsm_moe_after_combine(fsm_moe_pass *pass, fsm_phase phase);

#endif

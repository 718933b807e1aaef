/* What the files of the builder share (plan/builder.h).
 * In:  a builder in one of its lanes. Out: tasks at the end of that lane's chain.
 */
#ifndef FSM_PLAN_BUILDER_PARTS_H
#define FSM_PLAN_BUILDER_PARTS_H

#include "plan/builder.h"

/* A task of the present pass, on the compute resource, not yet in the graph. */
fsm_task fsm_builder_task(const fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, double size);
fsm_resource fsm_builder_stream(const fsm_step_builder *b, fsm_group group);

/* These append to the chain: work; a collective, which a group of one rank has none of; a small exchange of numbers
 * among all of a group, which even a group of one has. */
void fsm_builder_compute(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, int launches,
                         double size);
void fsm_builder_collective(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                            double size);
void fsm_builder_exchange(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                          double size);

/* `task` finished the gradients that such a task of the layer does, if this is the lane's last micro-batch. */
void fsm_builder_finish(fsm_step_builder *b, fsm_task_kind kind, int layer, int task);
bool fsm_builder_is_last_micro(const fsm_step_builder *b);

/* The cut's pieces of gradients for one of its places. */
void fsm_builder_send_all(fsm_step_builder *b, fsm_phase phase, const fsm_layer_cut *cut, int place);

/* The MoE part of a layer: from the gate to the inverse order, or back. */
void fsm_builder_experts(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut);

/* The latest weight gradient that a lane has late, of all its layers; -1: none. */
int fsm_builder_latest_weight_grad(const fsm_step_builder *b, int lane);

#endif

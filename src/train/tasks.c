/* The one table from a task's (kind, phase) to the function that does it. */
#include "train/stepper.h"

static fsm_pass *pass_of(fsm_stepper *s, const fsm_task *t)
{
    return &s->model->passes[fsm_task_lane(t)];
}

static fsm_moe_pass *moe_of(fsm_stepper *s, const fsm_task *t)
{
    return &pass_of(s, t)->layers[t->layer].moe;
}

/* A function of a pass without a layer, with one, or with one and a status. */
#define PASS_TASK(name)                                             \
    static fsmoe_status run_##name(void *object, const fsm_task *t) \
    {                                                               \
        fsm_pass_##name(pass_of(object, t));                        \
        return FSMOE_OK;                                            \
    }
#define LAYER_TASK(name)                                            \
    static fsmoe_status run_##name(void *object, const fsm_task *t) \
    {                                                               \
        fsm_pass_##name(pass_of(object, t), t->layer);              \
        return FSMOE_OK;                                            \
    }
#define LAYER_COLLECTIVE(name)                                                         \
    static fsmoe_status start_##name(void *object, const fsm_task *t, fsm_comm_op *op) \
    {                                                                                  \
        return fsm_pass_start_##name(pass_of(object, t), t->layer, op);                \
    }
#define CHUNK_COLLECTIVE(name)                                                         \
    static fsmoe_status start_##name(void *object, const fsm_task *t, fsm_comm_op *op) \
    {                                                                                  \
        return fsm_moe_start_##name(moe_of(object, t), t->phase, t->rows_first, op);   \
    }

PASS_TASK(embedding_backward)
PASS_TASK(head_forward)
PASS_TASK(head_backward)
LAYER_TASK(norm_forward)
LAYER_TASK(norm_backward)
LAYER_COLLECTIVE(mp_allgather_forward)
LAYER_COLLECTIVE(mp_allgather_backward)
LAYER_TASK(attention_forward)
LAYER_TASK(attention_backward)
LAYER_COLLECTIVE(mp_reducescatter_forward)
LAYER_COLLECTIVE(mp_reducescatter_backward)
LAYER_TASK(ffn_norm_forward)
LAYER_TASK(ffn_norm_backward)
LAYER_COLLECTIVE(ffn_allgather_forward)
LAYER_COLLECTIVE(ffn_allgather_backward)
LAYER_TASK(ffn_forward)
LAYER_TASK(ffn_backward)
LAYER_COLLECTIVE(ffn_reducescatter_forward)
LAYER_COLLECTIVE(ffn_reducescatter_backward)
LAYER_TASK(gate_forward)
LAYER_TASK(gate_backward)
LAYER_TASK(iorder_forward)
LAYER_TASK(iorder_backward)
LAYER_TASK(order_backward)
CHUNK_COLLECTIVE(dispatch)
CHUNK_COLLECTIVE(allgather)
CHUNK_COLLECTIVE(reducescatter)
CHUNK_COLLECTIVE(combine)

/* The first task of a pass brings its tokens in. */
static fsmoe_status run_embedding_forward(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    int lane = fsm_task_lane(t);
    int64_t first = s->first_sample + t->micro * s->micro_batch;
    fsm_batch batch;
    if (s->batches) FSM_TRY(fsm_batches_load(s->batches, first, s->micro_batch, s->parts, lane, &batch));
    else batch = fsm_batch_part(&s->given, s->parts, lane % s->parts);
    fsm_pass_begin(pass_of(s, t), &batch, s->training);
    fsm_pass_embedding_forward(pass_of(s, t));
    return FSMOE_OK;
}

static fsmoe_status run_order_forward(void *object, const fsm_task *t)
{
    fsm_moe_order_forward(moe_of(object, t));
    return FSMOE_OK;
}

static fsmoe_status start_counts(void *object, const fsm_task *t, fsm_comm_op *op)
{
    return fsm_moe_start_counts(moe_of(object, t), op);
}

static fsmoe_status run_expert_forward(void *object, const fsm_task *t)
{
    fsm_moe_expert_forward(moe_of(object, t), t->rows_first);
    return FSMOE_OK;
}

static fsmoe_status run_expert_backward(void *object, const fsm_task *t)
{
    fsm_moe_expert_backward(moe_of(object, t), t->rows_first);
    return FSMOE_OK;
}

/* Of experts, or of a layer without them. */
static fsmoe_status run_weight_grad(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    if (s->model->layers[t->layer].is_moe) fsm_moe_weight_grad(moe_of(s, t), t->rows_first);
    else fsm_pass_ffn_weight_grad(pass_of(s, t), t->layer);
    return FSMOE_OK;
}

static fsmoe_status start_sums(void *object, const fsm_task *t, fsm_comm_op *op)
{
    return fsm_model_start_sums(((fsm_stepper *)object)->model, t->micro, op);
}

static fsmoe_status take_sums(void *object, const fsm_task *t)
{
    fsm_model_take_sums(((fsm_stepper *)object)->model, t->micro);
    return FSMOE_OK;
}

static fsmoe_status start_allreduce(void *object, const fsm_task *t, fsm_comm_op *op)
{
    fsm_stepper *s = object;
    fsm_comm *group = s->groups[t->group];
    fsm_real *grads = fsm_real_at(s->model->grads, t->slice_first);
    int64_t elems = t->slice_last - t->slice_first;
    if (!s->config->parallel.canonical_sums) return fsm_comm_start_all_reduce(op, group, FSM_COMM_FP32, grads, elems);
    return fsm_comm_start_all_reduce_tree(op, group, grads, elems, s->tree_scratch, s->tree_counts);
}

static fsmoe_status run_grad_squares(void *object, const fsm_task *t)
{
    (void)t;
    fsm_stepper *s = object;
    fsm_optimizer_add_squares(&s->optimizer, s->model->grads);
    return FSMOE_OK;
}

static fsmoe_status start_grad_norm(void *object, const fsm_task *t, fsm_comm_op *op)
{
    (void)t;
    fsm_stepper *s = object;
    return fsm_optimizer_start_norm(&s->optimizer, s->world, op);
}

/* Every rank has the same sums, so where they are not finite all of them leave their parameters as they are. */
static fsmoe_status run_optimizer(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    const fsm_sum *loss = fsm_sum_at(s->model->step_sums, s->model->sum_count - 2);
    fsm_optimizer_update(&s->optimizer, t->slice_first, t->slice_last, s->model->grads, loss, s->model->values);
    return FSMOE_OK;
}

#define BOTH(kind, what, name) \
    [FSM_TASK_##kind] = {[FSM_FORWARD] = what##_##name##_forward, [FSM_BACKWARD] = what##_##name##_backward}
#define CHUNKS(kind, name) [FSM_TASK_##kind] = {[FSM_FORWARD] = start_##name, [FSM_BACKWARD] = start_##name}

const fsm_task_table fsm_stepper_tasks = {.run =
                                              {
                                                  BOTH(EMBEDDING, run, embedding),
                                                  BOTH(NORM, run, norm),
                                                  BOTH(ATTENTION, run, attention),
                                                  BOTH(FFN_NORM, run, ffn_norm),
                                                  BOTH(FFN, run, ffn),
                                                  BOTH(GATE, run, gate),
                                                  BOTH(ORDER, run, order),
                                                  BOTH(EXPERT, run, expert),
                                                  BOTH(IORDER, run, iorder),
                                                  BOTH(HEAD, run, head),
                                                  [FSM_TASK_WEIGHT_GRAD] = {[FSM_BACKWARD] = run_weight_grad},
                                                  [FSM_TASK_GRAD_SQUARES] = {[FSM_UPDATE] = run_grad_squares},
                                                  [FSM_TASK_OPTIMIZER] = {[FSM_UPDATE] = run_optimizer},
                                              },
                                          .start =
                                              {
                                                  BOTH(MP_ALLGATHER, start, mp_allgather),
                                                  BOTH(MP_REDUCESCATTER, start, mp_reducescatter),
                                                  BOTH(FFN_ALLGATHER, start, ffn_allgather),
                                                  BOTH(FFN_REDUCESCATTER, start, ffn_reducescatter),
                                                  CHUNKS(A2A_DISPATCH, dispatch),
                                                  CHUNKS(ALLGATHER, allgather),
                                                  CHUNKS(REDUCESCATTER, reducescatter),
                                                  CHUNKS(A2A_COMBINE, combine),
                                                  [FSM_TASK_COUNTS] = {[FSM_FORWARD] = start_counts},
                                                  [FSM_TASK_SUMS] = {[FSM_FORWARD] = start_sums},
                                                  [FSM_TASK_ALLREDUCE] = {[FSM_UPDATE] = start_allreduce},
                                                  [FSM_TASK_GRAD_NORM] = {[FSM_UPDATE] = start_grad_norm},
                                              },
                                          .finish = {
                                              [FSM_TASK_SUMS] = {[FSM_FORWARD] = take_sums},
                                          }};

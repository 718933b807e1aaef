/* The one table from a task's (kind, phase) to the function that does it. */
#include "train/stepper.h"

#include <math.h>

static fsm_moe *moe_of(fsm_stepper *s, const fsm_task *t)
{
    return &s->model->layers[t->layer].moe;
}

/* A function of the model without a layer, with one, or with one and a status. */
#define MODEL_TASK(name)                                            \
    static fsmoe_status run_##name(void *object, const fsm_task *t) \
    {                                                               \
        (void)t;                                                    \
        fsm_model_##name(((fsm_stepper *)object)->model);           \
        return FSMOE_OK;                                            \
    }
#define LAYER_TASK(name)                                            \
    static fsmoe_status run_##name(void *object, const fsm_task *t) \
    {                                                               \
        fsm_model_##name(((fsm_stepper *)object)->model, t->layer); \
        return FSMOE_OK;                                            \
    }
#define LAYER_COLLECTIVE(name)                                             \
    static fsmoe_status run_##name(void *object, const fsm_task *t)        \
    {                                                                      \
        return fsm_model_##name(((fsm_stepper *)object)->model, t->layer); \
    }

MODEL_TASK(embedding_backward)
MODEL_TASK(head_forward)
MODEL_TASK(head_backward)
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

/* The first task of a micro-batch brings its tokens in. */
static fsmoe_status run_embedding_forward(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    if (s->batches) {
        fsm_batch batch;
        int64_t first = s->first_sample + t->micro * s->micro_batch;
        FSM_TRY(fsm_batches_load(s->batches, first, s->micro_batch, &batch));
        fsm_model_begin_micro(s->model, &batch, s->model->train_step);
    }
    fsm_model_embedding_forward(s->model);
    return FSMOE_OK;
}

static fsmoe_status run_order_forward(void *object, const fsm_task *t)
{
    fsm_moe_order_forward(moe_of(object, t));
    return FSMOE_OK;
}

static fsmoe_status run_counts(void *object, const fsm_task *t)
{
    return fsm_moe_exchange_counts(moe_of(object, t));
}

static fsmoe_status run_dispatch(void *object, const fsm_task *t)
{
    return fsm_moe_dispatch(moe_of(object, t), t->phase, t->rows_first);
}

static fsmoe_status run_allgather(void *object, const fsm_task *t)
{
    return fsm_moe_allgather(moe_of(object, t), t->phase, t->rows_first);
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
    else fsm_model_ffn_weight_grad(s->model, t->layer);
    return FSMOE_OK;
}

static fsmoe_status run_reducescatter(void *object, const fsm_task *t)
{
    return fsm_moe_reducescatter(moe_of(object, t), t->phase, t->rows_first);
}

static fsmoe_status run_combine(void *object, const fsm_task *t)
{
    return fsm_moe_combine(moe_of(object, t), t->phase, t->rows_first);
}

static fsmoe_status run_sums(void *object, const fsm_task *t)
{
    (void)t;
    return fsm_model_exchange_sums(((fsm_stepper *)object)->model);
}

static fsmoe_status run_allreduce(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    fsm_comm *group = s->groups[t->group];
    if (s->config->parallel.canonical_sums)
        return fsm_comm_all_reduce_tree(group, s->model->grads + t->slice_first, t->slice_last - t->slice_first,
                                        s->tree_scratch, s->tree_counts);
    return group->table->all_reduce(group, s->model->grads + t->slice_first, t->slice_last - t->slice_first);
}

/* Every rank has the same sums, so all of them stop together, before anything is updated. */
static fsmoe_status run_grad_norm(void *object, const fsm_task *t)
{
    (void)t;
    fsm_stepper *s = object;
    fsm_model_sums sums = fsm_model_loss_sums(s->model, s->model->step_sums);
    FSM_TRY(fsm_optimizer_grad_norm(&s->optimizer, s->world, s->model->grads));
    if (!isfinite(sums.loss)) return fsm_fail(FSMOE_ERROR_NUMERIC, "the loss is not finite");
    if (!isfinite(s->optimizer.grad_norm)) return fsm_fail(FSMOE_ERROR_NUMERIC, "the gradient norm is not finite");
    return FSMOE_OK;
}

static fsmoe_status run_optimizer(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    fsm_optimizer_update(&s->optimizer, t->slice_first, t->slice_last, s->model->grads, s->model->values);
    return FSMOE_OK;
}

#define BOTH(kind, name) \
    [FSM_TASK_##kind] = {[FSM_FORWARD] = run_##name##_forward, [FSM_BACKWARD] = run_##name##_backward}

const fsm_task_table fsm_stepper_tasks = {
    .run = {
        BOTH(EMBEDDING, embedding),
        BOTH(NORM, norm),
        BOTH(MP_ALLGATHER, mp_allgather),
        BOTH(ATTENTION, attention),
        BOTH(MP_REDUCESCATTER, mp_reducescatter),
        BOTH(FFN_NORM, ffn_norm),
        BOTH(FFN_ALLGATHER, ffn_allgather),
        BOTH(FFN, ffn),
        BOTH(FFN_REDUCESCATTER, ffn_reducescatter),
        BOTH(GATE, gate),
        BOTH(ORDER, order),
        BOTH(EXPERT, expert),
        BOTH(IORDER, iorder),
        BOTH(HEAD, head),
        [FSM_TASK_COUNTS] = {[FSM_FORWARD] = run_counts},
        [FSM_TASK_A2A_DISPATCH] = {[FSM_FORWARD] = run_dispatch, [FSM_BACKWARD] = run_dispatch},
        [FSM_TASK_ALLGATHER] = {[FSM_FORWARD] = run_allgather, [FSM_BACKWARD] = run_allgather},
        [FSM_TASK_REDUCESCATTER] = {[FSM_FORWARD] = run_reducescatter, [FSM_BACKWARD] = run_reducescatter},
        [FSM_TASK_A2A_COMBINE] = {[FSM_FORWARD] = run_combine, [FSM_BACKWARD] = run_combine},
        [FSM_TASK_WEIGHT_GRAD] = {[FSM_BACKWARD] = run_weight_grad},
        [FSM_TASK_SUMS] = {[FSM_FORWARD] = run_sums},
        [FSM_TASK_ALLREDUCE] = {[FSM_UPDATE] = run_allreduce},
        [FSM_TASK_GRAD_NORM] = {[FSM_UPDATE] = run_grad_norm},
        [FSM_TASK_OPTIMIZER] = {[FSM_UPDATE] = run_optimizer},
    }};

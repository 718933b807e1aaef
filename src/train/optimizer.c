#include "train/optimizer.h"

#include <math.h>

static void take(fsm_memory *memory, fsm_optimizer *optimizer)
{
    optimizer->m = fsm_take_reals(memory, optimizer->params->elems);
    optimizer->v = fsm_take_reals(memory, optimizer->params->elems);
    optimizer->rates = fsm_take_reals(memory, FSM_ADAMW_RATES);
    optimizer->squares = fsm_take_sums(memory, 1);
}

fsmoe_status fsm_optimizer_create(const fsm_params *params, const fsm_ops *ops, const fsmoe_train_config *config,
                                  fsm_optimizer *optimizer)
{
    fsm_memory measure = fsm_memory_measure_for(ops);
    *optimizer = (fsm_optimizer){.params = params, .ops = ops, .config = config};
    take(&measure, optimizer);
    FSM_TRY(fsm_memory_create(&measure, &optimizer->memory));
    take(&optimizer->memory, optimizer);
    optimizer->lr = fsm_learning_rate(config, 0);
    return FSMOE_OK;
}

void fsm_optimizer_reset(fsm_optimizer *optimizer)
{
    const fsm_ops *ops = optimizer->ops;
    ops->zero(ops, optimizer->params->elems, optimizer->m);
    ops->zero(ops, optimizer->params->elems, optimizer->v);
    optimizer->step = 0;
    optimizer->lr = fsm_learning_rate(optimizer->config, 0);
    optimizer->grad_norm = 0;
}

void fsm_optimizer_destroy(fsm_optimizer *optimizer)
{
    fsm_memory_destroy(&optimizer->memory);
}

double fsm_learning_rate(const fsmoe_train_config *config, int64_t step)
{
    if (step < config->warmup_steps) return config->lr * (double)(step + 1) / (double)config->warmup_steps;
    int64_t decay_steps = config->steps - config->warmup_steps;
    double progress = decay_steps > 0 ? (double)(step - config->warmup_steps) / (double)decay_steps : 1;
    if (progress > 1) progress = 1;
    return config->min_lr + (config->lr - config->min_lr) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
}

void fsm_optimizer_add_squares(fsm_optimizer *optimizer, const fsm_real *grads)
{
    const fsm_ops *ops = optimizer->ops;
    ops->zero_sums(ops, 1, optimizer->squares);
    for (int i = 0; i < optimizer->params->count; i++) {
        const fsm_param *p = &optimizer->params->items[i];
        if (!p->owned) continue;
        for (int64_t e = 0; e == 0 || e < p->experts; e++)
            ops->sum_squares(ops, p->rows * p->cols, fsm_real_at(grads, p->offset + e * p->expert_stride),
                             optimizer->squares);
    }
}

fsmoe_status fsm_optimizer_start_norm(fsm_optimizer *optimizer, fsm_comm *world, fsm_comm_op *op)
{
    return fsm_comm_start_all_reduce(op, world, FSM_COMM_FP64, optimizer->squares, 1);
}

void fsm_optimizer_take_norm(fsm_optimizer *optimizer)
{
    double squares;
    optimizer->ops->read(optimizer->ops, sizeof squares, optimizer->squares, &squares);
    optimizer->grad_norm = sqrt(squares);
}

void fsm_optimizer_begin(fsm_optimizer *optimizer)
{
    const fsmoe_train_config *c = optimizer->config;
    const fsm_ops *ops = optimizer->ops;
    double t = (double)(optimizer->step + 1);
    const float rates[FSM_ADAMW_RATES] = {
        [FSM_ADAMW_LR] = (float)optimizer->lr,
        [FSM_ADAMW_C1] = (float)(1 - pow(c->beta1, t)),
        [FSM_ADAMW_C2] = (float)(1 - pow(c->beta2, t)),
    };
    ops->write(ops, sizeof rates, rates, optimizer->rates);
}

void fsm_optimizer_update(fsm_optimizer *optimizer, int64_t first, int64_t last, const fsm_real *grads,
                          const fsm_sum *loss, fsm_real *values)
{
    const fsmoe_train_config *c = optimizer->config;
    fsm_adamw step = {
        .rates = optimizer->rates,
        .beta1 = (float)c->beta1,
        .beta2 = (float)c->beta2,
        .eps = (float)c->adam_eps,
        .clip = c->clip_grad,
        .squares = c->clip_grad > 0 ? optimizer->squares : NULL,
        .loss = loss,
    };
    for (int i = 0; i < optimizer->params->count; i++) {
        const fsm_param *p = &optimizer->params->items[i];
        step.decay = p->spec.decay ? (float)c->weight_decay : 0.0f;
        for (int64_t e = 0; e == 0 || e < p->experts; e++) {
            int64_t at = p->offset + e * p->expert_stride, end = at + p->rows * p->cols;
            if (at < first) at = first;
            if (end > last) end = last;
            if (at < end)
                optimizer->ops->adamw(optimizer->ops, end - at, &step, fsm_real_at(grads, at),
                                      fsm_real_at(optimizer->m, at), fsm_real_at(optimizer->v, at),
                                      fsm_real_at(values, at));
        }
    }
}

void fsm_optimizer_finish(fsm_optimizer *optimizer)
{
    optimizer->step++;
    optimizer->lr = fsm_learning_rate(optimizer->config, optimizer->step);
}

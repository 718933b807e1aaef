#include "train/layer.h"

#include "comm/groups.h"
#include "config/config.h"
#include "model/lanes.h"
#include "moe/gate/balance.h"
#include "plan/plan.h"
#include "train/place.h"
#include "train/stepper.h"

#include <stdlib.h>
#include <string.h>

/* ---- creation ---- */

static fsmoe_status place(fsm_layer_run *r)
{
    FSM_TRY(fsm_place(r->config, r->world, &r->topo));
    if (r->config->moe.num_experts % r->topo.ep == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_LAYOUT, "num_experts = %lld does not divide over ep_size = %d",
                    (long long)r->config->moe.num_experts, r->topo.ep);
}

/* Every layout then has the same groups of tokens. */
static fsmoe_status check_groups(const fsm_layer_run *r)
{
    const fsmoe_moe_config *moe = &r->config->moe;
    if (r->world->size == 1 || moe->capacity_group > 0 || (moe->capacity_factor == 0 && !moe->balanced))
        return FSMOE_OK;
    return fsm_fail(
        FSMOE_ERROR_CONFIG,
        "capacity_group is not given: with %s on several ranks it must be, or what is %s would depend on the layout",
        moe->balanced ? "balanced" : "a capacity_factor", moe->balanced ? "chosen" : "dropped");
}

static int64_t tokens_of(const fsm_layer_run *r, int rank)
{
    int64_t first, last;
    fsm_topo_split(r->total, fsm_token_unit(r->config), r->world->size, rank, &first, &last);
    return last - first;
}

static int64_t most_tokens(const fsm_layer_run *r)
{
    int64_t most = 0;
    for (int i = 0; i < r->world->size; i++)
        if (tokens_of(r, i) > most) most = tokens_of(r, i);
    return most;
}

static void take_all(fsm_memory *memory, fsm_layer_run *r, bool has_noise)
{
    fsm_wire_shape wire;
    int64_t experts = r->config->moe.num_experts, hidden = r->config->model.hidden, elems = r->n * hidden;
    fsm_moe_shape(&r->config->moe, r->topo.ep, r->topo.ep_index, r->topo.esp, r->topo.esp_index, most_tokens(r), &wire);
    r->nominal_rows = wire.nominal_rows;
    r->x = fsm_take_rows(memory, elems);
    r->dy = fsm_take_reals(memory, elems);
    r->y = fsm_take_reals(memory, elems);
    r->dx = fsm_take_reals(memory, elems);
    r->noise = has_noise ? fsm_take_reals(memory, r->n * experts) : NULL;
    r->tokens = FSM_TAKE_HOST(memory, int64_t, r->topo.ep * r->topo.esp);
    r->sums = fsm_take_sums(memory, FSM_GATE_SUMS_COUNT(experts));
    r->loss_grads = fsm_take_sums(memory, 2 * experts + 1);
    r->losses = fsm_take_sums(memory, 2);
    fsm_moe_weights_take(memory, &r->moe);
    fsm_moe_scratch_take(memory, &r->moe, &wire, &r->scratch);
    fsm_moe_staging_take(memory, &r->moe, &wire, &r->staging);
    fsm_moe_take(memory, &r->moe, &wire, &r->scratch, &r->staging, &r->pass);
    r->pass.tokens = r->tokens;
    r->pass.expert_dy = fsm_moe_take_dy(memory, &r->moe, &wire);
    fsm_moe_alltoall_take(memory, &wire, hidden, &r->alltoall);
    fsm_layer_params_take(memory, &r->params);
}

static fsmoe_status build(fsm_layer_run *r, bool has_noise)
{
    fsm_memory measure;
    fsm_moe *moe = &r->moe;
    FSM_TRY(fsm_backend_create(&(fsm_backend_options){.threads = r->threads, .kind = fsm_ops_kind_of(r->config)},
                               &r->backend));
    r->ops = r->backend.ops;
    r->link_ops = r->backend.link_ops;
    fsm_backend_serve(&r->backend, r->world);
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        if (r->groups[g]) fsm_backend_serve(&r->backend, r->groups[g]);
    FSM_TRY(fsm_moe_select(&r->config->moe, moe));
    FSM_TRY(fsm_expert_check_host(moe->expert, r->ops));
    FSM_TRY(fsm_hooks_create(r->config, r->topo.rank, &r->hooks));
    FSM_TRY(fsm_alltoall_select(r->config->moe.alltoall, &r->topo, r->groups[FSM_GROUP_EP], &r->alltoall));
    FSM_TRY(fsm_layer_params_list(r->config, &r->topo, &r->params));
    fsm_moe_place(r->ops, r->link_ops, &r->topo, r->groups, &r->alltoall, &r->hooks, r->config->model.hidden,
                  r->config->model.ffn_hidden, moe);
    fsm_topo_split(r->total, fsm_token_unit(r->config), r->world->size, r->world->rank, &r->first, &r->n);
    r->n -= r->first;
    measure = fsm_memory_measure_for(r->ops);
    take_all(&measure, r, has_noise);
    FSM_TRY(fsm_memory_create(&measure, &r->memory));
    take_all(&r->memory, r, has_noise);
    for (int i = 0; i < r->topo.ep * r->topo.esp; i++)
        r->tokens[i] = tokens_of(r, r->topo.edp_index * r->topo.ep * r->topo.esp + i);
    fsm_layer_params_bind(&r->params, r->config, moe);
    bool thread = r->world->size > 1 && r->world->any_thread;
    return fsm_exec_create(thread ? FSM_PROGRESS_THREAD : FSM_PROGRESS_TASKS, &r->exec);
}

fsmoe_status fsm_layer_run_create(const fsmoe_config *config, fsm_comm *world, int64_t total, bool has_noise,
                                  fsm_layer_run *run)
{
    *run = (fsm_layer_run){.config = config, .world = world, .total = total};
    fsmoe_status status = fsm_count_threads(config, world, &run->threads);
    if (status == FSMOE_OK) status = check_groups(run);
    if (status == FSMOE_OK) status = place(run);
    FSM_TRY(fsm_comm_agree(world, status));
    FSM_TRY(fsm_comm_agree(world, fsm_groups_create(world, &run->topo, run->groups)));
    return fsm_comm_agree(world, fsm_config_place(config, build(run, has_noise)));
}

void fsm_layer_run_destroy(fsm_layer_run *run)
{
    fsm_exec_destroy(run->exec);
    fsm_hooks_destroy(&run->hooks);
    fsm_groups_destroy(run->groups);
    fsm_memory_destroy(&run->memory);
    if (run->world) run->world->device = NULL;
    fsm_backend_destroy(&run->backend);
    *run = (fsm_layer_run){0};
}

/* ---- tasks ---- */

fsm_gate_sums fsm_layer_run_sums(const fsm_layer_run *r)
{
    return fsm_gate_sums_at(r->sums, r->config->moe.num_experts);
}

static fsmoe_status run_gate_forward(void *object, const fsm_task *t)
{
    fsm_layer_run *r = object;
    fsm_gate_input input = {.n = r->n,
                            .x = r->x,
                            .noise = r->noise,
                            .training = r->training,
                            .seed = (uint64_t)r->config->train.seed,
                            .first_token = (uint64_t)r->first};
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    (void)t;
    fsm_moe_gate_forward(&r->pass, &input, true, &sums);
    return FSMOE_OK;
}

static fsmoe_status run_gate_backward(void *object, const fsm_task *t)
{
    fsm_layer_run *r = object;
    fsm_gate_loss_grad loss = {.share = r->loss_grads,
                               .load = fsm_sum_at(r->loss_grads, r->config->moe.num_experts),
                               .z = fsm_sum_at(r->loss_grads, 2 * r->config->moe.num_experts)};
    (void)t;
    fsm_moe_gate_backward(&r->pass, &loss, r->dx);
    return FSMOE_OK;
}

static fsmoe_status start_sums(void *object, const fsm_task *t, fsm_comm_op *op)
{
    fsm_layer_run *r = object;
    (void)t;
    return fsm_comm_start_all_reduce(op, r->world, FSM_COMM_FP64, r->sums,
                                     FSM_GATE_SUMS_COUNT(r->config->moe.num_experts));
}

static fsmoe_status take_sums(void *object, const fsm_task *t)
{
    fsm_layer_run *r = object;
    const fsmoe_moe_config *moe = &r->config->moe;
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    const fsm_balance *balance = r->moe.gate.balance;
    (void)t;
    const fsm_ops *ops = r->link_ops;
    fsm_sum *aux = r->losses, *z = fsm_sum_at(r->losses, 1), *grads = r->loss_grads;
    int64_t experts = moe->num_experts;
    ops->zero_sums(ops, 2, r->losses);
    ops->ratio(ops, 1, sums.log_sum_sq, sums.tokens, 0, z);
    ops->ratio(ops, 2 * moe->z_loss_coeff, NULL, sums.tokens, 0, fsm_sum_at(grads, 2 * experts));
    if (balance) balance->loss(ops, experts, &sums, 1, moe->aux_loss_coeff, aux, grads, fsm_sum_at(grads, experts));
    return FSMOE_OK;
}

#define TASK(name, call)                                            \
    static fsmoe_status run_##name(void *object, const fsm_task *t) \
    {                                                               \
        fsm_layer_run *r = object;                                  \
        (void)t;                                                    \
        call;                                                       \
        return FSMOE_OK;                                            \
    }
#define COLLECTIVE(name)                                                               \
    static fsmoe_status start_##name(void *object, const fsm_task *t, fsm_comm_op *op) \
    {                                                                                  \
        fsm_layer_run *r = object;                                                     \
        return fsm_moe_start_##name(&r->pass, t->phase, t->rows_first, op);            \
    }

TASK(order_forward, fsm_moe_order_forward(&r->pass))
TASK(order_backward, fsm_moe_order_backward(&r->pass, r->dx))
TASK(iorder_forward, fsm_moe_iorder_forward(&r->pass, r->y))
TASK(iorder_backward, fsm_moe_iorder_backward(&r->pass, r->dy))
TASK(expert_forward, fsm_moe_expert_forward(&r->pass, t->rows_first))
TASK(expert_backward, fsm_moe_expert_backward(&r->pass, t->rows_first))
TASK(weight_grad, fsm_moe_weight_grad(&r->pass, t->rows_first))
COLLECTIVE(dispatch)
COLLECTIVE(allgather)
COLLECTIVE(reducescatter)
COLLECTIVE(combine)

static fsmoe_status start_counts(void *object, const fsm_task *t, fsm_comm_op *op)
{
    (void)t;
    return fsm_moe_start_counts(&((fsm_layer_run *)object)->pass, op);
}

#define BOTH(kind, forward, backward) [FSM_TASK_##kind] = {[FSM_FORWARD] = forward, [FSM_BACKWARD] = backward}

static const fsm_task_table tasks = {
    .run = {BOTH(GATE, run_gate_forward, run_gate_backward), BOTH(ORDER, run_order_forward, run_order_backward),
            BOTH(EXPERT, run_expert_forward, run_expert_backward),
            BOTH(IORDER, run_iorder_forward, run_iorder_backward),
            [FSM_TASK_WEIGHT_GRAD] = {[FSM_BACKWARD] = run_weight_grad}},
    .start = {BOTH(A2A_DISPATCH, start_dispatch, start_dispatch), BOTH(ALLGATHER, start_allgather, start_allgather),
              BOTH(REDUCESCATTER, start_reducescatter, start_reducescatter),
              BOTH(A2A_COMBINE, start_combine, start_combine), [FSM_TASK_COUNTS] = {[FSM_FORWARD] = start_counts},
              [FSM_TASK_SUMS] = {[FSM_FORWARD] = start_sums}},
    .finish = {[FSM_TASK_SUMS] = {[FSM_FORWARD] = take_sums}},
};

/* ---- a step ---- */

/* The same on all ranks: the size of rows is a nominal one. */
static fsm_step_shape shape_of(const fsm_layer_run *r)
{
    const fsmoe_config *c = r->config;
    fsm_step_shape shape = {.num_layers = 1,
                            .moe_every = 1,
                            .micro_batches = 1,
                            .training = true,
                            .experts_only = true,
                            .with_losses = true,
                            .hidden = c->model.hidden,
                            .ffn_hidden = c->model.ffn_hidden,
                            .n_group = r->total,
                            .n_local = most_tokens(r),
                            .num_experts = c->moe.num_experts,
                            .top_k = c->moe.top_k,
                            .rows = (double)(c->moe.top_k * most_tokens(r)),
                            .nominal_rows = r->nominal_rows,
                            .max_degree = FSM_MAX_CHUNKS,
                            .expert_gemms = r->moe.expert->pre_width + 1};
    fsm_topo first = fsm_topo_at(&r->topo, 0);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        shape.group_size[g] = fsm_topo_group_size(&first, (fsm_group)g);
        shape.link[g] = fsm_topo_link(&first, (fsm_group)g);
    }
    return shape;
}

/* Costs under which every schedule finds something to cut: it is the order that is wanted here, not the time. */
static fsm_cluster even_costs(void)
{
    fsm_cluster cluster = {.name = "even"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        cluster.op[op].cost.line[0] = (fsm_line){1e-7, op == FSM_COST_GEMM ? 1e-9 : 1e-7};
    return cluster;
}

static fsmoe_status build_graph(const fsm_layer_run *r, const char *name, int forward_degree, int backward_degree,
                                fsm_graph *graph)
{
    const fsm_schedule *schedule;
    fsm_step_shape shape = shape_of(r);
    fsm_cluster cluster = even_costs();
    if (!name) return fsm_schedule_in_order(&shape, forward_degree, backward_degree, graph);
    FSM_TRY(fsm_schedule_named(name, &schedule));
    return schedule->build(&shape, &cluster, graph);
}

static void clear(fsm_layer_run *r)
{
    int64_t elems = r->n * r->config->model.hidden;
    r->ops->zero(r->ops, elems, r->y);
    r->ops->zero(r->ops, elems, r->dx);
    r->ops->zero_sums(r->ops, FSM_GATE_SUMS_COUNT(r->config->moe.num_experts), r->sums);
}

static fsm_wire *wire_of(void *owner, const fsm_task *t)
{
    return &((fsm_layer_run *)owner)->pass.wire[t->phase];
}

static void read_losses(fsm_layer_run *r)
{
    double losses[2];
    r->ops->read(r->ops, sizeof losses, r->losses, losses);
    r->aux = losses[0];
    r->z = losses[1];
}

fsmoe_status fsm_layer_run_step(fsm_layer_run *run, const char *schedule, int forward_degree, int backward_degree)
{
    fsm_graph graph = {0};
    fsmoe_status status = build_graph(run, schedule, forward_degree, backward_degree, &graph);
    if (status == FSMOE_OK) status = fsm_exec_reserve(run->exec, graph.count);
    status = fsm_comm_agree(run->world, status);
    if (status == FSMOE_OK) {
        fsm_cut_wires(&graph, wire_of, run);
        clear(run);
        status = fsm_exec_run(run->exec, &graph, &tasks, run, NULL, 0);
        read_losses(run);
    }
    fsm_graph_destroy(&graph);
    return status;
}

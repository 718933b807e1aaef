#include "train/stepper.h"

#include "base/clock.h"
#include "comm/groups.h"
#include "train/place.h"
#include "train/same.h"

#include <math.h>
#include <stdlib.h>

static fsmoe_status describe(const fsm_stepper *s, bool training, fsm_step_shape *shape)
{
    fsm_topo first = fsm_topo_at(&s->topo, 0);
    FSM_TRY(fsm_step_describe(s->config, &first, &s->model->params, s->max_samples, training, shape));
    if (s->experts_only) fsm_step_keep_experts(shape);
    return FSMOE_OK;
}

fsmoe_status fsm_stepper_shape(const fsm_stepper *stepper, fsm_step_shape *shape)
{
    return describe(stepper, true, shape);
}

/* In order: a schedule that wants costs is planned once there are some. */
fsmoe_status fsm_stepper_use_order(fsm_stepper *s)
{
    fsm_step_shape shape;
    fsm_graph graph;
    FSM_TRY(describe(s, true, &shape));
    const fsmoe_parallel_config *p = &s->config->parallel;
    fsmoe_status status = fsm_schedule_in_order(&shape, (int)(p->forward_degree > 0 ? p->forward_degree : 1),
                                                (int)(p->backward_degree > 0 ? p->backward_degree : 1), &graph);
    fsm_step_shape_destroy(&shape);
    FSM_TRY(status);
    return fsm_stepper_use_graph(s, graph);
}

static fsmoe_status build_graphs(fsm_stepper *s, bool training)
{
    fsm_step_shape shape;
    if (!fsm_schedule_find(s->config->parallel.schedule))
        return fsm_fail(FSMOE_ERROR_CONFIG, "parallel.schedule: no schedule is named '%s'",
                        s->config->parallel.schedule);
    FSM_TRY(describe(s, false, &shape));
    FSM_TRY(fsm_schedule_in_order(&shape, 1, 1, &s->forward_graph));
    FSM_TRY(fsm_exec_reserve(s->exec, s->forward_graph.count));
    return training ? fsm_stepper_use_order(s) : FSMOE_OK;
}

static fsmoe_status set_values(fsm_stepper *s)
{
    FSM_TRY(fsm_params_init(&s->model->params, s->config, s->ops, s->model->values));
    fsm_model_update_weights(s->model);
    return FSMOE_OK;
}

fsmoe_status fsm_stepper_reset(fsm_stepper *stepper)
{
    FSM_TRY(set_values(stepper));
    fsm_optimizer_reset(&stepper->optimizer);
    return FSMOE_OK;
}

static fsmoe_status build(fsm_stepper *s, const fsm_model_options *options, const fsm_backend_options *wishes)
{
    fsm_cpu_kind kind = fsm_ops_kind_of(s->config);
    fsm_model_options own = *options;
    fsm_backend_options how = *wishes;
    how.threads = s->threads;
    how.kind = kind;
    FSM_TRY(fsm_backend_create(&how, &s->backend));
    s->ops = s->backend.ops;
    s->metered = how.metered;
    own.link_ops = s->backend.link_ops;
    fsm_backend_serve(&s->backend, s->world);
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        if (s->groups[g]) fsm_backend_serve(&s->backend, s->groups[g]);
    if (kind == FSM_CPU_CANONICAL) {
        s->tree_scratch = malloc(sizeof *s->tree_scratch * FSM_TREE_ELEMS * (size_t)s->world->size);
        s->tree_counts = malloc(sizeof *s->tree_counts * (size_t)s->world->size);
        if (!s->tree_scratch || !s->tree_counts) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for sums over ranks");
    }
    FSM_TRY(fsm_model_create(s->config, s->ops, &s->topo, s->groups, &own, &s->model));
    if (!options->values_follow) FSM_TRY(set_values(s));
    if (options->training) FSM_TRY(fsm_optimizer_create(&s->model->params, s->ops, &s->config->train, &s->optimizer));
    s->max_samples = options->max_samples;
    s->progress = fsm_progress_of(s->config, s->world);
    FSM_TRY(fsm_exec_create(s->progress, &s->exec));
    return build_graphs(s, options->training);
}

fsmoe_status fsm_stepper_create_by(const fsmoe_config *config, fsm_comm *world, const fsm_model_options *options,
                                   const fsm_backend_options *how, fsm_stepper *stepper)
{
    *stepper = (fsm_stepper){.config = config, .world = world};
    FSM_TRY(fsm_same_config(world, config));
    fsmoe_status status = fsm_count_threads(config, world, &stepper->threads);
    if (status == FSMOE_OK) status = fsm_place(config, world, &stepper->topo);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), failed);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, fsm_groups_create(world, &stepper->topo, stepper->groups)), failed);
    FSM_TRY_GOTO(status, fsm_same_graph(world, build(stepper, options, how), &stepper->forward_graph), failed);
    FSM_TRY_GOTO(status, fsm_same_graph(world, FSMOE_OK, &stepper->train_graph), failed);
    return FSMOE_OK;
failed:
    fsm_stepper_destroy(stepper);
    return status;
}

fsmoe_status fsm_stepper_create(const fsmoe_config *config, fsm_comm *world, const fsm_model_options *options,
                                fsm_stepper *stepper)
{
    const fsm_backend_options plain = {0};
    return fsm_stepper_create_by(config, world, options, &plain, stepper);
}

void fsm_stepper_destroy(fsm_stepper *stepper)
{
    fsm_exec_destroy(stepper->exec);
    fsm_latest_step_destroy(&stepper->latest);
    fsm_graph_destroy(&stepper->train_graph);
    fsm_graph_destroy(&stepper->forward_graph);
    fsm_optimizer_destroy(&stepper->optimizer);
    fsm_model_destroy(stepper->model);
    if (stepper->world) stepper->world->device = NULL;
    fsm_backend_destroy(&stepper->backend);
    fsm_groups_destroy(stepper->groups);
    free(stepper->tree_scratch);
    free(stepper->tree_counts);
    *stepper = (fsm_stepper){0};
}

/* Whether a task is a chunk of the first micro-batch of its lane; all its others have the same. */
static bool cuts_wire(const fsm_graph *graph, const fsm_task *t)
{
    return t->kind == FSM_TASK_EXPERT && t->micro == fsm_task_lane(t) / fsm_graph_parts(graph);
}

void fsm_cut_wires(const fsm_graph *graph, fsm_wire *(*wire_of)(void *owner, const fsm_task *task), void *owner)
{
    for (int i = 0; i < graph->count; i++)
        if (cuts_wire(graph, &graph->tasks[i])) fsm_wire_join(wire_of(owner, &graph->tasks[i]));
    for (int i = 0; i < graph->count; i++)
        if (cuts_wire(graph, &graph->tasks[i]) && graph->tasks[i].rows_first > 0)
            fsm_wire_cut_at(graph->tasks[i].rows_first, wire_of(owner, &graph->tasks[i]));
}

static fsm_wire *wire_of(void *owner, const fsm_task *t)
{
    const fsm_stepper *s = owner;
    return &s->model->passes[fsm_task_lane(t)].layers[t->layer].moe.wire[t->phase];
}

/* Passes as a graph has them. */
static void begin_graph(fsm_stepper *s, const fsm_graph *graph, bool training)
{
    s->training = training;
    s->parts = fsm_graph_parts(graph);
    if (training) fsm_model_use_for_training(s->model);
    else fsm_model_use_whole(s->model);
    fsm_cut_wires(graph, wire_of, s);
}

/* The same; every micro-batch is the given one. */
static void begin_batch(fsm_stepper *s, const fsm_graph *graph, const fsm_batch *batch, bool training)
{
    s->batches = NULL;
    s->given = *batch;
    begin_graph(s, graph, training);
}

fsmoe_status fsm_stepper_swap_graph(fsm_stepper *stepper, fsm_graph *graph)
{
    fsm_graph swapped = stepper->train_graph;
    stepper->train_graph = *graph;
    *graph = swapped;
    const fsm_graph *now = &stepper->train_graph;
    return fsm_model_use_lanes(stepper->model, fsm_graph_lanes(now), fsm_graph_parts(now), now->spare);
}

fsmoe_status fsm_stepper_use_graph(fsm_stepper *stepper, fsm_graph graph)
{
    fsmoe_status status = fsm_stepper_swap_graph(stepper, &graph);
    fsm_graph_destroy(&graph);
    FSM_TRY(status);
    FSM_TRY(fsm_latest_step_reset(&stepper->latest, stepper->train_graph.count));
    return fsm_exec_reserve(stepper->exec, stepper->train_graph.count);
}

static fsmoe_status run_train_graph(fsm_stepper *s)
{
    fsm_observer observers[3];
    int n = 0;
    if (s->trace) {
        fsm_trace_begin_step(s->trace);
        observers[n++] = fsm_trace_observer(s->trace);
    }
    if (s->recorder) observers[n++] = fsm_task_recorder_observer(s->recorder);
    if (s->observer.task_ran) observers[n++] = s->observer;
    else observers[n++] = fsm_latest_step_observer(&s->latest);
    return fsm_exec_run(s->exec, &s->train_graph, &fsm_stepper_tasks, s, observers, n);
}

bool fsm_stepper_is_finite(const fsm_stepper *s)
{
    return isfinite(fsm_model_loss_sums(s->model, s->model->totals).loss) && isfinite(s->optimizer.grad_norm);
}

static fsmoe_status run_training_step(fsm_stepper *s)
{
    fsm_optimizer_begin(&s->optimizer);
    FSM_TRY(run_train_graph(s));
    fsm_model_read_sums(s->model);
    fsm_optimizer_take_norm(&s->optimizer);
    if (!fsm_stepper_is_finite(s))
        return fsm_fail(FSMOE_ERROR_NUMERIC, "%s is not finite",
                        isfinite(s->optimizer.grad_norm) ? "the loss" : "the gradient norm");
    fsm_optimizer_finish(&s->optimizer);
    fsm_model_after_step(s->model);
    fsm_model_update_weights(s->model);
    return FSMOE_OK;
}

fsmoe_status fsm_stepper_train(fsm_stepper *s, fsm_batches *batches, int64_t first_sample)
{
    const fsmoe_train_config *c = &s->config->train;
    s->batches = batches;
    s->first_sample = first_sample;
    s->micro_batch = c->micro_batch;
    begin_graph(s, &s->train_graph, true);
    fsm_model_begin_step(s->model, c->global_batch / c->micro_batch, c->global_batch * s->config->data.seq_len);
    return run_training_step(s);
}

fsmoe_status fsm_stepper_train_batch(fsm_stepper *s, const fsm_batch *batch, int64_t tokens)
{
    int64_t micro_batches = s->config->train.global_batch / s->config->train.micro_batch;
    begin_batch(s, &s->train_graph, batch, true);
    fsm_model_begin_step(s->model, micro_batches, micro_batches * tokens);
    return run_training_step(s);
}

fsmoe_status fsm_stepper_experts_only(fsm_stepper *stepper)
{
    stepper->experts_only = true;
    return fsm_stepper_use_order(stepper);
}

/* Without attention or ends: a layer reads x1, and what comes back to the last one is its embeddings. */
static void begin_experts(fsm_model *m, fsm_pass *pass, const fsm_batch *batch)
{
    fsm_pass_begin(pass, batch, true);
    fsm_pass_embedding_forward(pass);
    int64_t elems = pass->n_local * m->config->model.hidden;
    for (int i = 0; i < m->config->model.num_layers; i++) m->ops->zero(m->ops, elems, pass->layers[i].x2);
    m->ops->zero(m->ops, elems, pass->dx);
    m->ops->add(m->ops, elems, pass->layers[0].x1, pass->dx);
}

fsmoe_status fsm_stepper_run_experts(fsm_stepper *s, const fsm_batch *batch, double *step_s)
{
    begin_batch(s, &s->train_graph, batch, true);
    fsm_model_begin_step(s->model, 1, batch->samples * batch->seq_len);
    for (int part = 0; part < s->parts; part++) {
        const fsm_batch own = fsm_batch_part(batch, s->parts, part);
        begin_experts(s->model, &s->model->passes[part], &own);
    }
    FSM_TRY(s->world->control->barrier(s->world));
    double start_s = fsm_clock_s();
    FSM_TRY(run_train_graph(s));
    *step_s = fsm_clock_s() - start_s;
    return FSMOE_OK;
}

/* Samples of all ranks that evaluation takes at once: a micro-batch, or as many as fit its memory where nothing is
 * dropped. */
static int64_t eval_batch(const fsm_stepper *s)
{
    int64_t micro_batch = s->config->train.micro_batch, most = s->max_samples;
    if (!s->model->options.training) return micro_batch;
    int64_t fit = fsm_lanes_eval_samples(s->config, &s->topo, most);
    return fit < most ? fit * s->topo.dp : micro_batch;
}

fsmoe_status fsm_stepper_evaluate(fsm_stepper *s, fsm_batches *batches, int64_t first_sample, int64_t n,
                                  fsm_model_sums *sums)
{
    int64_t most = eval_batch(s);
    s->batches = batches;
    begin_graph(s, &s->forward_graph, false);
    fsm_model_begin_step(s->model, 1, 1);
    for (int64_t at = 0; at < n; at += most) {
        s->first_sample = first_sample + at;
        s->micro_batch = n - at < most ? n - at : most;
        FSM_TRY(fsm_exec_run(s->exec, &s->forward_graph, &fsm_stepper_tasks, s, NULL, 0));
    }
    fsm_model_read_sums(s->model);
    *sums = fsm_model_loss_sums(s->model, s->model->totals);
    return FSMOE_OK;
}

fsmoe_status fsm_stepper_forward(fsm_stepper *s, const fsm_batch *batch)
{
    begin_batch(s, &s->forward_graph, batch, false);
    return fsm_exec_run(s->exec, &s->forward_graph, &fsm_stepper_tasks, s, NULL, 0);
}

/* Plans of small models, as values: what the tests of the checker and of plan files start from.
 * In:  a step, a schedule, costs. Out: its plan, which the caller destroys.
 */
#ifndef FSM_TESTS_PLAN_CASE_H
#define FSM_TESTS_PLAN_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan/check.h"
#include "plan/model_step.h"
#include "plan/step_memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct layout {
    int nodes, ranks, ep, esp, mp;
} layout;

typedef struct step {
    const char *family;
    int layers, moe_every, micro_batches;
    layout layout;
} step;

/* Costs at which small models are worth cutting, and whose links have time for gradients. */
static inline fsm_cluster costs(void)
{
    fsm_cluster cluster = {.name = "small"};
    static const fsm_line lines[FSM_COST_OP_COUNT] = {[FSM_COST_GEMM] = {1e-6, 3e-10},
                                                      [FSM_COST_ALLTOALL] = {2e-6, 2e-8},
                                                      [FSM_COST_ALLGATHER] = {1e-6, 1e-8},
                                                      [FSM_COST_REDUCESCATTER] = {1e-6, 1.1e-8},
                                                      [FSM_COST_ALLREDUCE] = {2e-6, 3e-8}};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        cluster.op[op] = (fsm_measured){.cost.line[0] = lines[op], .r2 = NAN};
    return cluster;
}

static inline fsm_step_shape shape_of(const step *s)
{
    char text[16][64];
    fsmoe_config *config;
    fsm_step_shape shape;
    const struct {
        const char *key;
        int value;
    } keys[] = {
        {"model.hidden", 16},
        {"model.ffn_hidden", 32},
        {"model.num_layers", s->layers},
        {"model.num_heads", 4},
        {"model.vocab_size", 64},
        {"model.moe_every", s->moe_every},
        {"moe.num_experts", 4},
        {"data.seq_len", 32},
        {"train.global_batch", 8 * s->micro_batches},
        {"train.micro_batch", 8},
        {"parallel.ep_size", s->layout.ep},
        {"parallel.esp_size", s->layout.esp},
        {"parallel.mp_size", s->layout.mp},
    };
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    snprintf(text[0], sizeof text[0], "model.family=%s", s->family);
    assert_int_equal(fsmoe_config_set(config, text[0]), FSMOE_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(text[1], sizeof text[1], "%s=%d", keys[i].key, keys[i].value);
        if (fsmoe_config_set(config, text[1]) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    }
    if (fsm_step_of_config(config, s->layout.nodes, s->layout.ranks, &shape) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    fsmoe_config_destroy(config);
    return shape;
}

/* Takes the shape over. */
static inline fsm_plan plan_shape(fsm_step_shape *shape, const fsm_schedule *schedule, const fsm_cluster *cluster)
{
    fsm_plan plan;
    if (fsm_plan_create(shape, cluster, schedule, &plan) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return plan;
}

static inline fsm_plan plan_of(const step *s, const fsm_schedule *schedule, const fsm_cluster *cluster)
{
    fsm_step_shape shape = shape_of(s);
    return plan_shape(&shape, schedule, cluster);
}

static const step small_step = {"mixtral", 2, 1, 2, {2, 2, 2, 2, 2}};

/* A plan with several chunks a layer, weight gradients apart and gradients sent during backward. */
static inline fsm_plan rich_plan(const fsm_cluster *cluster)
{
    fsm_plan plan = plan_of(&small_step, &fsm_schedule_fsmoe_x, cluster);
    int allreduces = 0, update = plan.graph.count;
    assert_true(plan.degree[0][FSM_FORWARD] > 1 && plan.degree[0][FSM_BACKWARD] > 1);
    for (int i = plan.graph.count - 1; i >= 0; i--)
        if (plan.graph.tasks[i].kind == FSM_TASK_EMBEDDING && plan.graph.tasks[i].phase == FSM_BACKWARD) {
            update = i;
            break;
        }
    for (int i = 0; i < update; i++) allreduces += plan.graph.tasks[i].kind == FSM_TASK_ALLREDUCE;
    assert_true(allreduces > 1);
    return plan;
}

/* As much memory as a plan may want. */
static inline void allow_all_memory(fsm_step_shape *shape)
{
    shape->memory.most = FSM_STEP_MOST_BYTES;
    shape->memory.asked = true;
}

/* A plan in two lanes, the halves of each micro-batch, with weight gradients that are late by as much as memory allows:
 * of three layers the last that backward enters waits for those of the first. */
static inline fsm_plan lanes_plan(const fsm_cluster *cluster)
{
    static const step three_layers = {"mixtral", 3, 1, 2, {2, 2, 2, 2, 2}};
    static const fsm_lanes halves = {.lanes = 2, .parts = 2, .spare = 1};
    fsm_step_shape shape = shape_of(&three_layers);
    shape.memory.most = fsm_step_bytes(&shape, halves);
    shape.memory.asked = true;
    shape.lanes = 2;
    fsm_plan plan = plan_shape(&shape, &fsm_schedule_fsmoe_lanes, cluster);
    assert_true(plan.graph.lanes == 2 && plan.graph.parts == 2 && plan.graph.spare == 1);
    return plan;
}

static inline double *copy_numbers(const double *numbers, int count)
{
    double *copy = malloc(sizeof *copy * ((size_t)count + 1));
    assert_non_null(copy);
    memcpy(copy, numbers, sizeof *copy * (size_t)count);
    return copy;
}

static inline fsm_step_shape copy_shape(const fsm_step_shape *shape)
{
    fsm_step_shape copy = *shape;
    size_t bytes = sizeof *copy.gradients * (size_t)shape->gradient_count;
    copy.gradients = malloc(bytes + 1);
    assert_non_null(copy.gradients);
    memcpy(copy.gradients, shape->gradients, bytes);
    return copy;
}

static inline fsm_plan copy_plan(const fsm_plan *plan)
{
    fsm_plan copy = *plan;
    int count = plan->graph.count;
    copy.graph = fsm_graph_copy(&plan->graph);
    assert_false(copy.graph.out_of_memory);
    copy.shape = copy_shape(&plan->shape);
    copy.seconds = copy_numbers(plan->seconds, count);
    copy.degree = NULL; /* the checker counts for itself */
    copy.timeline.start_s = copy_numbers(plan->timeline.start_s, count);
    copy.timeline.end_s = copy_numbers(plan->timeline.end_s, count);
    return copy;
}

static inline void assert_says(const char *part)
{
    if (!strstr(fsmoe_last_error(), part)) fail_msg("'%s' is not in: %s", part, fsmoe_last_error());
}

#endif

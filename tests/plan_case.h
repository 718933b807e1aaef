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

static inline fsm_plan plan_of(const step *s, const fsm_schedule *schedule, const fsm_cluster *cluster)
{
    fsm_plan plan;
    fsm_step_shape shape = shape_of(s);
    if (fsm_plan_create(&shape, cluster, schedule, &plan) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return plan;
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

static inline double *copy_numbers(const double *numbers, int count)
{
    double *copy = malloc(sizeof *copy * ((size_t)count + 1));
    assert_non_null(copy);
    memcpy(copy, numbers, sizeof *copy * (size_t)count);
    return copy;
}

static inline fsm_plan copy_plan(const fsm_plan *plan)
{
    fsm_plan copy = *plan;
    int count = plan->graph.count;
    size_t bytes = sizeof *copy.shape.gradients * (size_t)plan->shape.gradient_count;
    copy.graph = fsm_graph_copy(&plan->graph);
    assert_false(copy.graph.out_of_memory);
    copy.shape.gradients = malloc(bytes + 1);
    assert_non_null(copy.shape.gradients);
    memcpy(copy.shape.gradients, plan->shape.gradients, bytes);
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

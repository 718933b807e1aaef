/* Random steps on random clusters: models, layouts and costs that no configuration has, too.
 * In:  DRAW_SEED (draws.h). Out: a step's shape, which the caller destroys; a cluster's costs, too.
 */
#ifndef FSM_TESTS_RANDOM_STEP_H
#define FSM_TESTS_RANDOM_STEP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "draws.h"
#include "plan/schedule/schedule.h"

#include <math.h>
#include <stdlib.h>

static inline void add_run(fsm_step_shape *s, int region, int layer, fsm_task_kind after)
{
    fsm_region *r = &s->regions[region];
    int64_t elems = 16 * (1 + draw(draw(2) ? 20 : 2000));
    s->gradients[s->gradient_count++] = (fsm_gradient){region, r->last, r->last + elems, layer, after};
    r->last += elems;
}

static inline void add_layer_runs(fsm_step_shape *s, int region, int layer)
{
    bool is_moe = fsm_layer_is_moe(s->moe_every, layer);
    if (region == 0 && is_moe) add_run(s, region, layer, FSM_TASK_GATE);
    if (region == 2 && is_moe) add_run(s, region, layer, FSM_TASK_WEIGHT_GRAD);
    if (region != 1) return;
    if (!is_moe) add_run(s, region, layer, FSM_TASK_WEIGHT_GRAD);
    add_run(s, region, layer, is_moe ? FSM_TASK_GATE : FSM_TASK_FFN_NORM);
    add_run(s, region, layer, FSM_TASK_ATTENTION);
    add_run(s, region, layer, FSM_TASK_NORM);
}

/* Three regions as a model has them, each in the order in which backward finishes it: gates, dense parameters,
 * experts. */
static inline void list_gradients(fsm_step_shape *s)
{
    static const fsm_group groups[3] = {FSM_GROUP_WORLD, FSM_GROUP_DP, FSM_GROUP_EDP};
    s->gradients = calloc((size_t)(s->num_layers * 8 + 8), sizeof *s->gradients);
    assert_non_null(s->gradients);
    s->region_count = s->num_layers / s->moe_every > 0 ? 3 : 2;
    for (int r = 0; r < s->region_count; r++) {
        s->regions[r] = (fsm_region){groups[r], 0, 0};
        if (r > 0) s->regions[r].first = s->regions[r].last = s->regions[r - 1].last;
        if (r < 2) add_run(s, r, -1, FSM_TASK_HEAD);
        for (int layer = s->num_layers - 1; layer >= 0; layer--) add_layer_runs(s, r, layer);
        if (r == 1) add_run(s, r, -1, FSM_TASK_EMBEDDING);
    }
    if (draw(8) == 0) s->gradient_count = 0; /* all of them at the end of backward */
}

/* The numbers of tokens divide by 2, 3 and 4. */
static inline void part_micro_batches(fsm_step_shape *s, int most_parts)
{
    s->most_parts = most_parts;
    for (int parts = 2; parts <= s->most_parts; parts++)
        for (int part = 0; part < parts; part++)
            s->part[parts - 2][part] = (fsm_pass_size){.n_group = s->n_group / parts,
                                                       .n_local = s->n_local / parts,
                                                       .rows = s->rows / parts,
                                                       .nominal_rows = (s->nominal_rows + parts - 1) / parts};
}

static inline fsm_step_shape random_shape(void)
{
    fsm_step_shape s = {.num_layers = (int)draw(7),
                        .moe_every = 1 + (int)draw(3),
                        .micro_batches = 1 + (int)draw(3),
                        .training = draw(5) > 0,
                        .hidden = 8 << draw(5),
                        .vocab_size = 100 + draw(1000),
                        .seq_len = 12,
                        .num_experts = 4,
                        .top_k = 2,
                        .nominal_rows = 1 + draw(draw(2) ? 4 : 40),
                        .expert_gemms = 2 + (int)draw(2)};
    s.ffn_hidden = 4 * s.hidden;
    s.attention_width = s.hidden;
    s.qkv_width = 3 * s.hidden;
    s.n_local = 12 * (1 + draw(8));
    s.n_group = 2 * s.n_local;
    s.rows = (double)s.n_local * (1 + 2 * draw_uniform());
    s.max_degree = draw(4) ? FSM_MAX_CHUNKS : (int)draw(8);
    bool usual = draw(2);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        s.group_size[g] = 1 << draw(3);
        bool inside = g == FSM_GROUP_MP || g == FSM_GROUP_ESP;
        s.link[g] = (usual ? inside : draw(2)) ? FSM_INTRA : FSM_INTER;
    }
    part_micro_batches(&s, (int)draw(FSM_MAX_LANES + 1));
    list_gradients(&s);
    return s;
}

/* Costs of the right order for such steps, alphas and betas each dominating at times; some clusters have a second
 * line that goes on from the first, some have costs of a task's own. */
static inline void random_cluster(fsm_cluster *cluster)
{
    static const char *const own[] = {"attention.backward", "gate.forward",         "norm.backward",
                                      "order.forward",      "head.forward",         "weight_grad.backward",
                                      "expert.forward",     "grad_norm.update",     "optimizer.update",
                                      "allreduce.update",   "allgather.backward",   "sums.forward",
                                      "counts.forward",     "reducescatter.forward"};
    *cluster = (fsm_cluster){.name = "random"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        double unit_s = op == FSM_COST_GEMM ? 1e-9 : 1e-7;
        fsm_cost *cost = &cluster->op[op].cost;
        cost->line[0] =
            (fsm_line){draw(4) ? 1e-4 * pow(10, 2 * draw_uniform() - 1) : 0, unit_s * pow(10, 2 * draw_uniform())};
        if (draw(4)) continue;
        cost->large_from = 1000 * pow(10, 2 * draw_uniform());
        cost->line[1].beta_s = cost->line[0].beta_s * draw_uniform();
        cost->line[1].alpha_s =
            cost->line[0].alpha_s + cost->large_from * (cost->line[0].beta_s - cost->line[1].beta_s);
        if (draw(3)) continue; /* a third that jumps up */
        cost->largest_from = cost->large_from * (1 + 20 * draw_uniform());
        cost->line[2] = (fsm_line){2 * cost->line[1].alpha_s, cost->line[0].beta_s * draw_uniform()};
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (draw(4)) continue;
        fsm_cost cost = {.line[0] = {1e-4 * draw_uniform(), 1e-8 * draw_uniform()}};
        assert_int_equal(fsm_cluster_set_task(cluster, own[i], cost), FSMOE_OK);
    }
    if (draw(2)) return;
    static const char *const shared[] = {"a2a_dispatch.forward", "a2a_combine.backward", "expert.forward",
                                         "weight_grad.backward", "allreduce.update",     "attention.forward"};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        assert_int_equal(fsm_cluster_set_overlap(cluster, shared[i], 0.8 + 2 * draw_uniform()), FSMOE_OK);
}

#endif

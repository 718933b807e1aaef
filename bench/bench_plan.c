/* How long planning takes: a layer (forward and backward, exact search and proof), steps of 32 and 64 layers under
 * every schedule, and the simulation of one. Costs: the FSMoE paper's cluster B; layers: its grid's shapes, and random
 * ones. Thread CPU time, so that a busy machine does not count; worst and mean.
 */
#include "base/rng.h"
#include "model_case.h"
#include "plan/model_step.h"
#include "plan/plan.h"
#include "plan/window_sizes.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static fsm_cluster paper_b(void)
{
    static const fsm_line lines[FSM_COST_OP_COUNT] = {
        {9.24e-5, 4.42e-14}, {1.75e-4, 3.06e-10}, {3.20e-5, 1.68e-10}, {3.91e-5, 1.67e-10}, {8.37e-5, 5.99e-10}};
    fsm_cluster cluster = {.name = "paper-b", .nodes = 8, .ranks_per_node = 4};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) cluster.op[op].cost.line[0] = lines[op];
    return cluster;
}

typedef struct spread {
    double sum_s, worst_s, worst_gap;
    int count;
} spread;

static void plan_both(const fsm_window windows[2], const fsm_schedule *schedule, spread *s)
{
    fsm_window_plan plan[2];
    double start = cpu_s();
    if (schedule->plan_layer(windows, plan) != FSMOE_OK) exit(1);
    double took = cpu_s() - start;
    s->sum_s += took;
    s->worst_s = fmax(s->worst_s, took);
    for (int phase = 0; phase < 2; phase++)
        s->worst_gap = fmax(s->worst_gap, fsm_gap(plan[phase].makespan_s, plan[phase].bound_s));
    s->count++;
}

static void print(const char *what, const char *schedule, spread s)
{
    printf("%-22s %-8s mean %8.4f ms  worst %8.4f ms  worst gap %6.3f %%  (%d)\n", what, schedule,
           1e3 * s.sum_s / s.count, 1e3 * s.worst_s, 100 * s.worst_gap, s.count);
}

static void bench_grid(const fsm_cluster *cluster, const fsm_schedule *schedule)
{
    spread s = {0};
    for (int batch = 1; batch <= 4; batch *= 2)
        for (int64_t length = 256; length <= 1024; length *= 2)
            for (int64_t hidden = 1024; hidden <= 4096; hidden *= 2)
                for (int gated = 0; gated < 2; gated++) {
                    const fsm_layer_sizes sizes = {batch,
                                                   length,
                                                   hidden,
                                                   3 * hidden,
                                                   8,
                                                   2,
                                                   4,
                                                   8,
                                                   1.2,
                                                   gated,
                                                   (gated ? 2.5 : 4) * (double)(hidden * hidden) / 4};
                    fsm_window windows[2] = {fsm_window_of_sizes(&sizes, cluster, FSM_FORWARD),
                                             fsm_window_of_sizes(&sizes, cluster, FSM_BACKWARD)};
                    plan_both(windows, schedule, &s);
                }
    print("grid layers", schedule->name, s);
}

static uint64_t draws;

static double draw(void)
{
    return fsm_rng_uniform(17, FSM_RNG_TEST, draws++);
}

/* Stage loads within e^-2 … e^2 of one another, alphas from 1e-4.5 to 0.3 of a load: some of the hardest. */
static void bench_random(const fsm_schedule *schedule)
{
    spread s = {0};
    for (int i = 0; i < 2000; i++) {
        fsm_window windows[2] = {{.max_degree = 1 + (int)exp(8 * draw())}};
        double alpha = pow(10, -4 * draw() - 0.5);
        for (int stage = 0; stage < FSM_STAGE_COUNT; stage++)
            windows[0].stage[stage] =
                (fsm_load){.cost.line[0] = {alpha * draw(), 1}, .launches = 1, .size = exp(4 * draw() - 2)};
        windows[0].stage[FSM_STAGE_COMBINE] = windows[0].stage[FSM_STAGE_DISPATCH];
        windows[1] = windows[0];
        windows[0].stage[FSM_STAGE_WEIGHT_GRAD].launches = 0;
        plan_both(windows, schedule, &s);
    }
    print("random layers", schedule->name, s);
}

static fsmoe_status shape_of_layers(int layers, fsm_step_shape *shape)
{
    char number[32];
    const char *const settings[] = {number,
                                    "model.hidden=4096",
                                    "model.ffn_hidden=14336",
                                    "model.num_heads=32",
                                    "model.vocab_size=32000",
                                    "data.seq_len=1024",
                                    "moe.num_experts=8",
                                    "moe.capacity_factor=1.2",
                                    "moe.capacity_group=256",
                                    "parallel.ep_size=8",
                                    "parallel.esp_size=4",
                                    "parallel.mp_size=4",
                                    "train.global_batch=32",
                                    "train.micro_batch=32",
                                    NULL};
    snprintf(number, sizeof number, "model.num_layers=%d", layers);
    fsmoe_config *config = model_case_config(settings);
    fsmoe_status status = fsm_step_of_config(config, 8, 4, shape);
    fsmoe_config_destroy(config);
    return status;
}

static void bench_steps(const fsm_cluster *cluster, int layers)
{
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_step_shape shape;
        fsm_plan plan;
        if (shape_of_layers(layers, &shape) != FSMOE_OK) exit(1);
        double start = cpu_s();
        if (fsm_plan_create(&shape, cluster, fsm_schedules[i], &plan) != FSMOE_OK) exit(1);
        printf("%d layers planned       %-16s %8.1f ms  (%d lanes, %d tasks, gap %.2f %%)\n", layers, plan.schedule,
               1e3 * (cpu_s() - start), fsm_graph_lanes(&plan.graph), plan.graph.count,
               100 * fsm_gap(plan.certificate.makespan_s, plan.certificate.bound.seconds));
        fsm_plan_destroy(&plan);
    }
}

static void bench_simulator(const fsm_cluster *cluster)
{
    enum { ROUNDS = 20 };
    fsm_step_shape shape;
    fsm_graph graph;
    fsm_timeline timeline;
    double took[2];
    if (shape_of_layers(64, &shape) != FSMOE_OK || fsm_schedule_in_order(&shape, 8, 8, &graph) != FSMOE_OK) exit(1);
    double *seconds = malloc(sizeof *seconds * (size_t)graph.count);
    for (int discipline = 0; discipline < 2; discipline++) {
        double start = cpu_s();
        for (int i = 0; i < ROUNDS; i++) {
            if (fsm_cost_graph(&graph, cluster, seconds) != FSMOE_OK ||
                fsm_simulate(&graph, seconds, (fsm_discipline)discipline, &timeline) != FSMOE_OK)
                exit(1);
            fsm_timeline_destroy(&timeline);
        }
        took[discipline] = 1e3 * (cpu_s() - start) / ROUNDS;
    }
    printf("64 layers simulated at r = 8: in order %.2f ms, by priority %.2f ms (%d tasks, costs included)\n", took[0],
           took[1], graph.count);
    free(seconds);
    fsm_graph_destroy(&graph);
    fsm_step_shape_destroy(&shape);
}

int main(void)
{
    fsm_cluster cluster = paper_b();
    bench_grid(&cluster, &fsm_schedule_fsmoe);
    bench_grid(&cluster, &fsm_schedule_fsmoe_x);
    bench_random(&fsm_schedule_fsmoe);
    bench_random(&fsm_schedule_fsmoe_x);
    bench_steps(&cluster, 32);
    bench_steps(&cluster, 64);
    bench_simulator(&cluster);
    return 0;
}

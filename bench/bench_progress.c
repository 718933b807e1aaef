/* What the thread that moves communication takes from the one that computes.
 * A graph computes for some tenths of a second while a message is waited for that arrives only when the computing is
 * done. Processor time of the other threads over that of the computing one: what computing loses where both share a
 * core, as in a rank that is given one, and does not lose where there is a core to spare. Medians. Two ranks or more:
 *   scripts/mpirun 2 taskset -c 0 build/bench/bench_progress      (or over scripts/vcluster)
 */
#include "base/clock.h"
#include "comm/op.h"
#include "comm/world.h"
#include "cpu/cpu.h"
#include "exec/exec.h"
#include "profile/measure.h"

#include <fsmoe/world.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 15, ROWS = 256, WIDTH = 512, PRODUCTS = 200 };

typedef struct scene {
    fsm_comm *comm; /* the message's */
    float sent, received;
    float *x, *y;
    fsm_ops *ops;
    fsm_weight weight;
    double compute_s, others_s; /* processor time while it computes */
} scene;

static fsmoe_status advance_message(fsm_comm_op *op, bool *done)
{
    return op->comm->data->test(op->comm, 0, done);
}

static fsmoe_status start_receive(void *object, const fsm_task *task, fsm_comm_op *op)
{
    scene *s = object;
    (void)task;
    *op = (fsm_comm_op){.comm = s->comm, .advance = advance_message};
    int from = (s->comm->rank + 1) % s->comm->size;
    return s->comm->data->post_recv(s->comm, 0, from, FSM_COMM_FP32, &s->received, 1);
}

/* In the same slot as the message that is waited for, so that one test sees both. */
static fsmoe_status start_send(void *object, const fsm_task *task, fsm_comm_op *op)
{
    scene *s = object;
    (void)task, (void)op;
    int to = (s->comm->rank + s->comm->size - 1) % s->comm->size;
    return s->comm->data->post_send(s->comm, 0, to, FSM_COMM_FP32, &s->sent, 1);
}

static double processor_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static fsmoe_status compute(void *object, const fsm_task *task)
{
    scene *s = object;
    (void)task;
    double mine_s = processor_s(CLOCK_THREAD_CPUTIME_ID), all_s = processor_s(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < PRODUCTS; i++)
        s->ops->linear_forward(s->ops, ROWS, &s->weight, NULL, fsm_reals(s->x, WIDTH), fsm_reals(s->y, WIDTH));
    s->compute_s = processor_s(CLOCK_THREAD_CPUTIME_ID) - mine_s;
    s->others_s = processor_s(CLOCK_PROCESS_CPUTIME_ID) - all_s - s->compute_s;
    return FSMOE_OK;
}

static const fsm_task_table table = {
    .run = {[FSM_TASK_EXPERT] = {[FSM_FORWARD] = compute}},
    .start = {[FSM_TASK_A2A_DISPATCH] = {[FSM_FORWARD] = start_receive},
              [FSM_TASK_ALLGATHER] = {[FSM_FORWARD] = start_send}},
};

static void build(fsm_graph *graph)
{
    *graph = (fsm_graph){0};
    fsm_graph_add(graph, (fsm_task){.kind = FSM_TASK_A2A_DISPATCH, .resource = FSM_INTER}, NULL, 0);
    int computed = fsm_graph_add(graph, (fsm_task){.kind = FSM_TASK_EXPERT, .resource = FSM_COMPUTE}, NULL, 0);
    fsm_graph_add(graph, (fsm_task){.kind = FSM_TASK_ALLGATHER, .resource = FSM_INTRA}, &computed, 1);
}

static fsmoe_status measure(fsm_comm *world, fsm_exec *exec, scene *s)
{
    fsm_graph graph;
    double compute_s[ROUNDS], share[ROUNDS];
    build(&graph);
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; i < ROUNDS && status == FSMOE_OK; i++) {
        status = world->control->barrier(world);
        if (status == FSMOE_OK) status = fsm_exec_run(exec, &graph, &table, s, NULL, 0);
        compute_s[i] = s->compute_s;
        share[i] = s->others_s / s->compute_s;
    }
    fsm_graph_destroy(&graph);
    if (status != FSMOE_OK) return status;
    printf("rank %d: computing for %.1f ms, the thread that waits for a message took %.2f %% of that\n", world->rank,
           1e3 * fsm_median(compute_s, ROUNDS), 100 * fsm_median(share, ROUNDS));
    return FSMOE_OK;
}

int main(void)
{
    fsmoe_world *world;
    fsm_exec *exec;
    scene s = {.x = calloc(ROWS * WIDTH, sizeof *s.x), .y = calloc(ROWS * WIDTH, sizeof *s.y)};
    float *values = calloc(WIDTH * WIDTH, sizeof *values);
    s.weight = (fsm_weight){.w = values, .out = WIDTH, .in = WIDTH};
    if (!s.x || !s.y || !values || fsm_cpu_ops_create(1, FSM_CPU_FP32, &s.ops) != FSMOE_OK ||
        fsmoe_world_create(&world) != FSMOE_OK)
        return 1;
    if (world->comm->size < 2) {
        printf("bench_progress: needs two ranks or more: scripts/mpirun 2 build/bench/bench_progress\n");
        fsmoe_world_destroy(world);
        return 0;
    }
    s.comm = world->comm;
    fsmoe_status status = s.ops->weight_create(s.ops, &s.weight)
                              ? fsm_exec_create(FSM_PROGRESS_THREAD, &exec)
                              : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a weight");
    if (status == FSMOE_OK) {
        s.ops->weight_update(s.ops, &s.weight);
        status = measure(world->comm, exec, &s);
        fsm_exec_destroy(exec);
    }
    if (status != FSMOE_OK) fprintf(stderr, "bench_progress: %s\n", fsmoe_last_error());
    s.ops->weight_destroy(s.ops, &s.weight);
    fsm_ops_destroy(s.ops);
    fsmoe_world_destroy(world);
    free(values);
    free(s.x);
    free(s.y);
    return status == FSMOE_OK ? 0 : 1;
}

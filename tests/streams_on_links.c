/* Run by test_streams.sh on a virtual cluster: recorded intervals of one step of an MoE layer show that all-to-all,
 * all-gather and experts of different chunks were at work at the same time, forward and backward. */
#include "model_case.h"
#include "plan/plan.h"

#include "comm/world.h"

static const char *const settings[] = {"model.hidden=512",
                                       "model.ffn_hidden=1024",
                                       "model.num_layers=1",
                                       "model.num_heads=4",
                                       "model.num_kv_heads=2",
                                       "model.vocab_size=256",
                                       "model.max_seq_len=256",
                                       "moe.num_experts=4",
                                       "moe.top_k=2",
                                       "moe.capacity_factor=1",
                                       "moe.order=\"tutel\"",
                                       "parallel.ep_size=2",
                                       "parallel.esp_size=2",
                                       "parallel.threads=1",
                                       "data.seq_len=256",
                                       "train.micro_batch=8",
                                       "train.global_batch=8",
                                       "data.tokenizer=\"bytes\"",
                                       "parallel.schedule=\"fsmoe\"",
                                       NULL};

enum { STEPS = 7 };

/* Costs like those of such links (100 and 400 Mbit/s) and 20 GFLOP/s, so that the plan does not depend on the
 * machine. */
static const char costs[] =
    "{\"name\": \"links\", \"unit\": \"us\", \"gemm\": {\"alpha\": 20, \"beta\": 1e-4},"
    "\"alltoall\": {\"alpha\": 300, \"beta\": 0.16}, \"allgather\": {\"alpha\": 200, \"beta\": 0.04},"
    "\"reducescatter\": {\"alpha\": 200, \"beta\": 0.04},"
    "\"allreduce\": {\"alpha\": 300, \"beta\": 0.5}}";

static fsmoe_status plan(fsm_stepper *s)
{
    fsm_cluster cluster;
    fsm_step_shape shape;
    fsm_plan made;
    FSM_TRY(fsm_cluster_from_json(costs, "costs", &cluster));
    fsmoe_status status = fsm_stepper_shape(s, &shape);
    if (status == FSMOE_OK) status = fsm_plan_create(&shape, &cluster, fsm_schedule_find("fsmoe"), &made);
    if (status == FSMOE_OK) {
        fsm_graph graph = made.graph;
        made.graph = (fsm_graph){0};
        fsm_plan_destroy(&made);
        status = fsm_stepper_use_graph(s, graph);
    }
    fsm_cluster_destroy(&cluster);
    return status;
}

static double common_s(const fsm_latest_step *l, int i, int j)
{
    double start_s = l->start_s[i] > l->start_s[j] ? l->start_s[i] : l->start_s[j];
    double end_s = l->end_s[i] < l->end_s[j] ? l->end_s[i] : l->end_s[j];
    return end_s > start_s ? end_s - start_s : 0;
}

/* Time that tasks of two kinds spent at once, on different chunks of one direction. */
static double overlap_s(const fsm_stepper *s, fsm_phase phase, fsm_task_kind x, fsm_task_kind y)
{
    double sum_s = 0;
    const fsm_task *tasks = s->train_graph.tasks;
    for (int i = 0; i < s->train_graph.count; i++)
        for (int j = 0; j < s->train_graph.count; j++)
            if (tasks[i].kind == x && tasks[j].kind == y && tasks[i].phase == phase && tasks[j].phase == phase &&
                tasks[i].rows_first != tasks[j].rows_first)
                sum_s += common_s(&s->latest, i, j);
    return sum_s;
}

static double total_s(const fsm_stepper *s, fsm_phase phase, fsm_task_kind kind)
{
    double sum_s = 0;
    for (int i = 0; i < s->train_graph.count; i++)
        if (s->train_graph.tasks[i].kind == kind && s->train_graph.tasks[i].phase == phase)
            sum_s += s->latest.end_s[i] - s->latest.start_s[i];
    return sum_s;
}

/* Two kinds of task in one direction, and what they spent over some steps; doubles alone, so that ranks' can be
 * added. */
typedef struct times {
    double x_s, y_s, together_s;
} times;

typedef struct pair {
    fsm_task_kind x, y;
} pair;

enum { PAIRS = 3 };
static const pair pairs[PAIRS] = {{.x = FSM_TASK_A2A_DISPATCH, .y = FSM_TASK_ALLGATHER},
                                  {.x = FSM_TASK_A2A_DISPATCH, .y = FSM_TASK_EXPERT},
                                  {.x = FSM_TASK_A2A_COMBINE, .y = FSM_TASK_EXPERT}};

static void add_step(const fsm_stepper *s, times sum[2][PAIRS])
{
    for (int phase = 0; phase < 2; phase++) {
        for (int k = 0; k < PAIRS; k++) {
            sum[phase][k].x_s += total_s(s, (fsm_phase)phase, pairs[k].x);
            sum[phase][k].y_s += total_s(s, (fsm_phase)phase, pairs[k].y);
            sum[phase][k].together_s += overlap_s(s, (fsm_phase)phase, pairs[k].x, pairs[k].y);
        }
    }
}

/* A twentieth of the shorter of the two, of all ranks together: planned is an eighth and more, in order it would be
 * nothing. A rank alone says little where another has its core: its last chunk's combine may be all that it waits
 * for. */
static bool check(fsm_phase phase, const pair *p, const times *sum)
{
    bool good = sum->together_s > (sum->x_s < sum->y_s ? sum->x_s : sum->y_s) / 20;
    printf("%s: %s %.1f ms, %s %.1f ms, at once %.1f ms%s\n", fsm_phase_name(phase), fsm_task_kind_name(p->x),
           1e3 * sum->x_s, fsm_task_kind_name(p->y), 1e3 * sum->y_s, 1e3 * sum->together_s, good ? "" : ": too little");
    return good;
}

static fsmoe_status check_all(const fsmoe_world *world, times sum[2][PAIRS])
{
    bool good = true;
    FSM_TRY(fsm_comm_all_reduce_double(world->comm, (double *)sum, 2 * PAIRS * sizeof **sum / sizeof(double)));
    for (int k = 0; k < 2 * PAIRS && world->comm->rank == 0; k++)
        good &= check((fsm_phase)(k / PAIRS), &pairs[k % PAIRS], &sum[k / PAIRS][k % PAIRS]);
    return good ? FSMOE_OK : fsm_fail(FSMOE_ERROR_INTERNAL, "too little is at once");
}

static fsmoe_status run(fsmoe_world *world)
{
    fsm_stepper s;
    int32_t ids[2 * 256];
    fsmoe_config *config = model_case_config(settings);
    const fsm_model_options options = {.max_samples = 2, .training = true};
    const fsm_batch batch = {.samples = 2, .seq_len = 256, .ids = ids, .targets = ids};
    for (int i = 0; i < 2 * 256; i++) ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % 256);
    fsmoe_status status = fsm_stepper_create(config, world->comm, &options, &s);
    if (status == FSMOE_OK) status = fsm_stepper_experts_only(&s);
    if (status == FSMOE_OK) status = plan(&s);
    times sum[2][PAIRS] = {0};
    double step_s;
    for (int i = 0; i < STEPS && status == FSMOE_OK; i++) {
        status = fsm_stepper_run_experts(&s, &batch, &step_s);
        if (i > 0) add_step(&s, sum); /* the first warms up */
    }
    status = fsmoe_world_agree(world, status);
    if (status == FSMOE_OK) status = check_all(world, sum);
    if (status != FSMOE_OK) fprintf(stderr, "%s\n", fsmoe_last_error());
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    return status;
}

int main(void)
{
    fsmoe_world *world;
    if (fsmoe_world_create(&world) != FSMOE_OK) return 1;
    fsmoe_status status = fsmoe_world_agree(world, run(world));
    fsmoe_world_destroy(world);
    return status == FSMOE_OK ? 0 : 1;
}

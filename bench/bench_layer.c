/* One MoE layer on one process, forward and backward, beside bare products of its shapes.
 * A softmax top-k gate, SwiGLU experts, dropless, two threads (OMP_NUM_THREADS says otherwise); the shapes of the
 * table.
 * In:  nothing: all shapes in turns, medians of ROUNDS; or a shape's number, a step for every line on standard input,
 *      as bench/peers/layer has it take turns with PyTorch. An idle process should not spin: OMP_WAIT_POLICY=passive.
 *      `growing`: what a token costs, with more tokens and with more experts.
 * Out: ms of a step and of its stages, GF/s, and the share of the products' rate: bare GEMM of the same products,
 *      measured just before each step, over the step. With a number: "ms cpu_ms bare_ms bare_cpu_ms gflop" a line.
 */
#include "base/clock.h"
#include "base/rng.h"
#include "comm/world.h"
#include "config/config.h"
#include "profile/measure.h"
#include "train/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 7 };

enum { GATE, ORDER, EXPERT, IORDER, D_IORDER, D_EXPERT, D_WEIGHT, D_ORDER, D_GATE, STAGES };
static const char *const stage_names[] = {"gate",     "order",     "experts", "iorder", "d iorder",
                                          "d inputs", "d weights", "d order", "d gate"};

typedef struct shape {
    int64_t tokens, hidden, ffn, experts, choices;
} shape;

static const shape shapes[] = {{4096, 512, 1024, 8, 2}, {2048, 1024, 2048, 8, 2}, {4096, 512, 512, 32, 4}};
/* More tokens; more experts of which a token uses as many: what a token costs should stay. */
static const shape growing[] = {{8192, 256, 512, 8, 2},   {16384, 256, 512, 8, 2},  {32768, 256, 512, 8, 2},
                                {16384, 256, 512, 16, 2}, {16384, 256, 512, 32, 2}, {16384, 256, 512, 64, 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes, GROWING = sizeof growing / sizeof *growing, MOST_SHAPES = GROWING };

typedef struct bench {
    const shape *s;
    fsmoe_config *config;
    fsm_layer_run run;
    double total[ROUNDS], cpu[ROUNDS], bare[ROUNDS], bare_cpu[ROUNDS], stage[STAGES][ROUNDS];
} bench;

static double gflop(const shape *s)
{
    return 1e-9 * 3 * 2.0 * (double)(s->tokens * s->choices * 3 * s->hidden * s->ffn);
}

/* The six products of every expert, as many rows each, on the memory of the pass: a step writes it all anew. */
static double bare_s(const bench *b)
{
    const fsm_layer_run *r = &b->run;
    const fsm_ops *ops = r->ops;
    const int64_t m = b->s->hidden, h = b->s->ffn, n = b->s->tokens * b->s->choices / b->s->experts;
    double start = fsm_clock_s();
    for (int64_t e = 0; e < b->s->experts; e++) {
        const fsm_linear *in = &r->moe.experts.in[e], *out = &r->moe.experts.out[e];
        float *x = r->pass.x + e * n * m, *pre = r->pass.pre + e * n * 2 * h, *act = r->pass.act + e * n * h;
        float *y = r->pass.returned + e * n * m, *dact = r->scratch.dact;
        ops->gemm(ops, false, true, n, 2 * h, m, NULL, fsm_reals(x, m), fsm_reals(in->weight.w, m), 0,
                  fsm_reals(pre, 2 * h));
        ops->gemm(ops, false, true, n, m, h, NULL, fsm_reals(act, h), fsm_reals(out->weight.w, h), 0, fsm_reals(y, m));
        ops->gemm(ops, false, false, n, h, m, NULL, fsm_reals(y, m), fsm_reals(out->weight.w, h), 0,
                  fsm_reals(dact, h));
        ops->gemm(ops, false, false, n, m, 2 * h, NULL, fsm_reals(pre, 2 * h), fsm_reals(in->weight.w, m), 0,
                  fsm_reals(x, m));
        ops->gemm(ops, true, false, m, h, n, NULL, fsm_reals(y, m), fsm_reals(act, h), 1, fsm_reals(out->dw, h));
        ops->gemm(ops, true, false, 2 * h, m, n, NULL, fsm_reals(pre, 2 * h), fsm_reals(x, m), 1, fsm_reals(in->dw, m));
    }
    return fsm_clock_s() - start;
}

static void clear(fsm_layer_run *r)
{
    for (int i = 0; i < r->params.count; i++) r->ops->zero(r->ops, r->params.items[i].elems, r->params.items[i].grad);
    r->ops->zero(r->ops, r->n * r->config->model.hidden, r->y);
    r->ops->zero(r->ops, r->n * r->config->model.hidden, r->dx);
}

/* A step; stage[STAGES + 1] are the times at which its stages begin, and its end. */
static fsmoe_status step(const bench *b, fsm_layer_run *r, double at[STAGES + 1])
{
    fsm_comm_op op = {0};
    const fsm_gate_loss_grad loss = {.share = r->loss_grads, .load = r->loss_grads + b->s->experts};
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    const fsm_gate_input input = {.n = r->n, .x = r->x, .training = true};
    at[GATE] = fsm_clock_s();
    clear(r);
    fsm_moe_gate_forward(&r->pass, &input, true, &sums);
    at[ORDER] = fsm_clock_s();
    FSM_TRY(fsm_moe_start_counts(&r->pass, &op));
    FSM_TRY(fsm_comm_finish(&op));
    fsm_moe_order_forward(&r->pass);
    at[EXPERT] = fsm_clock_s();
    fsm_moe_expert_forward(&r->pass, 0);
    at[IORDER] = fsm_clock_s();
    fsm_moe_iorder_forward(&r->pass, r->y);
    at[D_IORDER] = fsm_clock_s();
    fsm_moe_iorder_backward(&r->pass, r->dy);
    at[D_EXPERT] = fsm_clock_s();
    fsm_moe_expert_backward(&r->pass, 0);
    at[D_WEIGHT] = fsm_clock_s();
    fsm_moe_weight_grad(&r->pass, 0);
    at[D_ORDER] = fsm_clock_s();
    fsm_moe_order_backward(&r->pass, r->dx);
    at[D_GATE] = fsm_clock_s();
    fsm_moe_gate_backward(&r->pass, &loss, r->dx);
    at[STAGES] = fsm_clock_s();
    return FSMOE_OK;
}

/* round < 0: a warm-up */
static fsmoe_status run_round(bench *b, int round)
{
    double at[STAGES + 1], cpu = fsm_cpu_s(), bare = bare_s(b), bare_cpu = fsm_cpu_s() - cpu;
    cpu = fsm_cpu_s();
    FSM_TRY(step(b, &b->run, at));
    if (round < 0) return FSMOE_OK;
    b->cpu[round] = fsm_cpu_s() - cpu;
    b->bare[round] = bare;
    b->bare_cpu[round] = bare_cpu;
    b->total[round] = at[STAGES] - at[0];
    for (int i = 0; i < STAGES; i++) b->stage[i][round] = at[i + 1] - at[i];
    return FSMOE_OK;
}

static fsmoe_status make_config(const shape *s, fsmoe_config **config)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    FSM_TRY(fsmoe_config_create(config));
    fsmoe_config *c = *config;
    c->model.hidden = s->hidden;
    c->model.ffn_hidden = s->ffn;
    c->moe.num_experts = s->experts;
    c->moe.top_k = (int)s->choices;
    c->data.seq_len = s->tokens;
    c->train.global_batch = c->train.micro_batch = 1;
    c->parallel.threads = threads ? atoi(threads) : 2;
    FSM_TRY(fsmoe_config_set(c, "moe.capacity_factor=0"));
    FSM_TRY(fsm_config_check(c));
    return fsm_config_derive(c);
}

static void fill(float *array, int64_t n, float spread)
{
    for (int64_t i = 0; i < n; i++) array[i] = spread * (float)fsm_rng_normal(1, FSM_RNG_TEST, (uint64_t)i);
}

static fsmoe_status prepare(fsmoe_world *world, bench *b)
{
    fsm_layer_run *r = &b->run;
    const shape *s = b->s;
    FSM_TRY(make_config(s, &b->config));
    FSM_TRY(fsm_layer_run_create(b->config, world->comm, s->tokens, false, r));
    fill(r->x, s->tokens * s->hidden, 1);
    fill(r->dy, s->tokens * s->hidden, 1);
    for (int i = 0; i < r->params.count; i++)
        fill(r->params.items[i].value, r->params.items[i].elems, 1 / sqrtf((float)s->hidden));
    return FSMOE_OK;
}

static void print_name(const shape *s)
{
    printf("N %lld M %lld H %lld E %lld k %lld", (long long)s->tokens, (long long)s->hidden, (long long)s->ffn,
           (long long)s->experts, (long long)s->choices);
}

static void print(bench *b)
{
    double share[ROUNDS], by_cpu[ROUNDS], work = gflop(b->s);
    for (int i = 0; i < ROUNDS; i++) share[i] = b->bare[i] / b->total[i], by_cpu[i] = b->bare_cpu[i] / b->cpu[i];
    print_name(b->s);
    printf(": %.1f ms, %.1f GF/s, bare GEMM %.1f GF/s, share %.2f, by CPU time %.2f\n ",
           1e3 * fsm_median(b->total, ROUNDS), work / fsm_median(b->total, ROUNDS), work / fsm_median(b->bare, ROUNDS),
           fsm_median(share, ROUNDS), fsm_median(by_cpu, ROUNDS));
    for (int i = 0; i < STAGES; i++) printf("  %s %.1f", stage_names[i], 1e3 * fsm_median(b->stage[i], ROUNDS));
    printf("\n");
    fflush(stdout);
}

static void print_a_token(bench *b)
{
    const double tokens = 1e-6 * (double)b->s->tokens;
    print_name(b->s);
    printf(": %.2f us a token, %.2f of CPU time\n", fsm_median(b->total, ROUNDS) / tokens,
           fsm_median(b->cpu, ROUNDS) / tokens);
    for (int i = 0; i < STAGES; i++) printf("  %s %.2f", stage_names[i], fsm_median(b->stage[i], ROUNDS) / tokens);
    printf("; bare GEMM %.2f\n", fsm_median(b->bare, ROUNDS) / tokens);
}

static fsmoe_status compare(bench *benches, int count, void (*print_one)(bench *))
{
    for (int round = -1; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) FSM_TRY(run_round(&benches[i], round));
    for (int i = 0; i < count; i++) print_one(&benches[i]);
    return FSMOE_OK;
}

/* A step for every line that comes in. */
static fsmoe_status serve(bench *b)
{
    char line[64];
    FSM_TRY(run_round(b, -1));
    printf("ready ");
    print_name(b->s);
    printf("\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        FSM_TRY(run_round(b, 0));
        printf("%.3f %.3f %.3f %.3f %.3f\n", 1e3 * b->total[0], 1e3 * b->cpu[0], 1e3 * b->bare[0], 1e3 * b->bare_cpu[0],
               gflop(b->s));
        fflush(stdout);
    }
    return FSMOE_OK;
}

int main(int argc, char **argv)
{
    static bench benches[MOST_SHAPES];
    fsmoe_world *world;
    bool grows = argc > 1 && strcmp(argv[1], "growing") == 0;
    int only = argc > 1 && !grows ? atoi(argv[1]) : -1, count = grows ? GROWING : SHAPES;
    if (only >= SHAPES) fprintf(stderr, "bench_layer: there is no shape %d\n", only);
    if (only >= SHAPES) return 2;
    fsmoe_status status = fsmoe_world_create(&world);
    for (int i = 0; i < count && status == FSMOE_OK; i++) {
        benches[i].s = grows ? &growing[i] : &shapes[i];
        if (only < 0 || only == i) status = prepare(world, &benches[i]);
    }
    if (status == FSMOE_OK)
        status = only < 0 ? compare(benches, count, grows ? print_a_token : print) : serve(&benches[only]);
    if (status != FSMOE_OK) fprintf(stderr, "bench_layer: %s\n", fsmoe_last_error());
    for (int i = 0; i < count; i++) {
        fsm_layer_run_destroy(&benches[i].run);
        fsmoe_config_destroy(benches[i].config);
    }
    if (world) fsmoe_world_destroy(world);
    return status == FSMOE_OK ? 0 : 1;
}

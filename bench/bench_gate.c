/* Gate, order and inverse order of one MoE layer, forward and backward, without its experts: what a step spends beside
 * GEMM. 8192 tokens, M 1024, E 64, k 2; orders of the gshard gate, then the other gates, all in turns, medians of
 * ROUNDS. `products`: what the gshard order's alone take, as bare GEMM in the same rounds: its extra arithmetic.
 * With a case's name (gshard/sorted ...) that one alone: bench/peers/gate runs it in turns with PyTorch.
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

enum { TOKENS = 8192, HIDDEN = 1024, EXPERTS = 64, GROUP = 1024, ROUNDS = 7, SETTINGS = 4 };

enum { GATE, ORDER, IORDER, IORDER_BACKWARD, ORDER_BACKWARD, GATE_BACKWARD, PRODUCTS, STAGES };

typedef struct bench_case {
    const char *name;
    const char *settings[SETTINGS];
} bench_case;

#define DROPPING "moe.capacity_factor=1"
#define GROUPED "moe.capacity_group=1024" /* matrices grow with the square of it */
static const bench_case cases[] = {
    {"gshard/sorted", {"moe.order=sorted", "moe.capacity_factor=0"}},
    {"gshard/tutel", {"moe.order=tutel", DROPPING, GROUPED}},
    {"gshard/gshard", {"moe.order=gshard", DROPPING, GROUPED}},
    {"gshard/noisy", {"moe.noisy=true"}},
    {"switch", {"moe.gate=switch", "moe.top_k=1"}},
    {"switch/jitter", {"moe.gate=switch", "moe.top_k=1", "moe.jitter=0.01"}},
    {"sigmoid", {"moe.gate=sigmoid"}},
    {"sigmoid/balanced", {"moe.gate=sigmoid", "moe.balanced=true", GROUPED}},
    {"xmoe", {"moe.gate=xmoe"}},
    {"expert_choice", {"moe.gate=expert_choice", DROPPING, GROUPED, "moe.allow_non_causal=true"}},
    {"soft", {"moe.gate=soft", "moe.slots_per_expert=32", "data.seq_len=1024", "moe.allow_non_causal=true"}},
    {"deepseek", {"moe.gate=deepseek", "moe.n_group=8", "moe.topk_group=4"}},
    {"hash", {"moe.gate=hash"}},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct bench {
    const bench_case *c;
    fsmoe_config *config;
    fsm_layer_run run;
    double times[STAGES][ROUNDS];
} bench;

/* The products of one pass of the gshard order, with whatever the matrices hold. */
static void run_products(const fsm_moe_pass *pass, const float *x, float *y)
{
    const fsm_moe *moe = pass->moe;
    const fsm_mixing *m = &pass->mixing;
    for (int64_t first = 0; m->slots > 0 && first < TOKENS; first += GROUP) {
        const float *rows = x + first * HIDDEN;
        for (int i = 0; i < 2; i++) { /* dispatch; combine's backward */
            moe->ops->gemm(moe->ops, true, false, m->columns, HIDDEN, GROUP, NULL,
                           fsm_reals(m->scratch->matrix, m->columns), fsm_reals(rows, HIDDEN), 0,
                           fsm_reals(m->scratch->slots, HIDDEN));
        }
        for (int i = 0; i < 2; i++) { /* combine; dispatch's backward */
            moe->ops->gemm(moe->ops, false, false, GROUP, HIDDEN, m->columns, NULL,
                           fsm_reals(m->scratch->matrix, m->columns), fsm_reals(m->scratch->slots, HIDDEN), 1,
                           fsm_reals(y + first * HIDDEN, HIDDEN));
        }
        moe->ops->gemm(moe->ops, false, true, GROUP, m->columns, HIDDEN, NULL, fsm_reals(rows, HIDDEN),
                       fsm_reals(m->scratch->slots, HIDDEN), 0, fsm_reals(m->scratch->d_matrix, m->columns));
    }
}

static fsmoe_status run_once(fsm_layer_run *r, double times[STAGES])
{
    fsm_comm_op op = {0};
    double at[STAGES + 1];
    const double zeros[2 * EXPERTS] = {0};
    const fsm_gate_loss_grad loss = {.share = zeros, .load = zeros + EXPERTS};
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    const fsm_gate_input input = {.n = r->n, .x = r->x, .training = true};
    at[GATE] = fsm_clock_s();
    fsm_moe_gate_forward(&r->pass, &input, true, &sums);
    at[ORDER] = fsm_clock_s();
    FSM_TRY(fsm_moe_start_counts(&r->pass, &op));
    FSM_TRY(fsm_comm_finish(&op));
    fsm_moe_order_forward(&r->pass);
    at[IORDER] = fsm_clock_s();
    fsm_moe_iorder_forward(&r->pass, r->y);
    at[IORDER_BACKWARD] = fsm_clock_s();
    fsm_moe_iorder_backward(&r->pass, r->dy);
    at[ORDER_BACKWARD] = fsm_clock_s();
    fsm_moe_order_backward(&r->pass, r->dx);
    at[GATE_BACKWARD] = fsm_clock_s();
    fsm_moe_gate_backward(&r->pass, &loss, r->dx);
    at[PRODUCTS] = fsm_clock_s();
    if (r->moe.order->dense) run_products(&r->pass, r->x, r->y);
    at[STAGES] = fsm_clock_s();
    for (int i = 0; i < STAGES; i++) times[i] = at[i + 1] - at[i];
    return FSMOE_OK;
}

static fsmoe_status make_config(const bench_case *b, fsmoe_config **config)
{
    FSM_TRY(fsmoe_config_create(config));
    fsmoe_config *c = *config;
    c->model.hidden = HIDDEN;
    c->model.ffn_hidden = 16; /* experts do not run */
    c->moe.num_experts = EXPERTS;
    c->moe.top_k = 2;
    c->data.seq_len = TOKENS;
    c->train.global_batch = c->train.micro_batch = 8;
    for (int i = 0; i < SETTINGS && b->settings[i]; i++) FSM_TRY(fsmoe_config_set(c, b->settings[i]));
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
    FSM_TRY(make_config(b->c, &b->config));
    FSM_TRY(fsm_layer_run_create(b->config, world->comm, TOKENS, false, r));
    fill(r->x, TOKENS * HIDDEN, 1);
    fill(r->dy, TOKENS * HIDDEN, 1);
    for (int i = 0; i < r->params.count; i++)
        if (strncmp(r->params.items[i].name, "gate.", 5) == 0)
            fill(r->params.items[i].value, r->params.items[i].elems, 1 / sqrtf(HIDDEN)); /* logits of N(0, 1) */
    fill(r->pass.returned, TOKENS * b->config->moe.top_k * HIDDEN,
         1); /* experts' results, which nobody works out here */
    fill(r->staging.y, TOKENS * b->config->moe.top_k * HIDDEN, 1);
    return FSMOE_OK;
}

static double median_ms(const bench *b, int stage)
{
    double column[ROUNDS];
    memcpy(column, b->times[stage], sizeof column);
    return 1e3 * fsm_median(column, ROUNDS);
}

/* The median of the rounds' totals: that of a sum is more than the sum of medians where something disturbs now one
 * stage, now another, and a peer's time is one of whole rounds. */
static double total_ms(const bench *b)
{
    double totals[ROUNDS] = {0};
    for (int i = 0; i < ROUNDS; i++)
        for (int s = 0; s < PRODUCTS; s++) totals[i] += b->times[s][i];
    return 1e3 * fsm_median(totals, ROUNDS);
}

static void print(const bench *b)
{
    printf("%-17s", b->c->name);
    for (int s = 0; s < PRODUCTS; s++) printf(" %9.2f", median_ms(b, s));
    printf(" %9.2f", total_ms(b));
    if (b->run.moe.order->dense) printf("   products alone %.2f", median_ms(b, PRODUCTS));
    printf("\n");
}

/* The gshard order's time over that of tutel's and of the products that it has besides. */
static void compare_orders(const bench *benches, int count)
{
    const bench *tutel = NULL, *dense = NULL;
    for (int c = 0; c < count; c++) {
        if (strcmp(benches[c].c->name, "gshard/tutel") == 0) tutel = &benches[c];
        if (strcmp(benches[c].c->name, "gshard/gshard") == 0) dense = &benches[c];
    }
    if (tutel && dense)
        printf("order gshard takes %.2f times tutel's time and its products'\n",
               total_ms(dense) / (total_ms(tutel) + median_ms(dense, PRODUCTS)));
}

static fsmoe_status run(fsmoe_world *world, bench *benches, int count)
{
    double times[STAGES];
    for (int c = 0; c < count; c++) FSM_TRY(prepare(world, &benches[c]));
    for (int i = -1; i < ROUNDS; i++) { /* the first warms up */
        for (int c = 0; c < count; c++) {
            FSM_TRY(run_once(&benches[c].run, times));
            for (int s = 0; s < STAGES; s++) benches[c].times[s][i < 0 ? 0 : i] = times[s];
        }
    }
    printf("%-17s %9s %9s %9s %9s %9s %9s %9s\n", "ms", "gate", "order", "iorder", "d iorder", "d order", "d gate",
           "total");
    for (int c = 0; c < count; c++) print(&benches[c]);
    compare_orders(benches, count);
    return FSMOE_OK;
}

int main(int argc, char **argv)
{
    fsmoe_world *world;
    static bench benches[CASES];
    int count = 0;
    for (int c = 0; c < CASES; c++)
        if (argc < 2 || strcmp(argv[1], cases[c].name) == 0) benches[count++].c = &cases[c];
    if (count == 0) fprintf(stderr, "bench_gate: no case is named '%s'\n", argv[1]);
    if (count == 0) return 2;
    fsmoe_status status = fsmoe_world_create(&world);
    if (status == FSMOE_OK) status = run(world, benches, count);
    if (status != FSMOE_OK) fprintf(stderr, "bench_gate: %s\n", fsmoe_last_error());
    for (int c = 0; c < count; c++) {
        fsm_layer_run_destroy(&benches[c].run);
        fsmoe_config_destroy(benches[c].config);
    }
    if (world) fsmoe_world_destroy(world);
    return status == FSMOE_OK ? 0 : 1;
}

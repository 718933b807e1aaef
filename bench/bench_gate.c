/* Gate, order and inverse order of one MoE layer, forward and backward, without its experts: what a step spends beside GEMM.
 * One line a stage, then `total`; medians of ROUNDS. Without arguments 8192 tokens, M 1024, E 64, k 2, all orders; with one, that
 * order alone, for bench/peers/gate, which runs it in turns with PyTorch.
 * Floors: the gate's products at the rate of bare GEMM; rows are read and written once each.
 */
#include "base/clock.h"
#include "base/rng.h"
#include "comm/world.h"
#include "config/config.h"
#include "profile/measure.h"
#include "train/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 8192, HIDDEN = 1024, EXPERTS = 64, ROUNDS = 7, STAGES = 6 };

static const char *const stages[STAGES] = {"gate forward",    "order forward",  "iorder forward",
                                           "iorder backward", "order backward", "gate backward"};

static fsmoe_status run_once(fsm_layer_run *r, double times[STAGES])
{
    fsm_comm_op op = {0};
    double at[STAGES + 1];
    const double zeros[2 * EXPERTS] = {0};
    const fsm_gate_loss_grad loss = {.share = zeros, .load = zeros + EXPERTS};
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    const fsm_gate_input input = {.n = r->n, .x = r->x, .training = true};
    at[0] = fsm_clock_s();
    fsm_moe_gate_forward(&r->moe, &input, true, &sums);
    at[1] = fsm_clock_s();
    FSM_TRY(fsm_moe_start_counts(&r->moe, &op));
    FSM_TRY(fsm_comm_finish(&op));
    fsm_moe_order_forward(&r->moe);
    at[2] = fsm_clock_s();
    fsm_moe_iorder_forward(&r->moe, r->y);
    at[3] = fsm_clock_s();
    fsm_moe_iorder_backward(&r->moe, r->dy);
    at[4] = fsm_clock_s();
    fsm_moe_order_backward(&r->moe, r->dx);
    at[5] = fsm_clock_s();
    fsm_moe_gate_backward(&r->moe, &loss, r->dx);
    at[6] = fsm_clock_s();
    for (int i = 0; i < STAGES; i++) times[i] = at[i + 1] - at[i];
    return FSMOE_OK;
}

static fsmoe_status make_config(const char *order, fsmoe_config **config)
{
    char text[64];
    FSM_TRY(fsmoe_config_create(config));
    fsmoe_config *c = *config;
    c->model.hidden = HIDDEN;
    c->model.ffn_hidden = 16; /* experts do not run */
    c->moe.num_experts = EXPERTS;
    c->moe.top_k = 2;
    c->moe.capacity_factor = strcmp(order, "sorted") == 0 ? 0 : 1;
    c->moe.capacity_group = strcmp(order, "gshard") == 0 ? 1024 : 0; /* a one-hot matrix grows with the square of it */
    c->data.seq_len = TOKENS;
    c->train.global_batch = c->train.micro_batch = 1;
    snprintf(text, sizeof text, "moe.order=%s", order);
    FSM_TRY(fsmoe_config_set(c, text));
    FSM_TRY(fsm_config_check(c));
    return fsm_config_derive(c);
}

static void fill(float *array, int64_t n)
{
    for (int64_t i = 0; i < n; i++) array[i] = (float)fsm_rng_normal(1, FSM_RNG_TEST, (uint64_t)i);
}

static fsmoe_status bench(fsmoe_world *world, const char *order)
{
    fsmoe_config *config = NULL;
    fsm_layer_run r = {0};
    double times[ROUNDS][STAGES], column[ROUNDS], total_s = 0;
    fsmoe_status status = make_config(order, &config);
    if (status == FSMOE_OK) status = fsm_layer_run_create(config, world->comm, TOKENS, false, &r);
    if (status == FSMOE_OK) {
        fill(r.x, TOKENS * HIDDEN);
        fill(r.dy, TOKENS * HIDDEN);
        fill(r.params.items[0].value, EXPERTS * HIDDEN);
        fill(r.moe.returned, TOKENS * 2 * HIDDEN); /* experts' results, which nobody works out here */
        fill(r.staging.y, TOKENS * 2 * HIDDEN);
        for (int i = -1; status == FSMOE_OK && i < ROUNDS; i++) status = run_once(&r, times[i < 0 ? 0 : i]);
    }
    for (int s = 0; status == FSMOE_OK && s < STAGES; s++) {
        for (int i = 0; i < ROUNDS; i++) column[i] = times[i][s];
        double median_s = fsm_median(column, ROUNDS);
        printf("%-8s %-16s %8.2f ms\n", order, stages[s], 1e3 * median_s);
        total_s += median_s;
    }
    if (status == FSMOE_OK) printf("%-8s %-16s %8.2f ms\n", order, "total", 1e3 * total_s);
    fsm_layer_run_destroy(&r);
    fsmoe_config_destroy(config);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const orders[] = {"sorted", "tutel", "gshard"};
    fsmoe_world *world;
    fsmoe_status status = fsmoe_world_create(&world);
    for (size_t i = 0; status == FSMOE_OK && i < sizeof orders / sizeof *orders; i++)
        if (argc < 2 || strcmp(argv[1], orders[i]) == 0) status = bench(world, orders[i]);
    if (status != FSMOE_OK) fprintf(stderr, "bench_gate: %s\n", fsmoe_last_error());
    if (world) fsmoe_world_destroy(world);
    return status == FSMOE_OK ? 0 : 1;
}

/* One training step on one process against the GEMM rate of the same machine in the same minute.
 * SwiGLU experts, 8 of them, top-2, 2 threads (OMP_NUM_THREADS says otherwise). A step and a run of bare GEMM of the
 * experts' shape alternate; medians. Prints where a step's time goes, by operation, and
 *   GEMM rate    multiply-adds of the step / its time / the rate bare GEMM reaches
 * In:  nothing: M 512, H 1024, 2 layers, vocabulary 8192, 4096 tokens. A number: that shape of the table, a step for
 *      every line of standard input, as bench/peers/step has it take turns with PyTorch; "ms cpu_ms bare_ms bare_cpu_ms
 *      gflop" a line, at the end of input where the time went.
 */
#include "base/clock.h"
#include "model_case.h"
#include "ops/meter.h"
#include "profile/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, WARM_UP = 3, SETTINGS = 16 };

typedef struct shape {
    const char *name;
    int64_t hidden, ffn, samples, length;
    int layers, heads, kv_heads, vocab;
} shape;

static const shape alone = {"M 512 H 1024, 2 layers, 8 x 512 tokens", 512, 1024, 8, 512, 2, 8, 4, 8192};
static const shape shapes[] = {
    {"M 512 H 1024, 4 layers, 8 x 512 tokens", 512, 1024, 8, 512, 4, 8, 4, 256},
    {"M 256 H 512, 4 layers, 16 x 256 tokens", 256, 512, 16, 256, 4, 4, 2, 256},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* The first product of an expert of 1024 rows, M -> 2 H, so often that it is worth timing. */
enum { EXPERT_ROWS = 1024 };

static double product_flops(const shape *s)
{
    return 2.0 * EXPERT_ROWS * (double)(2 * s->ffn * s->hidden);
}

static int product_times(const shape *s)
{
    return (int)(1.6e10 / product_flops(s)) + 1;
}

static void run_products(const fsm_ops *ops, const shape *s, const float *a, const float *b, float *c)
{
    const int64_t in = s->hidden, out = 2 * s->ffn;
    for (int i = product_times(s); i > 0; i--)
        ops->gemm(ops, false, true, EXPERT_ROWS, out, in, NULL, fsm_reals(a, in), fsm_reals(b, in), 0,
                  fsm_reals(c, out));
}

typedef struct bench {
    const shape *s;
    fsm_stepper stepper;
    fsm_batch batch;
    float *scratch;
} bench;

/* What a step took. */
typedef struct round_times {
    double step_s, cpu_s, bare, bare_cpu, flops;
    fsm_op_count of[FSM_OP_KIND_COUNT];
} round_times;

static fsmoe_status run_round(bench *b, round_times *r)
{
    const int64_t tokens = b->s->samples * b->s->length;
    const double work = product_times(b->s) * product_flops(b->s);
    double start = fsm_clock_s(), cpu = fsm_cpu_s();
    fsm_ops *ops = b->stepper.ops;
    run_products(ops, b->s, b->scratch, b->scratch + (1 << 20), b->scratch + (2 << 20));
    r->bare = work / (fsm_clock_s() - start);
    r->bare_cpu = work / (fsm_cpu_s() - cpu);
    fsm_meter_reset(ops);
    fsm_meter_turn(ops, true);
    start = fsm_clock_s();
    cpu = fsm_cpu_s();
    FSM_TRY(fsm_stepper_train_batch(&b->stepper, &b->batch, tokens));
    r->step_s = fsm_clock_s() - start;
    r->cpu_s = fsm_cpu_s() - cpu;
    fsm_meter_turn(ops, false);
    memcpy(r->of, fsm_meter_counts(ops), sizeof r->of);
    r->flops = 0;
    for (int k = 0; k < FSM_OP_KIND_COUNT; k++) r->flops += r->of[k].flops;
    return FSMOE_OK;
}

static fsmoe_config *make_config(const shape *s)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    static char text[SETTINGS][48];
    const char *settings[SETTINGS + 1];
    int n = 0;
#define SET(...) snprintf(text[n], sizeof text[n], __VA_ARGS__), settings[n] = text[n], n++
    SET("model.hidden=%lld", (long long)s->hidden);
    SET("model.ffn_hidden=%lld", (long long)s->ffn);
    SET("model.num_layers=%d", s->layers);
    SET("model.num_heads=%d", s->heads);
    SET("model.num_kv_heads=%d", s->kv_heads);
    SET("model.vocab_size=%d", s->vocab);
    SET("moe.num_experts=8");
    SET("moe.top_k=2");
    SET("moe.capacity_factor=0");
    SET("data.seq_len=%lld", (long long)s->length);
    SET("train.global_batch=%lld", (long long)s->samples);
    SET("train.micro_batch=%lld", (long long)s->samples);
    SET("parallel.threads=%s", threads ? threads : "2");
    settings[n] = NULL;
    return model_case_config(settings);
}

static void print_kinds(const round_times *rounds, int count)
{
    double column[ROUNDS], rest[ROUNDS];
    for (int i = 0; i < count; i++) rest[i] = rounds[i].step_s;
    for (int k = 0; k < FSM_OP_KIND_COUNT; k++) {
        for (int i = 0; i < count; i++) rest[i] -= column[i] = rounds[i].of[k].s;
        fprintf(stderr, "  %-30s %8.1f ms\n", fsm_op_kind_name((fsm_op_kind)k), 1e3 * fsm_median(column, count));
    }
    fprintf(stderr, "  %-30s %8.1f ms\n", "other", 1e3 * fsm_median(rest, count));
}

static fsmoe_status report(bench *b)
{
    static round_times rounds[ROUNDS];
    double step_s[ROUNDS], bare[ROUNDS], share[ROUNDS];
    for (int i = -WARM_UP; i < ROUNDS; i++) FSM_TRY(run_round(b, &rounds[i < 0 ? 0 : i]));
    for (int i = 0; i < ROUNDS; i++) {
        step_s[i] = rounds[i].step_s;
        bare[i] = rounds[i].bare;
        share[i] = rounds[i].flops / step_s[i] / bare[i];
    }
    double median = fsm_median(step_s, ROUNDS);
    printf("training step, %s, %d threads, %d rounds (medians)\n", b->s->name, b->stepper.threads, ROUNDS);
    printf("  step %.1f ms, %.0f tokens/s, %.1f GFLOP\n", 1e3 * median, (double)(b->s->samples * b->s->length) / median,
           1e-9 * rounds[0].flops);
    printf("  bare GEMM %.1f GF/s, step at %.0f %% of it\n", 1e-9 * fsm_median(bare, ROUNDS),
           100 * fsm_median(share, ROUNDS));
    fflush(stdout);
    print_kinds(rounds, ROUNDS);
    return FSMOE_OK;
}

static fsmoe_status serve(bench *b)
{
    static round_times rounds[ROUNDS];
    char line[64];
    int done = 0;
    FSM_TRY(run_round(b, &rounds[0]));
    printf("ready %s\n", b->s->name);
    fflush(stdout);
    for (; fgets(line, sizeof line, stdin); done++) {
        round_times *r = &rounds[done % ROUNDS];
        FSM_TRY(run_round(b, r));
        printf("%.3f %.3f %.3f %.3f %.3f\n", 1e3 * r->step_s, 1e3 * r->cpu_s, 1e3 * r->flops / r->bare,
               1e3 * r->flops / r->bare_cpu, 1e-9 * r->flops);
        fflush(stdout);
    }
    if (done > 0) print_kinds(rounds, done < ROUNDS ? done : ROUNDS);
    return FSMOE_OK;
}

int main(int argc, char **argv)
{
    int only = argc > 1 ? atoi(argv[1]) : -1;
    if (only >= SHAPES) fprintf(stderr, "bench_step: there is no shape %d\n", only);
    if (only >= SHAPES) return 2;
    bench b = {.s = only < 0 ? &alone : &shapes[only]};
    fsmoe_config *config = make_config(b.s);
    const int64_t tokens = b.s->samples * b.s->length;
    const fsm_model_options options = {.max_samples = b.s->samples, .training = true};
    const fsm_backend_options metered = {.metered = true};
    fsm_comm *self;
    fsmoe_status status = fsm_comm_create_self(&self);
    if (status == FSMOE_OK) status = fsm_stepper_create_by(config, self, &options, &metered, &b.stepper);
    int32_t *ids = malloc(2 * (size_t)tokens * sizeof *ids);
    b.scratch = calloc(6 << 20, sizeof *b.scratch);
    for (int64_t i = 0; i < 2 * tokens; i++)
        ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % (uint64_t)b.s->vocab);
    b.batch = (fsm_batch){.samples = b.s->samples, .seq_len = b.s->length, .ids = ids, .targets = ids + tokens};
    if (status == FSMOE_OK) status = only < 0 ? report(&b) : serve(&b);
    if (status != FSMOE_OK) fprintf(stderr, "bench_step: %s\n", fsmoe_last_error());
    free(ids);
    free(b.scratch);
    fsm_stepper_destroy(&b.stepper);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
    return status == FSMOE_OK ? 0 : 1;
}

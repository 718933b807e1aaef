/* One training step on one process against the GEMM rate of the same machine in the same minute.
 * SwiGLU experts, 8 of them, top-2, 2 threads (OMP_NUM_THREADS says otherwise). A step and a run of bare GEMM of the experts'
 * shape alternate; medians. Prints where a step's time goes, by operation, and
 *   GEMM rate    multiply-adds of the step / its time / the rate bare GEMM reaches
 * In:  nothing: M 512, H 1024, 2 layers, vocabulary 8192, 4096 tokens. A number: that shape of the table, a step for every line
 *      of standard input, as bench/peers/step has it take turns with PyTorch; "ms cpu_ms bare_ms bare_cpu_ms gflop" a line, at the end of input
 *      where the time went.
 */
#include "base/clock.h"
#include "cpu/instance.h"
#include "model_case.h"
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

enum { GEMM, ATTENTION, ACTIVATION, NORM, UPDATE, LOSS, ROWS, KINDS };
static const char *const kinds[] = {"GEMM", "attention", "activation", "norm", "update", "loss", "rows"};

/* What the wrapped operations of a step took; attention includes its GEMM. */
typedef struct tally {
    double s[KINDS], flops;
} tally;

static tally now;
static const fsm_ops *inner; /* whose slots are called with the timed instance: it is a copy */

#define TIMED(kind, call)                      \
    do {                                       \
        double start_ = fsm_clock_s();         \
        call;                                  \
        now.s[kind] += fsm_clock_s() - start_; \
    } while (0)

static void linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *w, const fsm_real *bias, fsm_matrix x,
                           fsm_matrix y)
{
    TIMED(GEMM, inner->linear_forward(self, n, w, bias, x, y));
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *w, fsm_matrix dy, float beta,
                                  fsm_matrix dx)
{
    TIMED(GEMM, inner->linear_backward_input(self, n, w, dy, beta, dx));
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *w, int parts,
                                   const int64_t *part_rows, const int64_t *leaf_rows, fsm_matrix dy, fsm_matrix dx)
{
    TIMED(GEMM, inner->linear_backward_joined(self, n, w, parts, part_rows, leaf_rows, dy, dx));
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                                   fsm_real *dw, fsm_real *dbias)
{
    TIMED(GEMM, inner->linear_backward_weight(self, n, out, in, dy, x, dw, dbias));
    now.flops += 2.0 * (double)(n * out * in);
}

/* Causal: half of the two (backward: five) products of L x L x head_dim. */
static double attention_flops(const fsm_attention_shape *s, int products)
{
    return products * (double)(s->batch * s->heads * s->q_len * s->k_len * s->head_dim);
}

static void attention_forward(const fsm_ops *self, const fsm_attention_shape *s, const float *q, const float *k,
                              const float *v, float *o, float *lse)
{
    TIMED(ATTENTION, inner->attention_forward(self, s, q, k, v, o, lse));
    now.flops += attention_flops(s, 2);
}

static void attention_backward(const fsm_ops *self, const fsm_attention_shape *s, const float *q, const float *k,
                               const float *v, const float *o, const float *lse, const float *do_, float *dq, float *dk,
                               float *dv)
{
    TIMED(ATTENTION, inner->attention_backward(self, s, q, k, v, o, lse, do_, dq, dk, dv));
    now.flops += attention_flops(s, 5);
}

/* A slot `name` that is timed: its kind, parameters and arguments. */
#define TIME_SLOT(kind, name, parameters, arguments) \
    static void name parameters                      \
    {                                                \
        TIMED(kind, inner->name arguments);          \
    }

TIME_SLOT(ACTIVATION, swiglu_forward, (const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y),
          (self, n, width, ab, y))
TIME_SLOT(ACTIVATION, swiglu_backward,
          (const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy, float *dab),
          (self, n, width, ab, dy, dab))
TIME_SLOT(NORM, rmsnorm_forward,
          (const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x, const float *gain, float *y,
           float *rstd),
          (self, n, width, eps, x, gain, y, rstd))
TIME_SLOT(NORM, rmsnorm_backward,
          (const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain, const float *rstd,
           const float *dy, float *dx, float *dgain),
          (self, n, width, x, gain, rstd, dy, dx, dgain))
TIME_SLOT(UPDATE, adamw,
          (const fsm_ops *self, int64_t n, const fsm_adamw *step, const float *g, float *m, float *v, float *p),
          (self, n, step, g, m, v, p))
TIME_SLOT(LOSS, cross_entropy,
          (const fsm_ops *self, int64_t n, int64_t vocab, float *logits, const int32_t *target, float scale,
           bool gradient, double *loss),
          (self, n, vocab, logits, target, scale, gradient, loss))
TIME_SLOT(ROWS, gather_rows,
          (const fsm_ops *self, int64_t n, int64_t width, const int32_t *row, const float *x, float *y),
          (self, n, width, row, x, y))
TIME_SLOT(ROWS, combine_rows,
          (const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *row, const float *weight,
           const float *x, float *y),
          (self, n, k, width, row, weight, x, y))
TIME_SLOT(ROWS, combine_rows_backward,
          (const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *from, const int32_t *to,
           const float *weight, const float *x, const float *dy, float *dx, float *dweight),
          (self, n, k, width, from, to, weight, x, dy, dx, dweight))
TIME_SLOT(UPDATE, zero, (const fsm_ops *self, int64_t n, float *y), (self, n, y))

static void sum_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    TIMED(UPDATE, inner->sum_squares(self, n, x, sum));
}

/* The model's operations, timed. */
static void time_operations(fsm_model *model)
{
    static fsm_cpu timed;
    inner = model->ops;
    timed = *fsm_cpu_of(inner);
#define SLOT(name) timed.ops.name = name
    SLOT(linear_forward), SLOT(linear_backward_input), SLOT(linear_backward_joined), SLOT(linear_backward_weight);
    SLOT(attention_forward), SLOT(attention_backward), SLOT(swiglu_forward), SLOT(swiglu_backward);
    SLOT(rmsnorm_forward), SLOT(rmsnorm_backward), SLOT(adamw), SLOT(sum_squares), SLOT(zero), SLOT(cross_entropy);
    SLOT(gather_rows), SLOT(combine_rows), SLOT(combine_rows_backward);
    model->ops = &timed.ops;
    for (int i = 0; i < model->config->model.num_layers; i++)
        model->layers[i].moe.ops = model->layers[i].moe.gate.ops = &timed.ops;
}

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

static void run_products(const shape *s, const float *a, const float *b, float *c)
{
    const int64_t in = s->hidden, out = 2 * s->ffn;
    for (int i = product_times(s); i > 0; i--)
        inner->gemm(inner, false, true, EXPERT_ROWS, out, in, NULL, fsm_reals(a, in), fsm_reals(b, in), 0,
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
    double step_s, cpu_s, bare, bare_cpu, s[KINDS], flops;
} round_times;

static fsmoe_status run_round(bench *b, round_times *r)
{
    const int64_t tokens = b->s->samples * b->s->length;
    const double work = product_times(b->s) * product_flops(b->s);
    double start = fsm_clock_s(), cpu = fsm_cpu_s();
    run_products(b->s, b->scratch, b->scratch + (1 << 20), b->scratch + (2 << 20));
    r->bare = work / (fsm_clock_s() - start);
    r->bare_cpu = work / (fsm_cpu_s() - cpu);
    now = (tally){0};
    start = fsm_clock_s();
    cpu = fsm_cpu_s();
    FSM_TRY(fsm_stepper_train_batch(&b->stepper, &b->batch, tokens));
    r->step_s = fsm_clock_s() - start;
    r->cpu_s = fsm_cpu_s() - cpu;
    memcpy(r->s, now.s, sizeof now.s);
    r->flops = now.flops;
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
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < count; i++) rest[i] -= column[i] = rounds[i].s[k];
        fprintf(stderr, "  %s %.1f", kinds[k], 1e3 * fsm_median(column, count));
    }
    fprintf(stderr, "  other %.1f\n", 1e3 * fsm_median(rest, count));
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
    fsm_comm *self;
    fsmoe_status status = fsm_comm_create_self(&self);
    if (status == FSMOE_OK) status = fsm_stepper_create(config, self, &options, &b.stepper);
    int32_t *ids = malloc(2 * (size_t)tokens * sizeof *ids);
    b.scratch = calloc(6 << 20, sizeof *b.scratch);
    for (int64_t i = 0; i < 2 * tokens; i++)
        ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % (uint64_t)b.s->vocab);
    b.batch = (fsm_batch){.samples = b.s->samples, .seq_len = b.s->length, .ids = ids, .targets = ids + tokens};
    if (status == FSMOE_OK) {
        time_operations(b.stepper.model);
        status = only < 0 ? report(&b) : serve(&b);
    }
    if (status != FSMOE_OK) fprintf(stderr, "bench_step: %s\n", fsmoe_last_error());
    free(ids);
    free(b.scratch);
    fsm_stepper_destroy(&b.stepper);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
    return status == FSMOE_OK ? 0 : 1;
}

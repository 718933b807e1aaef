/* One training step on one process against the GEMM rate of the same machine in the same minute.
 * Shape: M 512, H 1024, 8 experts, top-2, 4096 tokens, SwiGLU experts, 2 threads. A step and a run of bare GEMM of the
 * experts' shape alternate; medians. Prints where a step's time goes and
 *   GEMM share   time inside GEMM / time of the step
 *   GEMM rate    multiply-adds of the step / its time / the rate bare GEMM reaches
 */
#include "base/clock.h"
#include "cpu/instance.h"
#include "model_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, WARM_UP = 3, SAMPLES = 8, LENGTH = 512, TOKENS = SAMPLES * LENGTH };

static const char *const settings[] = {"model.hidden=512",     "model.ffn_hidden=1024", "model.num_layers=2",
                                       "model.num_heads=8",    "model.num_kv_heads=4",  "model.vocab_size=8192",
                                       "moe.num_experts=8",    "moe.top_k=2",           "data.seq_len=512",
                                       "train.global_batch=8", "parallel.threads=2",    NULL};

/* What the wrapped operations of a step took. */
typedef struct tally {
    double gemm_s, attention_s, flops;
} tally;

static tally now;
static const fsm_ops *inner; /* whose slots are called with the timed instance: it is a copy */

static void linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *w, const fsm_real *bias, fsm_matrix x,
                           fsm_matrix y)
{
    double start = fsm_clock_s();
    inner->linear_forward(self, n, w, bias, x, y);
    now.gemm_s += fsm_clock_s() - start;
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *w, fsm_matrix dy, float beta,
                                  fsm_matrix dx)
{
    double start = fsm_clock_s();
    inner->linear_backward_input(self, n, w, dy, beta, dx);
    now.gemm_s += fsm_clock_s() - start;
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *w, int parts,
                                   const int64_t *part_rows, const int64_t *leaf_rows, fsm_matrix dy, fsm_matrix dx)
{
    double start = fsm_clock_s();
    inner->linear_backward_joined(self, n, w, parts, part_rows, leaf_rows, dy, dx);
    now.gemm_s += fsm_clock_s() - start;
    now.flops += 2.0 * (double)(n * w->out * w->in);
}

static void linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                                   fsm_real *dw, fsm_real *dbias)
{
    double start = fsm_clock_s();
    inner->linear_backward_weight(self, n, out, in, dy, x, dw, dbias);
    now.gemm_s += fsm_clock_s() - start;
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
    double start = fsm_clock_s();
    inner->attention_forward(self, s, q, k, v, o, lse);
    now.attention_s += fsm_clock_s() - start;
    now.flops += attention_flops(s, 2);
}

static void attention_backward(const fsm_ops *self, const fsm_attention_shape *s, const float *q, const float *k,
                               const float *v, const float *o, const float *lse, const float *do_, float *dq, float *dk,
                               float *dv)
{
    double start = fsm_clock_s();
    inner->attention_backward(self, s, q, k, v, o, lse, do_, dq, dk, dv);
    now.attention_s += fsm_clock_s() - start;
    now.flops += attention_flops(s, 5);
}

/* The model's operations, timed. */
static void time_operations(fsm_model *model)
{
    static fsm_cpu timed;
    inner = model->ops;
    timed = *fsm_cpu_of(inner);
    timed.ops.linear_forward = linear_forward;
    timed.ops.linear_backward_input = linear_backward_input;
    timed.ops.linear_backward_joined = linear_backward_joined;
    timed.ops.linear_backward_weight = linear_backward_weight;
    timed.ops.attention_forward = attention_forward;
    timed.ops.attention_backward = attention_backward;
    model->ops = &timed.ops;
    for (int i = 0; i < model->config->model.num_layers; i++)
        model->layers[i].moe.ops = model->layers[i].moe.gate.ops = &timed.ops;
}

/* Flops a second of the experts' first product: 1024 rows x 512 -> 2048. */
static double bare_gemm_rate(const fsm_ops *ops, const float *a, const float *b, float *c)
{
    enum { ROWS = 1024, IN = 512, OUT = 2048, TIMES = 8 };
    double start = fsm_clock_s();
    for (int i = 0; i < TIMES; i++)
        ops->gemm(ops, false, true, ROWS, OUT, IN, NULL, fsm_reals(a, IN), fsm_reals(b, IN), 0, fsm_reals(c, OUT));
    return TIMES * 2.0 * ROWS * IN * OUT / (fsm_clock_s() - start);
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, rising);
    return values[ROUNDS / 2];
}

int main(void)
{
    fsmoe_config *config = model_case_config(settings);
    const fsm_model_options options = {.max_samples = SAMPLES, .training = true};
    fsm_comm *self;
    fsm_stepper s;
    if (fsm_comm_create_self(&self) != FSMOE_OK || fsm_stepper_create(config, self, &options, &s) != FSMOE_OK) {
        fprintf(stderr, "bench_step: %s\n", fsmoe_last_error());
        return 1;
    }
    int32_t *ids = malloc(2 * TOKENS * sizeof *ids);
    float *scratch = calloc(4 << 20, sizeof *scratch);
    for (int i = 0; i < 2 * TOKENS; i++) ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % 8192);
    const fsm_batch batch = {.samples = SAMPLES, .seq_len = LENGTH, .ids = ids, .targets = ids + TOKENS};
    time_operations(s.model);

    double step_s[ROUNDS], gemm[ROUNDS], attention[ROUNDS], rate[ROUNDS], fraction[ROUNDS];
    for (int i = -WARM_UP; i < ROUNDS; i++) {
        double bare = bare_gemm_rate(inner, scratch, scratch + (1 << 20), scratch + (2 << 20));
        now = (tally){0};
        double start = fsm_clock_s();
        if (fsm_stepper_train_batch(&s, &batch, TOKENS) != FSMOE_OK) return 1;
        if (i < 0) continue;
        step_s[i] = fsm_clock_s() - start;
        gemm[i] = now.gemm_s / step_s[i];
        attention[i] = now.attention_s / step_s[i];
        rate[i] = bare;
        fraction[i] = now.flops / step_s[i] / bare;
    }
    printf("training step, M 512, H 1024, 8 experts, top-2, 2 layers, 4096 tokens, %d threads, %d rounds (medians)\n",
           s.threads, ROUNDS);
    printf("  step %.1f ms, %.0f tokens/s, %.1f GFLOP\n", 1e3 * median(step_s), TOKENS / median(step_s),
           1e-9 * now.flops);
    printf("  bare GEMM %.1f GF/s\n", 1e-9 * median(rate));
    printf("  GEMM share of the step %.0f %%, attention kernel %.0f %% (its GEMM included)\n", 100 * median(gemm),
           100 * median(attention));
    printf("  step at %.0f %% of the bare GEMM rate\n", 100 * median(fraction));
    free(ids);
    free(scratch);
    fsm_stepper_destroy(&s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
    return 0;
}

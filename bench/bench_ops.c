/* Speed of the fast table's operations at the shapes of the demonstration and of a larger model.
 * In:  the number of threads (default 1); with more on a shared machine, OMP_WAIT_POLICY=passive.
 * Out: per operation the median time of interleaved rounds and its spread, GF/s or GB/s, the share of what this machine
 *      reached in the same rounds (FMA in registers, y += x in memory), and how many times the reference takes.
 * Bytes count every operand once, so an operation whose data fit in cache may show more than 100 %.
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/simd.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 11, BUFFERS = 8 };
static const double LEAST_S = 2e-3, REFERENCE_FLOP = 3e8;

typedef struct shape {
    const char *name;
    int64_t n, hidden, ffn, heads, kv_heads, head_dim, length, experts, vocab;
} shape;

static const shape shapes[] = {
    {"demo", 1024, 128, 256, 4, 4, 32, 128, 8, 256},
    {"demo, few rows", 64, 128, 256, 4, 4, 32, 64, 8, 256},
    {"large", 4096, 512, 1024, 8, 8, 64, 512, 16, 4096},
};

typedef struct data {
    const shape *s;
    float *a[BUFFERS];
    int32_t *row, *choice;
    fsm_weight up, down;
    fsm_attention_shape attention;
} data;

typedef struct operation {
    const char *name;
    void (*run)(const fsm_ops *ops, const data *d);
    double (*flop)(const shape *s); /* NULL: bytes count */
    double (*floats)(const shape *s);
} operation;

static double product_flop(const shape *s)
{
    return 2.0 * (double)(s->n * s->hidden * s->ffn);
}

static double attention_flop(const shape *s) /* of the scores that causality leaves */
{
    return 2.0 * (double)(s->n * (s->length + 1) * s->heads * s->head_dim);
}

static double attention_backward_flop(const shape *s)
{
    return 2.5 * attention_flop(s);
}

static double rows_1(const shape *s)
{
    return (double)(s->n * s->hidden);
}

static double rows_2(const shape *s)
{
    return 2 * rows_1(s);
}

static double rows_4(const shape *s)
{
    return 4 * rows_1(s);
}

static double ffn_3(const shape *s)
{
    return 3 * (double)(s->n * s->ffn);
}

static double ffn_5(const shape *s)
{
    return 5 * (double)(s->n * s->ffn);
}

static double logits_2(const shape *s)
{
    return 2 * (double)(s->n * s->vocab);
}

static double gates_2(const shape *s)
{
    return 2 * (double)(s->n * s->experts);
}

static double rows_7(const shape *s)
{
    return 7 * rows_1(s);
}

static void run_up(const fsm_ops *ops, const data *d)
{
    ops->linear_forward(ops, d->s->n, &d->up, NULL, fsm_reals(d->a[0], d->s->hidden), fsm_reals(d->a[1], d->s->ffn));
}

static void run_down(const fsm_ops *ops, const data *d)
{
    ops->linear_forward(ops, d->s->n, &d->down, NULL, fsm_reals(d->a[1], d->s->ffn), fsm_reals(d->a[0], d->s->hidden));
}

static void run_up_input(const fsm_ops *ops, const data *d)
{
    ops->linear_backward_input(ops, d->s->n, &d->up, fsm_reals(d->a[1], d->s->ffn), 0,
                               fsm_reals(d->a[0], d->s->hidden));
}

static void run_down_input(const fsm_ops *ops, const data *d)
{
    ops->linear_backward_input(ops, d->s->n, &d->down, fsm_reals(d->a[0], d->s->hidden), 0,
                               fsm_reals(d->a[1], d->s->ffn));
}

static void run_up_weight(const fsm_ops *ops, const data *d)
{
    ops->linear_backward_weight(ops, d->s->n, d->s->ffn, d->s->hidden, fsm_reals(d->a[1], d->s->ffn),
                                fsm_reals(d->a[0], d->s->hidden), d->a[2], NULL);
}

static void run_attention(const fsm_ops *ops, const data *d)
{
    ops->attention_forward(ops, &d->attention, d->a[0], d->a[1], d->a[2], d->a[3], d->a[4]);
}

static void run_attention_backward(const fsm_ops *ops, const data *d)
{
    float *const *a = d->a;
    ops->attention_backward(ops, &d->attention, a[0], a[1], a[2], a[3], a[4], a[2], a[5], a[6], a[7]);
}

static void run_decode(const fsm_ops *ops, const data *d)
{
    fsm_attention_shape s = d->attention;
    s.q_len = 1;
    ops->attention_forward(ops, &s, d->a[0], d->a[1], d->a[2], d->a[3], d->a[4]);
}

static void run_rope(const fsm_ops *ops, const data *d)
{
    ops->rope(ops, d->s->n, d->s->heads, d->s->head_dim, d->row, d->a[1], d->a[2], 1, d->a[0], d->s->hidden);
}

static void run_rmsnorm(const fsm_ops *ops, const data *d)
{
    ops->rmsnorm_forward(ops, d->s->n, d->s->hidden, 1e-5f, d->a[0], d->a[1], d->a[2], d->a[3]);
}

static void run_rmsnorm_backward(const fsm_ops *ops, const data *d)
{
    ops->rmsnorm_backward(ops, d->s->n, d->s->hidden, d->a[0], d->a[1], d->a[3], d->a[2], d->a[4], d->a[5]);
}

static void run_layernorm(const fsm_ops *ops, const data *d)
{
    ops->layernorm_forward(ops, d->s->n, d->s->hidden, 1e-5f, d->a[0], d->a[1], d->a[2], d->a[3], d->a[4], d->a[5]);
}

static void run_layernorm_backward(const fsm_ops *ops, const data *d)
{
    float *const *a = d->a;
    ops->layernorm_backward(ops, d->s->n, d->s->hidden, a[0], a[1], a[4], a[5], a[2], a[3], a[6], a[7]);
}

static void run_gelu(const fsm_ops *ops, const data *d)
{
    ops->gelu_forward(ops, d->s->n * d->s->hidden, d->a[0], d->a[1]);
}

static void run_swiglu(const fsm_ops *ops, const data *d)
{
    ops->swiglu_forward(ops, d->s->n, d->s->ffn, d->a[0], d->a[1]);
}

static void run_swiglu_backward(const fsm_ops *ops, const data *d)
{
    ops->swiglu_backward(ops, d->s->n, d->s->ffn, d->a[0], d->a[1], d->a[2]);
}

static void run_softmax(const fsm_ops *ops, const data *d)
{
    ops->softmax(ops, d->s->n, d->s->experts, d->a[0], d->a[1], NULL);
}

static void run_top_k(const fsm_ops *ops, const data *d)
{
    ops->top_k(ops, d->s->n, d->s->experts, 2, d->a[0], d->choice, d->a[1]);
}

static void run_cross_entropy(const fsm_ops *ops, const data *d)
{
    double loss = 0;
    ops->cross_entropy(ops, d->s->n, d->s->vocab, d->a[0], d->row, 1, true, &loss);
}

static void run_gather(const fsm_ops *ops, const data *d)
{
    ops->gather_rows(ops, d->s->n, d->s->hidden, d->row, d->a[0], d->a[1]);
}

static void run_combine(const fsm_ops *ops, const data *d)
{
    ops->combine_rows(ops, d->s->n / 2, 2, d->s->hidden, d->row, d->a[2], d->a[0], d->a[1]);
}

static void run_combine_backward(const fsm_ops *ops, const data *d)
{
    ops->combine_rows_backward(ops, d->s->n / 2, 2, d->s->hidden, d->row, d->row, d->a[2], d->a[0], d->a[1], d->a[3],
                               d->a[4]);
}

static void run_embedding_backward(const fsm_ops *ops, const data *d)
{
    ops->embedding_backward(ops, d->s->n, d->s->hidden, d->row, d->a[0], d->a[1]);
}

static void run_sum_squares(const fsm_ops *ops, const data *d)
{
    double sum = 0;
    ops->sum_squares(ops, d->s->n * d->s->hidden, d->a[0], &sum);
}

static void run_adamw(const fsm_ops *ops, const data *d)
{
    static const float rates[FSM_ADAMW_RATES] = {1e-9f, 0.5f, 0.5f};
    const fsm_adamw step = {rates, 0.9f, 0.99f, 1e-8f, 0, 0, NULL, NULL};
    ops->adamw(ops, d->s->n * d->s->hidden, &step, d->a[0], d->a[1], d->a[2], d->a[3]);
}

static const operation operations[] = {
    {"linear hidden -> ffn", run_up, product_flop, NULL},
    {"linear ffn -> hidden", run_down, product_flop, NULL},
    {"input gradient, hidden -> ffn", run_up_input, product_flop, NULL},
    {"input gradient, ffn -> hidden", run_down_input, product_flop, NULL},
    {"weight gradient, hidden -> ffn", run_up_weight, product_flop, NULL},
    {"attention", run_attention, attention_flop, NULL},
    {"attention backward", run_attention_backward, attention_backward_flop, NULL},
    {"attention, one query", run_decode, NULL, rows_2},
    {"rope", run_rope, NULL, rows_2},
    {"rmsnorm", run_rmsnorm, NULL, rows_2},
    {"rmsnorm backward", run_rmsnorm_backward, NULL, rows_4},
    {"layernorm", run_layernorm, NULL, rows_2},
    {"layernorm backward", run_layernorm_backward, NULL, rows_4},
    {"gelu", run_gelu, NULL, rows_2},
    {"swiglu", run_swiglu, NULL, ffn_3},
    {"swiglu backward", run_swiglu_backward, NULL, ffn_5},
    {"softmax of gates", run_softmax, NULL, gates_2},
    {"top 2 of gates", run_top_k, NULL, gates_2},
    {"cross entropy", run_cross_entropy, NULL, logits_2},
    {"gather rows", run_gather, NULL, rows_2},
    {"combine rows, k 2", run_combine, NULL, rows_2},
    {"combine rows backward, k 2", run_combine_backward, NULL, rows_4},
    {"embedding backward", run_embedding_backward, NULL, rows_2},
    {"sum of squares", run_sum_squares, NULL, rows_1},
    {"adamw", run_adamw, NULL, rows_7},
};

static int threads;
static fsm_ops *fast;

enum { ACCUMULATORS = 112, FMA_STEPS = 100000, STREAM_ELEMS = 8 << 20 };

FSM_CPU_BODY void fma_loop_body(float *sum)
{
    float lane[ACCUMULATORS];
    for (int j = 0; j < ACCUMULATORS; j++) lane[j] = (float)j;
    for (int i = 0; i < FMA_STEPS; i++) {
#pragma omp simd
        for (int j = 0; j < ACCUMULATORS; j++) lane[j] = lane[j] * 0.999f + 0.5f;
    }
    for (int j = 0; j < ACCUMULATORS; j++) *sum += lane[j];
}
FSM_CPU_KERNEL(fma_loop, (float *sum), (sum))

static double fma_gflops(void)
{
    double start = fsm_clock_s();
    float total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    fma_loop(&total);
    double seconds = fsm_clock_s() - start;
    return total > 0 ? 2e-9 * ACCUMULATORS * FMA_STEPS * threads / seconds : 0;
}

static double stream_gbytes(float *x, float *y)
{
    double start = fsm_clock_s();
    fast->add(fast, STREAM_ELEMS, x, y);
    return 1e-9 * 3 * sizeof(float) * STREAM_ELEMS / (fsm_clock_s() - start);
}

static double time_once(const operation *op, const fsm_ops *ops, const data *d, int repeats)
{
    double start = fsm_clock_s();
    for (int i = 0; i < repeats; i++) op->run(ops, d);
    return (fsm_clock_s() - start) / repeats;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static void measure(const operation *op, const data *d, float *stream)
{
    double times[ROUNDS], slow[ROUNDS], rate[ROUNDS];
    double work = op->flop ? op->flop(d->s) : (double)sizeof(float) * op->floats(d->s);
    double once = time_once(op, fast, d, 1);
    int repeats = once < LEAST_S ? (int)(LEAST_S / once) + 1 : 1, slow_rounds = work > REFERENCE_FLOP ? 0 : 3;
    for (int round = 0; round < ROUNDS; round++) {
        times[round] = time_once(op, fast, d, repeats);
        if (round < slow_rounds) slow[round] = time_once(op, &fsm_ops_reference, d, 1);
        rate[round] = op->flop ? fma_gflops() : stream_gbytes(stream, stream + STREAM_ELEMS);
    }
    double best = median(rate, ROUNDS), mid = median(times, ROUNDS), got = 1e-9 * work / mid;
    printf("%-32s %10.1f us +-%4.1f %% %8.1f %s %6.0f %%", op->name, 1e6 * mid,
           50 * (times[ROUNDS * 3 / 4] - times[ROUNDS / 4]) / mid, got, op->flop ? "GF/s" : "GB/s", 100 * got / best);
    if (slow_rounds > 0) printf(" %8.1f", median(slow, slow_rounds) / mid);
    printf("\n");
    fflush(stdout);
}

static float *fill(fsm_arena *arena, int64_t n)
{
    float *x = FSM_ARENA_ARRAY(arena, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = 0.01f + (float)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) >> 40) * 0x1p-24f;
    return x;
}

static data prepare(fsm_arena *arena, const shape *s)
{
    data d = {.s = s};
    int64_t widest = 2 * s->ffn > s->vocab ? 2 * s->ffn : s->vocab;
    for (int i = 0; i < BUFFERS; i++) d.a[i] = fill(arena, s->n * widest);
    d.row = FSM_ARENA_ARRAY(arena, int32_t, s->n);
    d.choice = FSM_ARENA_ARRAY(arena, int32_t, 2 * s->n);
    for (int64_t i = 0; i < s->n; i++) d.row[i] = (int32_t)(i * 37 % (s->n < s->vocab ? s->n : s->vocab));
    d.up = (fsm_weight){fill(arena, s->ffn * s->hidden), s->ffn, s->hidden, NULL};
    d.down = (fsm_weight){fill(arena, s->ffn * s->hidden), s->hidden, s->ffn, NULL};
    d.attention = (fsm_attention_shape){s->n / s->length, s->length, s->length, s->heads,  s->kv_heads, s->head_dim,
                                        s->hidden,        s->hidden, s->hidden, s->hidden, s->length,   .scale = 0.2f};
    if (!fast->attention_reserve(fast, &d.attention)) abort();
    return d;
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? atoi(argv[1]) : 1;
    if (fsm_cpu_ops_create(threads, FSM_CPU_FP32, &fast) != FSMOE_OK) return 1;
    fsm_arena arena;
    if (fsm_arena_create((size_t)2 << 30, &arena) != FSMOE_OK) return 1;
    float *stream = fill(&arena, 2 * STREAM_ELEMS);
    printf("%d thread(s); machine: %.1f GF/s, %.1f GB/s\n", threads, fma_gflops(),
           stream_gbytes(stream, stream + STREAM_ELEMS));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        data d = prepare(&arena, s);
        if (!fast->weight_create(fast, &d.up) || !fast->weight_create(fast, &d.down)) return 1;
        printf(
            "\n%s: n %ld, hidden %ld, ffn %ld, %ld heads of %ld, length %ld, weights %s\n%-32s %13s %9s %13s %8s %8s\n",
            s->name, (long)s->n, (long)s->hidden, (long)s->ffn, (long)s->heads, (long)s->head_dim, (long)s->length,
            d.up.pack ? "packed" : "plain", "operation", "median", "spread", "rate", "machine", "ref/cpu");
        for (size_t j = 0; j < sizeof operations / sizeof *operations; j++) measure(&operations[j], &d, stream);
        fast->weight_destroy(fast, &d.up);
        fast->weight_destroy(fast, &d.down);
    }
    fsm_arena_destroy(&arena);
    fsm_ops_destroy(fast);
    return 0;
}

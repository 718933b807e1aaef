#include "cpu/products.h"

#include "base/clock.h"
#include "cpu/gemm.h"
#include "cpu/instance.h"
#include "cpu/slots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const int64_t fsm_product_rows[FSM_PRODUCT_SIZES] = {16, 64, 256, 512};

enum { LEAST_TIMES = 2, MOST_TIMES = 9 };
static const double SECONDS_A_WAY = 2e-3; /* more repeats of small products, so long as this is not spent */

const char *fsm_product_way_name(fsm_product_way way)
{
    static const char *const names[FSM_PRODUCT_WAYS] = {"sgemm", "matmul", "packed"};
    return names[way];
}

/* ---- looking up ---- */

fsm_product_way fsm_products_way(const fsm_products *table, bool backward, int64_t rows, int64_t out, int64_t in)
{
    const fsm_product *found = NULL;
    for (int i = 0; i < table->count; i++) {
        const fsm_product *p = &table->items[i];
        if (p->out != out || p->in != in || p->backward != backward) continue;
        if (!found || p->rows <= rows) found = p;
    }
    return found ? found->chosen : FSM_PRODUCT_SGEMM;
}

unsigned fsm_products_ways(const fsm_products *table, int64_t out, int64_t in)
{
    unsigned ways = 0;
    for (int i = 0; i < table->count; i++)
        if (table->items[i].out == out && table->items[i].in == in) ways |= 1U << table->items[i].chosen;
    return ways;
}

fsmoe_status fsm_cpu_use_products(fsm_ops *ops, const fsm_products *table)
{
    fsm_cpu *cpu = (fsm_cpu *)ops;
    fsm_products *copy = NULL;
    if (table && !(copy = malloc(sizeof *copy)))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    if (table) *copy = *table;
    free(cpu->products);
    cpu->products = copy;
    return FSMOE_OK;
}

const fsm_products *fsm_cpu_products(const fsm_ops *ops)
{
    return fsm_cpu_of(ops)->products;
}

/* ---- measuring ---- */

/* What products of one weight need. */
typedef struct subject {
    const fsm_ops *ops;
    fsm_weight weight;
    float *w, *source, *result; /* [out, in], [most rows, wider of both] */
} subject;

/* Seconds of one product; INFINITY if that way does not do all rows. */
static double time_s(const subject *s, const fsm_product *p, fsm_product_way way)
{
    const int64_t from = p->backward ? p->out : p->in, to = p->backward ? p->in : p->out;
    double start = fsm_clock_s();
    if (way == FSM_PRODUCT_SGEMM)
        fsm_cpu_sgemm(s->ops, false, !p->backward, p->rows, to, from, 1, s->source, from, s->w, p->in, 0, s->result,
                      to);
    else if (fsm_cpu_multiply(s->ops, way, p->backward, p->rows, &s->weight, s->source, s->result) < p->rows)
        return INFINITY;
    return fsm_clock_s() - start;
}

/* The least time of each way, since what disturbs only adds. */
static void measure(const subject *s, fsm_product *p)
{
    double least[FSM_PRODUCT_WAYS], spent = 0;
    for (int way = 0; way < FSM_PRODUCT_WAYS; way++) least[way] = INFINITY;
    for (int i = 0; i < LEAST_TIMES + 1 || (i < MOST_TIMES && spent < FSM_PRODUCT_WAYS * SECONDS_A_WAY); i++) {
        for (int way = 0; way < FSM_PRODUCT_WAYS; way++) {
            double t = time_s(s, p, (fsm_product_way)way);
            if (i > 0 && t < least[way]) least[way] = t; /* the first warms up */
            if (isfinite(t)) spent += t;
        }
    }
    double work = 2e-9 * (double)p->rows * (double)p->out * (double)p->in;
    for (int way = 0; way < FSM_PRODUCT_WAYS; way++) {
        p->gflops[way] = isfinite(least[way]) ? work / fmax(least[way], 1e-9) : 0;
        if (p->gflops[way] > FSM_PRODUCTS_CLEARLY * p->gflops[p->chosen]) p->chosen = (fsm_product_way)way;
    }
}

float *fsm_products_numbers(int64_t n)
{
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; x && i < n; i++) x[i] = (float)(i % 1021) * 0x1p-10f - 0.5f;
    return x;
}

static void release(subject *s)
{
    fsm_cpu_weight_destroy(s->ops, &s->weight);
    free(s->w);
    free(s->source);
    free(s->result);
}

static bool prepare(const fsm_ops *ops, int64_t out, int64_t in, subject *s)
{
    const int64_t most = fsm_product_rows[FSM_PRODUCT_SIZES - 1] * (out > in ? out : in);
    *s = (subject){ops,
                   {NULL, out, in, NULL},
                   fsm_products_numbers(out * in),
                   fsm_products_numbers(most),
                   fsm_products_numbers(most)};
    s->weight.w = s->w;
    return s->w && s->source && s->result &&
           fsm_cpu_weight_create_ways(ops, &s->weight, 1U << FSM_PRODUCT_PLAIN | 1U << FSM_PRODUCT_PACKED);
}

/* Both directions of one weight, which is in the table from its smallest size on. */
static void measure_shape(const subject *s, double budget_s, fsm_products *table)
{
    double start = fsm_clock_s();
    for (int size = 0; size < FSM_PRODUCT_SIZES && fsm_clock_s() - start < budget_s; size++) {
        for (int backward = 0; backward < 2; backward++) {
            fsm_product *p = &table->items[table->count++];
            *p = (fsm_product){.rows = fsm_product_rows[size],
                               .out = s->weight.out,
                               .in = s->weight.in,
                               .backward = backward,
                               .chosen = FSM_PRODUCT_SGEMM};
            measure(s, p);
        }
    }
}

static bool is_new(const fsm_products *table, int64_t out, int64_t in)
{
    for (int i = 0; i < table->count; i++)
        if (table->items[i].out == out && table->items[i].in == in) return false;
    return out > 0 && in > 0 && table->count + 2 * FSM_PRODUCT_SIZES <= FSM_MOST_PRODUCTS;
}

fsmoe_status fsm_products_measure(const fsm_ops *ops, int count, const int64_t (*shapes)[2], double budget_s,
                                  fsm_products *table)
{
    *table = (fsm_products){.threads = fsm_cpu_of(ops)->threads};
    for (int i = 0; i < count; i++) {
        subject s;
        if (!is_new(table, shapes[i][0], shapes[i][1])) continue;
        bool ready = prepare(ops, shapes[i][0], shapes[i][1], &s);
        if (ready) measure_shape(&s, budget_s / count, table);
        release(&s);
        if (!ready) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure products");
    }
    return FSMOE_OK;
}

/* Which implementation of a product is fastest here: a table of measurements, and what was chosen by them.
 * In:  an instance of the CPU's operations, the shapes of its weights; a budget of time.
 * Out: a table, which is a value: printed as JSON and read back it is the same, so that a run may keep it. An instance
 *      that is given one computes by it, one that is not as it always did: results depend on the table, never on the
 * clock. Of products with a weight alone (linear_forward, linear_backward_input); gradients of weights are sgemm's.
 */
#ifndef FSM_CPU_PRODUCTS_H
#define FSM_CPU_PRODUCTS_H

#include "base/status.h"
#include "ops/ops.h"

typedef enum fsm_product_way {
    FSM_PRODUCT_SGEMM,  /* any rows; the others take pieces of 256, 64 and 16, and what is left is sgemm's */
    FSM_PRODUCT_PLAIN,  /* oneDNN's matmul of the weight as it is */
    FSM_PRODUCT_PACKED, /* oneDNN's matmul of a copy, made once a step */
    FSM_PRODUCT_WAYS,
} fsm_product_way;

enum { FSM_MOST_PRODUCTS = 128, FSM_PRODUCT_SIZES = 4 };

/* Rows that are measured; a product of others goes the way of the next smaller, or of the smallest. */
extern const int64_t fsm_product_rows[FSM_PRODUCT_SIZES];

typedef struct fsm_product {
    int64_t rows, out, in;           /* of a weight [out, in] */
    bool backward;                   /* the gradient of the input */
    double gflops[FSM_PRODUCT_WAYS]; /* 0: that way is not there */
    fsm_product_way chosen;
} fsm_product;

/* Products of a layer's experts, which are one call: one after the other on all threads, or side by side on a thread
 * each. */
typedef struct fsm_expert_products {
    int64_t count, rows, out, in; /* experts, rows of each, of a weight [out, in]; count 0: not measured */
    double gflops[2];             /* in turn, side by side: forward and both gradients; 0: there was no choice */
    bool side_by_side;
} fsm_expert_products;

typedef struct fsm_products {
    int threads; /* that it was measured with */
    fsm_expert_products experts;
    int count;
    fsm_product items[FSM_MOST_PRODUCTS]; /* rows rise within a shape and direction */
} fsm_products;

/* "sgemm", "matmul", "packed" */
const char *fsm_product_way_name(fsm_product_way way);

/* A way that takes memory or is new must be so many times as fast. */
#define FSM_PRODUCTS_CLEARLY 1.08

/* Measures every shape [out, in], forward and backward, all ways in turns. Another way than sgemm is chosen only if it
 * is faster by more than measurements scatter. A shape that comes twice, or has no room, is left out; so are the larger
 * sizes of a shape when its share of the budget is spent. ERROR_MEMORY. */
fsmoe_status fsm_products_measure(const fsm_ops *ops, int count, const int64_t (*shapes)[2], double budget_s,
                                  fsm_products *table);

/* Operands of what is measured, n numbers of no meaning. The caller frees them; NULL: out of memory. */
float *fsm_products_numbers(int64_t n);

/* Measures table->experts, whose sizes are given, both ways in turns, of no more experts and rows than are needed (some
 * 0.3 s); with fewer experts than threads there is nothing to choose, and none so large that it would be a burden is
 * tried. No rows: there are none. The instance computes by no table afterwards. ERROR_MEMORY. */
fsmoe_status fsm_products_measure_experts(fsm_ops *ops, fsm_products *table);

/* The instance computes by a copy of the table from now on; NULL: by none. Before weights are packed. Canonical tables
 * have one way alone and take no notice. ERROR_MEMORY. */
fsmoe_status fsm_cpu_use_products(fsm_ops *ops, const fsm_products *table);

/* The table that the instance computes by; NULL: none. Its own. */
const fsm_products *fsm_cpu_products(const fsm_ops *ops);

/* sgemm for shapes that the table does not have. */
fsm_product_way fsm_products_way(const fsm_products *table, bool backward, int64_t rows, int64_t out, int64_t in);

/* Bits 1 << way of all ways that are chosen for some rows of this weight. */
unsigned fsm_products_ways(const fsm_products *table, int64_t out, int64_t in);

/* The caller frees *text. ERROR_MEMORY. */
fsmoe_status fsm_products_text(const fsm_products *table, char **text);

/* `source` names the text in messages. ERROR_FORMAT: it is none of fsm_products_text's; ERROR_MEMORY. */
fsmoe_status fsm_products_parse(const char *text, const char *source, fsm_products *table);

#endif

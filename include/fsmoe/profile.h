/* What operations cost on these ranks: the cluster file that plans and simulations are made with.
 * In:  a configuration, the ranks of the job; sizes and a budget of time.
 * Out: a cluster file: a line alpha + n beta for GEMM and the four collectives, each in the group and on the link that
 *      the layout gives it, and for every other task of the model's step; how many times as long each takes in a step
 *      whose streams overlap.
 */
#ifndef FSMOE_PROFILE_H
#define FSMOE_PROFILE_H

#include <fsmoe/config.h>
#include <fsmoe/world.h>

typedef struct fsmoe_profile_options {
    int64_t min_elems, max_elems;                         /* sizes of collectives, float32 elements; 0: 2^14, 2^24 */
    int points;                                           /* sizes of an operation; 0: 11 */
    int repeats;                                          /* of a size, the median counts; 0: 10 */
    double budget_s;                                      /* seconds for all measurements; 0: 60 */
    const char *name;                                     /* of the cluster; NULL: the host's */
    void (*on_message)(void *user, const char *sentence); /* what a person should know */
    void (*on_progress)(void *user, double fraction, const char *what);
    void *user;
} fsmoe_profile_options;

/* One operation. A second line holds for sizes from large_from on when that is not 0. */
typedef struct fsmoe_profile_op {
    const char *name, *group, *link; /* static; group and link "" for GEMM */
    int ranks;                       /* of the group */
    double alpha_s[2], beta_s[2];    /* seconds; seconds an element or multiply-add */
    double large_from;
    double largest;        /* the largest size measured; 0: a group of one rank, which costs nothing */
    double rate;           /* there: bytes of float32 a second, or floating-point operations a second */
    double r2;             /* NaN: not measured */
    double worst_residual; /* greatest |line - time| / time of a size */
} fsmoe_profile_op;

/* One task of the step: its largest size, how often a step has the task, whatever its sizes. */
typedef struct fsmoe_profile_task {
    char name[64];
    int tasks;
    double size, time_s; /* alone */
    double overlap;      /* times as long while other streams work; 0: not measured */
} fsmoe_profile_task;

enum { FSMOE_PROFILE_OPS = 5, FSMOE_PROFILE_MOST_TASKS = 128 };

typedef struct fsmoe_profile_result {
    char name[64], machine[192];
    fsmoe_profile_op ops[FSMOE_PROFILE_OPS];
    fsmoe_profile_task tasks[FSMOE_PROFILE_MOST_TASKS];
    int task_count;
} fsmoe_profile_result;

/* Measures, and on rank 0 writes the cluster file, replaced in one step. Collective over world; every rank returns the
 * same status unless it is ERROR_COMM (see fsmoe_train). The configuration is completed in place; its schedule becomes
 * dsmoe, which overlaps nothing, and its step one micro-batch. Data files are not read. Callbacks are called on rank 0
 * alone; *result may be NULL.
 * ERROR_CONFIG, ERROR_LAYOUT, ERROR_IO, ERROR_NUMERIC, ERROR_MEMORY, ERROR_COMM. */
FSMOE_API fsmoe_status fsmoe_profile(fsmoe_world *world, fsmoe_config *config, const fsmoe_profile_options *options,
                                     const char *path, fsmoe_profile_result *result);

/* Products with weights: GF/s of each implementation that this build has for so many rows of a weight [out, in], 0
 * where there is none, and which of them would be chosen. */
enum { FSMOE_PRODUCT_WAYS = 3, FSMOE_PRODUCTS_MOST = 128 };

typedef struct fsmoe_product {
    int64_t rows, out, in;
    bool backward; /* the gradient of the input */
    double gflops[FSMOE_PRODUCT_WAYS];
    int chosen; /* an index of gflops */
} fsmoe_product;

/* Products of a layer's experts, which are one call: one after the other on all threads, or side by side on a thread
 * each. */
typedef struct fsmoe_expert_products {
    int64_t count, rows, out, in; /* experts, rows of each, of a weight [out, in] */
    double gflops[2];             /* in turn, side by side: forward and both gradients; 0: there is no choice */
    bool side_by_side;            /* would be chosen */
} fsmoe_expert_products;

typedef struct fsmoe_products {
    int threads; /* of a rank, that it was measured with */
    fsmoe_expert_products experts;
    int count;
    fsmoe_product items[FSMOE_PRODUCTS_MOST];
} fsmoe_products;

/* What an implementation is called; its index as in gflops. */
FSMOE_API const char *fsmoe_product_way(int index);

/* Measures the products of the configuration's weights (experts, attention, head) in about budget_s seconds (0: half a
 * second), on all ranks at once, each with the threads that it would train with; all get rank 0's figures. Collective;
 * the configuration is completed in place. Nothing is chosen for anybody yet. ERROR_CONFIG, ERROR_MEMORY,
 * ERROR_COMM. */
FSMOE_API fsmoe_status fsmoe_profile_products(fsmoe_world *world, fsmoe_config *config, double budget_s,
                                              fsmoe_products *products);

#endif

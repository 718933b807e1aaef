/* The operations of a rank: those that compute, and those of whoever moves communication meanwhile, on the same device.
 * Nothing else in this folder makes operations.
 * In:  threads; what kind of operations; whether what they do is counted; a table of products. FSMOE_DEVICE in the
 *      environment: `apart` puts tensors where nothing but operations, copies and communication reaches them, for
 *      tests.
 * Out: two instances.
 */
#ifndef FSM_TRAIN_BACKEND_H
#define FSM_TRAIN_BACKEND_H

#include "comm/comm.h"
#include "cpu/cpu.h"
#include "cpu/products.h"
#include "device/device.h"
#include "ops/ops.h"

typedef struct fsm_backend_options {
    int threads;
    fsm_cpu_kind kind;
    bool metered;                 /* ops counts what it does (ops/meter.h), once it is turned on */
    const fsm_products *products; /* that ops computes by (cpu/products.h), copied; NULL: none */
} fsm_backend_options;

typedef struct fsm_backend {
    fsm_device *device; /* NULL: this machine's memory */
    fsm_ops *ops;       /* of all the rank's compute threads */
    fsm_ops *link_ops;  /* of one thread */
    const fsm_ops *cpu; /* what ops is made around */
} fsm_backend;

/* ERROR_MEMORY; ERROR_CONFIG: there is no such device. Destroy in any case. */
fsmoe_status fsm_backend_create(const fsm_backend_options *options, fsm_backend *backend);
void fsm_backend_destroy(fsm_backend *backend);

/* Operations that compute nothing, but say how much memory they would take; of `options` without `metered`.
 * fsm_ops_destroy them. ERROR_MEMORY. */
fsmoe_status fsm_backend_create_to_measure(const fsm_backend_options *options, fsm_ops **ops);

/* What products with weights of these shapes reach on so many threads, and those of so many experts together:
 * fsm_products_measure, fsm_products_measure_experts. ERROR_MEMORY. */
fsmoe_status fsm_backend_measure_products(int threads, int count, const int64_t (*shapes)[2],
                                          const fsm_expert_products *experts, double budget_s, fsm_products *table);

/* fsm_cpu_compare_rows: rows of fp32 and of bf16. */
fsmoe_status fsm_backend_compare_rows(int threads, int64_t out, int64_t in, double gflops[2]);

/* Whether rows of bf16 are multiplied as they are; elsewhere they are computed in fp32. */
bool fsm_backend_multiplies_bf16(void);

/* The table that operations of the backend compute by; NULL: none. Its own. */
const fsm_products *fsm_backend_products(const fsm_backend *backend);

/* Communication of this group touches tensors of the backend's device. */
void fsm_backend_serve(const fsm_backend *backend, fsm_comm *comm);

#endif

/* The operations of a rank: those that compute, and those of whoever moves communication meanwhile, on the same device.
 * In:  threads; what kind of operations; whether what they do is counted; a table of products. FSMOE_DEVICE in the environment:
 *      `apart` puts tensors where nothing but operations, copies and communication reaches them, for tests.
 * Out: two instances.
 */
#ifndef FSM_TRAIN_BACKEND_H
#define FSM_TRAIN_BACKEND_H

#include "comm/comm.h"
#include "cpu/cpu.h"
#include "device/device.h"
#include "ops/ops.h"

typedef struct fsm_backend_options {
    int threads;
    fsm_cpu_kind kind;
    bool metered;                        /* ops counts what it does (ops/meter.h), once it is turned on */
    const struct fsm_products *products; /* that ops computes by (cpu/products.h), copied; NULL: none */
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

/* Communication of this group touches tensors of the backend's device. */
void fsm_backend_serve(const fsm_backend *backend, fsm_comm *comm);

#endif

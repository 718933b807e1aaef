/* One product by oneDNN's matmul: of fixed shapes and layouts; where its operands are is said at each run.
 * In:  layouts of source [m, k], weights [k, n] and result [m, n]; whether the result is added to.
 * Out: a product that runs on the calling thread's OpenMP threads, with scratch of its own; or none, where the library
 *      has none for these.
 */
#ifndef FSM_CPU_MATMUL_ONEDNN_H
#define FSM_CPU_MATMUL_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdint.h>

#define DNNL_TRY(call)                               \
    do {                                             \
        dnnl_status_t status_ = (call);              \
        if (status_ != dnnl_success) return status_; \
    } while (0)

typedef struct fsm_matmul_layout {
    dnnl_memory_desc_t source, weights, result;
    bool accumulate;
} fsm_matmul_layout;

typedef struct fsm_matmul {
    dnnl_primitive_t run;                           /* NULL: there is none */
    dnnl_memory_t source, weights, result, scratch; /* weights: for callers who have none of their own */
} fsm_matmul;

/* A matrix [rows, columns], dense: dnnl_ab by rows, dnnl_ba by columns, or as the library likes best. */
dnnl_status_t fsm_matmul_describe(int64_t rows, int64_t columns, dnnl_data_type_t type, dnnl_format_tag_t tag,
                                  dnnl_memory_desc_t *matrix);

/* The layout of weights that the library picks, where layout->weights leaves it open. dnnl_unimplemented: there is no
 * such product. */
dnnl_status_t fsm_matmul_prefer(dnnl_engine_t engine, const fsm_matmul_layout *layout, dnnl_memory_desc_t *weights);

/* dnnl_success also where there is no such product. Destroy it in any case. */
dnnl_status_t fsm_matmul_create(dnnl_engine_t engine, const fsm_matmul_layout *layout, fsm_matmul *matmul);
void fsm_matmul_destroy(fsm_matmul *matmul);

/* weights: a memory object, since telling one where blocked weights are may clear their padding anew. To wait for:
 * dnnl_stream_wait. */
dnnl_status_t fsm_matmul_run(const fsm_matmul *matmul, dnnl_stream_t stream, const void *source, dnnl_memory_t weights,
                             void *result);

#endif

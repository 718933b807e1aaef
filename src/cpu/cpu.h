/* The fast operations of the CPU: oneDNN (or a CBLAS) for products, vectorised loops and OpenMP for the rest.
 * In:  the number of threads that operations run on, whatever their caller has told OpenMP; its settings stay as they
 *      are.
 * Out: an instance. For a fixed number of threads results are the same bits every run.
 */
#ifndef FSM_CPU_CPU_H
#define FSM_CPU_CPU_H

#include "base/status.h"
#include "ops/ops.h"

/* Leaf of a sum over tokens in the canonical table: ranks must hold whole multiples of it. */
enum { FSM_CANONICAL_TOKENS = 256 };

/* FP32: rows are floats. CANONICAL: so, and sums in one fixed order, whatever the layout of ranks and the number of
 * threads; see canonical.c for what that asks of shapes. Some 10 to 30 % slower. BF16: rows are bf16 (bf16.h). */
typedef enum fsm_cpu_kind { FSM_CPU_FP32, FSM_CPU_CANONICAL, FSM_CPU_BF16 } fsm_cpu_kind;

/* Of an instance of BF16, in which rows are widened; pages that no operation needs are never touched. */
enum { FSM_CPU_BF16_WORK_BYTES = 24 << 20 };

/* threads >= 1, of which an operation uses as many as pay. ERROR_MEMORY. fsm_ops_destroy it. */
fsmoe_status fsm_cpu_ops_create(int threads, fsm_cpu_kind kind, fsm_ops **ops);

/* What an expert's product and its gradients reach with rows of fp32 and of bf16, with a weight [out, in]; 0 and 0
 * where the processor has no arithmetic of bf16, so that there is nothing to compare. Takes under a second.
 * ERROR_MEMORY. */
fsmoe_status fsm_cpu_compare_rows(int threads, int64_t out, int64_t in, double gflops[2]);

#endif

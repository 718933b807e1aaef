/* The fast operations of the CPU: oneDNN (or a CBLAS) for products, vectorised loops and OpenMP for the rest.
 * In:  nothing; the number of threads is the caller's omp_get_max_threads() at each call.
 * Out: a table for the whole life of the program. For a fixed number of threads results are the same bits every run.
 * attention_work_bytes counts the threads of its caller: ask with as many as the operation will run with.
 */
#ifndef FSM_CPU_CPU_H
#define FSM_CPU_CPU_H

#include "ops/ops.h"

const fsm_ops *fsm_cpu_ops(void);

/* Leaf of a sum over tokens in the canonical table: ranks must hold whole multiples of it. */
enum { FSM_CANONICAL_TOKENS = 256 };

/* The same operations with sums in one fixed order, whatever the layout of ranks and the number of threads; see
 * canonical.c for what that asks of shapes. Some 10 to 30 % slower. */
const fsm_ops *fsm_cpu_canonical_ops(void);

#endif

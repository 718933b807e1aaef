/* What this rank's part of the machine can do at its best, while all ranks are at it: the scale that a step is held
 * against.
 * In:  a table of operations, the ranks. Out: FLOPs a second of a large product, bytes a second of y += x on arrays
 *      that no
 * cache holds (two are read, one is written).
 */
#ifndef FSM_TRAIN_PEAK_H
#define FSM_TRAIN_PEAK_H

#include "comm/comm.h"
#include "ops/ops.h"

/* What either takes at the most while it measures, of this machine's memory; bandwidth: both. */
int64_t fsm_peak_bytes(int threads, bool bandwidth);

/* Square products, larger until one takes 2 ms or they are as large as `threads` want them; the fastest, until none was
 * faster for 0.1 s, for 0.4 s at most; of that a rank's share where a machine's ranks have more threads than it has
 * cores. Collective: ranks begin together and agree. ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_peak_products(const fsm_ops *ops, int threads, fsm_comm *world, double *flops_per_s);

/* The fastest piece of the arrays, which are gone through twice at least, for 0.2 s at most. Likewise. */
fsmoe_status fsm_peak_bandwidth(const fsm_ops *ops, int threads, fsm_comm *world, double *bytes_per_s);

#endif

/* What a rank's memory holds in a step, by lanes.
 * In:  configuration, topology, samples of a micro-batch. Out: bytes; which layouts of lanes may be.
 * Parts of one micro-batch hold together what it held whole; micro-batches side by side each hold as much.
 */
#ifndef FSM_PLAN_STEP_MEMORY_H
#define FSM_PLAN_STEP_MEMORY_H

#include "plan/builder.h"

/* Fills shape->memory; not where no machine could hold a step. ERROR_MEMORY, ERROR_CONFIG. */
fsmoe_status fsm_step_describe_memory(const fsmoe_config *config, const fsm_topo *topo, int64_t max_samples,
                                      fsm_step_shape *shape);

/* Bytes of a rank with these lanes; 0 where the shape does not know. */
int64_t fsm_step_bytes(const fsm_step_shape *shape, fsm_lanes lanes);

/* Whether lanes are within what was asked for; true where nothing was. */
bool fsm_step_allows(const fsm_step_shape *shape, fsm_lanes lanes);

/* ERROR_CONFIG: not even one lane is, or so many (0: any) cannot be; the reason is said, memory with both numbers. */
fsmoe_status fsm_step_check_lanes(const fsm_step_shape *shape, int lanes);

/* Whether a graph's lanes fit into memory.most. */
bool fsm_step_fits(const fsm_step_shape *shape, const fsm_graph *graph);

/* The most `spare` with which so many lanes and parts fit into memory.most, at most FSM_MOST_SPARE; -1: they do not.
 * One micro-batch at a time, with no spare, always does where nothing was asked for. */
enum { FSM_MOST_SPARE = 4 };
int fsm_step_most_spare(const fsm_step_shape *shape, int lanes, int parts);

#endif

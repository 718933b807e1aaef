/* What all ranks must have in common, or they would wait for one another for ever, or add what does not belong
 * together: the keys of their configurations, and the graphs that they run.
 * In:  what this rank has. Out: OK on all ranks; or, on all of them, an error that names the ranks with something else
 *      than most, by the launcher's numbers. Each rank reads its configuration from files of its own machine, with a
 *      program of its own, and plans for itself.
 */
#ifndef FSM_TRAIN_SAME_H
#define FSM_TRAIN_SAME_H

#include "comm/comm.h"
#include "plan/graph.h"

#include <fsmoe/config.h>

/* Every key but threads, the run's section, and places of files. Collective. ERROR_CONFIG names the first key that
 * differs, ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_same_config(fsm_comm *world, const fsmoe_config *config);

/* `mine`: how making the graph ended here; where that failed, ranks agree on it first. Likewise. */
fsmoe_status fsm_same_graph(fsm_comm *world, fsmoe_status mine, const fsm_graph *graph);

#endif

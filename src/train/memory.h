/* What training will take of a rank's memory, whether a machine has it, and what it took.
 * In:  a derived configuration, where the rank stands, the lanes of its steps. Out: bytes by kind; a refusal; peaks.
 * Where choices decide how many rows there are, what is expected and what would be the worst are told apart.
 */
#ifndef FSM_TRAIN_MEMORY_H
#define FSM_TRAIN_MEMORY_H

#include "comm/comm.h"
#include "plan/builder.h"
#include "topo/topo.h"

#include <fsmoe/memory.h>

/* What was predicted of the largest rank, and the peaks of rank 0 and of the rank with the greatest, once they are known; 0:
 * not yet. Pages of files are in neither. */
typedef struct fsm_memory_record {
    fsmoe_memory predicted;
    double peak_bytes, largest_peak_bytes;
} fsm_memory_record;

/* Of the rank at `topo`, without `process`. ERROR_CONFIG, ERROR_MEMORY. */
fsmoe_status fsm_memory_predict(const fsmoe_config *config, const fsm_topo *topo, int threads, fsm_lanes lanes,
                                fsmoe_memory *memory);

/* Before anything is allocated: predicts a step in one lane, `process` included, as all ranks' of this machine.
 * ERROR_MEMORY, unless `force`: they will not fit, with the figures by kind. warning: else a sentence where they will hardly, or
 * only as long as routing is as even as expected; or "". Collective. */
enum { FSM_MEMORY_SENTENCE_BYTES = 1024 };
fsmoe_status fsm_memory_check(const fsmoe_config *config, fsm_comm *world, bool force, fsmoe_memory *predicted,
                              char warning[FSM_MEMORY_SENTENCE_BYTES]);

/* The peaks until now. Collective. ERROR_COMM. */
fsmoe_status fsm_memory_measure_peaks(fsm_comm *world, fsm_memory_record *record);

#endif

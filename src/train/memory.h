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

/* What was predicted of the largest rank, and the peaks of rank 0 and of the rank with the greatest, once they are
 * known; 0: not yet. Pages of files are in neither. */
typedef struct fsm_memory_record {
    fsmoe_memory predicted;
    double peak_bytes, largest_peak_bytes;
} fsm_memory_record;

/* What of a run decides how much it takes, beside its configuration. */
typedef struct fsm_memory_options {
    int threads;
    fsm_lanes lanes; /* zeros: one */
    const struct fsm_products
        *products;  /* NULL: none, or not measured yet, and then the most that they may take counts */
    bool breakdown; /* the machine's bandwidth is measured, too */
} fsm_memory_options;

/* Of the rank at `topo`, without `process`. ERROR_CONFIG, ERROR_MEMORY. */
fsmoe_status fsm_memory_predict(const fsmoe_config *config, const fsm_topo *topo, const fsm_memory_options *how,
                                fsmoe_memory *memory);

/* Rank 0, which gathers what is saved and writes the sample, and any other. */
typedef struct fsm_memory_ranks {
    fsmoe_memory first, other;
} fsm_memory_ranks;

/* ERROR_MEMORY, too, where no machine could hold a step. */
fsmoe_status fsm_memory_predict_ranks(const fsmoe_config *config, const fsm_topo *topo, const fsm_memory_options *how,
                                      fsm_memory_ranks *memory);

/* Bytes of so many ranks, rank 0 being one of them or not. */
double fsm_memory_of_ranks(const fsm_memory_ranks *memory, int ranks, bool has_first);

/* Predicts rank 0's memory, and holds that of all ranks of this machine against what it has beside what they hold
 * already; threads are found. predicted->process is kept where it is not 0, and is else what the process holds now and
 * will add. ERROR_MEMORY, unless `force`: they will not fit, with the figures by kind. warning: else a sentence where
 * they will hardly, or only as long as routing is as even as expected; or "". Collective. */
enum { FSM_MEMORY_SENTENCE_BYTES = 1024 };
fsmoe_status fsm_memory_check(const fsmoe_config *config, fsm_comm *world, const fsm_memory_options *options,
                              bool force, fsmoe_memory *predicted, char warning[FSM_MEMORY_SENTENCE_BYTES]);

/* The peaks until now. Collective. ERROR_COMM. */
fsmoe_status fsm_memory_measure_peaks(fsm_comm *world, fsm_memory_record *record);

#endif

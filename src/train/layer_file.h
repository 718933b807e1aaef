/* One MoE layer from file to file: what its halves share. layer_file.c reads and runs, layer_results.c writes.
 * In:  <fsmoe/layer.h>'s options. Out: a file of tensors.
 */
#ifndef FSM_TRAIN_LAYER_FILE_H
#define FSM_TRAIN_LAYER_FILE_H

#include "model/safetensors.h"
#include "train/layer.h"

#include <fsmoe/layer.h>

typedef struct fsm_layer_job {
    const fsmoe_layer_options *options;
    fsm_comm *world;
    fsmoe_config *config;
    fsm_safetensors *file;
    int64_t samples, seq_len; /* B, L */
    fsm_layer_run run;
} fsm_layer_job;

/* What the step has left, of all ranks, into options.out, on rank 0. Collective. ERROR_NUMERIC: not finite; ERROR_IO,
 * ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_layer_write_results(const fsm_layer_job *job);

#endif

/* A model's tensors to and from safetensors files, whatever the layout: files hold whole tensors, ranks hold shards.
 * In:  an array laid out by the table of parameters (values, or an optimizer's moments).
 * Out: one file written by rank 0, or each rank's shards read from it. Every rank must see the same file system.
 */
#ifndef FSM_MODEL_MODEL_IO_H
#define FSM_MODEL_MODEL_IO_H

#include "comm/comm.h"
#include "model/file_tensors.h"

/* Gathers tensor after tensor to rank 0, world->piece_bytes at a time, which writes `path` and fsyncs it, so that rank
 * 0 needs room for two pieces, never for a tensor. *hash: XXH3-64 of the file (rank 0).
 * Collective over world; every rank returns the same status. */
fsmoe_status fsm_model_write(const fsm_params *params, const fsm_topo *topo, fsm_comm *world,
                             const fsm_named_array *arrays, int n_arrays, const char *path, uint64_t *hash);

/* Reads this rank's shards. ERROR_FORMAT names a tensor that is missing, ill-shaped or not the model's; ERROR_NUMERIC
 * one of this rank's with a value that is not finite, and where. Not collective. */
fsmoe_status fsm_model_read(const fsm_params *params, const fsmoe_config *config, const fsm_named_array *arrays,
                            int n_arrays, const char *path);

#endif

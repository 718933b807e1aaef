/* One .safetensors file: mapped, its header parsed and checked (a part of model/safetensors.h).
 * In:  a path.
 * Out: a shard, and its tensors appended to a growing list.
 */
#ifndef FSM_MODEL_SAFETENSORS_HEADER_H
#define FSM_MODEL_SAFETENSORS_HEADER_H

#include "base/file.h"
#include "model/safetensors.h"

#include <jansson.h>

typedef struct fsm_safetensors_shard {
    char *path;
    fsm_file_map map;
    json_t *header; /* owns the names of the tensors */
} fsm_safetensors_shard;

typedef struct fsm_tensor_list {
    fsm_tensor_info *items;
    size_t count;
} fsm_tensor_list;

/* Opens `path` and appends its tensors to the list. Close the shard in any case; it must outlive the list's use.
 * Errors as fsm_safetensors_open. */
fsmoe_status fsm_safetensors_shard_open(const char *path, fsm_safetensors_shard *shard, fsm_tensor_list *tensors);
void fsm_safetensors_shard_close(fsm_safetensors_shard *shard);

#endif

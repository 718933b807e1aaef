/* Which tensors the files of a model have: their names and shapes, and whether a file has just these.
 * In:  the table of parameters; arrays by what their tensors' names begin with.
 * Out: the list of a file's tensors, every expert's; or the first tensor of a file that is not as it should be.
 */
#ifndef FSM_MODEL_FILE_TENSORS_H
#define FSM_MODEL_FILE_TENSORS_H

#include "model/params.h"
#include "model/safetensors.h"

/* An array and what its tensors' names begin with in the file ("" for the values themselves). */
typedef struct fsm_named_array {
    const char *prefix;
    fsm_real *elems;    /* [params.elems]; not needed where only names and shapes are */
    const fsm_ops *ops; /* that read and write them */
} fsm_named_array;

/* One tensor of a file: which parameter, which expert of all, in which array. */
typedef struct fsm_file_tensor {
    const fsm_param *param;
    int64_t expert;
    const fsm_named_array *array;
    char name[192];
} fsm_file_tensor;

typedef struct fsm_file_tensors {
    fsm_file_tensor *items;
    size_t count;
} fsm_file_tensors;

/* In the order in which they are written: array after array, parameter after parameter, expert after expert. `ep`: over
 * how many ranks experts are shared out; ERROR_MEMORY. */
fsmoe_status fsm_file_tensors_list(const fsm_params *params, int ep, const fsm_named_array *arrays, int n_arrays,
                                   fsm_file_tensors *list);
void fsm_file_tensors_destroy(fsm_file_tensors *list);

/* shape[param->spec.rank] of one expert's tensor, or of the only one. */
void fsm_param_shape(const fsm_param *param, int64_t shape[2]);

/* Every tensor of the file is in the list, but for a head that some tools write where it is the embedding. Sorts the
 * list by name. ERROR_FORMAT names the file and the tensor. */
fsmoe_status fsm_file_tensors_check_no_other(const fsm_safetensors *file, const fsmoe_config *config,
                                             fsm_file_tensors *list, const char *path);

/* Whether the file or folder at `path` has the tensors of the configuration (derived and checked) and no others, all
 * experts' and whatever the layout, each of its shape and of a type that can be read. Reads headers only, and needs
 * memory for no more tensors than the file has. ERROR_FORMAT names a tensor, its shape, the shape wanted and the
 * numbers of config.json that it comes from; ERROR_UNSUPPORTED; ERROR_IO; ERROR_MEMORY. Not collective. */
fsmoe_status fsm_file_tensors_check(const fsmoe_config *config, const fsm_named_array *arrays, int n_arrays,
                                    const char *path);

#endif

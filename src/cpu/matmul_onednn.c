#include "cpu/matmul_onednn.h"

dnnl_status_t fsm_matmul_describe(int64_t rows, int64_t columns, dnnl_data_type_t type, dnnl_format_tag_t tag,
                                  dnnl_memory_desc_t *matrix)
{
    dnnl_dims_t dims = {rows, columns};
    return dnnl_memory_desc_init_by_tag(matrix, 2, dims, type, tag);
}

static dnnl_status_t set_attributes(bool accumulate, dnnl_primitive_attr_t attributes)
{
    dnnl_post_ops_t then;
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
    if (!accumulate) return dnnl_success;
    DNNL_TRY(dnnl_post_ops_create(&then));
    dnnl_status_t status = dnnl_post_ops_append_sum(then, 1);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, then);
    dnnl_post_ops_destroy(then);
    return status;
}

static dnnl_status_t find(dnnl_engine_t engine, const fsm_matmul_layout *l, dnnl_primitive_desc_t *found)
{
    dnnl_matmul_desc_t operation;
    dnnl_primitive_attr_t attributes;
    DNNL_TRY(dnnl_matmul_desc_init(&operation, &l->source, &l->weights, NULL, &l->result));
    DNNL_TRY(dnnl_primitive_attr_create(&attributes));
    dnnl_status_t status = set_attributes(l->accumulate, attributes);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(found, &operation, attributes, engine, NULL);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

dnnl_status_t fsm_matmul_prefer(dnnl_engine_t engine, const fsm_matmul_layout *layout, dnnl_memory_desc_t *weights)
{
    dnnl_primitive_desc_t found;
    DNNL_TRY(find(engine, layout, &found));
    *weights = *dnnl_primitive_desc_query_md(found, dnnl_query_weights_md, 0);
    return dnnl_primitive_desc_destroy(found);
}

static dnnl_status_t create_memory(dnnl_engine_t engine, const_dnnl_primitive_desc_t of, dnnl_query_t what, void *at,
                                   dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, dnnl_primitive_desc_query_md(of, what, 0), engine, at);
}

dnnl_status_t fsm_matmul_create(dnnl_engine_t engine, const fsm_matmul_layout *layout, fsm_matmul *matmul)
{
    dnnl_primitive_desc_t found;
    *matmul = (fsm_matmul){0};
    dnnl_status_t status = find(engine, layout, &found);
    if (status == dnnl_unimplemented) return dnnl_success;
    DNNL_TRY(status);
    status = create_memory(engine, found, dnnl_query_src_md, DNNL_MEMORY_NONE, &matmul->source);
    if (status == dnnl_success)
        status = create_memory(engine, found, dnnl_query_weights_md, DNNL_MEMORY_NONE, &matmul->weights);
    if (status == dnnl_success)
        status = create_memory(engine, found, dnnl_query_dst_md, DNNL_MEMORY_NONE, &matmul->result);
    if (status == dnnl_success)
        status = create_memory(engine, found, dnnl_query_scratchpad_md, DNNL_MEMORY_ALLOCATE, &matmul->scratch);
    if (status == dnnl_success) status = dnnl_primitive_create(&matmul->run, found);
    dnnl_primitive_desc_destroy(found);
    return status;
}

void fsm_matmul_destroy(fsm_matmul *matmul)
{
    dnnl_primitive_destroy(matmul->run);
    dnnl_memory_destroy(matmul->scratch);
    dnnl_memory_destroy(matmul->result);
    dnnl_memory_destroy(matmul->weights);
    dnnl_memory_destroy(matmul->source);
    *matmul = (fsm_matmul){0};
}

dnnl_status_t fsm_matmul_run(const fsm_matmul *matmul, dnnl_stream_t stream, const void *source, dnnl_memory_t weights,
                             void *result)
{
    DNNL_TRY(dnnl_memory_set_data_handle(matmul->source, (void *)source));
    DNNL_TRY(dnnl_memory_set_data_handle(matmul->result, result));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, matmul->source},
                                         {DNNL_ARG_WEIGHTS, weights},
                                         {DNNL_ARG_DST, matmul->result},
                                         {DNNL_ARG_SCRATCHPAD, matmul->scratch}};
    return dnnl_primitive_execute(matmul->run, stream, 4, arguments);
}

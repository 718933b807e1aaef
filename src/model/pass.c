#include "model/model_parts.h"

#include <string.h>

/* This rank's share of the group's tokens, and everybody's. */
static void split_tokens(fsm_pass *pass)
{
    const fsm_topo *topo = &pass->model->topo;
    for (int i = 0; i < topo->mp; i++) {
        int64_t first, last;
        fsm_topo_split(pass->n_group, fsm_token_unit(pass->model->config), topo->mp, i, &first, &last);
        pass->group_elems[i] = (last - first) * fsm_pass_hidden(pass);
        if (i != topo->mp_index) continue;
        pass->local_first = first;
        pass->n_local = last - first;
    }
}

void fsm_pass_begin(fsm_pass *pass, const fsm_batch *batch, bool training)
{
    fsm_model *m = pass->model;
    pass->batch = *batch;
    pass->training = training;
    pass->n_group = batch->samples * batch->seq_len;
    split_tokens(pass);
    for (int64_t i = 0; i < pass->n_group; i++) pass->position[i] = (int32_t)(m->past + i % batch->seq_len);
    memset(m->sums, 0, sizeof(double) * (size_t)m->sum_count);
}

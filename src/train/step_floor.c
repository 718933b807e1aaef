#include "train/step_floor.h"

#include "base/clock.h"

/* Experts of the layer that the latest pass gave a row. */
static int64_t chosen_experts(const fsm_model *model, int layer)
{
    const fsm_moe_pass *moe = &model->passes[0].layers[layer].moe;
    int64_t chosen = 0;
    for (int64_t e = 0; e < model->config->moe.num_experts; e++) chosen += moe->route.rows[e] > 0;
    return chosen;
}

/* Tied embeddings are the head, too. */
static bool is_read_whole(const fsm_model *model, const fsm_param *p)
{
    if (p->role == FSM_ROLE_EMBEDDING) return model->config->model.tie_embeddings;
    return p->role != FSM_ROLE_POSITIONS;
}

static double weight_bytes(const fsm_model *model)
{
    double elems = 0;
    for (int i = 0; i < model->params.count; i++) {
        const fsm_param *p = &model->params.items[i];
        int64_t copies = p->experts > 0 ? chosen_experts(model, p->layer) : is_read_whole(model, p);
        elems += (double)copies * (double)(p->rows * p->cols);
    }
    return FSM_REAL_BYTES * elems;
}

/* Pieces follow each other, so that those of a large model come from memory. */
static void read_piece(fsm_step_floor *floor, const fsm_model *model)
{
    enum { PIECE_ELEMS = 1 << 21 };
    const fsm_ops *ops = model->ops;
    int64_t all = model->params.elems, piece = all < PIECE_ELEMS ? all : PIECE_ELEMS;
    if (floor->next + piece > all) floor->next = 0;
    double start_s = fsm_clock_s();
    ops->check_finite(ops, piece, fsm_real_at(model->values, floor->next), model->step_sums);
    floor->read_s += fsm_clock_s() - start_s;
    floor->read_bytes += FSM_REAL_BYTES * (double)piece;
    floor->next += piece;
}

void fsm_step_floor_add(fsm_step_floor *floor, const fsm_model *model)
{
    static const double most_s = 0.2;
    floor->weight_bytes += weight_bytes(model);
    if (floor->read_s < most_s) read_piece(floor, model);
}

#include "rehearse/rounds.h"

fsmoe_status fsm_rounds_start(fsm_rounds *r)
{
    int64_t elems = r->left < FSM_ROUND_ELEMS ? r->left : FSM_ROUND_ELEMS;
    r->left -= elems;
    r->round = (fsm_comm_op){0};
    return elems > 0 ? fsm_collective_start(r->collective, r->group, r->op, FSM_COMM_FP32, elems, &r->round) : FSMOE_OK;
}

fsmoe_status fsm_rounds_advance(fsm_rounds *r, bool *done)
{
    for (;;) {
        FSM_TRY(fsm_comm_advance(&r->round, done));
        if (!*done || r->left == 0) return FSMOE_OK;
        FSM_TRY(fsm_rounds_start(r));
    }
}

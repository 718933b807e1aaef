/* Products of several weights, one after the other: the bits of the single calls, whoever's they are. */
#include "ops/ref.h"

static fsm_matrix from_row(const fsm_ops *self, fsm_matrix m, int64_t row)
{
    int64_t bytes = m.elem == FSM_ELEM_ROW ? self->row_bytes : FSM_REAL_BYTES;
    m.at = (char *)m.at + row * m.ld * bytes;
    return m;
}

void fsm_ref_grouped_forward(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x,
                             fsm_matrix y)
{
    for (int64_t i = 0; i < runs->count; i++)
        self->linear_forward(self, runs->end[i] - runs->first[i], &linear[i].weight, linear[i].bias,
                             from_row(self, x, runs->first[i]), from_row(self, y, runs->first[i]));
}

void fsm_ref_grouped_backward_input(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                                    const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx)
{
    for (int64_t i = 0; i < runs->count; i++) {
        int64_t n = runs->end[i] - runs->first[i];
        fsm_matrix from = from_row(self, dy, runs->first[i]), to = from_row(self, dx, runs->first[i]);
        if (joined) self->linear_backward_joined(self, n, &linear[i].weight, joined, from, to);
        else self->linear_backward_input(self, n, &linear[i].weight, from, 0, to);
    }
}

void fsm_ref_grouped_backward_weight(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                                     fsm_matrix x)
{
    for (int64_t i = 0; i < runs->count; i++)
        self->linear_backward_weight(self, runs->end[i] - runs->first[i], linear[i].weight.out, linear[i].weight.in,
                                     from_row(self, dy, runs->first[i]), from_row(self, x, runs->first[i]),
                                     linear[i].dw, linear[i].dbias);
}

/* Noise of the noisy top-k gate, and the smooth load that it makes possible (Shazeer et al. 2017, appendix A):
 *   h_i = c_i + drawn_i s_i,  s_i = softplus(spread_i);  load_i = sum over tokens of P(h_i would be among the k best, were
 *   its noise drawn again and the others' kept) = Phi((c_i - t_i) / s_i), t_i the k-th largest h of the other experts.
 * In:  a pass whose `own` is this state, after its forward. Out: the load; its gradients.
 * The smooth load runs on the host: double precision and erfc for every expert of every token, for one loss alone.
 */
#ifndef FSM_MOE_GATE_NOISE_H
#define FSM_MOE_GATE_NOISE_H

#include "moe/gate/gate.h"

typedef struct fsm_gate_noise {
    bool on;           /* in the latest forward */
    fsm_real *drawn;   /* [N, E] N(0, 1) */
    fsm_real *spread;  /* [N, E] x Wn^T */
    fsm_real *dspread; /* [N, E] scratch of backward */
    /* the smooth load's on the host, where it is asked for; from forward until backward */
    struct {
        float *logits, *drawn, *spread, *dlogits, *dspread; /* [N, E] */
        int32_t *choice;                                    /* [N, k] */
        double *load;                                       /* [E]; of backward loss.load */
    } host;
} fsm_gate_noise;

/* Whether the load of this gate is the smooth one, and then its memory. */
bool fsm_smooth_load_needed(const fsmoe_moe_config *config);
void fsm_smooth_load_take(fsm_memory *memory, const fsm_gate *gate, int64_t max_tokens, fsm_gate_noise *noise);

/* fsm_gate_kind.add_load. */
bool fsm_smooth_load(const fsm_gate_pass *pass, fsm_sum *load);

/* Of loss.load. Adds to dlogits, which is d objective / d h and is still to reach spread through the drawn noise, and to
 * dspread. */
void fsm_smooth_load_backward(fsm_gate_pass *pass);

#endif

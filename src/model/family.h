/* A family: which parts a model of GPT-2's or Mixtral's style is made of, and what its tensors are called.
 * In:  a name. Out: one const row a family; gpt2.c and mixtral.c hold nothing else.
 */
#ifndef FSM_MODEL_FAMILY_H
#define FSM_MODEL_FAMILY_H

#include <stdbool.h>

/* What a parameter is for. Gate, expert and dense feed-forward have one role each and a slot for each of their
 * specs. */
typedef enum fsm_role {
    FSM_ROLE_EMBEDDING,
    FSM_ROLE_POSITIONS,
    FSM_ROLE_NORM1,
    FSM_ROLE_NORM1_BIAS,
    FSM_ROLE_Q, /* Q K V lie side by side, so the three are one GEMM */
    FSM_ROLE_K,
    FSM_ROLE_V,
    FSM_ROLE_Q_BIAS,
    FSM_ROLE_K_BIAS,
    FSM_ROLE_V_BIAS,
    FSM_ROLE_O,
    FSM_ROLE_O_BIAS,
    FSM_ROLE_NORM2,
    FSM_ROLE_NORM2_BIAS,
    FSM_ROLE_GATE,
    FSM_ROLE_EXPERT,
    FSM_ROLE_SHARED,
    FSM_ROLE_SHARED_GATE,
    FSM_ROLE_FFN,
    FSM_ROLE_FINAL_NORM,
    FSM_ROLE_FINAL_NORM_BIAS,
    FSM_ROLE_HEAD,
    FSM_ROLE_COUNT
} fsm_role;

typedef struct fsm_family {
    const char *name;
    bool layernorm;         /* else RMSNorm */
    bool learned_positions; /* else rotary */
    bool biases;
    /* Tensor names; {layer} and {expert} are replaced. GATE, EXPERT, SHARED and FFN are prefixes of
     * their specs' names, SHARED of "0.", "1.", … before these. */
    const char *names[FSM_ROLE_COUNT];
} fsm_family;

/* NULL when no family has that name. */
const fsm_family *fsm_family_find(const char *name);
extern const fsm_family fsm_family_gpt2, fsm_family_mixtral;

#endif

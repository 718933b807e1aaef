/* GPT-2's style: learned positions, LayerNorm, biases everywhere (Radford et al. 2019). Tensor names follow GPT-2's;
 * matrices are stored [out, in], not transposed as GPT-2's Conv1D has them. */
#include "model/family.h"

const fsm_family fsm_family_gpt2 = {
    .name = "gpt2",
    .layernorm = true,
    .learned_positions = true,
    .biases = true,
    .names =
        {
            [FSM_ROLE_EMBEDDING] = "transformer.wte.weight",
            [FSM_ROLE_POSITIONS] = "transformer.wpe.weight",
            [FSM_ROLE_NORM1] = "transformer.h.{layer}.ln_1.weight",
            [FSM_ROLE_NORM1_BIAS] = "transformer.h.{layer}.ln_1.bias",
            [FSM_ROLE_Q] = "transformer.h.{layer}.attn.q_proj.weight",
            [FSM_ROLE_K] = "transformer.h.{layer}.attn.k_proj.weight",
            [FSM_ROLE_V] = "transformer.h.{layer}.attn.v_proj.weight",
            [FSM_ROLE_Q_BIAS] = "transformer.h.{layer}.attn.q_proj.bias",
            [FSM_ROLE_K_BIAS] = "transformer.h.{layer}.attn.k_proj.bias",
            [FSM_ROLE_V_BIAS] = "transformer.h.{layer}.attn.v_proj.bias",
            [FSM_ROLE_O] = "transformer.h.{layer}.attn.c_proj.weight",
            [FSM_ROLE_O_BIAS] = "transformer.h.{layer}.attn.c_proj.bias",
            [FSM_ROLE_NORM2] = "transformer.h.{layer}.ln_2.weight",
            [FSM_ROLE_NORM2_BIAS] = "transformer.h.{layer}.ln_2.bias",
            [FSM_ROLE_GATE] = "transformer.h.{layer}.moe.gate.",
            [FSM_ROLE_EXPERT] = "transformer.h.{layer}.moe.experts.{expert}.",
            [FSM_ROLE_SHARED] = "transformer.h.{layer}.moe.shared_experts.",
            [FSM_ROLE_SHARED_GATE] = "transformer.h.{layer}.moe.shared_expert_gate.weight",
            [FSM_ROLE_FFN] = "transformer.h.{layer}.mlp.",
            [FSM_ROLE_FINAL_NORM] = "transformer.ln_f.weight",
            [FSM_ROLE_FINAL_NORM_BIAS] = "transformer.ln_f.bias",
            [FSM_ROLE_HEAD] = "lm_head.weight",
        },
};

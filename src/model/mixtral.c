/* Mixtral's style: rotary positions, RMSNorm, grouped-query attention, no bias (Jiang et al. 2024). Tensor names are
 * those of Hugging Face's MixtralForCausalLM; layers without experts take its Llama's names. */
#include "model/family.h"

const fsm_family fsm_family_mixtral = {
    .name = "mixtral",
    .names =
        {
            [FSM_ROLE_EMBEDDING] = "model.embed_tokens.weight",
            [FSM_ROLE_NORM1] = "model.layers.{layer}.input_layernorm.weight",
            [FSM_ROLE_Q] = "model.layers.{layer}.self_attn.q_proj.weight",
            [FSM_ROLE_K] = "model.layers.{layer}.self_attn.k_proj.weight",
            [FSM_ROLE_V] = "model.layers.{layer}.self_attn.v_proj.weight",
            [FSM_ROLE_O] = "model.layers.{layer}.self_attn.o_proj.weight",
            [FSM_ROLE_NORM2] = "model.layers.{layer}.post_attention_layernorm.weight",
            [FSM_ROLE_GATE] = "model.layers.{layer}.block_sparse_moe.gate.",
            [FSM_ROLE_EXPERT] = "model.layers.{layer}.block_sparse_moe.experts.{expert}.",
            [FSM_ROLE_SHARED] = "model.layers.{layer}.block_sparse_moe.shared_experts.",
            [FSM_ROLE_SHARED_GATE] = "model.layers.{layer}.block_sparse_moe.shared_expert_gate.weight",
            [FSM_ROLE_FFN] = "model.layers.{layer}.mlp.",
            [FSM_ROLE_FINAL_NORM] = "model.norm.weight",
            [FSM_ROLE_HEAD] = "lm_head.weight",
        },
};

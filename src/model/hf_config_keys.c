#include "model/hf_config_keys.h"

#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Written in this order. */
const fsm_hf_field fsm_hf_fields[] = {
    {"family", "model.family", FSM_HF_FSMOE, false, false},
    {"vocab_size", "model.vocab_size", FSM_HF_BOTH, false, false},
    {"hidden_size", "model.hidden", FSM_HF_BOTH, false, false},
    {"intermediate_size", "model.ffn_hidden", FSM_HF_BOTH, false, false},
    {"num_hidden_layers", "model.num_layers", FSM_HF_BOTH, false, false},
    {"num_attention_heads", "model.num_heads", FSM_HF_BOTH, false, false},
    {"num_key_value_heads", "model.num_kv_heads", FSM_HF_BOTH, true, false},
    {"head_dim", "model.head_dim", FSM_HF_BOTH, true, false},
    {"max_position_embeddings", "model.max_seq_len", FSM_HF_BOTH, false, false},
    {"tie_word_embeddings", "model.tie_embeddings", FSM_HF_BOTH, true, false},
    {"initializer_range", "model.init_std", FSM_HF_BOTH, false, false},
    {"rms_norm_eps", "model.norm_eps", FSM_HF_MIXTRAL, false, false},
    {"norm_eps", "model.norm_eps", FSM_HF_FSMOE, false, false},
    {"rope_theta", "model.rope_theta", FSM_HF_BOTH, true, false},
    {"num_local_experts", "moe.num_experts", FSM_HF_BOTH, false, false},
    {"num_experts_per_tok", "moe.top_k", FSM_HF_BOTH, false, false},
    {"router_aux_loss_coef", "moe.aux_loss_coeff", FSM_HF_BOTH, false, false},
    {"router_z_loss_coef", "moe.z_loss_coeff", FSM_HF_FSMOE, false, false},
    {"moe_every", "model.moe_every", FSM_HF_FSMOE, false, false},
    {"expert", "moe.expert", FSM_HF_FSMOE, false, false},
    {"gate", "moe.gate", FSM_HF_FSMOE, false, false},
    {"activation", "moe.activation", FSM_HF_FSMOE, true, true},
    {"expert_bias", "moe.bias", FSM_HF_FSMOE, true, true},
    {"shared_experts", "moe.shared_experts", FSM_HF_FSMOE, true, true},
    {"shared_gate", "moe.shared_gate", FSM_HF_FSMOE, true, true},
    {"allow_non_causal", "moe.allow_non_causal", FSM_HF_FSMOE, true, true},
    {"proj_dim", "moe.proj_dim", FSM_HF_FSMOE, true, true},
    {"slots_per_expert", "moe.slots_per_expert", FSM_HF_FSMOE, true, true},
    {"normalize_slots", "moe.normalize_slots", FSM_HF_FSMOE, true, true},
    {"n_group", "moe.n_group", FSM_HF_FSMOE, true, true},
    {"topk_group", "moe.topk_group", FSM_HF_FSMOE, true, true},
    {"routed_scaling_factor", "moe.routed_scaling_factor", FSM_HF_FSMOE, true, true},
    {"hash", "moe.hash", FSM_HF_FSMOE, true, true},
    {"noisy", "moe.noisy", FSM_HF_FSMOE, false, false},
    {"normalize_top_k", "moe.normalize_top_k", FSM_HF_FSMOE, false, false},
    {"capacity_factor", "moe.capacity_factor", FSM_HF_FSMOE, false, false},
    {"capacity_group", "moe.capacity_group", FSM_HF_FSMOE, false, true},
};
const size_t fsm_hf_field_count = LENGTH(fsm_hf_fields);

const fsm_hf_fixed fsm_hf_fixed_keys[] = {
    {"hidden_act", "\"silu\"", true},
    {"attention_dropout", "0.0", true},
    {"router_jitter_noise", "0.0", true},
    {"attention_bias", "false", false},
    {"mlp_bias", "false", false},
    {"rope_scaling", "null", false},
    {"quantization_config", "null", false},
    {"is_encoder_decoder", "false", false},
    {"is_decoder", "false", false},
    {"add_cross_attention", "false", false},
    {"cross_attention_hidden_size", "null", false},
    {"chunk_size_feed_forward", "0", false},
    {"pruned_heads", "{}", false},
    {"layer_types", "null", false},
    {"auto_map", "null", false},
};
const size_t fsm_hf_fixed_count = LENGTH(fsm_hf_fixed_keys);

static const char *const descriptive_keys[] = {
    "_name_or_path", "_attn_implementation", "_attn_implementation_autoset",
    "architectures", "bos_token_id",         "dtype",
    "eos_token_id",  "finetuning_task",      "id2label",
    "label2id",      "output_attentions",    "output_hidden_states",
    "pad_token_id",  "output_router_logits", "problem_type",
    "return_dict",   "sep_token_id",         "tokenizer_class",
    "torch_dtype",   "torchscript",          "transformers_version",
    "use_cache",     "pretraining_tp",       "unsloth_version",
};

const fsm_hf_field *fsm_hf_field_find(const char *key, fsm_hf_type type)
{
    for (size_t i = 0; i < fsm_hf_field_count; i++)
        if ((fsm_hf_fields[i].types & type) && strcmp(fsm_hf_fields[i].key, key) == 0) return &fsm_hf_fields[i];
    return NULL;
}

const fsm_hf_fixed *fsm_hf_fixed_find(const char *key)
{
    for (size_t i = 0; i < fsm_hf_fixed_count; i++)
        if (strcmp(fsm_hf_fixed_keys[i].key, key) == 0) return &fsm_hf_fixed_keys[i];
    return NULL;
}

bool fsm_hf_key_is_descriptive(const char *key)
{
    for (size_t i = 0; i < LENGTH(descriptive_keys); i++)
        if (strcmp(descriptive_keys[i], key) == 0) return true;
    return false;
}

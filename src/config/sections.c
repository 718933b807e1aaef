/* Every key of a configuration file: its place, type, default, range and help. The one list that parsing, defaults,
 * messages, dumps and docs/configuration.md are made from. */
#include "config/config.h"

#include "base/text.h"

#include <string.h>

#define KEY(section, name) #section "." #name, offsetof(fsmoe_config, section.name)
#define FIELD(section, name, type, preset, min, max, choices, folder, help)                         \
    {                                                                                               \
        KEY(section, name), FSM_CONFIG_##type, preset, min, max, choices, FSM_CONFIG_##folder, help \
    }
#define INT_OF(folder, section, name, preset, min, max, help) \
    FIELD(section, name, INT, #preset, min, max, NULL, folder, help)
#define FLOAT_OF(folder, section, name, preset, min, max, help) \
    FIELD(section, name, FLOAT, #preset, min, max, NULL, folder, help)
#define BOOL_OF(folder, section, name, preset, help) FIELD(section, name, BOOL, preset, 0, 0, NULL, folder, help)
#define CHOICE_OF(folder, section, name, preset, choices, help) \
    FIELD(section, name, CHOICE, preset, 0, 0, choices, folder, help)

#define INT(...) INT_OF(NOT_IN_FOLDER, __VA_ARGS__)
#define FLOAT(...) FLOAT_OF(NOT_IN_FOLDER, __VA_ARGS__)
#define BOOL(...) BOOL_OF(NOT_IN_FOLDER, __VA_ARGS__)
#define CHOICE(...) CHOICE_OF(NOT_IN_FOLDER, __VA_ARGS__)
#define STRING(section, name, preset, help) FIELD(section, name, STRING, preset, 0, 0, NULL, NOT_IN_FOLDER, help)
#define STRINGS(section, name, help) FIELD(section, name, STRINGS, NULL, 0, 0, NULL, NOT_IN_FOLDER, help)

#define MODEL_INT(...) INT_OF(FOLDER_DECIDES, __VA_ARGS__)
#define MODEL_FLOAT(...) FLOAT_OF(FOLDER_DECIDES, __VA_ARGS__)
#define MODEL_BOOL(...) BOOL_OF(FOLDER_DECIDES, __VA_ARGS__)
#define MODEL_CHOICE(...) CHOICE_OF(FOLDER_DECIDES, __VA_ARGS__)

#define TRAINED_INT(...) INT_OF(FOLDER_SUGGESTS, __VA_ARGS__)
#define TRAINED_FLOAT(...) FLOAT_OF(FOLDER_SUGGESTS, __VA_ARGS__)

/* Small enough that a product of two never leaves int64_t; every integer up to WHOLE is exact in a double. */
#define COUNT 2147483647.0
#define WIDTH 1048576.0
#define WHOLE 9007199254740992.0
#define BELOW_ONE 0.999999999

const fsm_config_section fsm_config_sections[] = {
    {"model", "The transformer."},
    {"moe", "The mixture-of-experts layers."},
    {"parallel", "How the model is laid over ranks."},
    {"data", "What is learned from. Relative paths start at the working directory of the command."},
    {"train", "The optimizer and the loop."},
    {"run", "What a run leaves behind."},
};
const size_t fsm_config_section_count = sizeof fsm_config_sections / sizeof *fsm_config_sections;

const fsm_config_field fsm_config_fields[] = {
    MODEL_CHOICE(model, family, "mixtral", "gpt2, mixtral",
                 "gpt2: learned positions, layer norm, GELU; mixtral: rotary positions, RMS norm, SwiGLU"),
    MODEL_INT(model, vocab_size, 0, 0, 16777216, "tokens in the vocabulary; 0: the tokenizer's"),
    MODEL_INT(model, hidden, 128, 1, WIDTH, "width M of the residual stream"),
    MODEL_INT(model, ffn_hidden, 256, 1, WIDTH,
              "inner width H of an expert, and of the dense feed-forward of other layers"),
    MODEL_INT(model, num_layers, 4, 1, 4096, "transformer layers"),
    MODEL_INT(model, num_heads, 4, 1, 4096, "attention heads"),
    MODEL_INT(model, num_kv_heads, 0, 0, 4096, "key and value heads; 0: num_heads; gpt2 has no others"),
    MODEL_INT(model, head_dim, 0, 0, WIDTH, "width of a head; 0: hidden / num_heads; even for mixtral"),
    MODEL_INT(model, max_seq_len, 0, 0, WIDTH, "positions the model knows; 0: data.seq_len"),
    MODEL_INT(model, moe_every, 1, 1, 4096,
              "n: layers n-1, 2n-1, ... (from 0) have experts, the others are dense; 1: all"),
    MODEL_FLOAT(model, rope_theta, 10000, 1, 1e12, "base of the rotary position frequencies; mixtral only"),
    MODEL_FLOAT(model, norm_eps, 1e-5, 1e-30, 1, "added to the variance in layer or RMS norm"),
    TRAINED_FLOAT(model, init_std, 0.02, 0, 10, "standard deviation of the initial weights"),
    MODEL_BOOL(model, tie_embeddings, "false", "whether the output head is the token embedding"),

    MODEL_INT(moe, num_experts, 8, 1, 65536, "experts E of a layer, all ranks together"),
    MODEL_INT(moe, top_k, 2, 1, 65536, "experts k that each token goes to; 1 with gate switch"),
    TRAINED_FLOAT(moe, capacity_factor, 0, 0, 1e6,
                  "f: an expert takes ceil(k f G / E) of every G tokens and drops the rest; 0: dropless, it takes all"),
    TRAINED_INT(moe, capacity_group, 0, 0, COUNT, "G, tokens that share a capacity; 0: those a rank holds at the gate"),
    CHOICE(moe, drop_policy, "position", "position, probs",
           "who keeps a place where there are too few: first choices, then earlier tokens; or larger weights"),
    MODEL_CHOICE(moe, gate, "gshard",
                 "gshard, switch, sigmoid, xmoe, expert_choice, soft, deepseek, hash, balanced_test",
                 "how tokens choose experts (docs/gates.md)"),
    CHOICE(moe, order, "auto", "auto, tutel, gshard, sorted",
           "layout of the tokens sent to experts; auto: sorted if dropless, otherwise tutel"),
    CHOICE(moe, alltoall, "direct", "direct, 1dh, 2dh", "algorithm that exchanges tokens between ranks"),
    MODEL_CHOICE(moe, expert, "auto", "auto, gpt, mixtral", "an expert's network; auto: that of model.family"),
    MODEL_CHOICE(moe, activation, "auto", "auto, gelu, gelu_tanh, relu, relu_squared, swiglu, geglu",
                 "of an expert; auto: gelu for gpt, swiglu for mixtral"),
    MODEL_CHOICE(moe, bias, "auto", "auto, true, false", "whether an expert has biases; auto: gpt has, mixtral cannot"),
    MODEL_INT(moe, shared_experts, 0, 0, 1024, "experts that every token goes to, beside the routed ones"),
    MODEL_BOOL(moe, shared_gate, "false", "each shared expert times sigmoid(x . g), g learned"),
    MODEL_BOOL(
        moe, allow_non_causal, "false",
        "gates that choose among all tokens of a batch, later ones too (expert_choice, soft), in a causal model"),
    MODEL_BOOL(moe, noisy, "false", "noise on the gate's logits in training; gate gshard"),
    MODEL_BOOL(moe, normalize_top_k, "false",
               "with top_k 1: weight 1 rather than the softmax probability; the weights of top_k > 1 always sum to 1"),
    FLOAT(moe, jitter, 0, 0, BELOW_ONE, "e: inputs times U(1 - e, 1 + e) in training; gate switch"),
    BOOL(moe, balanced, "false", "equally many tokens an expert in training; gate sigmoid"),
    MODEL_INT(moe, proj_dim, 0, 0, WIDTH, "width P of the projection; 0: min(hidden / 2, 32); gate xmoe"),
    MODEL_INT(moe, slots_per_expert, 1, 1, 65536, "slots S of an expert for each sample; gate soft"),
    MODEL_BOOL(moe, normalize_slots, "false", "tokens and slot vectors of length 1; gate soft"),
    MODEL_INT(moe, n_group, 1, 1, 65536, "groups of experts; gate deepseek"),
    MODEL_INT(moe, topk_group, 1, 1, 65536, "groups that a token's experts come from; gate deepseek"),
    MODEL_FLOAT(moe, routed_scaling_factor, 1, 0, 1e6, "multiplies the combine weights; gate deepseek"),
    FLOAT(moe, bias_update_rate, 0.001, 0, 1000, "how far an expert's bias moves a step; gate deepseek"),
    MODEL_CHOICE(moe, hash, "modulo", "modulo, table", "expert of a token id: id mod E, or a random table; gate hash"),
    CHOICE(moe, aux_loss, "auto", "auto, none, first_choice, all_choices, importance_load",
           "load-balancing loss; auto: first_choice where the gate has it"),
    CHOICE(moe, aux_loss_scope, "global", "global, rank",
           "whose tokens the loss is of: all ranks', or each rank's own, averaged, which depends on the layout"),
    TRAINED_FLOAT(moe, aux_loss_coeff, 0.01, 0, 1000, "weight of the load-balancing loss; 0: none"),
    TRAINED_FLOAT(moe, z_loss_coeff, 0, 0, 1000, "weight of the router's z-loss; 0: none"),
    STRINGS(moe, hooks, "called in this order: wire_bf16, token_histogram; []: none"),

    INT(parallel, nodes, 0, 0, WIDTH, "machines; 0: ask MPI"),
    INT(parallel, ranks_per_node, 0, 0, WIDTH, "ranks on a machine; 0: ask MPI"),
    INT(parallel, ep_size, 1, 1, 65536, "ranks that share out the experts of a layer"),
    INT(parallel, esp_size, 1, 1, 65536, "ranks that each hold a slice of every expert"),
    INT(parallel, mp_size, 1, 1, 65536, "ranks that share out attention heads (tensor parallelism)"),
    INT(parallel, threads, 0, 0, 4096, "compute threads of a rank; 0: cores of the node / ranks on it, at least 1"),
    CHOICE(parallel, schedule, "fsmoe-lanes",
           "dsmoe, tutel, tutel-improved, pipemoe-lina, fsmoe-no-iio, fsmoe, fsmoe-x, two-batch, megatron-overlap, "
           "flowmoe, fsmoe-lanes",
           "what overlaps with what in a step; all but dsmoe are planned from what operations cost"),
    INT(parallel, forward_degree, 0, 0, 256,
        "chunks of a layer's forward, one after another, with schedule dsmoe; 0: 1"),
    INT(parallel, backward_degree, 0, 0, 256, "likewise of its backward; 0: 1"),
    INT(parallel, lanes, 0, 0, 4,
        "passes that go through the layers beside one another, with schedule fsmoe-lanes; 0: as many as are best"),
    STRING(parallel, memory, "",
           "most that a rank may take, such as 16GiB, in a planned step; \"\": what one lane takes, and what a layer's "
           "experts "
           "make before their activation more"),
    STRING(parallel, cluster, "",
           "cluster file the step is planned with (fsmoe profile, fsmoe cluster); \"\": measured before training"),
    INT(parallel, replan_every, 0, 0, COUNT,
        "steps after which operations are measured again and the step is planned anew, at the price of equal bits; 0: "
        "never"),
    CHOICE(parallel, progress, "thread", "thread, tasks",
           "who moves communication along: a thread of its own, or the computing one between tasks"),
    BOOL(parallel, canonical_sums, "false",
         "sums in one order, so that layouts in powers of two without expert-DP train bit for bit alike; slower"),

    STRINGS(data, train,
            "training files: UTF-8 text, JSON lines or token files, told by what they hold (docs/data.md)"),
    STRINGS(data, valid, "validation files, likewise; []: no evaluation"),
    STRING(data, tokenizer, "bytes",
           "bytes, gpt2, a tokenizer.json or a folder that has one; if unset, --init takes the model's own"),
    INT(data, seq_len, 128, 1, WIDTH, "tokens L of a sample"),
    BOOL(data, shuffle, "true", "whether samples come in random order"),

    INT(train, steps, 1000, 0, COUNT, "optimizer steps"),
    INT(train, global_batch, 8, 1, COUNT, "samples of a step, all ranks together"),
    INT(train, micro_batch, 0, 0, COUNT, "samples of all ranks that go through the model at once; 0: global_batch"),
    FLOAT(train, lr, 1e-3, 0, 1000, "largest learning rate, reached after the warmup"),
    FLOAT(train, min_lr, 0, 0, 1000, "learning rate at the end of the cosine"),
    INT(train, warmup_steps, 0, 0, COUNT, "steps in which the learning rate rises linearly"),
    FLOAT(train, weight_decay, 0.1, 0, 1000, "decoupled weight decay (AdamW)"),
    FLOAT(train, beta1, 0.9, 0, BELOW_ONE, "decay of Adam's first moment"),
    FLOAT(train, beta2, 0.95, 0, BELOW_ONE, "decay of Adam's second moment"),
    FLOAT(train, adam_eps, 1e-8, 1e-30, 1, "added to the root of Adam's second moment"),
    FLOAT(train, clip_grad, 1.0, 0, 1e12, "largest global gradient norm; 0: no clipping"),
    INT(train, seed, 1, 0, WHOLE, "seed of everything random"),
    INT(train, eval_every, 0, 0, COUNT, "steps between evaluations; 0: only at the end"),
    INT(train, eval_tokens, 0, 0, WHOLE, "validation tokens used at most; 0: all"),
    INT(train, checkpoint_every, 0, 0, COUNT,
        "steps between checkpoints; 0: as train.checkpoint_minutes says, and at the end"),
    FLOAT(train, checkpoint_minutes, 15, 0, 1e6,
          "minutes between checkpoints, longer where saving would take 5 % of the time; 0: as checkpoint_every says"),
    CHOICE(train, products, "fixed", "fixed, measured",
           "which implementation multiplies rows by a weight: always the same, or the fastest of a table that is "
           "measured as a "
           "run begins and kept with it"),
    INT(train, idle_expert_steps, 100, 0, COUNT, "steps without a token after which an expert is warned of; 0: never"),
    CHOICE(train, compute_dtype, "fp32", "fp32, bf16, auto",
           "type of activations, computed on and sent between ranks; weights, optimizer, routing, statistics and sums "
           "are fp32 with either; auto: bf16 where products of it are measured to be faster as training begins; "
           "elsewhere (plan, profile, bench, layer) fp32"),

    STRING(run, dir, "runs/latest", "folder of the run: log.jsonl, report.html, model/, best/, checkpoint-N/"),
    INT(run, keep_checkpoints, 2, 1, COUNT, "the newest checkpoints that are kept"),
    STRING(run, sample_prompt, "", "text that the model continues at the end; \"\": none"),
    INT(run, sample_tokens, 200, 1, WIDTH, "tokens of that continuation"),
    FLOAT(run, sample_temperature, 0.8, 0, 100, "divides the logits; 0: always the likeliest token"),
    FLOAT(run, sample_top_p, 0.95, 1e-6, 1, "probability mass of the tokens drawn from; 1: all tokens"),
};
const size_t fsm_config_field_count = sizeof fsm_config_fields / sizeof *fsm_config_fields;

enum {
    FIELD_COUNT = sizeof fsm_config_fields / sizeof *fsm_config_fields,
    SECTION_COUNT = sizeof fsm_config_sections / sizeof *fsm_config_sections,
};

const fsm_config_field *fsm_config_find(const char *key)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (strcmp(fsm_config_fields[i].key, key) == 0) return &fsm_config_fields[i];
    return NULL;
}

const char *fsm_config_nearest_key(const char *key)
{
    const char *dot = strchr(key, '.');
    const char *name = dot ? dot + 1 : key;
    const char *keys[FIELD_COUNT];
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        keys[i] = fsm_config_fields[i].key;
        if (strcmp(strchr(keys[i], '.') + 1, name) == 0) return keys[i];
    }
    return fsm_text_nearest(key, keys, FIELD_COUNT);
}

const char *fsm_config_nearest_section(const char *name)
{
    const char *names[SECTION_COUNT];
    for (size_t i = 0; i < SECTION_COUNT; i++) names[i] = fsm_config_sections[i].name;
    return fsm_text_nearest(name, names, SECTION_COUNT);
}

/* The configuration of a run: one struct a section of the YAML file.
 * In:  a YAML file and `section.key=value` overrides.
 * Out: a filled, range-checked struct that can be printed back as YAML.
 * Keys, defaults, ranges and help live in one table (src/config/sections.c); docs/configuration.md is made from it.
 * Integers are int64_t; 0 means "derive it" where the comment says so. Strings are owned by the configuration.
 */
#ifndef FSMOE_CONFIG_H
#define FSMOE_CONFIG_H

#include <fsmoe/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fsmoe_strings {
    char **items;
    size_t count;
} fsmoe_strings;

typedef struct fsmoe_model_config {
    char *family;       /* gpt2 | mixtral */
    int64_t vocab_size; /* 0: the tokenizer's */
    int64_t hidden;     /* M */
    int64_t ffn_hidden; /* H of an expert, and of the dense feed-forward of layers without experts */
    int64_t num_layers;
    int64_t num_heads;
    int64_t num_kv_heads; /* 0: num_heads */
    int64_t head_dim;     /* 0: hidden / num_heads */
    int64_t max_seq_len;  /* positions the model knows; 0: data.seq_len */
    int64_t moe_every;    /* layers n-1, 2n-1, … have experts; 1: all */
    double rope_theta;
    double norm_eps;
    double init_std;
    bool tie_embeddings;
} fsmoe_model_config;

typedef struct fsmoe_moe_config {
    int64_t num_experts;    /* E, all ranks together */
    int64_t top_k;          /* k */
    double capacity_factor; /* f; 0: dropless */
    int64_t capacity_group; /* G tokens; 0: the tokens a rank holds at the gate */
    char *drop_policy;      /* position | probs: who keeps a place where there are too few */
    char *gate;       /* gshard | switch | sigmoid | xmoe | expert_choice | soft | deepseek | hash | balanced_test */
    char *order;      /* auto | tutel | gshard | sorted */
    char *alltoall;   /* direct | 1dh | 2dh */
    char *expert;     /* auto (by family) | gpt | mixtral */
    char *activation; /* auto (by expert) | gelu | gelu_tanh | relu | relu_squared | swiglu | geglu */
    char *bias;       /* auto (gpt has them) | true | false */
    int64_t shared_experts; /* experts that every token goes to, beside the routed ones */
    bool shared_gate;       /* each times sigmoid(x . g) */
    bool allow_non_causal;  /* gates that look at later tokens of a sample */
    /* of single gates; the table in src/config/check.c says whose */
    bool noisy;           /* noise on the gate's logits in training */
    bool normalize_top_k; /* k = 1: weight 1 rather than the softmax probability; k > 1: always 1 in sum */
    double jitter;        /* e: inputs are multiplied by U(1 - e, 1 + e) in training */
    bool balanced;        /* BASE's balanced assignment in training */
    int64_t proj_dim;     /* P; 0: min(M / 2, 32) */
    int64_t slots_per_expert;
    bool normalize_slots; /* l2-normalised tokens and slot vectors */
    int64_t n_group;      /* groups of experts */
    int64_t topk_group;   /* of which a token's experts come from so many */
    double routed_scaling_factor;
    double bias_update_rate;
    char *hash;           /* modulo | table */
    char *aux_loss;       /* auto | none | first_choice | all_choices | importance_load */
    char *aux_loss_scope; /* global | rank: whose tokens the loss is of */
    double aux_loss_coeff;
    double z_loss_coeff;
    fsmoe_strings hooks; /* wire_bf16, token_histogram, … in the order they are called */
} fsmoe_moe_config;

typedef struct fsmoe_parallel_config {
    int64_t nodes;          /* 0: ask MPI */
    int64_t ranks_per_node; /* 0: ask MPI */
    int64_t ep_size;
    int64_t esp_size;
    int64_t mp_size;
    int64_t threads; /* compute threads a rank; 0: cores of the node / ranks on it, at least 1 */
    char *schedule;  /* dsmoe | tutel | tutel-improved | pipemoe-lina | fsmoe-no-iio | fsmoe | fsmoe-x | two-batch |
                      * megatron-overlap | flowmoe | fsmoe-lanes */
    char *cluster;   /* cluster file that the step is planned with; empty: measured before training */
    char *progress;  /* thread | tasks: who moves communication along */
    int64_t forward_degree, backward_degree; /* of schedule dsmoe: chunks, one after another; 0: 1 */
    int64_t lanes;                           /* of schedule fsmoe-lanes; 0: chosen */
    char *
        memory; /* most that a rank may take, "16GiB"; empty: what one lane does, and a little for late weight gradients */
    int64_t replan_every; /* steps after which costs are measured again; 0: never */
    bool canonical_sums;  /* sums in an order that no layout changes: the same bits on every layout that fits */
} fsmoe_parallel_config;

typedef struct fsmoe_data_config {
    fsmoe_strings train; /* files: text, JSON lines or token files */
    fsmoe_strings valid;
    char *tokenizer; /* bytes | gpt2 | a tokenizer.json or a folder that has one */
    int64_t seq_len; /* L */
    bool shuffle;
} fsmoe_data_config;

typedef struct fsmoe_train_config {
    int64_t steps;
    int64_t global_batch; /* samples a step */
    int64_t micro_batch;  /* samples of all ranks that go through the model at once; 0: global_batch */
    double lr;
    double min_lr; /* end of the cosine */
    int64_t warmup_steps;
    double weight_decay;
    double beta1, beta2, adam_eps;
    double clip_grad; /* largest global gradient norm; 0: no clipping */
    int64_t seed;
    int64_t eval_every;       /* steps; 0: only at the end */
    int64_t eval_tokens;      /* validation tokens used at most; 0: all */
    int64_t checkpoint_every; /* steps; 0: as checkpoint_minutes says, and at the end */
    double
        checkpoint_minutes; /* longer where saving would take more than 5 % of the time; 0: as checkpoint_every says */
    char *products;         /* fixed | measured: which implementation multiplies rows by a weight */
    int64_t idle_expert_steps; /* without a token, after which an expert is warned of; 0: never */
    char *compute_dtype;       /* fp32 | bf16 | auto: activations, and what travels of them */
} fsmoe_train_config;

typedef struct fsmoe_run_config {
    char *dir;                /* run folder: log.jsonl, report.html, model/, best/, checkpoint-N/ */
    int64_t keep_checkpoints; /* the newest that are kept */
    char *sample_prompt;      /* text to continue at the end; empty: none */
    int64_t sample_tokens;
    double sample_temperature;
    double sample_top_p;
} fsmoe_run_config;

typedef struct fsmoe_config {
    fsmoe_model_config model;
    fsmoe_moe_config moe;
    fsmoe_parallel_config parallel;
    fsmoe_data_config data;
    fsmoe_train_config train;
    fsmoe_run_config run;
} fsmoe_config;

/* All defaults. ERROR_MEMORY. Destroy with fsmoe_config_destroy (NULL is fine). Fields may be written directly; their
 * strings are malloc'd. Do not copy the struct: the library keeps where each key was set behind it. */
FSMOE_API fsmoe_status fsmoe_config_create(fsmoe_config **config);
FSMOE_API void fsmoe_config_destroy(fsmoe_config *config);

/* Reads a YAML file over the present values; an empty file changes nothing. Sections are mappings of keys to scalars or
 * lists; numbers are JSON's, truth is true or false, a list key also takes a single string. ERROR_IO: cannot read;
 * ERROR_CONFIG: not YAML, an unknown, duplicate or ill-typed key or a value out of range; the message names file, line,
 * key and the nearest valid key; ERROR_MEMORY. After a failure the keys before it have their new values. */
FSMOE_API fsmoe_status fsmoe_config_load(fsmoe_config *config, const char *path);

/* One override, "section.key=value"; value is YAML, lists are written [a, b], and nothing is the empty string where the
 * key takes a string. It wins over earlier ones and over files loaded before. Errors as above, naming --set; after a
 * failure the old value stays. */
FSMOE_API fsmoe_status fsmoe_config_set(fsmoe_config *config, const char *assignment);

/* `on_warning` is called with a sentence about the configuration that is worth a person's attention and no error, while
 * the library checks it: at most once a key. NULL, the default: nobody is told. `user` is handed through. */
FSMOE_API void fsmoe_config_on_warning(fsmoe_config *config, void (*on_warning)(void *user, const char *sentence),
                                       void *user);

/* Sets back to its default, with a warning, every key that a file gave and that a later fsmoe_config_set left
 * without any effect (a train.warmup_steps that a smaller train.steps cut off becomes that). Whatever checks a
 * configuration (fsmoe_train, fsmoe_profile, ...) begins with this; it is for a program that only prints one. A key
 * that is without effect by what stands in its own file, or was itself given by fsmoe_config_set, stays, and is an
 * error of those checks. ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_config_drop_silenced(fsmoe_config *config);

/* Everything as YAML that fsmoe_config_load reads back to the same values, bit by bit; `comments` adds each key's help
 * text and range. *text is malloc'd, the caller frees it. ERROR_CONFIG: a string that is not UTF-8; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_config_dump(const fsmoe_config *config, bool comments, char **text);

#endif

/* Training: the whole way from a configuration to a run folder.
 * In:  a configuration, the ranks of the job, where to start from.
 * Out: run.dir with log.jsonl, run.json, config.yaml, checkpoint-N/ and model/ (a Hugging Face folder).
 * The library prints nothing: what happens is told through callbacks, on rank 0 only.
 */
#ifndef FSMOE_TRAIN_H
#define FSMOE_TRAIN_H

#include <fsmoe/config.h>
#include <fsmoe/world.h>

/* One finished step. Losses are nats a token; aux_loss and z_loss are added over layers, without coefficients. */
typedef struct fsmoe_train_progress {
    int64_t step, steps; /* steps done, of how many */
    double loss, aux_loss, z_loss;
    double lr, grad_norm; /* before clipping */
    double step_s, tokens_per_s, eta_s;
    double dropped_frac; /* of all (token, choice) pairs */
    double load_min, load_mean,
        load_max;    /* share of kept pairs that an expert got, over all experts and layers; mean 1/E */
    double val_loss; /* NaN when not measured at this step */
    /* What the model has to compute in a step (forward and backward, attention causal; no padding, nothing worked out
     * twice) a second, on all ranks together; and its share of what large products reach on them. NaN before that is
     * measured: once, in 0.1 to 0.4 s, after two steps of a run of which more than 20 s are left, or at the beginning
     * of one with `breakdown`. */
    double flops_per_s, peak_share;
} fsmoe_train_progress;

/* What a run is busy with, as long as it does not say otherwise. */
typedef enum fsmoe_train_stage {
    FSMOE_TRAIN_STARTS,    /* up to the first step */
    FSMOE_TRAIN_STEPS,     /* one step; each says so anew */
    FSMOE_TRAIN_EVALUATES, /* validation */
    FSMOE_TRAIN_SAVES,     /* a checkpoint, or the best model */
    FSMOE_TRAIN_PLANS,     /* measures and plans anew */
    FSMOE_TRAIN_ENDS,      /* all steps are done: what is left is written */
} fsmoe_train_stage;

typedef struct fsmoe_train_options {
    const char *init_dir;    /* model folder to start from; NULL: from the seed */
    bool resume;             /* go on from a checkpoint of run.dir, bit for bit on the same layout */
    const char *resume_from; /* the checkpoint, by its name in run.dir or its path; NULL: the newest */
    bool allow_changes;      /* go on even with other data, batches, capacity or seed than the checkpoint's */
    bool force;              /* begin even where the run will not fit into memory */
    const char *trace_path;  /* Chrome trace of the first 100 steps; NULL: none */
    bool breakdown; /* operations are counted and timed: run.dir/breakdown.json, on_breakdown; bits stay the same */
    const char *command;        /* the command line, for run.json; NULL: none */
    const char *resume_command; /* and the one that goes on with the run; NULL: none */
    void (*on_step)(void *user, const fsmoe_train_progress *progress);
    void (*on_breakdown)(void *user, const char *table);  /* at the end, with `breakdown`: lines of text */
    void (*on_message)(void *user, const char *sentence); /* what a person should know */
    /* Asked on every rank before the first step and after each, with the steps done so far: not 0 stops all ranks.
     * NULL: none. The library handles no signals; a handler of the caller's may set what this reads. */
    int (*should_stop)(void *user, int64_t step);
    /* Told on every rank that all stop after `step`: a checkpoint is saved next, if there is none of that step, and
     * fsmoe_train returns FSMOE_OK without the rest of the steps and without model/. reason: what should_stop said on
     * the lowest rank that wants to. */
    void (*on_stop)(void *user, int reason, int64_t step);
    /* Told on every rank whenever another stage begins, with the steps done so far. usual_s: about how long it should
     * take at most, s, from sizes and from what steps took; 0: unknown. For whoever watches that a run goes on. */
    void (*on_stage)(void *user, fsmoe_train_stage stage, int64_t step, double usual_s);
    void *user;
} fsmoe_train_options;

/* Collective over world; every rank returns the same status unless it is ERROR_COMM. The configuration is completed in
 * place (vocab_size from the tokenizer, derived sizes). run.dir is this process' alone until it returns (ERROR_IO where
 * another live run has it). A run folder that already holds an ended run is moved aside to run.dir.1, .2, … unless
 * resumed; what a run has not made itself is never moved, replaced or removed. A checkpoint is complete or not there;
 * earlier ones stay until it is whole and has been read back.
 * ERROR_CONFIG, ERROR_LAYOUT, ERROR_IO, ERROR_FORMAT (a damaged or foreign checkpoint or model folder), ERROR_NUMERIC
 * (loss, gradient, weights or moments not finite: the state before that step is saved where it is untouched, and the
 * sentence says so; or NaN or infinity in a tensor of the folder, which the sentence names), ERROR_MEMORY; ERROR_COMM
 * on the ranks that know of a failure inside a step, while others may still wait: the caller says what failed and calls
 * fsmoe_world_abort. */
FSMOE_API fsmoe_status fsmoe_train(fsmoe_world *world, fsmoe_config *config, const fsmoe_train_options *options);

#endif

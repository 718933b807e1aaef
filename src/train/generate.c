/* Texts from prompts: each prompt goes through the model by itself and fills its region of the cache, then all that
 * have not ended take a step together, a token each. Products are made row by row in those steps, so no prompt feels
 * the others. */
#include <fsmoe/model.h>

#include "base/clock.h"
#include "base/machine.h"
#include "base/rng.h"
#include "model/finite.h"
#include "train/draw.h"
#include "train/inference.h"
#include "train/sequence.h"
#include "train/step_floor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything of one generation. */
typedef struct generation {
    fsm_inference inference;
    const fsmoe_generate_options *options;
    fsm_listener listener;
    size_t n;
    fsm_sequence *sequences; /* [n] */
    fsmoe_generate_speed speed;
    fsm_step_floor floor;
    /* of a step, for the sequences in it */
    size_t *number;         /* [n] which they are */
    int64_t *region, *past; /* [n] */
    int32_t *last;          /* [n] */
    float *logits;          /* [V] of one of them */
    fsm_candidate *candidates;
} generation;

/* ---- tokens ---- */

/* Whatever would be drawn from such logits is noise. */
static fsmoe_status check_logits(const generation *g, size_t i)
{
    int64_t vocab = g->inference.config->model.vocab_size, at = fsm_first_not_finite(g->logits, vocab);
    char head[FSM_SEQUENCE_NAME_BYTES];
    if (at == vocab) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_NUMERIC, "%safter %zu tokens the logits are not finite: that of id %lld is %g",
                    fsm_sequence_head(&g->listener, i, head), g->sequences[i].count, (long long)at,
                    (double)g->logits[at]);
}

/* The next token of sequence i from the logits; the end of text is none. */
static fsmoe_status add_token(generation *g, size_t i)
{
    const fsmoe_generate_options *o = g->options;
    fsm_sequence *s = &g->sequences[i];
    int64_t vocab = fsmoe_tokenizer_vocab_size(g->inference.tokenizer); /* rows beyond it stand for nothing */
    FSM_TRY(check_logits(g, i));
    double uniform = fsm_rng_uniform(o->seed + i, FSM_RNG_SAMPLE, (uint64_t)(s->count - s->prompt));
    int32_t id = fsm_draw_token(g->logits, vocab, o->temperature, o->top_p, uniform, g->candidates);
    if (id == fsmoe_tokenizer_end_of_text(g->inference.tokenizer)) {
        s->ended = true;
        return FSMOE_OK;
    }
    s->ids[s->count++] = id;
    g->speed.tokens++;
    return fsm_sequence_show(&g->listener, i, s);
}

static void read_logits(generation *g, const fsm_real *logits)
{
    const fsm_ops *ops = g->inference.stepper.ops;
    ops->read(ops, sizeof *g->logits * (size_t)g->inference.config->model.vocab_size, logits, g->logits);
}

static fsmoe_status prefill(generation *g, size_t i)
{
    const fsm_sequence *s = &g->sequences[i];
    const int64_t region = (int64_t)i, past = 0;
    const fsm_batch batch = {
        .samples = 1, .seq_len = (int64_t)s->prompt, .ids = s->ids, .region = &region, .past = &past};
    FSM_TRY(fsm_stepper_forward(&g->inference.stepper, &batch));
    read_logits(g, fsm_pass_logits(&g->inference.stepper.model->passes[0], batch.seq_len - 1, 1));
    return add_token(g, i);
}

/* Who takes part in the next step, and with what; how many. */
static int64_t gather_step(generation *g)
{
    int64_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        const fsm_sequence *s = &g->sequences[i];
        if (s->ended) continue;
        g->number[n] = i;
        g->region[n] = (int64_t)i;
        g->past[n] = (int64_t)s->count - 1;
        g->last[n++] = s->ids[s->count - 1];
    }
    return n;
}

static fsmoe_status step(generation *g, int64_t n)
{
    fsm_stepper *stepper = &g->inference.stepper;
    const fsm_batch batch = {.samples = n, .seq_len = 1, .ids = g->last, .region = g->region, .past = g->past};
    const fsm_real *logits = NULL;
    FSM_TRY(fsm_stepper_forward(stepper, &batch));
    g->speed.steps++;
    g->speed.step_tokens += n;
    if (g->options->speed) fsm_step_floor_add(&g->floor, stepper->model);
    for (int64_t i = 0; i < n; i++) {
        int64_t block = i % FSM_HEAD_BLOCK, left = n - i;
        if (block == 0)
            logits = fsm_pass_logits(&stepper->model->passes[0], i, left < FSM_HEAD_BLOCK ? left : FSM_HEAD_BLOCK);
        read_logits(g, fsm_real_at(logits, block * g->inference.config->model.vocab_size));
        FSM_TRY(add_token(g, g->number[i]));
    }
    return FSMOE_OK;
}

static fsmoe_status take_steps(generation *g)
{
    fsm_ops *ops = g->inference.stepper.ops;
    fsmoe_status status = FSMOE_OK;
    ops->row_by_row(ops, true);
    for (int64_t n; status == FSMOE_OK && (n = gather_step(g)) > 0;) status = step(g, n);
    ops->row_by_row(ops, false);
    return status;
}

static fsmoe_status continue_prompts(generation *g)
{
    double begun_s = fsm_clock_s();
    for (size_t i = 0; i < g->n; i++) {
        FSM_TRY(fsm_sequence_show(&g->listener, i, &g->sequences[i]));
        if (!g->sequences[i].ended) FSM_TRY(prefill(g, i));
    }
    g->speed.prompt_s = fsm_clock_s() - begun_s;
    begun_s = fsm_clock_s();
    FSM_TRY(take_steps(g));
    g->speed.steps_s = fsm_clock_s() - begun_s - g->floor.read_s;
    for (size_t i = 0; i < g->n; i++) fsm_sequence_tell_cut(&g->listener, i, &g->sequences[i]);
    g->speed.weight_bytes = g->floor.weight_bytes;
    g->speed.read_bytes_per_s = g->floor.read_s > 0 ? g->floor.read_bytes / g->floor.read_s : 0;
    if (g->options->speed) *g->options->speed = g->speed;
    return FSMOE_OK;
}

/* ---- before the first token ---- */

static fsmoe_status check_options(const generation *g, const char *const *prompts)
{
    const fsmoe_generate_options *o = g->options;
    char name[FSM_SEQUENCE_NAME_BYTES];
    if (g->n == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "there is no prompt");
    for (size_t i = 0; i < g->n; i++)
        if (!prompts[i] || !prompts[i][0])
            return fsm_fail(FSMOE_ERROR_CONFIG, "%s is empty", fsm_sequence_name(&g->listener, i, name));
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return fsm_fail(FSMOE_ERROR_CONFIG, "temperature %g is not a number from 0 up", o->temperature);
    if (!(o->top_p > 0 && o->top_p <= 1)) return fsm_fail(FSMOE_ERROR_CONFIG, "top-p %g is not in (0, 1]", o->top_p);
    if (o->max_tokens < 0) return fsm_fail(FSMOE_ERROR_CONFIG, "%lld tokens to add", (long long)o->max_tokens);
    return FSMOE_OK;
}

static fsmoe_status encode_prompts(generation *g, const char *const *prompts)
{
    const fsmoe_model_config *m = &g->inference.config->model;
    size_t n = g->n, vocab = (size_t)m->vocab_size, positions = (size_t)m->max_seq_len;
    g->listener.tokenizer = g->inference.tokenizer;
    g->sequences = calloc(n, sizeof *g->sequences);
    g->number = calloc(n, sizeof *g->number);
    g->region = calloc(n, sizeof *g->region);
    g->past = calloc(n, sizeof *g->past);
    g->last = calloc(n, sizeof *g->last);
    g->logits = calloc(vocab, sizeof *g->logits);
    g->candidates = calloc(vocab, sizeof *g->candidates);
    if (!g->sequences || !g->number || !g->region || !g->past || !g->last || !g->logits || !g->candidates)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu prompts", n);
    for (size_t i = 0; i < n; i++) {
        FSM_TRY(fsm_sequence_begin(&g->listener, i, prompts[i], positions, &g->sequences[i]));
        g->speed.prompt_tokens += (int64_t)g->sequences[i].prompt;
    }
    return FSMOE_OK;
}

/* Memory is reserved without being there, so what would be too much of it has to be said beforehand. */
static fsmoe_status check_cache(const generation *g, int64_t cache_len)
{
    const fsmoe_model_config *m = &g->inference.config->model;
    double rows = (double)g->n * (double)cache_len, memory = fsm_machine_memory_bytes();
    double bytes = 2.0 * FSM_REAL_BYTES * rows * (double)(m->num_layers * m->num_kv_heads * m->head_dim);
    if (rows > INT32_MAX)
        return fsm_fail(FSMOE_ERROR_MEMORY, "%zu prompts with up to %lld tokens are more than can be numbered", g->n,
                        (long long)cache_len);
    if (memory <= 0 || bytes <= memory) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_MEMORY,
                    "keys and values of %zu prompts with up to %lld tokens take %.3g GB, this machine has %.3g GB",
                    g->n, (long long)cache_len, 1e-9 * bytes, 1e-9 * memory);
}

/* The model is built for the longest prompt, or a step of all, whichever has more tokens. */
static fsmoe_status load(generation *g, const char *model_dir)
{
    size_t longest = 1, cache_len = 1;
    for (size_t i = 0; i < g->n; i++) {
        const fsm_sequence *s = &g->sequences[i];
        if (s->prompt > longest) longest = s->prompt;
        if (s->prompt > cache_len) cache_len = s->prompt;
        if (s->most > cache_len + 1) cache_len = s->most - 1;
    }
    FSM_TRY(check_cache(g, (int64_t)cache_len));
    for (size_t i = 0; i < g->n; i++) FSM_TRY(fsm_sequence_reserve(&g->sequences[i]));
    fsmoe_config *c = g->inference.config;
    const fsm_model_options options = {.max_samples = (int64_t)((g->n + longest - 1) / longest),
                                       .cache_regions = (int64_t)g->n,
                                       .cache_len = (int64_t)cache_len};
    c->data.seq_len = (int64_t)longest;
    c->train.micro_batch = c->train.global_batch = options.max_samples;
    return fsm_inference_load(&g->inference, model_dir, &options);
}

/* ---- all of it ---- */

static void hand_over(generation *g, fsmoe_generated *generated)
{
    for (size_t i = 0; i < g->n; i++) {
        fsm_sequence *s = &g->sequences[i];
        generated[i] = (fsmoe_generated){s->text, s->size, (int64_t)s->prompt, (int64_t)(s->count - s->prompt)};
        s->text = NULL;
    }
}

static void destroy(generation *g)
{
    for (size_t i = 0; g->sequences && i < g->n; i++) fsm_sequence_destroy(&g->sequences[i]);
    free(g->sequences);
    free(g->number);
    free(g->region);
    free(g->past);
    free(g->last);
    free(g->logits);
    free(g->candidates);
    fsm_inference_close(&g->inference);
}

static fsmoe_status generate(const char *model_dir, generation *g, const char *const *prompts,
                             fsmoe_generated *generated)
{
    const fsmoe_generate_options *o = g->options;
    FSM_TRY(check_options(g, prompts));
    FSM_TRY(fsm_inference_open(model_dir, o->tokenizer, o->on_message, o->user, &g->inference));
    fsmoe_status status = fsm_can_generate(&g->inference.config->moe);
    if (status == FSMOE_OK) status = encode_prompts(g, prompts);
    if (status == FSMOE_OK) status = load(g, model_dir);
    if (status == FSMOE_OK) status = continue_prompts(g);
    if (status == FSMOE_OK) hand_over(g, generated);
    destroy(g);
    return status;
}

fsmoe_status fsmoe_generate(const char *model_dir, const fsmoe_generate_options *options, char **text, size_t *size)
{
    fsmoe_generated generated;
    generation g = {.options = options, .listener = {.options = options, .single = true}, .n = 1};
    FSM_TRY(generate(model_dir, &g, &options->prompt, &generated));
    *text = generated.text;
    *size = generated.size;
    return FSMOE_OK;
}

fsmoe_status fsmoe_generate_batch(const char *model_dir, const fsmoe_generate_options *options, size_t n,
                                  const char *const *prompts, fsmoe_generated *generated)
{
    generation g = {.options = options, .listener = {.options = options}, .n = n};
    return generate(model_dir, &g, prompts, generated);
}

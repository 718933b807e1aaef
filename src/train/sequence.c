#include "train/sequence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fsm_sequence_name(const fsm_listener *l, size_t i, char text[FSM_SEQUENCE_NAME_BYTES])
{
    snprintf(text, FSM_SEQUENCE_NAME_BYTES, l->single ? "the prompt" : "prompt %zu", i + 1);
    return text;
}

const char *fsm_sequence_head(const fsm_listener *l, size_t i, char text[FSM_SEQUENCE_NAME_BYTES])
{
    snprintf(text, FSM_SEQUENCE_NAME_BYTES, l->single ? "" : "prompt %zu: ", i + 1);
    return text;
}

/* ---- its ids ---- */

fsmoe_status fsm_sequence_begin(const fsm_listener *l, size_t i, const char *prompt, size_t positions, fsm_sequence *s)
{
    char name[FSM_SEQUENCE_NAME_BYTES];
    *s = (fsm_sequence){0};
    FSM_TRY(fsmoe_tokenizer_encode(l->tokenizer, prompt, strlen(prompt), &s->ids, &s->prompt));
    if (s->prompt > positions)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%s has %zu tokens, the model only %zu positions",
                        fsm_sequence_name(l, i, name), s->prompt, positions);
    s->count = s->prompt;
    s->most = s->wanted = s->prompt + (size_t)l->options->max_tokens;
    /* the last token needs no position: nothing is predicted from it */
    if (s->most > positions + 1) s->most = positions + 1;
    return FSMOE_OK;
}

void fsm_sequence_destroy(fsm_sequence *s)
{
    free(s->ids);
    free(s->text);
    *s = (fsm_sequence){0};
}

fsmoe_status fsm_sequence_reserve(fsm_sequence *s)
{
    int32_t *larger = realloc(s->ids, (s->most + 1) * sizeof *larger);
    if (!larger) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu tokens", s->most);
    s->ids = larger;
    return FSMOE_OK;
}

/* ---- its text ---- */

/* Whether the caller has enough. */
static bool tell(const fsm_listener *l, size_t i, const char *bytes, size_t size)
{
    const fsmoe_generate_options *o = l->options;
    if (size == 0) return false;
    if (l->single) return o->on_text && o->on_text(o->user, bytes, size) != 0;
    return o->on_prompt_text && o->on_prompt_text(o->user, i, bytes, size) != 0;
}

static fsmoe_status append(fsm_sequence *s, const char *bytes, size_t size)
{
    if (s->size + size + 1 > s->capacity) {
        size_t capacity = 2 * (s->size + size + 1);
        char *larger = realloc(s->text, capacity);
        if (!larger) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu bytes of text", capacity);
        s->text = larger;
        s->capacity = capacity;
    }
    memcpy(s->text + s->size, bytes, size);
    s->size += size;
    s->text[s->size] = 0;
    return FSMOE_OK;
}

/* An id's text is its bytes, whatever ids are beside it: only new ones are decoded. */
fsmoe_status fsm_sequence_show(const fsm_listener *l, size_t i, fsm_sequence *s)
{
    char *text;
    size_t size;
    FSM_TRY(fsmoe_tokenizer_decode(l->tokenizer, s->ids + s->shown, s->count - s->shown, &text, &size));
    fsmoe_status status = append(s, text, size);
    free(text);
    FSM_TRY(status);
    s->shown = s->count;
    s->ended = tell(l, i, s->text + s->size - size, size) || s->count >= s->most;
    return FSMOE_OK;
}

void fsm_sequence_tell_cut(const fsm_listener *l, size_t i, const fsm_sequence *s)
{
    char text[128], head[FSM_SEQUENCE_NAME_BYTES];
    if (s->count < s->most || s->most == s->wanted || !l->options->on_message) return;
    snprintf(text, sizeof text, "%s%zu of %zu tokens: the model knows no more positions", fsm_sequence_head(l, i, head),
             s->count - s->prompt, s->wanted - s->prompt);
    l->options->on_message(l->options->user, text);
}

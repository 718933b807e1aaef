/* A prompt and the text that follows it: ids that become bytes for the caller as they come.
 * In:  a prompt, a tokenizer, the caller's options; ids, one after the other.
 * Out: the text; the caller's callbacks are told of it, and may say that it is enough.
 * Of several prompts each is its own sequence, and messages number them.
 */
#ifndef FSM_TRAIN_SEQUENCE_H
#define FSM_TRAIN_SEQUENCE_H

#include "base/status.h"

#include <fsmoe/model.h>
#include <fsmoe/tokenizer.h>
#include <stdbool.h>

typedef struct fsm_sequence {
    int32_t *ids;
    size_t prompt, count, most, wanted; /* wanted: most, were the model's positions no limit */
    size_t shown;                       /* ids whose text is in `text` */
    char *text;                         /* decoded so far */
    size_t size, capacity;
    bool ended;
} fsm_sequence;

/* Who is told, all borrowed. single: on_text hears of the text, and messages do not number prompts. */
typedef struct fsm_listener {
    const fsmoe_generate_options *options;
    fsmoe_tokenizer *tokenizer;
    bool single;
} fsm_listener;

/* "the prompt", or which of them; at the head of a message "", or which of them and a colon. */
enum { FSM_SEQUENCE_NAME_BYTES = 32 };
const char *fsm_sequence_name(const fsm_listener *listener, size_t i, char text[FSM_SEQUENCE_NAME_BYTES]);
const char *fsm_sequence_head(const fsm_listener *listener, size_t i, char text[FSM_SEQUENCE_NAME_BYTES]);

/* The ids of prompt i, and how many may follow in so many positions. ERROR_CONFIG: it does not fit; ERROR_MEMORY.
 * Destroy it in any case. */
fsmoe_status fsm_sequence_begin(const fsm_listener *listener, size_t i, const char *prompt, size_t positions,
                                fsm_sequence *sequence);
void fsm_sequence_destroy(fsm_sequence *sequence);

/* Room for the ids that may follow. ERROR_MEMORY. */
fsmoe_status fsm_sequence_reserve(fsm_sequence *sequence);

/* Decodes what is new and hands it on. The sequence has ended if the caller says so, or it has as many ids as it may.
 * ERROR_MEMORY. */
fsmoe_status fsm_sequence_show(const fsm_listener *listener, size_t i, fsm_sequence *sequence);

/* Tells the caller that it asked for more than the model has positions for, if that is so. */
void fsm_sequence_tell_cut(const fsm_listener *listener, size_t i, const fsm_sequence *sequence);

#endif

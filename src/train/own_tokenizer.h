/* Which tokenizer goes with a model when nobody names one: the folder's own, never bytes in silence.
 * In:  a model folder, a name or NULL. Out: a tokenizer; a sentence about the choice where it was not plain.
 */
#ifndef FSM_TRAIN_OWN_TOKENIZER_H
#define FSM_TRAIN_OWN_TOKENIZER_H

#include "base/status.h"

#include <fsmoe/config.h>
#include <fsmoe/tokenizer.h>

typedef void (*fsm_say)(void *user, const char *sentence); /* NULL: nobody listens */

/* For eval and generate: the given one; the folder's; by the number of ids, bytes for 256 and gpt2 for 50257.
 * ERROR_CONFIG: none of these; else why the folder's cannot be read, and how to name another. */
fsmoe_status fsm_own_tokenizer(const char *folder, int64_t vocab_size, const char *given, fsm_say say, void *user,
                               fsmoe_tokenizer **tokenizer);

/* For training: data.tokenizer if somebody set it; with init_dir (may be NULL) that folder's; with `resume` the
 * run's, as its config.yaml has it; else as the configuration is. Leaves the choice in data.tokenizer. Wants a
 * configuration whose shape was adopted from the model. Errors as above. */
fsmoe_status fsm_adopt_tokenizer(fsmoe_config *config, const char *init_dir, bool resume, fsm_say say, void *user,
                                 fsmoe_tokenizer **tokenizer);

#endif

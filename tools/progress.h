/* The progress of a training run on a person's screen: one line that is rewritten on a terminal, a line now and then
 * elsewhere.
 * In:  a `progress` as the callbacks' user. Out: text on stderr; no escape sequence, so it needs no kind of terminal.
 */
#ifndef FSMOE_TOOLS_PROGRESS_H
#define FSMOE_TOOLS_PROGRESS_H

#include <fsmoe/train.h>

typedef struct progress {
    int width; /* of the line that stands on the terminal without its end; 0: none */
} progress;

void progress_on_step(void *user, const fsmoe_train_progress *step);
void progress_on_message(void *user, const char *sentence);

/* Ends an unfinished line, so that something else can be said. */
void progress_end_line(progress *shown);

#endif

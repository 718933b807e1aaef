/* The progress of a training run on a person's screen: one line that is rewritten on a terminal, a line now and then
 * elsewhere.
 */
#ifndef FSMOE_TOOLS_PROGRESS_H
#define FSMOE_TOOLS_PROGRESS_H

#include <fsmoe/train.h>

void progress_on_step(void *user, const fsmoe_train_progress *progress);
void progress_on_message(void *user, const char *sentence);

#endif

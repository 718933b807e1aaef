#include "train/trainer.h"

#include "train/trial.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool fsm_trainer_speaks(const fsm_trainer *t)
{
    return t->world->rank == 0;
}

void fsm_trainer_say(const fsm_trainer *t, const char *format, ...)
{
    char text[4096];
    va_list args;
    if (!fsm_trainer_speaks(t) || !t->options->on_message) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->options->on_message(t->options->user, text);
}

void fsm_trainer_tell_stage(const fsm_trainer *t, fsmoe_train_stage stage, double usual_s)
{
    if (t->options->on_stage) t->options->on_stage(t->options->user, stage, t->state.step, usual_s);
}

fsmoe_status fsm_trainer_failed_in_step(const fsm_trainer *t, fsmoe_status status)
{
    fsm_fail_within(status, "step %lld", (long long)t->state.step + 1);
    return fsm_step_failed(t->world, status);
}

void fsm_trainer_destroy(fsm_trainer *t)
{
    fsm_run_log_close(&t->log);
    fsm_idle_experts_destroy(&t->idle);
    fsm_trace_destroy(t->trace);
    fsm_planning_end(&t->planning);
    fsm_batches_destroy(&t->train_batches);
    fsm_batches_destroy(&t->valid_batches);
    fsm_stepper_destroy(&t->stepper);
    fsmoe_tokens_close(t->train_tokens);
    fsmoe_tokens_close(t->valid_tokens);
    fsmoe_tokenizer_destroy(t->tokenizer);
    free(t->sums);
}

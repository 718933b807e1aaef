#include "train/run_record.h"

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

fsmoe_status fsm_run_record_config(const fsmoe_config *config)
{
    char path[FSM_PATH_BYTES], *text;
    FSM_TRY(fsm_file_path(config->run.dir, "config.yaml", path));
    FSM_TRY(fsmoe_config_dump(config, false, &text));
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}

static json_t *describe_layout(const fsm_topo *t)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "nodes", t->nodes, "ranks_per_node", t->ranks_per_node,
                     "ranks", t->ranks, "dp", t->dp, "mp", t->mp, "ep", t->ep, "esp", t->esp, "edp", t->edp);
}

/* A text of the system's, a path or a sample may be no UTF-8: what is not ASCII becomes '?' then. NULL: no memory. */
static json_t *text_of(const char *given)
{
    json_t *text = json_string(given);
    if (text) return text;
    char *plain = strdup(given);
    for (char *c = plain; c && *c; c++)
        if (*c & 0x80) *c = '?';
    /* plain text that has no other is refused for want of memory, which the first try may have met, too */
    if (plain && strcmp(plain, given) != 0) text = json_string(plain);
    free(plain);
    return text;
}

static json_t *describe(const fsm_stepper *s, const fsmoe_train_options *options, time_t begun, bool *failed)
{
    int64_t total, active;
    char cpu[256], started[64];
    struct tm utc;
    json_t *run = json_object();
    fsm_params_totals(&s->model->params, s->config, &total, &active);
    fsm_machine_cpu(cpu, sizeof cpu);
    strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&begun, &utc));
    fsm_json_set(run, "command", text_of(options->command ? options->command : ""), failed);
    fsm_json_set(run, "resume_command", text_of(options->resume_command ? options->resume_command : ""), failed);
    fsm_json_set(run, "version", json_string(FSMOE_VERSION), failed);
    fsm_json_set(run, "layout", describe_layout(&s->topo), failed);
    fsm_json_set(run, "threads", json_integer(s->threads), failed);
    fsm_json_set(run, "cpu", text_of(cpu), failed);
    fsm_json_set(run, "parameters", json_integer(total), failed);
    fsm_json_set(run, "active_parameters", json_integer(active), failed);
    fsm_json_set(run, "tokens_per_step", json_integer(s->config->train.global_batch * s->config->data.seq_len), failed);
    fsm_json_set(run, "steps", json_integer(s->config->train.steps), failed);
    fsm_json_set(run, "started", json_string(started), failed);
    fsm_json_set(run, "tokenizer", text_of(s->config->data.tokenizer), failed);
    return run;
}

static json_t *describe_memory(const fsm_memory_record *record, bool *failed)
{
    const fsmoe_memory *p = &record->predicted;
    json_t *memory = json_object(), *predicted = json_object();
    const struct {
        const char *name;
        int64_t bytes;
    } kinds[] = {
        {"total", fsmoe_memory_total(p)},
        {"parameters", p->parameters},
        {"gradients", p->gradients},
        {"optimizer", p->optimizer},
        {"saved", p->saved},
        {"staging", p->staging},
        {"packed", p->packed},
        {"workspace", p->workspace},
        {"host_tables", p->host_tables},
        {"process", p->process},
        {"worst_more", p->worst_more},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        fsm_json_set(predicted, kinds[i].name, json_integer(kinds[i].bytes), failed);
    fsm_json_set(memory, "predicted_bytes", predicted, failed);
    if (record->peak_bytes > 0) {
        fsm_json_set(memory, "peak_bytes", json_integer((json_int_t)record->peak_bytes), failed);
        fsm_json_set(memory, "largest_peak_bytes", json_integer((json_int_t)record->largest_peak_bytes), failed);
    }
    return memory;
}

fsmoe_status fsm_run_record_write(const fsm_stepper *stepper, const fsmoe_train_options *options,
                                  const fsm_memory_record *memory, time_t started, double val_loss, const char *sample)
{
    char path[FSM_PATH_BYTES];
    bool failed = false;
    FSM_TRY(fsm_file_path(stepper->config->run.dir, "run.json", path));
    json_t *run = describe(stepper, options, started, &failed);
    fsm_json_set(run, "memory", describe_memory(memory, &failed), &failed);
    if (!isnan(val_loss)) fsm_json_set(run, "val_loss", json_real(val_loss), &failed);
    if (sample) fsm_json_set(run, "sample", text_of(sample), &failed);
    return fsm_json_write(run, failed, JSON_INDENT(2), path);
}

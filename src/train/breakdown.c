#include "train/breakdown.h"

#include "base/file.h"
#include "base/print.h"
#include "ops/meter.h"
#include "run/breakdown.h"
#include "train/peak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What all ranks reach, if that is more than what they did before: others may want the machine, too. */
static fsmoe_status measure_machine(fsm_trainer *t)
{
    double before = t->peak_flops_per_s, bytes_per_s;
    FSM_TRY(fsm_trainer_measure_peak(t));
    t->peak_flops_per_s = fmax(t->peak_flops_per_s, before);
    FSM_TRY(fsm_peak_bandwidth(t->stepper.ops, t->stepper.threads, t->world, &bytes_per_s));
    FSM_TRY(fsm_comm_all_reduce_double(t->world, &bytes_per_s, 1));
    t->metering.bytes_per_s = fmax(t->metering.bytes_per_s, bytes_per_s);
    return FSMOE_OK;
}

fsmoe_status fsm_trainer_begin_breakdown(fsm_trainer *t)
{
    bool any = t->state.step < t->config->train.steps;
    return t->stepper.metered && any ? measure_machine(t) : FSMOE_OK;
}

void fsm_trainer_begin_metering(fsm_trainer *t)
{
    fsm_metering *m = &t->metering;
    if (!t->stepper.metered) return;
    if (t->state.step <= t->started_step + 1) {
        fsm_meter_reset(t->stepper.ops);
        m->first_step = t->state.step + 1;
        m->s = 0;
    }
    fsm_meter_turn(t->stepper.ops, true);
}

void fsm_trainer_end_metering(fsm_trainer *t)
{
    if (!t->stepper.metered) return;
    fsm_meter_turn(t->stepper.ops, false);
    t->metering.last_step = t->state.step;
    t->metering.s += t->step_s;
}

/* ---- all ranks' ---- */

/* What a rank tells. */
typedef struct told {
    fsm_op_count count[FSM_OP_KIND_COUNT];
    double s;
} told;

/* Falling. */
static int by_time(const void *a, const void *b)
{
    double x = ((const fsm_breakdown_row *)a)->s, y = ((const fsm_breakdown_row *)b)->s;
    return (x < y) - (x > y);
}

static fsm_breakdown_row row_of(const told *all, int ranks, double steps, fsm_op_kind kind)
{
    fsm_breakdown_row row = {0};
    double of = steps * ranks;
    snprintf(row.kind, sizeof row.kind, "%s", fsm_op_kind_name(kind));
    for (int r = 0; r < ranks; r++) {
        const fsm_op_count *c = &all[r].count[kind];
        row.calls += c->calls / of;
        row.s += c->s / of;
        row.flops += c->flops / of;
        row.bytes += c->bytes / of;
        row.slowest_s = fmax(row.slowest_s, c->s / steps);
    }
    return row;
}

static void put_together(const fsm_trainer *t, const told *all, fsm_breakdown *b)
{
    const fsm_metering *m = &t->metering;
    int ranks = t->world->size;
    double steps = (double)(m->last_step - m->first_step + 1);
    *b = (fsm_breakdown){.first_step = m->first_step,
                         .last_step = m->last_step,
                         .ranks = ranks,
                         .flops_per_s = t->peak_flops_per_s / ranks,
                         .bytes_per_s = m->bytes_per_s / ranks};
    for (int r = 0; r < ranks; r++) b->step_s += all[r].s / (steps * ranks);
    b->model_flops_per_s = t->model_flops / b->step_s;
    b->model_share = b->model_flops_per_s / t->peak_flops_per_s;
    for (int kind = 0; kind < FSM_OP_KIND_COUNT; kind++) {
        fsm_breakdown_row row = row_of(all, ranks, steps, (fsm_op_kind)kind);
        if (row.calls > 0) b->row[b->rows++] = row;
    }
    qsort(b->row, (size_t)b->rows, sizeof *b->row, by_time);
}

static fsmoe_status tell(const fsm_trainer *t, const fsm_breakdown *b)
{
    fsm_print print;
    char *text;
    if (!t->options->on_breakdown) return FSMOE_OK;
    FSM_TRY(fsm_print_begin(&print));
    fsm_breakdown_print(b, print.out);
    FSM_TRY(fsm_print_end(&print, FSMOE_OK, "the breakdown of a step", &text));
    t->options->on_breakdown(t->options->user, text);
    free(text);
    return FSMOE_OK;
}

static fsmoe_status write_all(const fsm_trainer *t, const told *all)
{
    char path[FSM_PATH_BYTES];
    fsm_breakdown b;
    put_together(t, all, &b);
    FSM_TRY(fsm_file_path(t->config->run.dir, FSM_BREAKDOWN_FILE, path));
    FSM_TRY(fsm_breakdown_write(&b, path));
    return tell(t, &b);
}

fsmoe_status fsm_trainer_write_breakdown(fsm_trainer *t)
{
    fsm_comm *world = t->world;
    size_t ranks = (size_t)world->size;
    told mine = {.s = t->metering.s};
    if (!t->stepper.metered) return FSMOE_OK;
    if (t->metering.last_step == 0) {
        fsm_trainer_say(t, "no step has been done, so there is no breakdown of one");
        return FSMOE_OK;
    }
    FSM_TRY(measure_machine(t));
    memcpy(mine.count, fsm_meter_counts(t->stepper.ops), sizeof mine.count);
    told *all = malloc(ranks * sizeof *all);
    int64_t *bytes = malloc(ranks * sizeof *bytes);
    fsmoe_status status =
        all && bytes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the breakdown of a step");
    status = fsm_comm_agree(world, status);
    if (status == FSMOE_OK) {
        for (size_t r = 0; r < ranks; r++) bytes[r] = (int64_t)sizeof mine;
        status = world->control->gather_bytes(world, &mine, bytes[0], all, bytes);
        if (status == FSMOE_OK) status = fsm_comm_agree(world, world->rank == 0 ? write_all(t, all) : FSMOE_OK);
    }
    free(bytes);
    free(all);
    return status;
}

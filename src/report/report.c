#define _GNU_SOURCE /* newlocale, uselocale in every C mode */
#include <fsmoe/report.h>

#include "base/file.h"
#include "base/print.h"
#include "report/breakdown.h"
#include "report/chart.h"
#include "report/heatmap.h"
#include "report/html.h"
#include "report/log.h"
#include "report/measured.h"
#include "report/number.h"
#include "report/ranks.h"
#include "report/run.h"
#include "report/series.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that a page shows. */
typedef struct page {
    const char *run_dir;
    fsm_log log;
    fsm_run run;
    char *config;        /* NULL without a config.yaml */
    double *smooth_loss; /* [log.count] */
    double *scratch;     /* [2][log.count] what the chart being drawn shows */
    size_t window;       /* steps in the mean of a smoothed line; 1: not smoothed */
} page;

static void write_figure(FILE *out, const char *name, const char *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void write_figure(FILE *out, const char *name, const char *value, const char *format, ...)
{
    fprintf(out, "<div><dt>%s</dt><dd><div class=\"value\">%s</div><div class=\"more\">", name, value);
    va_list args;
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputs("</div></dd></div>\n", out);
}

static double total_s(const page *p)
{
    double sum = 0;
    for (size_t i = 0; i < p->log.count; i++)
        if (!isnan(p->log.columns[FSM_LOG_STEP_S][i])) sum += p->log.columns[FSM_LOG_STEP_S][i];
    return sum;
}

static void write_loss_figures(FILE *out, const page *p)
{
    char value[FSM_NUMBER_BYTES], more[FSM_NUMBER_BYTES];
    const fsm_log *log = &p->log;
    fsm_number_short(value, fsm_log_last(log, FSM_LOG_LOSS));
    if (p->window > 1)
        write_figure(out, "Training loss", value, "%s over the last %zu steps",
                     fsm_number_short(more, p->smooth_loss[log->count - 1]), p->window / 2 + 1);
    else write_figure(out, "Training loss", value, "at the last step");
    double validation = fsm_log_last(log, FSM_LOG_VAL_LOSS);
    if (isnan(validation)) return;
    write_figure(out, "Validation loss", fsm_number_short(value, validation), "perplexity %s",
                 fsm_number_short(more, exp(validation)));
}

/* Logs had none of it before. */
static fsmoe_status write_model_flops(FILE *out, const page *p)
{
    char value[FSM_NUMBER_BYTES], more[FSM_NUMBER_BYTES];
    double speed, share;
    FSM_TRY(fsm_series_median(p->log.columns[FSM_LOG_FLOPS_PER_S], p->log.count, &speed));
    FSM_TRY(fsm_series_median(p->log.columns[FSM_LOG_PEAK_SHARE], p->log.count, &share));
    if (isnan(speed)) return FSMOE_OK;
    fsm_number_short(value, 1e-9 * speed);
    if (isnan(share)) write_figure(out, "Model GFLOP/s", value, "median of the steps");
    else write_figure(out, "Model GFLOP/s", value, "%s%% of measured products", fsm_number_short(more, 100 * share));
    return FSMOE_OK;
}

static fsmoe_status write_key_figures(FILE *out, const page *p)
{
    char value[FSM_NUMBER_BYTES], more[FSM_NUMBER_BYTES];
    const fsm_log *log = &p->log;
    double speed, step_s, steps = fsm_run_number(&p->run, "steps"), last = log->columns[FSM_LOG_STEP][log->count - 1];
    FSM_TRY(fsm_series_median(log->columns[FSM_LOG_TOKENS_PER_S], log->count, &speed));
    FSM_TRY(fsm_series_median(log->columns[FSM_LOG_STEP_S], log->count, &step_s));
    fputs("<dl class=\"figures\">\n", out);
    write_loss_figures(out, p);
    if (!isnan(speed)) write_figure(out, "Tokens per second", fsm_number_short(value, speed), "median of the steps");
    FSM_TRY(write_model_flops(out, p));
    if (!isnan(step_s))
        write_figure(out, "Time in steps", fsm_number_duration(value, total_s(p)), "%s a step",
                     fsm_number_duration(more, step_s));
    fsm_number_whole(value, last);
    if (isnan(steps)) write_figure(out, "Steps", value, "so far");
    else write_figure(out, "Steps", value, "of %s", fsm_number_whole(more, steps));
    double parameters = fsm_run_number(&p->run, "parameters"), active = fsm_run_number(&p->run, "active_parameters");
    if (!isnan(parameters) && !isnan(active))
        write_figure(out, "Parameters", fsm_number_short(value, parameters), "%s active a token",
                     fsm_number_short(more, active));
    else if (!isnan(parameters)) write_figure(out, "Parameters", fsm_number_short(value, parameters), "in all");
    fputs("</dl>\n", out);
    return FSMOE_OK;
}

static void write_header(FILE *out, const page *p)
{
    const char *version = fsm_run_text(&p->run, "version"), *started = fsm_run_text(&p->run, "started");
    fputs("<header>\n<h1>", out);
    fsm_html_text(out, p->run_dir);
    fputs("</h1>\n<p class=\"note\">Training run", out);
    if (version) fputs(" of fsmoe ", out), fsm_html_text(out, version);
    if (started) fputs(", started ", out), fsm_html_text(out, started);
    fputs("</p>\n</header>\n", out);
}

static fsm_chart_series column_series(const page *p, fsm_log_column column, const char *name, fsm_chart_kind kind,
                                      int colour)
{
    return (fsm_chart_series){name, kind, colour, p->log.columns[FSM_LOG_STEP], p->log.columns[column], p->log.count};
}

/* A faint line of every step under its mean; the mean alone when there are too few steps for one. */
static void add_smoothed(fsm_chart *chart, const page *p, const char *each, const char *mean, const double *y,
                         const double *smooth)
{
    const double *x = p->log.columns[FSM_LOG_STEP];
    size_t count = p->log.count;
    if (p->window > 1) chart->series[chart->n_series++] = (fsm_chart_series){each, FSM_CHART_FAINT, 0, x, y, count};
    chart->series[chart->n_series++] = (fsm_chart_series){mean, FSM_CHART_LINE, 0, x, smooth, count};
}

static fsmoe_status write_loss_chart(FILE *out, const page *p)
{
    const double *loss = p->log.columns[FSM_LOG_LOSS];
    char unit[64] = "nats a token";
    if (p->window > 1) snprintf(unit, sizeof unit, "nats a token, mean of %zu steps", p->window);
    fsm_chart chart = {.id = "loss", .title = "Loss", .unit = unit, .x_name = "step", .height_px = 300, .even = NAN};
    chart.logarithmic = fsm_chart_spans(loss, p->log.count, 3);
    add_smoothed(&chart, p, "each step", "training", loss, p->smooth_loss);
    if (!isnan(fsm_log_last(&p->log, FSM_LOG_VAL_LOSS)))
        chart.series[chart.n_series++] = column_series(p, FSM_LOG_VAL_LOSS, "validation", FSM_CHART_DOTS, 1);
    return fsm_chart_write(out, &chart);
}

/* The charts of one column each. */
static const struct column_chart {
    fsm_log_column column;
    const char *id, *title, *unit;
    double scale;
    bool from_zero, noisy, may_be_logarithmic, only_if_used;
} column_charts[] = {
    {FSM_LOG_LR, "lr", "Learning rate", NULL, 1, true, false, false, false},
    {FSM_LOG_GRAD_NORM, "grad-norm", "Gradient norm", NULL, 1, false, true, true, false},
    {FSM_LOG_TOKENS_PER_S, "tokens-per-s", "Throughput", "tokens a second", 1, true, true, false, false},
    {FSM_LOG_DROPPED_FRAC, "dropped", "Dropped tokens", "% of expert assignments", 100, true, false, false, true},
    {FSM_LOG_AUX_LOSS, "aux-loss", "Load-balancing loss", NULL, 1, false, true, false, true},
    {FSM_LOG_Z_LOSS, "z-loss", "Router z-loss", NULL, 1, false, true, false, true},
};

static bool is_used(const double *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (y[i] != 0 && !isnan(y[i])) return true;
    return false;
}

static fsmoe_status write_column_chart(FILE *out, const page *p, const struct column_chart *spec)
{
    const double *y = p->log.columns[spec->column];
    if (spec->only_if_used && !is_used(y, p->log.count)) return FSMOE_OK;
    double *scaled = p->scratch, *smooth = p->scratch + p->log.count;
    for (size_t i = 0; i < p->log.count; i++) scaled[i] = spec->scale * y[i];
    fsm_series_smooth(scaled, p->log.count, spec->noisy ? p->window : 1, smooth);
    fsm_chart chart = {.id = spec->id,
                       .title = spec->title,
                       .unit = spec->unit,
                       .x_name = "step",
                       .height_px = 170,
                       .from_zero = spec->from_zero,
                       .even = NAN};
    chart.logarithmic = spec->may_be_logarithmic && fsm_chart_spans(y, p->log.count, 30);
    char mean[32];
    snprintf(mean, sizeof mean, "mean of %zu", p->window);
    if (spec->noisy && p->window > 1) add_smoothed(&chart, p, "each step", mean, scaled, smooth);
    else chart.series[chart.n_series++] = column_series(p, spec->column, spec->title, FSM_CHART_LINE, 0);
    chart.series[chart.n_series - 1].y = smooth;
    return fsm_chart_write(out, &chart);
}

/* The busiest and the idlest expert of all layers, relative to the mean. */
static fsmoe_status write_load_chart(FILE *out, const page *p)
{
    const fsm_log *log = &p->log;
    const double *mean = log->columns[FSM_LOG_LOAD_MEAN];
    for (size_t i = 0; i < log->count; i++) {
        p->scratch[i] = mean[i] > 0 ? log->columns[FSM_LOG_LOAD_MAX][i] / mean[i] : NAN;
        p->scratch[log->count + i] = mean[i] > 0 ? log->columns[FSM_LOG_LOAD_MIN][i] / mean[i] : NAN;
    }
    fsm_chart chart = {.id = "load-range",
                       .title = "Expert load",
                       .unit = "× the mean",
                       .x_name = "step",
                       .height_px = 170,
                       .from_zero = true,
                       .even = 1,
                       .n_series = 2};
    chart.series[0] = column_series(p, FSM_LOG_LOAD_MAX, "busiest", FSM_CHART_LINE, 1);
    chart.series[1] = column_series(p, FSM_LOG_LOAD_MIN, "idlest", FSM_CHART_LINE, 0);
    chart.series[0].y = p->scratch;
    chart.series[1].y = p->scratch + log->count;
    return fsm_chart_write(out, &chart);
}

static fsmoe_status write_charts(FILE *out, const page *p)
{
    fsm_html_begin_section(out, "training", "Training", NULL);
    fputs("<div class=\"charts\" style=\"grid-template-columns:minmax(0,1fr);margin-top:16px\">\n", out);
    FSM_TRY(write_loss_chart(out, p));
    fputs("</div>\n<div class=\"charts\">\n", out);
    for (size_t i = 0; i < sizeof column_charts / sizeof *column_charts; i++)
        FSM_TRY(write_column_chart(out, p, &column_charts[i]));
    FSM_TRY(write_load_chart(out, p));
    fputs("</div>\n", out);
    fsm_html_end_section(out);
    if (p->log.n_loads == 0) return FSMOE_OK;
    fsm_html_begin_section(out, "experts", "Experts",
                           "How each MoE layer's tokens spread over its experts; the middle colour is balanced.");
    FSM_TRY(fsm_heatmap_write(out, &p->log));
    fsm_html_end_section(out);
    return FSMOE_OK;
}

static void write_fact(FILE *out, const char *name, const char *value)
{
    if (!value) return;
    fprintf(out, "<dt>%s</dt><dd>", name);
    fsm_html_text(out, value);
    fputs("</dd>\n", out);
}

static void write_number_fact(FILE *out, const page *p, const char *name, const char *key)
{
    char text[FSM_NUMBER_BYTES];
    double value = fsm_run_number(&p->run, key);
    if (!isnan(value)) write_fact(out, name, fsm_number_whole(text, value));
}

static void write_layout(FILE *out, const page *p)
{
    const fsm_run *run = &p->run;
    if (!run->root) return;
    fsm_html_begin_section(out, "layout", "Layout", NULL);
    fputs("<dl class=\"facts\">\n", out);
    if (run->has_layout) {
        fprintf(out, "<dt>Ranks</dt><dd>%lld: %lld node%s of %lld</dd>\n", (long long)run->ranks, (long long)run->nodes,
                run->nodes > 1 ? "s" : "", (long long)run->ranks_per_node);
        fprintf(out,
                "<dt>Groups</dt><dd>data dp %lld · model mp %lld · expert ep %lld · expert shard esp %lld · "
                "expert data edp %lld</dd>\n",
                (long long)run->dp, (long long)run->mp, (long long)run->ep, (long long)run->esp, (long long)run->edp);
    }
    write_number_fact(out, p, "Threads a rank", "threads");
    write_fact(out, "Processor", fsm_run_text(run, "cpu"));
    write_number_fact(out, p, "Tokens a step", "tokens_per_step");
    write_fact(out, "Tokenizer", fsm_run_text(run, "tokenizer"));
    fputs("</dl>\n", out);
    if (run->has_layout) fsm_ranks_write(out, run);
    fsm_html_end_section(out);
}

static void write_text_section(FILE *out, const char *id, const char *heading, const char *note, const char *class,
                               const char *text)
{
    if (!text || !*text) return;
    fsm_html_begin_section(out, id, heading, note);
    fprintf(out, "<pre class=\"%s\">", class);
    fsm_html_text(out, text);
    fputs("</pre>\n", out);
    fsm_html_end_section(out);
}

static void write_commands(FILE *out, const page *p)
{
    write_text_section(out, "resume", "How to resume", "Goes on from the latest checkpoint of the run folder.",
                       "command", fsm_run_text(&p->run, "resume_command"));
    write_text_section(out, "command", "How it was started", NULL, "command", fsm_run_text(&p->run, "command"));
}

/* What the run warned of, a line each. */
static void write_warnings(FILE *out, const page *p)
{
    if (!p->log.warnings) return;
    write_text_section(out, "warnings", "Warnings", NULL, "command", p->log.warnings);
}

static fsmoe_status write_page(FILE *out, const page *p)
{
    fsm_html_begin(out, p->run_dir);
    write_header(out, p);
    FSM_TRY(write_key_figures(out, p));
    write_warnings(out, p);
    FSM_TRY(write_charts(out, p));
    FSM_TRY(fsm_breakdown_section_write(out, p->run_dir));
    FSM_TRY(fsm_measured_write(out, p->run_dir));
    write_text_section(out, "sample", "Sample", "Text that the model wrote at the end of training.", "prose",
                       fsm_run_text(&p->run, "sample"));
    write_layout(out, p);
    write_commands(out, p);
    write_text_section(out, "config", "Configuration", NULL, "config", p->config);
    fsm_html_end(out);
    return FSMOE_OK;
}

static fsmoe_status save_page(const page *p)
{
    fsm_print print;
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(p->run_dir, "report.html", path));
    FSM_TRY(fsm_print_begin(&print));
    return fsm_print_write(&print, write_page(print.out, p), path);
}

/* A run that ends without a validation in its log still has one in run.json: it belongs to the last step. */
static void add_final_validation(page *p)
{
    size_t last = p->log.count - 1;
    double *cell = &p->log.columns[FSM_LOG_VAL_LOSS][last];
    if (isnan(*cell) && p->log.columns[FSM_LOG_STEP][last] >= fsm_run_number(&p->run, "steps"))
        *cell = fsm_run_number(&p->run, "val_loss");
}

static fsmoe_status make_smooth_loss(page *p)
{
    size_t count = p->log.count;
    p->window = count < 100 ? 1 : 2 * ((count + 100) / 200) + 1;
    p->smooth_loss = malloc(3 * count * sizeof(double));
    if (!p->smooth_loss) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the report of '%s'", p->run_dir);
    p->scratch = p->smooth_loss + count;
    fsm_series_smooth(p->log.columns[FSM_LOG_LOSS], count, p->window, p->smooth_loss);
    return FSMOE_OK;
}

static fsmoe_status read_page(page *p)
{
    char *log = fsm_file_join(p->run_dir, "log.jsonl"), *run = fsm_file_join(p->run_dir, "run.json");
    char *config = fsm_file_join(p->run_dir, "config.yaml");
    size_t size;
    fsmoe_status status = FSMOE_OK;
    if (!log || !run || !config) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the report of '%s'", p->run_dir);
    if (status == FSMOE_OK) status = fsm_log_read(log, &p->log);
    if (status == FSMOE_OK && p->log.count == 0)
        status = fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has no complete step yet, so there is nothing to report", log);
    if (status == FSMOE_OK) status = fsm_run_read(run, &p->run);
    if (status == FSMOE_OK && fsm_file_exists(config)) status = fsm_file_read(config, &p->config, &size);
    free(config);
    free(run);
    free(log);
    return status;
}

fsmoe_status fsmoe_report_write(const char *run_dir)
{
    /* Style sheets and SVG want decimal points, whatever the caller's language writes. */
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!plain) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the report of '%s'", run_dir);
    locale_t before = uselocale(plain);
    page p = {.run_dir = run_dir};
    fsmoe_status status;
    FSM_TRY_GOTO(status, read_page(&p), done);
    add_final_validation(&p);
    FSM_TRY_GOTO(status, make_smooth_loss(&p), done);
    status = save_page(&p);
done:
    free(p.smooth_loss);
    free(p.config);
    fsm_run_destroy(&p.run);
    fsm_log_destroy(&p.log);
    uselocale(before);
    freelocale(plain);
    return status;
}

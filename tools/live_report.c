#include "live_report.h"

#include "command.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static const double least_s = 60, times_its_cost = 100;

/* Ranks wait in the present step while a page is made: a long one is left for the end of the run. */
static const double longest_s = 1;
static const long longest_log_bytes = 32L << 20;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void live_report_begin(live_report *report, const char *run_dir)
{
    *report = (live_report){.run_dir = run_dir, .renewed_s = now_s()};
}

static bool would_take_long(const live_report *report)
{
    char log[4096 + 16];
    struct stat info;
    snprintf(log, sizeof log, "%s/log.jsonl", report->run_dir);
    return report->took_s > longest_s || stat(log, &info) != 0 || info.st_size > longest_log_bytes;
}

static fsmoe_status renew(live_report *report)
{
    double begun_s = now_s();
    fsmoe_status status = fsmoe_report_write(report->run_dir);
    report->renewed_s = now_s();
    report->took_s = report->renewed_s - begun_s;
    return status;
}

void live_report_on_step(live_report *report)
{
    report->steps++;
    if (report->failed || now_s() - report->renewed_s < fmax(least_s, times_its_cost * report->took_s)) return;
    if (would_take_long(report)) return;
    if (renew(report) == FSMOE_OK) return;
    char text[2200];
    snprintf(text, sizeof text, "the report cannot be renewed: %s", fsmoe_last_error());
    command_note(text);
    report->failed = true;
}

fsmoe_status live_report_end(live_report *report)
{
    return report->steps > 0 ? renew(report) : FSMOE_OK;
}

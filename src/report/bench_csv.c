/* The rows of a bench as a table of commas: <fsmoe/bench.h>. */
#include "base/print.h"
#include "report/bench_summary.h"

#include <string.h>

static const char head[] =
    "case,schedule,forward_degree,backward_degree,median_ms,fastest_ms,slowest_ms,planned_ms,bound_ms,over_dsmoe,"
    "over_tutel,prediction_error,overlap,compute_ms,intra_ms,inter_ms,times,stretch,lanes\n";

/* A field that holds a comma or a quote stands in quotes. */
static void write_field(FILE *out, const char *text)
{
    bool quoted = strpbrk(text, ",\"") != NULL;
    if (quoted) fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    if (quoted) fputc('"', out);
}

static void write_row(FILE *out, const fsmoe_bench_case *c, const fsmoe_bench_row *r)
{
    bool rehearsed = r->stretch > 0;
    write_field(out, c->name);
    fprintf(out, ",%s,%d,%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%s,%.6g,%d\n", r->schedule,
            r->forward, r->backward, 1e3 * r->step_s, 1e3 * r->fastest_s, 1e3 * r->slowest_s, 1e3 * r->planned_s,
            1e3 * r->bound_s, fsm_bench_faster(fsm_bench_row_of(c, "dsmoe"), r),
            fsm_bench_faster(fsm_bench_row_of(c, "tutel"), r), r->step_s / r->planned_s - 1, r->overlap,
            1e3 * r->compute_s, 1e3 * r->intra_s, 1e3 * r->inter_s, rehearsed ? "rehearsed" : "measured",
            rehearsed ? r->stretch : 1, r->lanes);
}

fsmoe_status fsmoe_bench_write_csv(const fsmoe_bench_case *cases, int count, const char *path)
{
    fsm_print print;
    FSM_TRY(fsm_print_begin(&print));
    fputs(head, print.out);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < cases[i].count; k++) write_row(print.out, &cases[i], &cases[i].rows[k]);
    return fsm_print_write(&print, FSMOE_OK, path);
}

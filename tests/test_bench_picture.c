/* The picture and the summary of a bench, and the command that makes them. Oracles: a reader of balanced tags, the
 * labelled ticks, formulas written out. */
#include "command_case.h"

#include "base/rng.h"

#include <fsmoe/bench.h>

enum { SCHEDULES = 7, MOST_CASES = 60 };

static const char *const names[SCHEDULES] = {"dsmoe",        "tutel", "tutel-improved", "pipemoe-lina",
                                             "fsmoe-no-iio", "fsmoe", "fsmoe-x"};

typedef struct folder {
    char dir[32];
    char labels[MOST_CASES][32];
    fsmoe_bench_case cases[MOST_CASES];
} folder;

/* ---- cases ---- */

static double uniform(uint64_t at)
{
    return (double)(fsm_rng_bits(7, FSM_RNG_SAMPLE, at) % 1000000) / 1e6;
}

/* Steps from 0.5 to 1.5 times dsmoe's, plans within a fifth of them. */
static void fill(fsmoe_bench_case *c, int number, int from)
{
    c->count = SCHEDULES - from;
    for (int k = 0; k < c->count; k++) {
        uint64_t at = (uint64_t)(number * 64 + k * 8);
        double step_s = 0.1 * (from + k == 0 ? 1 : 0.5 + uniform(at));
        c->rows[k] = (fsmoe_bench_row){.schedule = names[from + k],
                                       .step_s = step_s,
                                       .planned_s = step_s * (0.8 + 0.4 * uniform(at + 1)),
                                       .bound_s = step_s * (0.5 + 0.4 * uniform(at + 2)),
                                       .overlap = uniform(at + 3)};
    }
}

static int make_folder(void **state)
{
    folder *f = calloc(1, sizeof *f);
    if (!f) return -1;
    strcpy(f->dir, "/tmp/fsmoe-bench-XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    for (int i = 0; i < MOST_CASES; i++) {
        snprintf(f->labels[i], sizeof f->labels[i], "case-%d", i);
        f->cases[i].name = f->labels[i];
        fill(&f->cases[i], i, 0);
    }
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    folder *f = *state;
    fsmoe_status status = fsm_file_remove_tree(f->dir);
    free(f);
    return status == FSMOE_OK ? 0 : -1;
}

static const fsmoe_bench_row *row_of(const fsmoe_bench_case *c, const char *schedule)
{
    for (int k = 0; k < c->count; k++)
        if (strcmp(c->rows[k].schedule, schedule) == 0) return &c->rows[k];
    return NULL;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.9g, expected %.9g", value, expected);
}

/* ---- reading the picture ---- */

static bool is_entity(const char *at)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < 5; i++)
        if (strncmp(at, entities[i], strlen(entities[i])) == 0) return true;
    return false;
}

/* Tags balance and nest, attributes are quoted, every & is an entity. */
static void assert_well_formed(const char *svg)
{
    char open[16][16];
    int depth = 0;
    for (const char *at = svg; *at; at++) {
        if (*at == '&' && !is_entity(at)) fail_msg("a bare & at %.40s", at);
        if (*at != '<') continue;
        char name[16] = "";
        bool closes = at[1] == '/';
        assert_int_equal(sscanf(at + 1 + closes, "%15[a-z]", name), 1);
        int quotes = 0;
        for (at++; *at && (*at != '>' || quotes % 2); at++) {
            quotes += *at == '"';
            if (*at == '<') fail_msg("< inside <%s", name);
        }
        assert_int_equal(*at, '>');
        assert_int_equal(quotes % 2, 0);
        if (closes) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (at[-1] != '/') {
            assert_true(depth < 16);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
}

static char *drawn(const folder *f, int count, const char *title)
{
    char path[FSM_PATH_BYTES], *svg;
    size_t size;
    assert_int_equal(fsm_file_path(f->dir, "bench.svg", path), FSMOE_OK);
    if (fsmoe_bench_draw(f->cases, count, title, path) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(fsm_file_read(path, &svg, &size), FSMOE_OK);
    assert_int_equal(strlen(svg), size);
    assert_well_formed(svg);
    return svg;
}

/* The first and the last labelled tick: what a reader would hold values against. */
typedef struct scale {
    double x[2], value[2];
    bool logarithmic;
} scale;

static scale read_scale(const char *svg)
{
    static const char begin[] = "<text class=\"middle tick\" x=\"";
    scale s = {.logarithmic = strstr(svg, "log scale") != NULL};
    int count = 0;
    for (const char *at = svg; (at = strstr(at, begin)); at++, count++) {
        int end = count > 0;
        assert_int_equal(sscanf(at + strlen(begin), "%lf", &s.x[end]), 1);
        assert_int_equal(sscanf(strchr(at, '>') + 1, "%lf", &s.value[end]), 1);
    }
    assert_true(count >= 2 && s.x[1] > s.x[0] && s.value[1] > s.value[0]);
    return s;
}

static double x_of(const scale *s, double value)
{
    double part = s->logarithmic ? log(value / s->value[0]) / log(s->value[1] / s->value[0])
                                 : (value - s->value[0]) / (s->value[1] - s->value[0]);
    return s->x[0] + part * (s->x[1] - s->x[0]);
}

/* The bar that is titled "of\nschedule …" goes from 1 to `measured`, and the tick after it is at `planned`. */
static void assert_mark(const char *svg, const char *of, const char *schedule, double measured, double planned)
{
    char title[128];
    double x, y, width, tick;
    scale s = read_scale(svg);
    snprintf(title, sizeof title, "<title>%s\n%s ", of, schedule);
    const char *at = strstr(svg, title);
    if (!at || strstr(at + 1, title)) fail_msg("%s: %zu times", title, count_text(svg, title));
    const char *bar = at, *plan = strstr(at, "<path class=\"plan\" d=\"M");
    while (strncmp(bar, "<rect ", 6) != 0) bar--;
    assert_int_equal(sscanf(strstr(bar, " x=\""), " x=\"%lf\" y=\"%lf\" width=\"%lf\"", &x, &y, &width), 3);
    assert_int_equal(sscanf(plan, "<path class=\"plan\" d=\"M%lf", &tick), 1);
    assert_near(x, fmin(x_of(&s, 1), x_of(&s, measured)), 0.11);
    assert_near(width, fmax(1, fabs(x_of(&s, measured) - x_of(&s, 1))), 0.22);
    assert_near(tick, x_of(&s, planned), 0.11);
}

static void assert_case(const char *svg, const fsmoe_bench_case *c, const char *base)
{
    const fsmoe_bench_row *b = row_of(c, base);
    for (int k = 0; k < c->count; k++) {
        const fsmoe_bench_row *r = &c->rows[k];
        if (r != b) assert_mark(svg, c->name, r->schedule, b->step_s / r->step_s, b->planned_s / r->planned_s);
    }
}

/* ---- the picture ---- */

static void test_bench_picture_places_the_bars_of_one_case(void **state)
{
    folder *f = *state;
    fill(&f->cases[0], 100, 0);
    char *svg = drawn(f, 1, "one");
    assert_case(svg, &f->cases[0], "dsmoe");
    assert_int_equal(count_text(svg, "<title>"), SCHEDULES - 1);
    assert_non_null(strstr(svg, ">times faster than dsmoe<"));
    free(svg);
}

static void test_bench_picture_places_bars_and_means_of_many_cases(void **state)
{
    folder *f = *state;
    enum { CASES = 40 };
    char *svg = drawn(f, CASES, "many");
    for (int i = 0; i < CASES; i++) assert_case(svg, &f->cases[i], "dsmoe");
    for (int k = 1; k < SCHEDULES; k++) {
        double measured = 1, planned = 1;
        for (int i = 0; i < CASES; i++) {
            const fsmoe_bench_row *r = f->cases[i].rows;
            measured *= pow(r[0].step_s / r[k].step_s, 1.0 / CASES);
            planned *= pow(r[0].planned_s / r[k].planned_s, 1.0 / CASES);
        }
        assert_mark(svg, "geometric mean of 40 cases", names[k], measured, planned);
    }
    assert_int_equal(count_text(svg, "<g class=\"case\">"), CASES);
    free(svg);
    free(drawn(f, MOST_CASES, "sixty"));
}

static void test_bench_picture_takes_a_logarithmic_axis_for_wide_ranges(void **state)
{
    folder *f = *state;
    f->cases[1].rows[6].step_s = 0.001;
    char *svg = drawn(f, 3, "wide");
    assert_non_null(strstr(svg, "log scale"));
    for (int i = 0; i < 3; i++) assert_case(svg, &f->cases[i], "dsmoe");
    free(svg);
    fill(&f->cases[1], 1, 0);
}

static void test_bench_picture_without_dsmoe_is_relative_to_the_first_schedule(void **state)
{
    folder *f = *state;
    for (int i = 0; i < 2; i++) fill(&f->cases[i], i, 1);
    char *svg = drawn(f, 2, "no dsmoe");
    for (int i = 0; i < 2; i++) assert_case(svg, &f->cases[i], "tutel");
    assert_non_null(strstr(svg, ">times faster than tutel<"));
    free(svg);
    fill(&f->cases[0], 0, 0);
    svg = drawn(f, 2, "some dsmoe");
    assert_case(svg, &f->cases[0], "dsmoe");
    assert_case(svg, &f->cases[1], "tutel");
    assert_non_null(strstr(svg, ">times faster than dsmoe (cases without it: than their first schedule)<"));
    free(svg);
    fill(&f->cases[1], 1, 0);
}

static void test_bench_picture_escapes_and_cuts_names(void **state)
{
    folder *f = *state;
    char path[] =
        "runs/\303\244\303\244\303\244\303\244\303\244\303\244\303\244\303\244\303\244\303\244\303\244\303\244"
        "/a-very-long-name-of-a-case-that-no-label-has-room-for";
    f->cases[0].name = "<a & \"b\">";
    f->cases[1].name = path;
    char *svg = drawn(f, 2, "1 < 2 & 'three'");
    assert_non_null(strstr(svg, ">&lt;a &amp; &quot;b&quot;&gt;</text>"));
    assert_non_null(strstr(svg, ">1 &lt; 2 &amp; &#39;three&#39;</text>"));
    assert_non_null(strstr(svg, "\342\200\246</text>"));
    assert_null(strstr(svg, "<a & "));
    free(svg);
    f->cases[0].name = f->labels[0];
    f->cases[1].name = f->labels[1];
}

static void test_bench_picture_shows_what_there_is(void **state)
{
    folder *f = *state;
    char *svg = drawn(f, 0, "none");
    assert_non_null(strstr(svg, "No case has been measured."));
    free(svg);
    f->cases[0].count = 1; /* dsmoe alone */
    free(drawn(f, 1, "alone"));
    f->cases[0].count = 0;
    f->cases[1].rows[3].planned_s = NAN;
    f->cases[2].rows[3].step_s = 0;
    svg = drawn(f, 3, "holes");
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    assert_int_equal(count_text(svg, "<title>case-2\n"), SCHEDULES - 2);
    free(svg);
    for (int i = 0; i < 3; i++) fill(&f->cases[i], i, 0);
}

static void test_bench_picture_reports_what_it_cannot_draw(void **state)
{
    folder *f = *state;
    static const char *const many[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"};
    char path[FSM_PATH_BYTES];
    assert_int_equal(fsm_file_path(f->dir, "missing/bench.svg", path), FSMOE_OK);
    assert_int_equal(fsmoe_bench_draw(f->cases, 1, "lost", path), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), path));
    f->cases[1].count = 11;
    for (int k = 0; k < 11; k++) f->cases[1].rows[k].schedule = many[k];
    assert_int_equal(fsmoe_bench_draw(f->cases, 2, "too many", path), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "more than 16 schedules"));
    fill(&f->cases[1], 1, 0);
}

/* ---- the summary ---- */

static void test_bench_summary_follows_its_formulas(void **state)
{
    folder *f = *state;
    fsmoe_bench_summary s;
    fsmoe_bench_row *r[3] = {&f->cases[0].rows[5], &f->cases[1].rows[5], &f->cases[2].rows[5]};
    f->cases[1].rows[1].schedule = "other"; /* no tutel here */
    const double steps_s[] = {0.08, 0.05, 0.04}, plans_s[] = {0.1, 0.04, 0.05}, overlaps[] = {0.5, NAN, 0.9};
    for (int i = 0; i < 3; i++) {
        f->cases[i].rows[0].step_s = 0.1;
        f->cases[i].rows[1].step_s = 0.09;
        *r[i] = (fsmoe_bench_row){.schedule = "fsmoe",
                                  .step_s = steps_s[i],
                                  .planned_s = plans_s[i],
                                  .bound_s = 0.04,
                                  .overlap = overlaps[i]};
    }
    assert_int_equal(fsmoe_bench_summarize(f->cases, 3, "fsmoe", &s), FSMOE_OK);
    assert_int_equal(s.cases, 3);
    assert_near(s.over_dsmoe, cbrt(1.25 * 2 * 2.5), 1e-12);
    assert_near(s.over_tutel, sqrt(0.09 / 0.08 * 0.09 / 0.04), 1e-12);
    assert_near(s.over_bound, cbrt(2 * 1.25 * 1), 1e-12);
    assert_near(s.prediction_error, 0.2, 1e-12); /* of 0.2, 0.25 and 0.2 */
    assert_near(s.overlap, 0.7, 1e-12);
    for (int i = 0; i < 3; i++) fill(&f->cases[i], i, 0);
}

static void test_bench_summary_is_nan_where_nothing_can_be_told(void **state)
{
    folder *f = *state;
    fsmoe_bench_summary s;
    fill(&f->cases[0], 0, 2);
    f->cases[0].rows[0].overlap = NAN;
    assert_int_equal(fsmoe_bench_summarize(f->cases, 1, "tutel-improved", &s), FSMOE_OK);
    assert_int_equal(s.cases, 1);
    assert_true(isnan(s.over_dsmoe) && isnan(s.over_tutel) && isnan(s.overlap));
    assert_true(s.over_bound > 1 && isfinite(s.prediction_error));
    assert_int_equal(fsmoe_bench_summarize(f->cases, 1, "dsmoe", &s), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "'dsmoe'"));
    fill(&f->cases[0], 0, 0);
}

/* ---- the command ---- */

#define BENCH "bench", "schedules", "config.yaml", "--layer", "--steps", "1", "--budget", "0.1"

static void write_cases(const command_case *c, const char *text)
{
    write_text(c, "cases.txt", text, strlen(text));
}

static void test_bench_command_writes_rows_picture_and_summary_of_several_cases(void **state)
{
    const command_case *c = *state;
    write_cases(c, "# two\n\na,1 model.hidden=32\nb moe.top_k=1 moe.capacity_factor=2\n");
    outcome o = run(c, ARGS(BENCH, "--schedules", "dsmoe,fsmoe", "--cases", "cases.txt", "--csv", "rows.csv",
                            "--picture", "bench.svg"));
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    assert_has(o.out, "2 cases: geometric means");
    assert_int_equal(count_text(o.out, "\nfsmoe "), 3);
    assert_null(strstr(o.out, "nan"));
    forget(o);
    char *csv = read_text(c, "rows.csv", NULL), *svg = read_text(c, "bench.svg", NULL);
    assert_int_equal(count_text(csv, "\n"), 5);
    assert_int_equal(count_text(csv, "\"a,1\",fsmoe,"), 1);
    assert_int_equal(count_text(csv, "\nb,dsmoe,"), 1);
    assert_well_formed(svg);
    assert_int_equal(count_text(svg, "<g class=\"case\">"), 2);
    free(csv);
    free(svg);
}

static void test_bench_command_names_what_is_wrong_before_it_measures(void **state)
{
    const command_case *c = *state;
    write_cases(c, "a model.hidden=32\nb moe.top_kk=1\n");
    assert_fails(run(c, ARGS(BENCH, "--cases", "cases.txt", "--csv", "early.csv")), FSMOE_ERROR_CONFIG,
                 ARGS("case 'b'", "moe.top_kk"));
    assert_false(has(c, "early.csv"));
    assert_fails(run(c, ARGS(BENCH, "--csv", "missing/rows.csv")), FSMOE_ERROR_IO, ARGS("missing/rows.csv"));
    write_text(c, "kept.csv", "rows\n", 5);
    assert_fails(run(c, ARGS(BENCH, "--schedules", "dsmoe,none", "--csv", "kept.csv")), FSMOE_ERROR_CONFIG,
                 ARGS("'none'"));
    assert_fails(run(c, ARGS(BENCH, "--schedules", "dsmoe,dsmoe", "--csv", "kept.csv")), FSMOE_ERROR_CONFIG,
                 ARGS("'dsmoe' is named twice"));
    char *kept = read_text(c, "kept.csv", NULL);
    assert_string_equal(kept, "rows\n");
    free(kept);
    assert_fails(run(c, ARGS(BENCH, "--picture", "missing/b.svg")), FSMOE_ERROR_IO, ARGS("missing/b.svg"));
}

static void test_bench_command_refuses_a_line_with_too_many_settings(void **state)
{
    const command_case *c = *state;
    char text[8192] = "a model.hidden=32\nlong";
    for (int i = 0; i < 257; i++) strcat(text, " moe.top_k=1");
    write_cases(c, text);
    outcome o = run(c, ARGS(BENCH, "--cases", "cases.txt"));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_USAGE));
    assert_has(o.err, "cases.txt:2: case 'long' has more than 256 settings");
    assert_int_equal(o.out_bytes, 0);
    forget(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench_picture_places_the_bars_of_one_case),
        cmocka_unit_test(test_bench_picture_places_bars_and_means_of_many_cases),
        cmocka_unit_test(test_bench_picture_takes_a_logarithmic_axis_for_wide_ranges),
        cmocka_unit_test(test_bench_picture_without_dsmoe_is_relative_to_the_first_schedule),
        cmocka_unit_test(test_bench_picture_escapes_and_cuts_names),
        cmocka_unit_test(test_bench_picture_shows_what_there_is),
        cmocka_unit_test(test_bench_picture_reports_what_it_cannot_draw),
        cmocka_unit_test(test_bench_summary_follows_its_formulas),
        cmocka_unit_test(test_bench_summary_is_nan_where_nothing_can_be_told),
    };
    const struct CMUnitTest of_command[] = {
        cmocka_unit_test(test_bench_command_writes_rows_picture_and_summary_of_several_cases),
        cmocka_unit_test(test_bench_command_names_what_is_wrong_before_it_measures),
        cmocka_unit_test(test_bench_command_refuses_a_line_with_too_many_settings),
    };
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    return failed + cmocka_run_group_tests(of_command, make_case, remove_case);
}

/* The Gantt picture of a planned step. Oracles: the graph itself, a reader of balanced tags, the sum of all tasks'
 * times. */
#include "plan_by_hand.h"

#include "reading.h"

/* ---- reading the picture ---- */

static char *picture_of(const plan *p, const char *title, const char *subtitle)
{
    char *svg = NULL;
    fsm_gantt_frame frame = {.title = title, .subtitle = subtitle};
    assert_int_equal(fsm_gantt_text(&p->graph, &p->timeline, &frame, &svg), FSMOE_OK);
    assert_non_null(svg);
    return svg;
}

/* One of the five entities at `at`. */
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
        sscanf(at + 1 + closes, "%15[a-z]", name);
        assert_true(name[0] != 0);
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

/* The rectangles of one resource: how many, and their area as time; busy times as titles tell them. */
typedef struct track {
    int rects, tasks;
    double area_s, told_s;
} track;

/* A title: "name", or "12 tasks" of a column, and their times. */
static void read_title(const char *title, track *result)
{
    const char *times = strchr(title, '\n'), *busy = strstr(times, "busy "), *close = strstr(times, "</title>");
    double busy_ms;
    int tasks = 1;
    if (busy && busy < close) {
        assert_int_equal(sscanf(busy, "busy %lf ms", &busy_ms), 1);
        assert_int_equal(sscanf(title, "<title>%d tasks", &tasks), 1);
    } else {
        assert_int_equal(sscanf(strstr(times, " ms, "), " ms, %lf ms", &busy_ms), 1);
    }
    result->tasks += tasks;
    result->told_s += 1e-3 * busy_ms;
}

/* A track ends with a line of its own; its columns, groups too, with the line of their rectangles. */
static track read_track(const char *svg, const char *id, double makespan_s)
{
    enum { PLOT_PX = 1300, TRACK_PX = 72 };
    char begin[64];
    track result = {0};
    snprintf(begin, sizeof begin, "<g class=\"track\" id=\"%s\"", id);
    const char *at = strstr(svg, begin);
    if (!at) return result;
    const char *end = strstr(at, "\n</g>\n");
    assert_non_null(end);
    while ((at = strchr(at + 1, '<')) && at < end) {
        double width, height;
        if (strncmp(at, "<title>", 7) == 0) read_title(at, &result);
        if (strncmp(at, "<rect ", 6) != 0) continue;
        assert_int_equal(sscanf(strstr(at, " width=\""), " width=\"%lf\"", &width), 1);
        assert_int_equal(sscanf(strstr(at, " height=\""), " height=\"%lf\"", &height), 1);
        result.rects++;
        result.area_s += width * height / (PLOT_PX * TRACK_PX) * makespan_s;
    }
    return result;
}

static double busy_of(const plan *p, fsm_resource resource, int *tasks)
{
    double sum_s = 0;
    *tasks = 0;
    for (int i = 0; i < p->graph.count; i++) {
        if (p->graph.tasks[i].resource != resource) continue;
        sum_s += p->timeline.end_s[i] - p->timeline.start_s[i];
        ++*tasks;
    }
    return sum_s;
}

/* ---- the picture ---- */

static void test_gantt_draws_every_task_once_with_its_times(void **state)
{
    (void)state;
    plan p = make_plan(2, 1);
    char *svg = picture_of(&p, "a step", "two layers");
    assert_well_formed(svg);
    for (int i = 0; i < p.graph.count; i++) {
        char name[128], title[256];
        fsm_task_name(&p.graph.tasks[i], name);
        double start_ms = 1e3 * p.timeline.start_s[i], end_ms = 1e3 * p.timeline.end_s[i];
        snprintf(title, sizeof title, "<title>%s\n%.3f – %.3f ms, %.3f ms</title>", name, start_ms, end_ms,
                 end_ms - start_ms);
        if (count_text(svg, title) != 1) fail_msg("%s: %zu times", title, count_text(svg, title));
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        int tasks;
        busy_of(&p, (fsm_resource)r, &tasks);
        assert_int_equal(read_track(svg, fsm_resource_name((fsm_resource)r), p.timeline.makespan_s).rects, tasks);
    }
    free(svg);
    destroy(&p);
}

static void test_gantt_has_a_row_for_resources_with_tasks_and_their_busy_share(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    put(&p, task_of(FSM_TASK_ATTENTION, FSM_FORWARD, FSM_COMPUTE, 0, 0), 3e-3, NULL, 0);
    int last = 0;
    put(&p, task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 0, 0), 1e-3, &last, 1);
    char *svg = picture_of(&p, "a step", NULL);
    assert_int_equal(count_text(svg, "class=\"track\""), 2);
    assert_null(strstr(svg, "intra-node link"));
    assert_int_equal(count_text(svg, ">compute<"), 1);
    assert_int_equal(count_text(svg, ">inter-node link<"), 1);
    assert_int_equal(count_text(svg, ">75 %<"), 1);
    assert_int_equal(count_text(svg, ">25 %<"), 1);
    free(svg);
    destroy(&p);
}

static void test_gantt_legend_names_the_kinds_that_appear(void **state)
{
    (void)state;
    plan p = make_plan(1, 1);
    char *svg = picture_of(&p, "a step", NULL);
    const char *tracks = strstr(svg, "class=\"track\"");
    assert_non_null(strstr(tracks, ">embedding, head</text>"));
    assert_non_null(strstr(tracks, ">weight_grad</text>"));
    assert_non_null(strstr(tracks, "the darker one is backward"));
    assert_null(strstr(svg, "reducescatter"));
    free(svg);
    destroy(&p);
}

/* Four chunks of 1 ms in a step of `step_ms`. */
static plan make_chunks(double step_ms)
{
    plan p = {.capacity = 0};
    for (int c = 0; c < 4; c++) {
        fsm_task chunk = task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 0, 0);
        chunk.rows_first = 64 * c, chunk.rows_last = 64 * c + 64;
        put(&p, chunk, 1e-3, NULL, 0);
    }
    put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, 0), 1e-3 * (step_ms - 4), NULL, 0);
    return p;
}

/* 130, 87 and 43 px wide; the last have room for "0–64", but not for "192–256". */
static void test_gantt_labels_chunks_alike(void **state)
{
    (void)state;
    static const struct {
        double step_ms;
        const char *labels[4];
    } cases[] = {{10, {">expert 0–64<", ">expert 64–128<", ">expert 128–192<", ">expert 192–256<"}},
                 {15, {">0–64<", ">64–128<", ">128–192<", ">192–256<"}},
                 {30, {"y=\"40\">0<", "y=\"40\">1<", "y=\"40\">2<", "y=\"40\">3<"}}};
    for (size_t c = 0; c < 3; c++) {
        plan p = make_chunks(cases[c].step_ms);
        char *svg = picture_of(&p, "a step", NULL);
        for (int i = 0; i < 4; i++)
            if (count_text(svg, cases[c].labels[i]) != 1) fail_msg("no label %s", cases[c].labels[i]);
        assert_int_equal(count_text(svg, "y=\"40\">head<"), 1);
        free(svg);
        destroy(&p);
    }
}

/* Those of at least 2 px have room for stripes. */
static int count_tasks(const plan *p, fsm_resource resource, int lane)
{
    int count = 0;
    for (int i = 0; i < p->graph.count; i++)
        count += p->graph.tasks[i].resource == resource && p->graph.tasks[i].lane == lane &&
                 1300 * (p->timeline.end_s[i] - p->timeline.start_s[i]) >= 2 * p->timeline.makespan_s;
    return count;
}

/* Shapes within the path of a track's hatch. */
static int count_hatched(const char *svg, fsm_resource resource, int lane)
{
    char head[64], hatch[32];
    snprintf(head, sizeof head, "class=\"track\" id=\"%s\"", fsm_resource_name(resource));
    snprintf(hatch, sizeof hatch, "<path class=\"h%d\" d=\"", lane);
    const char *begin = strstr(svg, head), *end = strstr(begin, "\n</g>\n"), *at = strstr(begin, hatch);
    if (!at || at > end) return 0;
    int count = 0;
    for (at += strlen(hatch); *at != '"'; at++) count += *at == 'M';
    return count;
}

static void test_gantt_hatches_all_lanes_but_the_first(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= 4; lanes++) {
        plan p = make_plan_of_lanes(2, lanes);
        char *svg = picture_of(&p, "a step", NULL), text[64];
        assert_well_formed(svg);
        assert_int_equal(count_text(svg, "<pattern "), lanes - 1);
        for (int lane = 0; lane < 4; lane++) {
            bool hatched = lane > 0 && lane < lanes;
            snprintf(text, sizeof text, ">lane %d</text>", lane); /* the legend's */
            assert_int_equal(count_text(svg, text), lanes > 1 && lane < lanes);
            snprintf(text, sizeof text, ">lane %d, layer</text>", lane);
            assert_int_equal(count_text(svg, text), lanes > 1 && lane < lanes);
            assert_int_equal(count_hatched(svg, FSM_COMPUTE, lane), hatched ? count_tasks(&p, FSM_COMPUTE, lane) : 0);
            assert_int_equal(count_hatched(svg, FSM_INTER, lane), hatched ? count_tasks(&p, FSM_INTER, lane) : 0);
        }
        assert_int_equal(count_text(svg, ">phase</text>"), 1);
        assert_int_equal(count_text(svg, ">forward</text>"), 1);
        assert_int_equal(count_text(svg, ">backward</text>"), 1);
        assert_non_null(
            strstr(svg, lanes > 1 ? ", lane 0, rows 0-64]\n" : "expert.forward[layer 0, micro 0, lane 0, rows"));
        free(svg);
        destroy(&p);
    }
}

/* Micro-batches beside one another: one lane is in backward while the other still is in forward. */
static void test_gantt_gives_lanes_that_disagree_rows_of_their_own(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    p.graph.lanes = 2;
    for (int lane = 0; lane < 2; lane++)
        for (int phase = 0, last = -1; phase < 2; phase++) {
            fsm_task t = task_of(FSM_TASK_EXPERT, (fsm_phase)phase, lane ? FSM_INTER : FSM_COMPUTE, 0, lane);
            t.lane = lane;
            last = put(&p, t, (lane + 1) * 1e-3, &last, 1);
        }
    char *svg = picture_of(&p, "a step", NULL);
    assert_int_equal(count_text(svg, ">phase</text>"), 0);
    assert_int_equal(count_text(svg, ">lane 0, phase</text>"), 1);
    assert_int_equal(count_text(svg, ">lane 1, phase</text>"), 1);
    assert_int_equal(count_text(svg, ">lane 1, micro-batch</text>"), 1);
    assert_int_equal(count_text(svg, ">forward</text>"), 2);
    free(svg);
    destroy(&p);
}

/* Both lanes have chunks 0 and 1 of the same layer. */
static void test_gantt_numbers_the_chunks_of_each_lane(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    p.graph.lanes = p.graph.parts = 2;
    for (int i = 0; i < 4; i++) {
        fsm_task chunk = task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 0, 0);
        chunk.lane = i % 2;
        chunk.rows_first = 1000 * (i / 2), chunk.rows_last = chunk.rows_first + 1000;
        put(&p, chunk, 1e-3, NULL, 0);
    }
    put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, 0), 50e-3, NULL, 0);
    char *svg = picture_of(&p, "a step", NULL);
    assert_int_equal(count_text(svg, "y=\"40\">0<"), 2);
    assert_int_equal(count_text(svg, "y=\"40\">1<"), 2);
    free(svg);
    destroy(&p);
}

static void test_gantt_says_loads_and_what_waits(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    const double load_s[FSM_RESOURCE_COUNT] = {2.5e-3, 0, 3e-3};
    int last = put(&p, task_of(FSM_TASK_ATTENTION, FSM_FORWARD, FSM_COMPUTE, 0, 0), 2e-3, NULL, 0);
    last = put(&p, task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 0, 0), 3e-3, &last, 1);
    last = put(&p, task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 0, 0), 1e-3, &last, 1);
    char *svg;
    fsm_gantt_frame frame = {.title = "a step", .load_s = load_s};
    assert_int_equal(fsm_gantt_text(&p.graph, &p.timeline, &frame, &svg), FSMOE_OK);
    assert_int_equal(count_text(svg, ">waits 3 ms for a2a_dispatch.forward</text>"), 1);
    assert_int_equal(count_text(svg, ">waits 2 ms for attention.forward; 1 ms after its last task</text>"), 1);
    assert_int_equal(count_text(svg, ">busy 3 ms</text>"), 2);
    assert_int_equal(count_text(svg, ">load 2.5 ms</text>"), 1);
    assert_int_equal(count_text(svg, ">load 3 ms</text>"), 1);
    free(svg);
    destroy(&p);
}

static void test_gantt_escapes_its_titles(void **state)
{
    (void)state;
    plan p = make_plan(1, 1);
    char *svg = picture_of(&p, "a < b & \"c\"", "d > 'e' \x01");
    assert_well_formed(svg);
    assert_int_equal(count_text(svg, "a &lt; b &amp; &quot;c&quot;"), 2); /* the label and the heading */
    assert_int_equal(count_text(svg, "d &gt; &#39;e&#39; \xEF\xBF\xBD"), 1);
    free(svg);
    destroy(&p);
}

static void test_gantt_of_nothing_says_so(void **state)
{
    (void)state;
    plan none = {.capacity = 0}, still = {.capacity = 0};
    put(&still, task_of(FSM_TASK_GATE, FSM_FORWARD, FSM_COMPUTE, 0, 0), 0, NULL, 0);
    char *svg = picture_of(&none, "an empty step", NULL);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "This graph has no tasks."));
    free(svg);
    svg = picture_of(&still, "a step of no time", NULL);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "The tasks of this graph take no time."));
    free(svg);
    destroy(&still);
}

/* The widths of columns, which depend on how many layers there are: 1, 10 and 5 pixels. */
static void test_gantt_of_thousands_of_tasks_conserves_busy_time(void **state)
{
    (void)state;
    static const struct {
        int layers, micros, stretch;
    } cases[] = {{64, 1, 12}, {64, 4, 4}, {64, 8, 1}};
    for (size_t c = 0; c < 3; c++) {
        plan p = make_plan(cases[c].layers, cases[c].micros);
        for (int i = 0, last = p.graph.count - 1; i < cases[c].stretch * 512; i++) {
            /* many short tasks, on all resources, with gaps */
            fsm_task_kind kind = i % 2 ? FSM_TASK_ALLGATHER : FSM_TASK_REDUCESCATTER;
            last = put(&p, task_of(kind, FSM_UPDATE, (fsm_resource)(i % 3), -1, -1), (1 + i % 7) * 3e-6, &last, 1);
        }
        assert_true(p.graph.count >= 6000);
        char *svg = picture_of(&p, "many", "tasks");
        assert_well_formed(svg);
        assert_true(strlen(svg) < 2000000);
        assert_true(count_text(svg, "class=\"column\"") > 0);
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
            int tasks;
            double busy_s = busy_of(&p, (fsm_resource)r, &tasks);
            track l = read_track(svg, fsm_resource_name((fsm_resource)r), p.timeline.makespan_s);
            assert_int_equal(l.tasks, tasks);
            assert_true(l.rects < tasks);
            if (fabs(l.told_s - busy_s) > 2e-3 * busy_s) fail_msg("told %.9g of %.9g s", l.told_s, busy_s);
            if (fabs(l.area_s - busy_s) > 5e-3 * busy_s) fail_msg("drawn %.9g of %.9g s", l.area_s, busy_s);
        }
        free(svg);
        destroy(&p);
    }
}

static double attribute_of(const char *element, const char *name)
{
    double value;
    const char *at = strstr(element, name);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(name), "=\"%lf\"", &value), 1);
    return value;
}

/* A step and the same step at double speed, on an axis that is as long as the first: the same ticks, half the widths,
 * and idle time that ends with each step. */
static void test_gantt_on_a_common_axis_compares_lengths(void **state)
{
    (void)state;
    char *svg[2];
    double idle_px[2], task_px[2];
    plan slow = make_plan(2, 1), fast = make_plan(2, 1);
    for (int i = 0; i < fast.graph.count; i++) fast.timeline.start_s[i] /= 2, fast.timeline.end_s[i] /= 2;
    fsm_gantt_frame frame = {.title = "a step", .axis_s = slow.timeline.makespan_s};
    assert_int_equal(fsm_gantt_text(&slow.graph, &slow.timeline, &frame, &svg[0]), FSMOE_OK);
    assert_int_equal(fsm_gantt_text(&fast.graph, &fast.timeline, &frame, &svg[1]), FSMOE_OK);
    const char *ticks = strstr(svg[0], "<path class=\"grid\""), *ticks_end = strstr(ticks, "time, ms");
    assert_non_null(strstr(svg[1], "<path class=\"grid\""));
    assert_memory_equal(strstr(svg[1], "<path class=\"grid\""), ticks, ticks_end - ticks);
    for (int i = 0; i < 2; i++) {
        assert_well_formed(svg[i]);
        idle_px[i] = attribute_of(strstr(svg[i], "<rect class=\"idle\""), " width");
        task_px[i] = attribute_of(strstr(strstr(svg[i], "class=\"track\""), "<rect "), " width");
    }
    assert_true(fabs(idle_px[0] - 2 * idle_px[1]) < 0.11 && fabs(task_px[0] - 2 * task_px[1]) < 0.011);
    free(svg[1]);
    frame.axis_s = slow.timeline.makespan_s / 3; /* too short: the step is shown whole */
    assert_int_equal(fsm_gantt_text(&slow.graph, &slow.timeline, &frame, &svg[1]), FSMOE_OK);
    assert_string_equal(svg[0], svg[1]);
    free(svg[0]);
    free(svg[1]);
    destroy(&slow);
    destroy(&fast);
}

static void test_gantt_of_thousands_on_a_longer_axis_conserves_busy_time(void **state)
{
    (void)state;
    char *svg;
    plan p = make_plan(64, 4);
    for (int i = 0, last = p.graph.count - 1; i < 4096; i++)
        last = put(&p, task_of(FSM_TASK_ALLGATHER, FSM_UPDATE, (fsm_resource)(i % 3), -1, -1), (1 + i % 7) * 3e-6,
                   &last, 1);
    fsm_gantt_frame frame = {.title = "many", .axis_s = 1.5 * p.timeline.makespan_s, .inside_page = false};
    assert_int_equal(fsm_gantt_text(&p.graph, &p.timeline, &frame, &svg), FSMOE_OK);
    assert_true(count_text(svg, "class=\"column\"") > 0);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        int tasks;
        double busy_s = busy_of(&p, (fsm_resource)r, &tasks);
        track l = read_track(svg, fsm_resource_name((fsm_resource)r), frame.axis_s);
        assert_int_equal(l.tasks, tasks);
        if (fabs(l.area_s - busy_s) > 5e-3 * busy_s) fail_msg("drawn %.9g of %.9g s", l.area_s, busy_s);
    }
    free(svg);
    destroy(&p);
}

/* Rules of the picture are of it alone, and what would be there twice in a page of two is left out. */
static void test_gantt_inside_a_page_brings_nothing_that_clashes(void **state)
{
    (void)state;
    char *svg, *style;
    size_t size;
    plan p = make_plan(1, 1);
    fsm_gantt_frame frame = {.title = "a step", .inside_page = true};
    assert_int_equal(fsm_gantt_text(&p.graph, &p.timeline, &frame, &svg), FSMOE_OK);
    assert_well_formed(svg);
    assert_null(strstr(svg, "<style"));
    assert_null(strstr(svg, " id=\""));
    assert_null(strstr(svg, "xmlns"));
    FILE *out = open_memstream(&style, &size);
    fsm_gantt_write_style(out, 1);
    assert_int_equal(fclose(out), 0);
    for (const char *at = strchr(style, '\n'), *brace; (brace = strchr(at, '{')); at = strchr(brace, '}') + 1) {
        if (strncmp(at + strspn(at, "\n}"), "@media", 6) == 0) brace = strchr(brace + 1, '{');
        for (const char *part = at; part && part < brace; part = strchr(part + 1, ',')) {
            const char *selector = part + strspn(part, "\n},");
            if (strncmp(selector, "@media", 6) == 0) selector = strchr(selector, '{') + 1;
            if (strncmp(selector, ".gantt", 6) != 0) fail_msg("a rule of all pages: %.40s", selector);
        }
    }
    free(style);
    free(svg);
    destroy(&p);
}

static void test_gantt_writes_the_text_to_a_file(void **state)
{
    (void)state;
    char folder[] = "/tmp/fsmoe-gantt-XXXXXX", path[64], *bytes;
    size_t size;
    plan p = make_plan(1, 1);
    fsm_gantt_frame frame = {.title = "a step"};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/step.svg", folder);
    assert_int_equal(fsm_gantt_write(&p.graph, &p.timeline, &frame, path), FSMOE_OK);
    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    char *svg = picture_of(&p, "a step", NULL);
    assert_string_equal(bytes, svg);
    free(svg);
    free(bytes);
    snprintf(path, sizeof path, "%s/missing/step.svg", folder);
    assert_int_equal(fsm_gantt_write(&p.graph, &p.timeline, &frame, path), FSMOE_ERROR_IO);
    assert_int_equal(fsm_trace_write_timeline(&p.graph, &p.timeline, path), FSMOE_ERROR_IO);
    assert_int_equal(fsm_file_remove_tree(folder), FSMOE_OK);
    destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gantt_draws_every_task_once_with_its_times),
        cmocka_unit_test(test_gantt_has_a_row_for_resources_with_tasks_and_their_busy_share),
        cmocka_unit_test(test_gantt_legend_names_the_kinds_that_appear),
        cmocka_unit_test(test_gantt_labels_chunks_alike),
        cmocka_unit_test(test_gantt_hatches_all_lanes_but_the_first),
        cmocka_unit_test(test_gantt_gives_lanes_that_disagree_rows_of_their_own),
        cmocka_unit_test(test_gantt_numbers_the_chunks_of_each_lane),
        cmocka_unit_test(test_gantt_says_loads_and_what_waits),
        cmocka_unit_test(test_gantt_escapes_its_titles),
        cmocka_unit_test(test_gantt_of_nothing_says_so),
        cmocka_unit_test(test_gantt_of_thousands_of_tasks_conserves_busy_time),
        cmocka_unit_test(test_gantt_on_a_common_axis_compares_lengths),
        cmocka_unit_test(test_gantt_of_thousands_on_a_longer_axis_conserves_busy_time),
        cmocka_unit_test(test_gantt_inside_a_page_brings_nothing_that_clashes),
        cmocka_unit_test(test_gantt_writes_the_text_to_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The cluster file and the cost of an operation. Oracles: constants written in the file, the line computed by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "profile/cluster.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_text(const char *text, fsm_cluster *cluster)
{
    if (fsm_cluster_from_json(text, "test.json", cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static bool near(double value, double expected)
{
    return fabs(value - expected) <= 2 * DBL_EPSILON * fabs(expected);
}

/* ---- what an operation costs ---- */

static void test_cluster_cost_of_launches_shares_the_size(void **state)
{
    (void)state;
    const fsm_cost one = {.line[0] = {2, 0.5}};
    assert_true(fsm_cost_s(&one, 1, 10) == 7);
    assert_true(fsm_cost_s(&one, 4, 10) == 4 * 2 + 5);
    assert_true(fsm_cost_s(&one, 0, 10) == 7);
    assert_true(fsm_cost_s(&one, -3, 10) == 7);
    assert_true(fsm_cost_s(&one, 1, 0) == 2);
    assert_true(fsm_cost_s(&one, 3, 0) == 6);
}

static void test_cluster_cost_takes_the_second_line_from_its_size_on(void **state)
{
    (void)state;
    const fsm_cost two = {.line = {{2, 0.5}, {10, 0.25}}, .large_from = 100};
    assert_true(fsm_cost_s(&two, 1, 99) == 2 + 49.5);
    assert_true(fsm_cost_s(&two, 1, 100) == 10 + 25);
    assert_true(fsm_cost_s(&two, 2, 100) == 2 * (2 + 25)); /* each of them is small */
    assert_true(fsm_cost_s(&two, 2, 200) == 2 * (10 + 25));
}

static void test_cluster_cost_takes_the_third_line_from_its_size_on(void **state)
{
    (void)state;
    fsm_cost three = {.line = {{2, 0.5}, {10, 0.25}, {1, 1}}, .large_from = 100, .largest_from = 1000};
    assert_int_equal(fsm_cost_line_count(&three), 3);
    assert_true(fsm_cost_s(&three, 1, 99) == 2 + 49.5);
    assert_true(fsm_cost_s(&three, 1, 999) == 10 + 249.75);
    assert_true(fsm_cost_s(&three, 1, 1000) == 1001);
    assert_true(fsm_cost_s(&three, 2, 1000) == 2 * (10 + 125)); /* each of them is large, not largest */
    assert_true(fsm_cost_least(&three).alpha_s == 1 && fsm_cost_least(&three).beta_s == 0.25);
    fsm_cost_scale(&three, 2);
    assert_true(fsm_cost_s(&three, 1, 1000) == 2002 && fsm_cost_s(&three, 1, 99) == 103 && three.large_from == 100);
}

static void test_cluster_tasks_have_costs_of_their_own(void **state)
{
    (void)state;
    fsm_cluster cluster = {0};
    char name[65];
    assert_null(fsm_cluster_task(&cluster, "attention.forward"));
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "task.%d", i);
        assert_int_equal(fsm_cluster_set_task(&cluster, name, (fsm_cost){.line[0].alpha_s = i}), FSMOE_OK);
    }
    assert_int_equal(fsm_cluster_set_task(&cluster, "task.7", (fsm_cost){.line[0].alpha_s = 70}), FSMOE_OK);
    assert_int_equal(cluster.task_count, 20);
    assert_true(fsm_cluster_task(&cluster, "task.7")->line[0].alpha_s == 70);
    assert_true(fsm_cluster_task(&cluster, "task.19")->line[0].alpha_s == 19);
    memset(name, 'x', 64);
    name[64] = 0;
    assert_int_equal(fsm_cluster_set_task(&cluster, name, (fsm_cost){0}), FSMOE_ERROR_FORMAT);
    fsm_cluster_destroy(&cluster);
    assert_int_equal(cluster.task_count, 0);
}

static void test_cluster_tasks_may_say_only_what_overlap_costs(void **state)
{
    (void)state;
    fsm_cluster cluster = {0};
    assert_true(fsm_cluster_overlap(&cluster, "a2a_dispatch.forward") == 1);
    assert_int_equal(fsm_cluster_set_overlap(&cluster, "a2a_dispatch.forward", 1.5), FSMOE_OK);
    assert_true(fsm_cluster_overlap(&cluster, "a2a_dispatch.forward") == 1.5);
    assert_null(fsm_cluster_task(&cluster, "a2a_dispatch.forward"));
    assert_int_equal(fsm_cluster_set_task(&cluster, "a2a_dispatch.forward", (fsm_cost){.line[0].alpha_s = 7}),
                     FSMOE_OK);
    assert_true(fsm_cluster_task(&cluster, "a2a_dispatch.forward")->line[0].alpha_s == 7);
    assert_true(fsm_cluster_overlap(&cluster, "a2a_dispatch.forward") == 1.5);
    assert_int_equal(cluster.task_count, 1);
    fsm_cluster_destroy(&cluster);
}

static void test_cluster_fit_takes_points_over(void **state)
{
    (void)state;
    fsm_cluster cluster = {0};
    for (int round = 0; round < 2; round++) { /* the second replaces the first */
        fsm_point *points = malloc(10 * sizeof *points);
        for (int i = 0; i < 10; i++) points[i] = (fsm_point){1000.0 * (i + 1), (round + 1) * 1e-3 + 1e-6 * (i + 1)};
        assert_int_equal(fsm_cluster_fit(&cluster, FSM_COST_ALLTOALL, points, 10, 2), FSMOE_OK);
        assert_ptr_equal(cluster.op[FSM_COST_ALLTOALL].points, points);
    }
    const fsm_measured *m = &cluster.op[FSM_COST_ALLTOALL];
    assert_true(fabs(m->cost.line[0].alpha_s - 2e-3) < 1e-12 && fabs(m->cost.line[0].beta_s - 1e-9) < 1e-15);
    assert_true(m->r2 > 0.999999 && m->point_count == 10 && m->cost.large_from == 0);
    fsm_point *single = malloc(sizeof *single);
    *single = (fsm_point){1, 1};
    assert_int_equal(fsm_cluster_fit(&cluster, FSM_COST_ALLTOALL, single, 1, 2), FSMOE_ERROR_NUMERIC);
    assert_non_null(strstr(fsmoe_last_error(), "alltoall"));
    assert_int_equal(m->point_count, 10);
    fsm_cluster_destroy(&cluster);
}

/* ---- reading ---- */

/* Published constants, milliseconds: alpha and beta of gemm, alltoall, allgather, reducescatter, allreduce. */
static const struct {
    const char *name;
    int nodes, ranks_per_node;
    const char *line[FSM_COST_OP_COUNT];
    double alpha_ms[FSM_COST_OP_COUNT], beta_ms[FSM_COST_OP_COUNT];
} published[] = {
    {"paper-a",
     6,
     8,
     {"\"alpha\": 4.26e-2, \"beta\": 2.29e-11", "\"alpha\": 2.87e-1, \"beta\": 2.21e-7",
      "\"alpha\": 3.37e-1, \"beta\": 2.32e-6", "\"alpha\": 3.95e-1, \"beta\": 2.34e-7",
      "\"alpha\": 5.11e-1, \"beta\": 4.95e-6"},
     {4.26e-2, 2.87e-1, 3.37e-1, 3.95e-1, 5.11e-1},
     {2.29e-11, 2.21e-7, 2.32e-6, 2.34e-7, 4.95e-6}},
    {"paper-a-fixed",
     6,
     8,
     {"\"alpha\": 4.26e-2, \"beta\": 2.29e-11", "\"alpha\": 2.87e-1, \"beta\": 2.21e-6",
      "\"alpha\": 3.37e-1, \"beta\": 2.32e-7", "\"alpha\": 3.95e-1, \"beta\": 2.34e-7",
      "\"alpha\": 5.11e-1, \"beta\": 4.95e-6"},
     {4.26e-2, 2.87e-1, 3.37e-1, 3.95e-1, 5.11e-1},
     {2.29e-11, 2.21e-6, 2.32e-7, 2.34e-7, 4.95e-6}},
    {"paper-b",
     8,
     4,
     {"\"alpha\": 9.24e-2, \"beta\": 4.42e-11", "\"alpha\": 1.75e-1, \"beta\": 3.06e-7",
      "\"alpha\": 3.20e-2, \"beta\": 1.68e-7", "\"alpha\": 3.91e-2, \"beta\": 1.67e-7",
      "\"alpha\": 8.37e-2, \"beta\": 5.99e-7"},
     {9.24e-2, 1.75e-1, 3.20e-2, 3.91e-2, 8.37e-2},
     {4.42e-11, 3.06e-7, 1.68e-7, 1.67e-7, 5.99e-7}},
    {"authors",
     6,
     8,
     {"\"alpha\": 5.9194353200e-01, \"beta\": 5.6847387697e-11",
      "\"alpha\": 2.3515350484e-01, \"beta\": 1.8543323833e-06", "\"alpha\": 0.0549, \"beta\": 6.72388e-7",
      "\"alpha\": 0.0688, \"beta\": 6.70433e-7", "\"alpha\": 3.4099276392e-01, \"beta\": 3.4950701465e-06"},
     {5.9194353200e-01, 2.3515350484e-01, 0.0549, 0.0688, 3.4099276392e-01},
     {5.6847387697e-11, 1.8543323833e-06, 6.72388e-7, 6.70433e-7, 3.4950701465e-06}},
};

static void test_cluster_reads_published_constants(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof published / sizeof *published; c++) {
        char text[2048];
        fsm_cluster cluster;
        int at =
            snprintf(text, sizeof text, "{\"name\": \"%s\", \"unit\": \"ms\", \"ranks_per_node\": %d, \"nodes\": %d",
                     published[c].name, published[c].ranks_per_node, published[c].nodes);
        for (int op = 0; op < FSM_COST_OP_COUNT; op++)
            at += snprintf(text + at, sizeof text - (size_t)at, ",\n\"%s\": {%s}", fsm_cost_op_name((fsm_cost_op)op),
                           published[c].line[op]);
        snprintf(text + at, sizeof text - (size_t)at, "}\n");
        read_text(text, &cluster);
        assert_string_equal(cluster.name, published[c].name);
        assert_int_equal(cluster.nodes, published[c].nodes);
        assert_int_equal(cluster.ranks_per_node, published[c].ranks_per_node);
        for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
            const fsm_measured *m = &cluster.op[op];
            assert_true(near(m->cost.line[0].alpha_s, published[c].alpha_ms[op] * 1e-3));
            assert_true(near(m->cost.line[0].beta_s, published[c].beta_ms[op] * 1e-3));
            assert_true(m->cost.large_from == 0 && isnan(m->r2) && !m->points && m->point_count == 0);
        }
        fsm_cluster_destroy(&cluster);
    }
}

/* A file with `op` for the alltoall, `more` at the top. */
static const char *file_with(const char *op, const char *more)
{
    static char text[4096];
    snprintf(text, sizeof text,
             "{%s \"gemm\": {\"alpha\": 1, \"beta\": 2}, \"alltoall\": %s, \"allgather\": {\"alpha\": 0, \"beta\": 0},"
             " \"reducescatter\": {\"alpha\": 1, \"beta\": 2}, \"allreduce\": {\"alpha\": 1, \"beta\": 2}}",
             more, op);
    return text;
}

static const char plain[] = "{\"alpha\": 4, \"beta\": 5}";

static void test_cluster_units_are_milliseconds_unless_said(void **state)
{
    (void)state;
    const struct {
        const char *more;
        double second;
    } cases[] = {{"", 1e-3}, {"\"unit\": \"ms\",", 1e-3}, {"\"unit\": \"us\",", 1e-6}, {"\"unit\": \"s\",", 1}};
    const char op[] = "{\"alpha\": 4, \"beta\": 5, \"large\": {\"alpha\": 6, \"beta\": 7, \"from\": 8}, \"r2\": 0.5,"
                      " \"points\": [[3, 9], [0, 2, -1.5]]}";
    for (int i = 0; i < 4; i++) {
        fsm_cluster cluster;
        read_text(file_with(op, cases[i].more), &cluster);
        const fsm_measured *m = &cluster.op[FSM_COST_ALLTOALL];
        double s = cases[i].second;
        assert_true(near(m->cost.line[0].alpha_s, 4 * s) && near(m->cost.line[0].beta_s, 5 * s));
        assert_true(near(m->cost.line[1].alpha_s, 6 * s) && near(m->cost.line[1].beta_s, 7 * s));
        assert_true(m->cost.large_from == 8 && m->r2 == 0.5 && m->point_count == 2);
        assert_true(m->points[0].size == 3 && near(m->points[0].time_s, 9 * s));
        assert_true(m->points[1].size == 0 && near(m->points[1].time_s, 2 * s));
        assert_true(cluster.op[FSM_COST_ALLGATHER].cost.line[0].beta_s == 0); /* zero is a cost */
        assert_int_equal(cluster.nodes, 0);
        fsm_cluster_destroy(&cluster);
    }
}

static void test_cluster_errors_name_file_and_key(void **state)
{
    (void)state;
    const char gone[] = "\"gemm\": {\"alpha\": 1, \"beta\": 2}";
    const struct {
        const char *op, *more, *says;
    } cases[] = {
        {"{\"alpha\": -1, \"beta\": 5}", "", "alltoall.alpha is -1"},
        {"{\"alpha\": 1, \"beta\": -5e-9}", "", "alltoall.beta is -5e-09"},
        {"{\"alpha\": \"1\", \"beta\": 5}", "", "alltoall.alpha is not a number"},
        {"{\"alpha\": 1, \"beta\": true}", "", "alltoall.beta is not a number"},
        {"{\"alpha\": null, \"beta\": 5}", "", "alltoall.alpha is not a number"},
        {"{\"alpha\": NaN, \"beta\": 5}", "", "line 1"},
        {"{\"alpha\": 1, \"beta\": 1e999}", "", "line 1"},
        {"{\"alpha\": 1}", "", "'alltoall.beta' is missing"},
        {"{\"beta\": 1}", "", "'alltoall.alpha' is missing"},
        {"{\"alpha\": 1, \"beta\": 5, \"gamma\": 1}", "", "'alltoall.gamma'"},
        {"{\"alpha\": 1, \"beta\": 5, \"point\": []}", "", "did you mean 'points'"},
        {"7", "", "alltoall is not an object"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": 3}", "", "alltoall.large is not an object"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": {\"alpha\": 1, \"beta\": 2}}", "", "'alltoall.large.from' is missing"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": {\"alpha\": -1, \"beta\": 2, \"from\": 3}}", "",
         "alltoall.large.alpha"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": {\"alpha\": 1, \"beta\": 2, \"from\": 0}}", "", "alltoall.large.from"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": {\"alpha\": 1, \"beta\": 2, \"to\": 0}}", "", "'alltoall.large.to'"},
        {"{\"alpha\": 1, \"beta\": 5, \"largest\": {\"alpha\": 1, \"beta\": 2, \"from\": 3}}", "",
         "alltoall.largest.from is 3, not above alltoall.large.from"},
        {"{\"alpha\": 1, \"beta\": 5, \"large\": {\"alpha\": 1, \"beta\": 2, \"from\": 3},"
         " \"largest\": {\"alpha\": 1, \"beta\": 2, \"from\": 3}}",
         "", "alltoall.largest.from is 3, not above alltoall.large.from, which is 3"},
        {"{\"alpha\": 1, \"beta\": 5, \"largest\": {\"alpha\": 1, \"beta\": 2}}", "",
         "'alltoall.largest.from' is missing"},
        {"{\"alpha\": 1, \"beta\": 5, \"r2\": \"good\"}", "", "alltoall.r2"},
        {"{\"alpha\": 1, \"beta\": 5, \"r2\": 1.5}", "", "alltoall.r2 is 1.5"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": 3}", "", "alltoall.points is not a list"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [[1, 2], [3]]}", "", "alltoall.points[1]"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [[1, 2, 3, 4]]}", "", "alltoall.points[0]"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [[1, 0]]}", "", "alltoall.points[0]"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [[-1, 2]]}", "", "alltoall.points[0]"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [[1, \"2\"]]}", "", "alltoall.points[0]"},
        {"{\"alpha\": 1, \"beta\": 5, \"points\": [7]}", "", "alltoall.points[0]"},
        {plain, "\"unit\": \"min\",", "unit is 'min'"},
        {plain, "\"unit\": 3,", "unit is not text"},
        {plain, "\"name\": 3,", "name is not text"},
        {plain, "\"nodes\": 0,", "nodes"},
        {plain, "\"nodes\": 2.0,", "nodes"},
        {plain, "\"ranks_per_node\": -1,", "ranks_per_node"},
        {plain, "\"ranks_per_node\": 3000000000,", "ranks_per_node"},
        {plain, "\"ep_size\": 0,", "ep_size"},
        {plain, "\"esp_size\": \"2\",", "esp_size"},
        {plain, "\"mp_size\": 1.5,", "mp_size"},
        {plain, "\"work\": \"0123456789abcdef0\",", "work has more than 16 bytes"},
        {plain, "\"node\": 2,", "unknown key 'node'; did you mean 'nodes'"},
        {plain, "\"date\": \"12345678901234567890123456789012\",", "date has more than 31 bytes"},
        {plain, "\"tasks\": [],", "tasks is not an object"},
        {plain, "\"tasks\": {\"attention.forward\": {\"alpha\": 1}},", "'tasks.attention.forward.beta' is missing"},
        {plain, "\"tasks\": {\"attention.forward\": {\"alpha\": 1, \"beta\": -1}},",
         "tasks.attention.forward.beta is -1"},
        {plain, "\"tasks\": {\"attention.forward\": {\"alpha\": 1, \"beta\": 1, \"r2\": 1}},",
         "tasks.attention.forward.r2"},
        {plain, "\"tasks\": {\"gate.forward\": {}},", "'tasks.gate.forward.alpha' is missing"},
        {plain, "\"tasks\": {\"gate.forward\": {\"overlap\": 0}},", "tasks.gate.forward.overlap is 0, not positive"},
        {plain, "\"tasks\": {\"gate.forward\": {\"overlap\": \"2\"}},", "tasks.gate.forward.overlap is not a number"},
        {plain, "\"tasks\": {\"gate.forward\": {\"alpha\": 1, \"overlap\": 2}},",
         "'tasks.gate.forward.beta' is missing"},
        {plain, "\"gemm\": {\"alpha\": 1, \"beta\": 2},", "duplicate"},
    };
    fsm_cluster cluster;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = file_with(cases[i].op, cases[i].more);
        assert_int_equal(fsm_cluster_from_json(text, "test.json", &cluster), FSMOE_ERROR_FORMAT);
        if (!strstr(fsmoe_last_error(), cases[i].says) || !strstr(fsmoe_last_error(), "test.json"))
            fail_msg("'%s' does not say '%s'", fsmoe_last_error(), cases[i].says);
        assert_null(cluster.tasks);
        assert_null(cluster.op[FSM_COST_ALLTOALL].points);
    }
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) { /* each op is asked for */
        char text[4096], key[64], *at;
        snprintf(text, sizeof text, "%s", file_with(plain, ""));
        snprintf(key, sizeof key, "\"%s\"", fsm_cost_op_name((fsm_cost_op)op));
        at = strstr(text, key);
        assert_non_null(at);
        char *rest = strchr(at, '}') + 1;
        memmove(at, *rest == ',' ? rest + 1 : rest, strlen(rest) + 1);
        if (op == FSM_COST_ALLREDUCE) strcpy(strrchr(text, ','), "}");
        assert_int_equal(fsm_cluster_from_json(text, "test.json", &cluster), FSMOE_ERROR_FORMAT);
        snprintf(key, sizeof key, "key '%s' is missing", fsm_cost_op_name((fsm_cost_op)op));
        assert_non_null(strstr(fsmoe_last_error(), key));
    }
    const char *const texts[] = {"", "[]", "3", "{", gone};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fsm_cluster_from_json(texts[i], "test.json", &cluster), FSMOE_ERROR_FORMAT);
        assert_non_null(strstr(fsmoe_last_error(), "test.json"));
    }
    assert_int_equal(fsm_cluster_read("/nowhere/c.json", &cluster), FSMOE_ERROR_IO);
}

/* ---- writing ---- */

static double draw(uint64_t index)
{
    return exp(10 * fsm_rng_normal(1, FSM_RNG_TEST, index));
}

static fsm_cost draw_cost(uint64_t index, int lines)
{
    fsm_cost cost = {.line[0] = {draw(index), draw(index + 1)}};
    if (lines > 1) {
        cost.line[1] = (fsm_line){draw(index + 2), draw(index + 3)};
        cost.large_from = draw(index + 4);
    }
    if (lines > 2) {
        cost.line[2] = (fsm_line){draw(index + 8), draw(index + 9)};
        cost.largest_from = cost.large_from * (1 + draw(index + 10));
        if (!(cost.largest_from > cost.large_from)) cost.largest_from = 2 * cost.large_from; /* rounded away */
    }
    return cost;
}

static void draw_cluster(uint64_t seed, fsm_cluster *cluster)
{
    *cluster = (fsm_cluster){.name = "a \"name\" with ü",
                             .machine = "eight cores",
                             .date = "2024-05-06",
                             .nodes = 3,
                             .ep_size = 5,
                             .esp_size = 1,
                             .mp_size = 2,
                             .work = "0123456789abcdef"};
    for (uint64_t op = 0; op < FSM_COST_OP_COUNT; op++) {
        fsm_measured *m = &cluster->op[op];
        m->cost = draw_cost(1000 * seed + 20 * op, 1 + (int)op % 3);
        m->r2 = op == 2 ? NAN : 1 - draw(1000 * seed + 20 * op + 7);
        if (op < 3) continue;
        m->point_count = 4;
        m->points = malloc(4 * sizeof *m->points);
        for (uint64_t i = 0; i < 4; i++)
            m->points[i] = (fsm_point){draw(1000 * seed + 200 + 8 * op + i), draw(1000 * seed + 300 + 8 * op + i)};
    }
    assert_int_equal(fsm_cluster_set_task(cluster, "attention.forward", draw_cost(1000 * seed + 400, 1)), FSMOE_OK);
    assert_int_equal(fsm_cluster_set_task(cluster, "gate.backward", draw_cost(1000 * seed + 410, 3)), FSMOE_OK);
    assert_int_equal(fsm_cluster_set_overlap(cluster, "gate.backward", draw(1000 * seed + 420)), FSMOE_OK);
    assert_int_equal(fsm_cluster_set_overlap(cluster, "a2a_combine.forward", draw(1000 * seed + 421)), FSMOE_OK);
}

static void assert_same_cost(const fsm_cost *a, const fsm_cost *b)
{
    for (int i = 0; i < FSM_COST_LINES; i++)
        assert_true(near(a->line[i].alpha_s, b->line[i].alpha_s) && near(a->line[i].beta_s, b->line[i].beta_s));
    assert_true(a->large_from == b->large_from && a->largest_from == b->largest_from);
}

static void assert_same_cluster(const fsm_cluster *a, const fsm_cluster *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->machine, b->machine);
    assert_string_equal(a->date, b->date);
    assert_int_equal(a->nodes, b->nodes);
    assert_int_equal(a->ranks_per_node, b->ranks_per_node);
    assert_int_equal(a->ep_size, b->ep_size);
    assert_int_equal(a->esp_size, b->esp_size);
    assert_int_equal(a->mp_size, b->mp_size);
    assert_string_equal(a->work, b->work);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        const fsm_measured *x = &a->op[op], *y = &b->op[op];
        assert_same_cost(&x->cost, &y->cost);
        assert_true(x->r2 == y->r2 || (isnan(x->r2) && isnan(y->r2)));
        assert_int_equal(x->point_count, y->point_count);
        for (int i = 0; i < x->point_count; i++)
            assert_true(x->points[i].size == y->points[i].size && near(x->points[i].time_s, y->points[i].time_s));
    }
    assert_int_equal(a->task_count, b->task_count);
    for (int i = 0; i < a->task_count; i++) {
        const fsm_task_cost *t = &a->tasks[i];
        assert_true((fsm_cluster_task(b, t->task) != NULL) == t->own);
        if (t->own) assert_same_cost(&t->cost, fsm_cluster_task(b, t->task));
        assert_true(fsm_cluster_overlap(b, t->task) == fsm_cluster_overlap(a, t->task));
    }
}

static void test_cluster_file_reads_back_what_was_written(void **state)
{
    (void)state;
    char dir[] = "/tmp/fsmoe-test-XXXXXX", path[FSM_PATH_BYTES];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(fsm_file_path(dir, "c.json", path), FSMOE_OK);
    for (uint64_t seed = 0; seed < 30; seed++) {
        fsm_cluster written, back;
        draw_cluster(seed, &written);
        assert_int_equal(fsm_cluster_write(&written, path), FSMOE_OK);
        if (fsm_cluster_read(path, &back) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        assert_same_cluster(&written, &back);
        fsm_cluster_destroy(&written);
        fsm_cluster_destroy(&back);
    }
    assert_int_equal(fsm_file_remove_tree(dir), FSMOE_OK);
}

static void test_cluster_points_carry_their_residual(void **state)
{
    (void)state;
    fsm_cluster cluster = {.op[FSM_COST_ALLTOALL].r2 = NAN};
    fsm_measured *m = &cluster.op[FSM_COST_ALLTOALL];
    char *text;
    m->cost = (fsm_cost){.line = {{0.5, 0.25}, {1, 0.125}}, .large_from = 16};
    m->point_count = 2;
    m->points = malloc(2 * sizeof *m->points);
    m->points[0] = (fsm_point){2, 1.125};
    m->points[1] = (fsm_point){16, 2.75};
    assert_int_equal(fsm_cluster_to_json(&cluster, &text), FSMOE_OK);
    assert_non_null(strstr(text, "\"points\": [[2.0, 1125.0, 125.0], [16.0, 2750.0, -250.0]]"));
    assert_non_null(strstr(text, "\"unit\": \"ms\""));
    free(text);
    fsm_cluster_destroy(&cluster);
}

static void test_cluster_that_no_file_can_hold_is_refused(void **state)
{
    (void)state;
    fsm_cluster cluster = {.name = "bad \xff"};
    char *text = (char *)"";
    assert_int_equal(fsm_cluster_to_json(&cluster, &text), FSMOE_ERROR_FORMAT);
    assert_null(text);
    cluster = (fsm_cluster){.op[FSM_COST_GEMM].cost.line[0].beta_s = INFINITY};
    assert_int_equal(fsm_cluster_to_json(&cluster, &text), FSMOE_ERROR_FORMAT);
    cluster = (fsm_cluster){.name = "fine"};
    assert_int_equal(fsm_cluster_write(&cluster, "/nowhere/c.json"), FSMOE_ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_cost_of_launches_shares_the_size),
        cmocka_unit_test(test_cluster_cost_takes_the_second_line_from_its_size_on),
        cmocka_unit_test(test_cluster_cost_takes_the_third_line_from_its_size_on),
        cmocka_unit_test(test_cluster_tasks_have_costs_of_their_own),
        cmocka_unit_test(test_cluster_tasks_may_say_only_what_overlap_costs),
        cmocka_unit_test(test_cluster_fit_takes_points_over),
        cmocka_unit_test(test_cluster_reads_published_constants),
        cmocka_unit_test(test_cluster_units_are_milliseconds_unless_said),
        cmocka_unit_test(test_cluster_errors_name_file_and_key),
        cmocka_unit_test(test_cluster_file_reads_back_what_was_written),
        cmocka_unit_test(test_cluster_points_carry_their_residual),
        cmocka_unit_test(test_cluster_that_no_file_can_hold_is_refused),
    };
    return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}

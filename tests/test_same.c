/* Ranks compare what they must have in common. Four ranks are threads of one process, one of which has something else:
 * every rank must hear of it, and none may wait for ever. */
#include "model_case.h"
#include "thread_comm.h"
#include "train/planning.h"
#include "train/same.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 4, TEXT_BYTES = 512 };

/* ---- four ranks ---- */

typedef struct rank_run {
    fsm_comm *world;
    fsmoe_status (*run)(struct rank_run *r);
    unsigned odd; /* a bit a rank: those that have something else */
    const char *setting;
    fsmoe_status status;
    char error[TEXT_BYTES];
} rank_run;

static bool is_odd(const rank_run *r)
{
    return r->odd >> r->world->rank & 1;
}

static void *run_rank(void *user)
{
    rank_run *r = user;
    r->status = r->run(r);
    if (r->status != FSMOE_OK) snprintf(r->error, sizeof r->error, "%s", fsmoe_last_error());
    fsm_comm_destroy(r->world);
    return NULL;
}

/* The status of all ranks, which must be one, and its sentence. */
static fsmoe_status run_ranks(fsmoe_status (*run)(rank_run *r), unsigned odd, const char *setting,
                              char error[TEXT_BYTES])
{
    rank_run runs[RANKS];
    pthread_t threads[RANKS];
    thread_group *group = thread_group_create(RANKS);
    for (int r = 0; r < RANKS; r++) {
        runs[r] = (rank_run){.world = thread_comm_of(group, r), .run = run, .odd = odd, .setting = setting};
        assert_int_equal(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    }
    for (int r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
    for (int r = 1; r < RANKS; r++) {
        assert_int_equal(runs[r].status, runs[0].status);
        assert_string_equal(runs[r].error, runs[0].error);
    }
    snprintf(error, TEXT_BYTES, "%s", runs[0].error);
    return runs[0].status;
}

static void assert_says(const char *error, const char *part)
{
    if (!strstr(error, part)) fail_msg("'%s' is not in: %s", part, error);
}

/* ---- the hash ---- */

static fsm_graph make_graph(void)
{
    fsm_graph graph = {0};
    const fsm_task first = {.kind = FSM_TASK_EMBEDDING, .layer = -1, .micro = -1, .size = 8, .launches = 1};
    int a = fsm_graph_add(&graph, first, NULL, 0);
    int b = fsm_graph_add(&graph, first, &a, 1);
    fsm_graph_add(&graph, first, &b, 1);
    assert_false(graph.out_of_memory);
    return graph;
}

static void test_same_graphs_have_the_same_hash_and_no_others(void **state)
{
    (void)state;
    fsm_graph graph = make_graph(), again = make_graph();
    uint64_t hash = fsm_graph_hash(&graph);
    assert_true(hash == fsm_graph_hash(&again));
    fsm_task *t = &again.tasks[1], kept = *t;
#define DIFFERS(change)                              \
    do {                                             \
        change;                                      \
        assert_true(hash != fsm_graph_hash(&again)); \
        *t = kept;                                   \
    } while (0)
    DIFFERS(t->kind = FSM_TASK_NORM);
    DIFFERS(t->phase = FSM_BACKWARD);
    DIFFERS(t->resource = FSM_INTER);
    DIFFERS(t->layer = 1);
    DIFFERS(t->micro = 1);
    DIFFERS(t->rows_first = 1);
    DIFFERS(t->rows_last = 1);
    DIFFERS(t->slice_first = 1);
    DIFFERS(t->slice_last = 1);
    DIFFERS(t->group = FSM_GROUP_EP);
    DIFFERS(t->size = 8.5);
    DIFFERS(t->launches = 2);
    DIFFERS(t->after_count = 0);
    again.edges[1] = 0;
    assert_true(hash != fsm_graph_hash(&again));
    again.edges[1] = graph.edges[1];
    assert_true(hash == fsm_graph_hash(&again));
    again.count--;
    assert_true(hash != fsm_graph_hash(&again));
    fsm_graph_destroy(&graph);
    fsm_graph_destroy(&again);
}

/* ---- graphs ---- */

static fsmoe_status compare_graphs(rank_run *r)
{
    fsm_graph graph = make_graph();
    if (is_odd(r)) graph.tasks[2].rows_last += 1 + (r->setting ? r->world->rank : 0);
    fsmoe_status status = fsm_same_graph(r->world, FSMOE_OK, &graph);
    fsm_graph_destroy(&graph);
    return status;
}

static void test_same_graphs_are_agreed_on_and_others_named(void **state)
{
    static const struct {
        unsigned odd;
        const char *who;
    } cases[] = {{1u << 2, "rank 2 has another plan"},
                 {1u << 0, "rank 0 has another plan"},
                 {1u << 0 | 1u << 3, "ranks 1, 2 have another plan"}};
    char error[TEXT_BYTES];
    (void)state;
    assert_int_equal(run_ranks(compare_graphs, 0, NULL, error), FSMOE_OK);
    assert_int_equal(run_ranks(compare_graphs, 0xf, NULL, error), FSMOE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run_ranks(compare_graphs, cases[i].odd, NULL, error), FSMOE_ERROR_CONFIG);
        assert_says(error, cases[i].who);
    }
    assert_int_equal(run_ranks(compare_graphs, 0xe, "all different", error), FSMOE_ERROR_CONFIG);
    assert_says(error, "ranks 1, 2, 3 have another plan");
}

static fsmoe_status fail_on_odd(rank_run *r)
{
    fsm_graph graph = {0};
    fsmoe_status mine = is_odd(r) ? fsm_fail(FSMOE_ERROR_MEMORY, "none on %d", r->world->rank) : FSMOE_OK;
    return fsm_same_graph(r->world, mine, &graph);
}

static void test_same_graph_passes_on_that_there_is_none(void **state)
{
    char error[TEXT_BYTES];
    (void)state;
    assert_int_equal(run_ranks(fail_on_odd, 1u << 1, NULL, error), FSMOE_ERROR_MEMORY);
    assert_string_equal(error, "none on 1");
}

/* ---- steppers ---- */

/* Slow links and next to no alpha, so that there is something to cut. */
static const char cluster[] =
    "{\"gemm\": {\"alpha\": 1e-6, \"beta\": 1e-6}, \"alltoall\": {\"alpha\": 1e-6, \"beta\": 1e-4},"
    " \"allgather\": {\"alpha\": 1e-6, \"beta\": 5e-5},"
    " \"reducescatter\": {\"alpha\": 1e-6, \"beta\": 5e-5},"
    " \"allreduce\": {\"alpha\": 1e-6, \"beta\": 1e-4}}";
static char cluster_path[] = "/tmp/fsmoe-same-XXXXXX";

#define TINY                                                                                                           \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.num_heads=4", "model.num_kv_heads=2",       \
        "moe.num_experts=4", "data.seq_len=16", "model.vocab_size=256", "train.global_batch=8", "train.micro_batch=4", \
        "parallel.nodes=2", "parallel.ranks_per_node=2", "parallel.ep_size=2", "parallel.esp_size=2",                  \
        "parallel.mp_size=2", "parallel.threads=1"

static fsmoe_status create(rank_run *r, const fsmoe_config *config, fsm_stepper *s)
{
    int dp = r->world->size / (int)config->parallel.mp_size;
    const fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, dp),
                                       .training = true};
    return fsm_stepper_create(config, r->world, &options, s);
}

static fsmoe_status create_with_setting(rank_run *r)
{
    const char *settings[] = {TINY, is_odd(r) ? r->setting : NULL, NULL};
    fsmoe_config *config = model_case_config(settings);
    fsm_stepper s;
    fsmoe_status status = create(r, config, &s);
    if (status == FSMOE_OK) fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    return status;
}

static void test_same_keys_are_compared_before_anything_is_built(void **state)
{
    static const char *const common[] = {"train.micro_batch=2", "parallel.mp_size=1", "train.lr=0.5",
                                         "moe.alltoall=1dh",    "moe.bias=true",      "moe.hooks=[wire_bf16]"};
    static const char *const own[] = {"parallel.threads=2", "run.dir=elsewhere", "data.train=[local.txt]"};
    char error[TEXT_BYTES], key[64];
    (void)state;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        assert_int_equal(run_ranks(create_with_setting, 1u << 3, common[i], error), FSMOE_ERROR_CONFIG);
        snprintf(key, sizeof key, "rank 3 has another value of %.*s than", (int)strcspn(common[i], "="), common[i]);
        assert_says(error, key);
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        assert_int_equal(run_ranks(create_with_setting, 1u << 3, own[i], error), FSMOE_OK);
}

static void ignore(void *user, const char *sentence)
{
    (void)user, (void)sentence;
}

/* An odd rank believes that it has more rows: its plan is another, made from the same costs. */
static fsmoe_status plan(rank_run *r)
{
    char setting[128];
    snprintf(setting, sizeof setting, "parallel.cluster=%s", cluster_path);
    const char *settings[] = {TINY, setting, NULL};
    fsmoe_config *config = model_case_config(settings);
    fsm_stepper s;
    fsm_planning planning;
    FSM_TRY(create(r, config, &s));
    if (is_odd(r)) s.max_samples *= 2;
    fsmoe_status status = fsm_planning_begin(&s, NULL, false, ignore, NULL, &planning);
    fsm_planning_end(&planning);
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    return status;
}

static void test_same_plans_are_run_or_none(void **state)
{
    char error[TEXT_BYTES];
    (void)state;
    int fd = mkstemp(cluster_path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, cluster, sizeof cluster - 1), sizeof cluster - 1);
    close(fd);
    assert_int_equal(run_ranks(plan, 0, NULL, error), FSMOE_OK);
    assert_int_equal(run_ranks(plan, 1u << 1, NULL, error), FSMOE_ERROR_CONFIG);
    assert_says(error, "rank 1 has another plan of a step");
    unlink(cluster_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_graphs_have_the_same_hash_and_no_others),
        cmocka_unit_test(test_same_graphs_are_agreed_on_and_others_named),
        cmocka_unit_test(test_same_graph_passes_on_that_there_is_none),
        cmocka_unit_test(test_same_keys_are_compared_before_anything_is_built),
        cmocka_unit_test(test_same_plans_are_run_or_none),
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

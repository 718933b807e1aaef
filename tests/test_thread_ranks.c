/* Whole training steps of four ranks that are threads of one process, each with the executor's threads of its own:
 * what the sanitizer for threads is run on. Their losses are those of one process.
 * Nothing of the library is shared between ranks but what they send. */
#include "model_case.h"
#include "plan/plan.h"
#include "thread_comm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 4, STEPS = 3 };

#define TINY                                                                                                     \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.num_heads=4", "model.num_kv_heads=2", \
        "moe.num_experts=4", "data.seq_len=16", "moe.z_loss_coeff=0.01", "moe.aux_loss_coeff=0.05",              \
        "model.vocab_size=256", "train.global_batch=8", "train.micro_batch=4", "parallel.threads=1"

static const char *const alone[] = {TINY, NULL};
static const char *const apart[] = {TINY,
                                    "parallel.nodes=2",
                                    "parallel.ranks_per_node=2",
                                    "parallel.ep_size=2",
                                    "parallel.esp_size=2",
                                    "parallel.mp_size=2",
                                    NULL};

/* What a rank is given and what it finds. */
typedef struct rank_run {
    thread_group *group;
    int rank;
    const char *const *settings;
    const char *progress, *schedule; /* planned from `costs`; NULL: in order */
    const fsm_cluster *costs;
    double losses[STEPS], norms[STEPS];
    int chunks; /* of its graph's experts */
} rank_run;

static fsmoe_status use_schedule(rank_run *r, fsm_stepper *s)
{
    fsm_step_shape shape;
    fsm_plan plan;
    if (!r->schedule) return FSMOE_OK;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    FSM_TRY(fsm_plan_create(&shape, r->costs, fsm_schedule_find(r->schedule), &plan));
    fsmoe_status status = fsm_stepper_use_graph(s, fsm_graph_copy(&plan.graph));
    fsm_plan_destroy(&plan);
    for (int i = 0; i < s->train_graph.count; i++) r->chunks += s->train_graph.tasks[i].kind == FSM_TASK_EXPERT;
    return status;
}

static fsmoe_status train(rank_run *r, fsm_stepper *s, fsm_batches *batches)
{
    FSM_TRY(use_schedule(r, s));
    model_case_randomize(&s->model->params, 0.25f, s->model->values);
    fsm_model_update_weights(s->model);
    for (int step = 0; step < STEPS; step++) {
        s->optimizer.lr = 1e-3;
        FSM_TRY(fsm_stepper_train(s, batches, 8 * step));
        fsm_model_sums sums = fsm_model_loss_sums(s->model, s->model->step_sums);
        r->losses[step] = sums.loss / sums.tokens;
        r->norms[step] = s->optimizer.grad_norm;
    }
    return FSMOE_OK;
}

/* Each rank reads its configuration and its tokens itself, as a process does. */
static fsmoe_status run_on(rank_run *r, fsm_comm *comm)
{
    const char *text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    char progress[64];
    const char *settings[32];
    int n = 0;
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens;
    fsm_stepper s;
    fsm_batches batches;
    for (; r->settings[n]; n++) settings[n] = r->settings[n];
    snprintf(progress, sizeof progress, "parallel.progress=%s", r->progress);
    settings[n++] = progress;
    settings[n] = NULL;
    fsmoe_config *config = model_case_config(settings);
    int dp = comm->size / (int)config->parallel.mp_size;
    const fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, dp),
                                       .training = true};
    FSM_TRY(fsmoe_tokenizer_create("bytes", &tokenizer));
    FSM_TRY(fsmoe_tokens_open(&text, 1, tokenizer, &tokens));
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    FSM_TRY(train(r, &s, &batches));
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(tokenizer);
    fsmoe_config_destroy(config);
    return FSMOE_OK;
}

static void *run_rank(void *user)
{
    rank_run *r = user;
    fsm_comm *comm = NULL;
    fsmoe_status status = FSMOE_OK;
    if (r->group) comm = thread_comm_of(r->group, r->rank);
    else status = fsm_comm_create_self(&comm);
    if (status == FSMOE_OK) status = run_on(r, comm);
    if (status != FSMOE_OK) {
        fprintf(stderr, "rank %d: %s\n", r->rank, fsmoe_last_error());
        abort(); /* the others wait for it */
    }
    fsm_comm_destroy(comm);
    return NULL;
}

static void run_ranks(rank_run runs[RANKS], const char *progress, const char *schedule, const fsm_cluster *costs)
{
    pthread_t threads[RANKS];
    thread_group *group = thread_group_create(RANKS);
    for (int r = 0; r < RANKS; r++) {
        runs[r] = (rank_run){.group = group, .rank = r, .settings = apart};
        runs[r].progress = progress;
        runs[r].schedule = schedule;
        runs[r].costs = costs;
    }
    for (int r = 0; r < RANKS; r++) assert_int_equal(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    for (int r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
}

static void assert_near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-5 * fabs(want))) fail_msg("%s: %.9g, alone %.9g", what, got, want);
}

static void check_equal(const rank_run runs[RANKS], const rank_run *want)
{
    for (int r = 0; r < RANKS; r++)
        for (int step = 0; step < STEPS; step++) {
            assert_near("loss", runs[r].losses[step], want->losses[step]);
            assert_near("gradient norm", runs[r].norms[step], want->norms[step]);
            assert_true(runs[r].losses[step] == runs[0].losses[step] && runs[r].norms[step] == runs[0].norms[step]);
        }
}

/* Costs of the file's links with next to no alpha: what is as small as this model would not be cut otherwise. */
static void read_costs(fsm_cluster *costs)
{
    assert_int_equal(fsm_cluster_read(FSMOE_SOURCE_DIR "/examples/clusters/paper-a.json", costs), FSMOE_OK);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        for (int line = 0; line < 2; line++) costs->op[op].cost.line[line].alpha_s *= 1e-8;
}

static void check_schedule(const char *schedule)
{
    fsm_cluster costs;
    rank_run want = {.settings = alone, .progress = "thread"}, runs[RANKS];
    read_costs(&costs);
    run_rank(&want);
    assert_true(want.losses[0] > 1 && want.losses[2] != want.losses[0]);
    run_ranks(runs, "thread", schedule, &costs);
    check_equal(runs, &want);
    int whole = 2 * 2 * 2; /* layers, phases, micro-batches */
    if (schedule) assert_true(strcmp(schedule, "dsmoe") ? runs[0].chunks > whole : runs[0].chunks == whole);
    fsm_cluster_destroy(&costs);
}

static void test_thread_ranks_in_order_equal_one_process(void **state)
{
    (void)state;
    check_schedule(NULL);
}

static void test_thread_ranks_dsmoe_equal_one_process(void **state)
{
    (void)state;
    check_schedule("dsmoe");
}

static void test_thread_ranks_tutel_equal_one_process(void **state)
{
    (void)state;
    check_schedule("tutel");
}

static void test_thread_ranks_fsmoe_equal_one_process(void **state)
{
    (void)state;
    check_schedule("fsmoe");
}

static void test_thread_ranks_fsmoe_x_equal_one_process(void **state)
{
    (void)state;
    check_schedule("fsmoe-x");
}

/* Who moves the links, and when, is nothing to the numbers: not one bit. */
static void test_thread_ranks_progress_between_tasks_gives_the_same_bits(void **state)
{
    (void)state;
    fsm_cluster costs;
    rank_run threads[RANKS], tasks[RANKS];
    read_costs(&costs);
    run_ranks(threads, "thread", "fsmoe-x", &costs);
    run_ranks(tasks, "tasks", "fsmoe-x", &costs);
    for (int r = 0; r < RANKS; r++) {
        assert_memory_equal(threads[r].losses, tasks[r].losses, sizeof threads[r].losses);
        assert_memory_equal(threads[r].norms, tasks[r].norms, sizeof threads[r].norms);
    }
    fsm_cluster_destroy(&costs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_ranks_in_order_equal_one_process),
        cmocka_unit_test(test_thread_ranks_dsmoe_equal_one_process),
        cmocka_unit_test(test_thread_ranks_tutel_equal_one_process),
        cmocka_unit_test(test_thread_ranks_fsmoe_equal_one_process),
        cmocka_unit_test(test_thread_ranks_fsmoe_x_equal_one_process),
        cmocka_unit_test(test_thread_ranks_progress_between_tasks_gives_the_same_bits),
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

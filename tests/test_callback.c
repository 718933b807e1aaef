/* What a program does in on_step is nothing to the training around it: other models, larger ones with longer samples
 * and on other numbers of threads, evaluated and continued between two steps. The oracle is the same run without them.
 * And what the program has told OpenMP is its own. */
#define _GNU_SOURCE
#include "run_case.h"

#include <omp.h>
#include <sched.h>

/* Attention large enough for several threads in both models. */
static const char *const larger[] = {SMALL_RUN,       "model.hidden=64",    "model.ffn_hidden=96",  "data.seq_len=256",
                                     "train.steps=1", "parallel.threads=2", "model.family=mixtral", NULL};
#define SMALLER \
    SMALL_RUN, "model.hidden=32", "model.ffn_hidden=48", "data.seq_len=64", "train.steps=4", "train.eval_every=2"

static const char *const on_1_thread[] = {SMALLER, "parallel.threads=1", NULL};
static const char *const on_2_threads[] = {SMALLER, "parallel.threads=2", NULL};
static const char *const on_3_threads[] = {SMALLER, "parallel.threads=3", NULL};
static const char *const canonical[] = {SMALLER, "parallel.threads=2", "parallel.canonical_sums=true", NULL};
static const char *const gpt2[] = {SMALLER, "parallel.threads=1", "model.family=gpt2", "model.num_kv_heads=4", NULL};

/* How many threads evaluation and generation take follows from the cores that they may use: all there are, then one. */
static void run_on_cores(job *j, bool all)
{
    cpu_set_t cores, one;
    assert_int_equal(sched_getaffinity(0, sizeof cores, &cores), 0);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (!all) assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    run_job(j);
    if (!all) assert_int_equal(sched_setaffinity(0, sizeof cores, &cores), 0);
    expect_done(j);
}

enum { USERS_THREADS = 5 };

static void use_larger_model(void *user)
{
    int *calls = user;
    job eval = {.name = "evaluation", .run = run_evaluation, .model = "larger", .seq_len = 200};
    job text = {.name = "generation",
                .run = run_generation,
                .model = "larger",
                .prompt = "She had been forced into prudence in her youth, she learned romance as she grew older",
                .max_tokens = 60};
    assert_int_equal(omp_get_max_threads(), USERS_THREADS);
    run_on_cores(&eval, *calls % 2 == 0);
    run_on_cores(&text, *calls % 2 == 0);
    forget(&eval);
    forget(&text);
    assert_int_equal(omp_get_max_threads(), USERS_THREADS);
    ++*calls;
}

static void check(const char *const *settings)
{
    int calls = 0;
    job alone = {.name = "alone", .run = run_training, .settings = settings};
    job beside = {
        .name = "beside", .run = run_training, .settings = settings, .on_step = use_larger_model, .user = &calls};
    omp_set_num_threads(USERS_THREADS);
    run_job(&alone);
    run_job(&beside);
    assert_int_equal(omp_get_max_threads(), USERS_THREADS);
    expect_same(&beside, &alone);
    assert_int_equal(calls, 4);
    forget(&alone);
    forget(&beside);
}

static void test_callback_training_on_1_thread_is_not_touched(void **state)
{
    (void)state;
    check(on_1_thread);
}

static void test_callback_training_on_2_threads_is_not_touched(void **state)
{
    (void)state;
    check(on_2_threads);
}

static void test_callback_training_on_3_threads_is_not_touched(void **state)
{
    (void)state;
    check(on_3_threads);
}

static void test_callback_training_with_canonical_sums_is_not_touched(void **state)
{
    (void)state;
    check(canonical);
}

static void test_callback_training_of_gpt2_is_not_touched(void **state)
{
    (void)state;
    check(gpt2);
}

static int train_larger(void **state)
{
    job j = {.name = "larger", .run = run_training, .settings = larger};
    if (make_runs(state) != 0) return -1;
    run_job(&j);
    if (j.status != FSMOE_OK) fprintf(stderr, "%s\n", j.sentence);
    forget(&j);
    return j.status == FSMOE_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callback_training_on_1_thread_is_not_touched),
        cmocka_unit_test(test_callback_training_on_2_threads_is_not_touched),
        cmocka_unit_test(test_callback_training_on_3_threads_is_not_touched),
        cmocka_unit_test(test_callback_training_with_canonical_sums_is_not_touched),
        cmocka_unit_test(test_callback_training_of_gpt2_is_not_touched),
    };
    return cmocka_run_group_tests(tests, train_larger, remove_runs);
}

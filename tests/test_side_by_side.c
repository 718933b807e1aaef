/* Different models trained, evaluated and continued at once by threads of one process, each thread with a world of its
 * own: every result is to the bit what the same job gives alone. Also what the sanitizer for threads is run on: then on
 * one OpenMP thread each (tests/CMakeLists.txt says why). */
#define _GNU_SOURCE
#include "run_case.h"

#include <pthread.h>
#include <sched.h>

#ifdef FSMOE_ONE_THREAD
#define TWO_THREADS "parallel.threads=1"
#define THREE_THREADS "parallel.threads=1"
#else
#define TWO_THREADS "parallel.threads=2"
#define THREE_THREADS "parallel.threads=3"
#endif

#define STEPS SMALL_RUN, "train.steps=4", "train.eval_every=2"

static const char *const mixtral[] = {
    STEPS, "model.family=mixtral", "model.hidden=64", "model.ffn_hidden=96", "data.seq_len=128", TWO_THREADS, NULL};
static const char *const gpt2[] = {STEPS,
                                   "model.family=gpt2",
                                   "model.num_kv_heads=4",
                                   "model.hidden=32",
                                   "model.ffn_hidden=64",
                                   "data.seq_len=64",
                                   "parallel.threads=1",
                                   NULL};
static const char *const canonical[] = {STEPS,
                                        "model.hidden=32",
                                        "model.ffn_hidden=48",
                                        "moe.gate=sigmoid",
                                        "data.seq_len=64",
                                        "parallel.canonical_sums=true",
                                        THREE_THREADS,
                                        NULL};

#define PROMPT "She learned romance as she grew older"

/* Those that need no model come first: alone, they make it. */
static const job jobs[] = {
    {.name = "mixtral", .run = run_training, .settings = mixtral},
    {.name = "gpt2", .run = run_training, .settings = gpt2},
    {.name = "canonical", .run = run_training, .settings = canonical},
    {.name = "evaluation of mixtral", .run = run_evaluation, .model = "mixtral", .seq_len = 100},
    {.name = "evaluation of gpt2", .run = run_evaluation, .model = "gpt2"},
    {.name = "generation by mixtral", .run = run_generation, .model = "mixtral", .prompt = PROMPT, .max_tokens = 30},
    {.name = "generation by canonical", .run = run_generation, .model = "canonical", .prompt = PROMPT, .max_tokens = 8},
};
enum { JOBS = sizeof jobs / sizeof *jobs, ROUNDS = 2 };

static job alone[JOBS];

/* Models that were trained alone are read while others of the same settings are trained elsewhere. */
static void check_at_once(void)
{
    job beside[JOBS];
    pthread_t threads[JOBS];
    char names[JOBS][64];
    for (int i = 0; i < JOBS; i++) {
        beside[i] = jobs[i];
        snprintf(names[i], sizeof names[i], "%s, beside", jobs[i].name);
        beside[i].name = names[i];
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &beside[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < JOBS; i++) expect_same(&beside[i], &alone[i]);
    for (int i = 0; i < JOBS; i++) forget(&beside[i]);
}

static void test_side_by_side_every_result_is_what_it_is_alone(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) check_at_once();
}

/* The same model folder and settings twice: nothing of one is the other's. */
static void test_side_by_side_the_same_job_twice(void **state)
{
    pthread_t threads[2];
    (void)state;
    for (int i = 0; i < JOBS; i++) {
        job twice[2] = {jobs[i], jobs[i]};
        twice[0].name = "first of two";
        twice[1].name = "second of two";
        for (int t = 0; t < 2; t++) assert_int_equal(pthread_create(&threads[t], NULL, run_job, &twice[t]), 0);
        for (int t = 0; t < 2; t++) pthread_join(threads[t], NULL);
        for (int t = 0; t < 2; t++) expect_same(&twice[t], &alone[i]);
        for (int t = 0; t < 2; t++) forget(&twice[t]);
    }
}

/* Evaluation and generation take as many threads as the cores they may use. */
static void limit_threads(void)
{
#ifdef FSMOE_ONE_THREAD
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
#endif
}

static int run_alone(void **state)
{
    limit_threads();
    if (make_runs(state) != 0) return -1;
    for (int i = 0; i < JOBS; i++) {
        alone[i] = jobs[i];
        run_job(&alone[i]);
        if (alone[i].status == FSMOE_OK) continue;
        fprintf(stderr, "%s: %s\n", alone[i].name, alone[i].sentence);
        return -1;
    }
    return 0;
}

static int forget_all(void **state)
{
    for (int i = 0; i < JOBS; i++) forget(&alone[i]);
    return remove_runs(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_by_side_every_result_is_what_it_is_alone),
        cmocka_unit_test(test_side_by_side_the_same_job_twice),
    };
    return cmocka_run_group_tests(tests, run_alone, forget_all);
}

/* The foundations: status codes, counter-based random numbers, arenas, nearest words, files replaced whole.
 * Oracles: moments of the distributions with bands of five standard errors, a second edit distance, bytes on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- status ---- */

static const fsmoe_status all_statuses[] = {
#define STATUS_VALUE(name, exit_code, text) FSMOE_##name,
    FSMOE_STATUS_LIST(STATUS_VALUE)
#undef STATUS_VALUE
};
enum { STATUS_COUNT = sizeof all_statuses / sizeof *all_statuses };

static void test_status_codes_have_texts_and_distinct_exit_codes(void **state)
{
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++) {
        assert_true(strlen(fsmoe_status_text(all_statuses[i])) > 0);
        assert_string_not_equal(fsmoe_status_text(all_statuses[i]), "unknown status");
        assert_in_range(fsmoe_status_exit_code(all_statuses[i]), 0, 125); /* shells keep 126 and above */
        for (int j = 0; j < i; j++) {
            assert_int_not_equal(fsmoe_status_exit_code(all_statuses[i]), fsmoe_status_exit_code(all_statuses[j]));
            assert_string_not_equal(fsmoe_status_text(all_statuses[i]), fsmoe_status_text(all_statuses[j]));
        }
    }
    assert_int_equal(fsmoe_status_exit_code(FSMOE_OK), 0);
    assert_string_equal(fsmoe_status_text((fsmoe_status)STATUS_COUNT), "unknown status");
    assert_int_not_equal(fsmoe_status_exit_code((fsmoe_status)STATUS_COUNT), 0);
}

static void test_status_failure_keeps_its_sentence(void **state)
{
    (void)state;
    assert_int_equal(fsm_fail(FSMOE_ERROR_IO, "cannot read '%s' at %d", "a.txt", 7), FSMOE_ERROR_IO);
    assert_string_equal(fsmoe_last_error(), "cannot read 'a.txt' at 7");
    assert_int_equal(fsm_fail_within(FSMOE_ERROR_FORMAT, "layer %d", 3), FSMOE_ERROR_FORMAT);
    assert_string_equal(fsmoe_last_error(), "layer 3: cannot read 'a.txt' at 7");
    fsm_fail(FSMOE_ERROR_IO, "again: %s", fsmoe_last_error());
    assert_string_equal(fsmoe_last_error(), "again: layer 3: cannot read 'a.txt' at 7");
}

static void test_status_overlong_sentence_is_cut_and_ended(void **state)
{
    (void)state;
    char *text = malloc(100000);
    assert_non_null(text);
    memset(text, 'x', 99999);
    text[99999] = 0;
    fsm_fail(FSMOE_ERROR_IO, "%s", text);
    assert_in_range(strlen(fsmoe_last_error()), 1000, 99998);
    fsm_fail_within(FSMOE_ERROR_IO, "%s", text);
    assert_in_range(strlen(fsmoe_last_error()), 1000, 99998);
    free(text);
}

/* ---- random numbers ---- */

enum { DRAWS = 1000000 };

/* Mean, and the mean of (x - center)^power. */
static double moment(double (*draw)(uint64_t, uint32_t, uint64_t), uint32_t stream, double center, int power)
{
    double total = 0;
    for (uint64_t i = 0; i < DRAWS; i++) total += pow(draw(11, stream, i) - center, power);
    return total / DRAWS;
}

static void assert_moment(double got, double want, double variance)
{
    double band = 5 * sqrt(variance / DRAWS);
    if (fabs(got - want) > band) fail_msg("moment %.6f is not within %.6f of %.6f", got, band, want);
}

/* E x = 1/2, E (x - 1/2)^2 = 1/12; the variance of (x - 1/2)^2 is 1/80 - 1/144. */
static void test_rng_uniform_has_the_moments_of_the_unit_interval(void **state)
{
    (void)state;
    assert_moment(moment(fsm_rng_uniform, FSM_RNG_TEST, 0, 1), 0.5, 1.0 / 12);
    assert_moment(moment(fsm_rng_uniform, FSM_RNG_TEST, 0.5, 2), 1.0 / 12, 1.0 / 80 - 1.0 / 144);
}

static void test_rng_uniform_fills_equal_bins_equally(void **state)
{
    (void)state;
    int bins[16] = {0};
    double chi_sq = 0, expected = DRAWS / 16.0;
    for (uint64_t i = 0; i < DRAWS; i++) bins[(int)(16 * fsm_rng_uniform(3, FSM_RNG_SHUFFLE, i))]++;
    for (int b = 0; b < 16; b++) chi_sq += (bins[b] - expected) * (bins[b] - expected) / expected;
    assert_true(chi_sq < 15 + 5 * sqrt(30)); /* chi-squared of 15 degrees of freedom: variance 30 */
}

/* E x = 0, E x^2 = 1, E x^3 = 0, E x^4 = 3; variances 1, 2, 15, 96. */
static void test_rng_normal_has_four_moments_of_n01(void **state)
{
    (void)state;
    const double want[] = {0, 1, 0, 3}, variance[] = {1, 2, 15, 96};
    for (int power = 1; power <= 4; power++)
        assert_moment(moment(fsm_rng_normal, FSM_RNG_INIT, 0, power), want[power - 1], variance[power - 1]);
}

static void test_rng_uniform_stays_inside_the_open_interval(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double u = fsm_rng_uniform(5, FSM_RNG_SAMPLE, i);
        assert_true(u > 0 && u < 1);
        assert_true(isfinite(fsm_rng_normal(5, FSM_RNG_SAMPLE, i)));
    }
}

static void test_rng_number_is_independent_of_call_order(void **state)
{
    (void)state;
    enum { N = 1000 };
    static double forwards[N];
    for (uint64_t i = 0; i < N; i++) forwards[i] = fsm_rng_normal(42, FSM_RNG_INIT + 3, i);
    for (uint64_t i = N; i-- > 0;) {
        fsm_rng_uniform(9, FSM_RNG_TEST, i);
        assert_true(forwards[i] == fsm_rng_normal(42, FSM_RNG_INIT + 3, i));
    }
}

/* The correlation of two independent sequences of n has standard error 1/sqrt(n). */
static void assert_uncorrelated(uint64_t seed_b, uint32_t stream_b, uint64_t shift_b)
{
    double together = 0;
    int equal = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double a = fsm_rng_normal(1, FSM_RNG_TEST, i), b = fsm_rng_normal(seed_b, stream_b, i + shift_b);
        together += a * b;
        equal += a == b;
    }
    assert_int_equal(equal, 0);
    assert_true(fabs(together / DRAWS) < 5 / sqrt(DRAWS));
}

static void test_rng_streams_seeds_and_indices_differ(void **state)
{
    (void)state;
    assert_uncorrelated(1, FSM_RNG_TEST + 1, 0);
    assert_uncorrelated(1, FSM_RNG_SAMPLE, 0);
    assert_uncorrelated(2, FSM_RNG_TEST, 0);
    assert_uncorrelated(1 + ((uint64_t)1 << 32), FSM_RNG_TEST, 0);
    assert_uncorrelated(1, FSM_RNG_TEST, 1);
    assert_uncorrelated(1, FSM_RNG_TEST, (uint64_t)1 << 32);
}

/* ---- arena ---- */

typedef struct pieces {
    char *bytes;
    double *doubles;
    int32_t *none, *ints;
} pieces;

static void take_pieces(fsm_arena *arena, pieces *p)
{
    p->bytes = FSM_ARENA_ARRAY(arena, char, 3);
    p->doubles = FSM_ARENA_ARRAY(arena, double, 100);
    p->none = FSM_ARENA_ARRAY(arena, int32_t, 0);
    p->ints = FSM_ARENA_ARRAY(arena, int32_t, 17);
}

static void test_arena_measures_what_it_uses(void **state)
{
    (void)state;
    fsm_arena measure = {0}, arena;
    pieces p;
    take_pieces(&measure, &p);
    assert_null(p.bytes);
    assert_null(p.ints);
    assert_true(measure.used >= 3 + 800 + 17 * 4);
    assert_int_equal(fsm_arena_create(measure.used, &arena), FSMOE_OK);
    take_pieces(&arena, &p);
    assert_int_equal(arena.used, measure.used);
    assert_int_equal(arena.used, arena.capacity);
    fsm_arena_destroy(&arena);
    assert_null(arena.base);
}

static void test_arena_pieces_are_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    fsm_arena arena;
    pieces p;
    assert_int_equal(fsm_arena_create(4096, &arena), FSMOE_OK);
    take_pieces(&arena, &p);
    assert_int_equal((uintptr_t)p.bytes % 64, 0);
    assert_int_equal((uintptr_t)p.doubles % 64, 0);
    assert_int_equal((uintptr_t)p.ints % 64, 0);
    for (int i = 0; i < 100; i++) assert_true(p.doubles[i] == 0);
    memset(p.bytes, 1, 3);
    memset(p.ints, 2, 17 * sizeof *p.ints);
    for (int i = 0; i < 100; i++) assert_true(p.doubles[i] == 0);
    assert_true((char *)p.doubles >= p.bytes + 3 && (char *)p.ints >= (char *)(p.doubles + 100));
    fsm_arena_destroy(&arena);
}

static void test_arena_refuses_more_than_the_address_space(void **state)
{
    (void)state;
    fsm_arena arena;
    assert_int_equal(fsm_arena_create((size_t)1 << 62, &arena), FSMOE_ERROR_MEMORY);
    assert_non_null(strstr(fsmoe_last_error(), "4611686018427387904"));
    fsm_arena_destroy(&arena);
}

/* ---- nearest word ---- */

/* The recursion that defines Levenshtein's distance; exponential, for short words. */
static int slow_distance(const char *a, const char *b)
{
    if (!*a) return (int)strlen(b);
    if (!*b) return (int)strlen(a);
    int best = slow_distance(a + 1, b + 1) + (*a != *b);
    int shorter = 1 + slow_distance(a + 1, b), longer = 1 + slow_distance(a, b + 1);
    if (shorter < best) best = shorter;
    return longer < best ? longer : best;
}

static void test_text_nearest_has_the_least_edit_distance(void **state)
{
    (void)state;
    enum { COUNT = 12 };
    char store[COUNT][8], word[8];
    const char *words[COUNT];
    uint64_t drawn = 0;
    for (int round = 0; round < 300; round++) {
        int best = 100;
        for (int i = -1; i < COUNT; i++) {
            char *text = i < 0 ? word : store[i];
            int length = (int)(fsm_rng_bits(1, FSM_RNG_TEST, drawn++) % 6);
            for (int c = 0; c < length; c++) text[c] = (char)('a' + fsm_rng_bits(1, FSM_RNG_TEST, drawn++) % 3);
            text[length] = 0;
            if (i < 0) continue;
            words[i] = text;
            int distance = slow_distance(word, text);
            if (distance < best) best = distance;
        }
        assert_int_equal(slow_distance(word, fsm_text_nearest(word, words, COUNT)), best);
    }
}

static void test_text_nearest_takes_the_first_of_equals_and_none_of_none(void **state)
{
    (void)state;
    const char *words[] = {"steps", "warmup_steps", "step"};
    assert_string_equal(fsm_text_nearest("stepss", words, 3), "steps");
    assert_string_equal(fsm_text_nearest("warmup_step", words, 3), "warmup_steps");
    assert_string_equal(fsm_text_nearest("", words, 3), "step");
    const char *equals[] = {"ab", "ba"};
    assert_ptr_equal(fsm_text_nearest("aa", equals, 2), equals[0]);
    assert_null(fsm_text_nearest("x", words, 0));
}

static void test_text_nearest_bears_endless_words(void **state)
{
    (void)state;
    char longer[1001], longest[2001];
    memset(longer, 'a', 1000);
    memset(longest, 'a', 2000);
    longer[1000] = longest[2000] = 0;
    const char *words[] = {longest, "a"};
    assert_non_null(fsm_text_nearest(longer, words, 2));
}

/* ---- files ---- */

typedef struct fixture {
    char folder[64], path[128];
} fixture;

static int make_folder(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    *state = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/fsmoe-base-XXXXXX");
    if (!mkdtemp(f->folder)) return -1;
    snprintf(f->path, sizeof f->path, "%s/file", f->folder);
    return 0;
}

static int remove_folder(void **state)
{
    fixture *f = *state;
    int failed = fsm_file_remove_tree(f->folder) != FSMOE_OK || fsm_file_exists(f->folder);
    free(f);
    return failed;
}

static void assert_file(const char *path, const char *want, size_t want_size)
{
    char *bytes;
    size_t size;
    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    assert_int_equal(size, want_size);
    assert_memory_equal(bytes, want, want_size);
    assert_int_equal(bytes[size], 0);
    free(bytes);
}

static void test_file_replace_leaves_exactly_the_new_bytes(void **state)
{
    fixture *f = *state;
    char temporary[160];
    snprintf(temporary, sizeof temporary, "%s.tmp-fsmoe", f->path);
    assert_int_equal(fsm_file_replace(f->path, "old and longer", 14), FSMOE_OK);
    assert_file(f->path, "old and longer", 14);
    assert_int_equal(fsm_file_replace(f->path, "n\0w", 3), FSMOE_OK);
    assert_file(f->path, "n\0w", 3);
    assert_int_equal(fsm_file_replace(f->path, "", 0), FSMOE_OK);
    assert_file(f->path, "", 0);
    assert_false(fsm_file_exists(temporary));
}

/* Who has the old file open keeps all of it: the new one is another file. */
static void test_file_replace_never_touches_the_old_file(void **state)
{
    fixture *f = *state;
    char old[3];
    assert_int_equal(fsm_file_replace(f->path, "old", 3), FSMOE_OK);
    FILE *reader = fopen(f->path, "rb");
    assert_non_null(reader);
    assert_int_equal(fsm_file_replace(f->path, "new", 3), FSMOE_OK);
    assert_int_equal(fread(old, 1, 3, reader), 3);
    assert_memory_equal(old, "old", 3);
    fclose(reader);
}

static void test_file_replace_that_fails_keeps_the_old_and_cleans_up(void **state)
{
    fixture *f = *state;
    char inside[160], temporary[170];
    snprintf(inside, sizeof inside, "%s/inside", f->path);
    snprintf(temporary, sizeof temporary, "%s.tmp-fsmoe", f->path);
    assert_int_equal(fsm_file_make_dirs(inside),
                     FSMOE_OK); /* a folder that is not empty cannot be replaced by a file */
    assert_int_equal(fsm_file_replace(f->path, "new", 3), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), f->path));
    assert_true(fsm_file_exists(inside));
    assert_false(fsm_file_exists(temporary));
    snprintf(inside, sizeof inside, "%s/nowhere/file", f->folder);
    assert_int_equal(fsm_file_replace(inside, "new", 3), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "nowhere"));
}

static void test_file_make_dirs_goes_deep_and_names_what_is_in_the_way(void **state)
{
    fixture *f = *state;
    char deep[200];
    snprintf(deep, sizeof deep, "%s/a/b/c", f->folder);
    assert_int_equal(fsm_file_make_dirs(deep), FSMOE_OK);
    assert_int_equal(fsm_file_make_dirs(deep), FSMOE_OK);
    struct stat info;
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_int_equal(fsm_file_replace(f->path, "x", 1), FSMOE_OK);
    assert_int_equal(fsm_file_make_dirs(f->path), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), f->path));
}

static void test_file_that_is_not_there_fails_by_name(void **state)
{
    fixture *f = *state;
    char *bytes;
    size_t size;
    fsm_file_map map;
    assert_int_equal(fsm_file_read(f->path, &bytes, &size), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), f->path));
    assert_int_equal(fsm_file_map_open(f->folder, &map), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), f->folder));
    assert_int_equal(fsm_file_remove_tree(f->path), FSMOE_OK);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_codes_have_texts_and_distinct_exit_codes),
        cmocka_unit_test(test_status_failure_keeps_its_sentence),
        cmocka_unit_test(test_status_overlong_sentence_is_cut_and_ended),
        cmocka_unit_test(test_rng_uniform_has_the_moments_of_the_unit_interval),
        cmocka_unit_test(test_rng_uniform_fills_equal_bins_equally),
        cmocka_unit_test(test_rng_normal_has_four_moments_of_n01),
        cmocka_unit_test(test_rng_uniform_stays_inside_the_open_interval),
        cmocka_unit_test(test_rng_number_is_independent_of_call_order),
        cmocka_unit_test(test_rng_streams_seeds_and_indices_differ),
        cmocka_unit_test(test_arena_measures_what_it_uses),
        cmocka_unit_test(test_arena_pieces_are_aligned_zeroed_and_apart),
        cmocka_unit_test(test_arena_refuses_more_than_the_address_space),
        cmocka_unit_test(test_text_nearest_has_the_least_edit_distance),
        cmocka_unit_test(test_text_nearest_takes_the_first_of_equals_and_none_of_none),
        cmocka_unit_test(test_text_nearest_bears_endless_words),
        FILE_TEST(test_file_replace_leaves_exactly_the_new_bytes),
        FILE_TEST(test_file_replace_never_touches_the_old_file),
        FILE_TEST(test_file_replace_that_fails_keeps_the_old_and_cleans_up),
        FILE_TEST(test_file_make_dirs_goes_deep_and_names_what_is_in_the_way),
        FILE_TEST(test_file_that_is_not_there_fails_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Values that are not finite are found, wherever they stand, and named by tensor and place. Runs alone and on 4 ranks.
 * Oracle: isfinite, one element at a time; the name and place that the table of parameters gives an element.
 */
#include "comm_case.h"
#include "model_case.h"

#include "model/finite.h"
#include "train/place.h"

#include <math.h>
#include <string.h>

static const float odd[] = {NAN, INFINITY, -INFINITY, -NAN};

static void test_finite_finds_the_first_wherever_it_is(void **state)
{
    (void)state;
    enum { N = 9001 };
    static float x[N];
    for (int64_t i = 0; i < N; i++) x[i] = i % 3 ? 3.4028235e38f : i % 2 ? -1e-45f : -3.4028235e38f;
    assert_int_equal(fsm_first_not_finite(x, 0), 0);
    assert_int_equal(fsm_first_not_finite(x, N), N);
    for (int64_t i = 0; i < N; i++) {
        float was = x[i];
        x[i] = odd[i % 4];
        assert_int_equal(fsm_first_not_finite(x, N), i);
        assert_int_equal(fsm_first_not_finite(x, i), i);
        assert_int_equal(fsm_first_not_finite(x + i + 1, N - i - 1), N - i - 1);
        x[i] = was;
    }
}

/* Every element of every tensor, one after another, has its own name and place. */
static bool names_are_right(const fsm_params *params, float *values)
{
    bool good = fsm_params_check_finite(params, &fsm_ops_reference, values, "m.") == FSMOE_OK;
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        for (int64_t at = 0; at < (p->experts > 0 ? p->experts : 1) * p->rows * p->cols; at++) {
            int64_t expert = at / (p->rows * p->cols), row = at / p->cols % p->rows, col = at % p->cols;
            float *value = &values[p->offset + expert * p->expert_stride + row * p->cols + col], was = *value;
            char name[160], want[320], place[64];
            fsm_param_name(p, p->first_expert + expert, name);
            if (p->spec.rank == 1) snprintf(place, sizeof place, "[%lld]", (long long)(p->col0 + col));
            else snprintf(place, sizeof place, "[%lld, %lld]", (long long)(p->row0 + row), (long long)(p->col0 + col));
            snprintf(want, sizeof want, "tensor 'm.%s' is not finite: it has -infinity at %s", name, place);
            *value = -INFINITY;
            good &= fsm_params_check_finite(params, &fsm_ops_reference, values, "m.") == FSMOE_ERROR_NUMERIC;
            good &= strcmp(fsmoe_last_error(), want) == 0;
            *value = was;
        }
    }
    return good;
}

static void test_finite_names_tensor_and_place_on_any_layout(void **state)
{
    (void)state;
    const char *four[] = {"model.hidden=16",     "model.num_layers=2",
                          "model.num_heads=2",   "model.ffn_hidden=32",
                          "model.vocab_size=20", "moe.num_experts=4",
                          "parallel.ep_size=2",  "parallel.esp_size=2",
                          "parallel.mp_size=2",  NULL};
    const char *alone[] = {"model.hidden=16",
                           "model.num_layers=2",
                           "model.num_heads=2",
                           "model.ffn_hidden=32",
                           "model.vocab_size=20",
                           "moe.num_experts=4",
                           NULL};
    fsmoe_config *config = model_case_config(world->size == 4 ? four : alone);
    fsm_topo topo;
    fsm_params params;
    bool good = fsm_place(config, world, &topo) == FSMOE_OK;
    good = good && fsm_params_create(config, &topo, &params) == FSMOE_OK;
    assert_true(all_true(good));
    float *values = calloc((size_t)params.elems, sizeof *values);
    assert_non_null(values);
    model_case_randomize(&params, 1, values);
    assert_true(all_true(names_are_right(&params, values)));
    free(values);
    fsm_params_destroy(&params);
    fsmoe_config_destroy(config);
}

/* What lies between tensors is nobody's. */
static void test_finite_looks_at_tensors_alone(void **state)
{
    (void)state;
    fsm_param item = {.name = "a", .spec = {.rows = 1, .cols = 3, .rank = 1}, .rows = 1, .cols = 3, .offset = 16};
    fsm_params params = {.items = &item, .count = 1, .elems = 32};
    float values[32];
    for (int i = 0; i < 32; i++) values[i] = i >= 16 && i < 19 ? 1 : NAN;
    assert_int_equal(fsm_params_check_finite(&params, &fsm_ops_reference, values, ""), FSMOE_OK);
    values[18] = INFINITY;
    assert_int_equal(fsm_params_check_finite(&params, &fsm_ops_reference, values, ""), FSMOE_ERROR_NUMERIC);
    assert_string_equal(fsmoe_last_error(), "tensor 'a' is not finite: it has infinity at [2]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_finds_the_first_wherever_it_is),
        cmocka_unit_test(test_finite_names_tensor_and_place_on_any_layout),
        cmocka_unit_test(test_finite_looks_at_tensors_alone),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests_name("finite", tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}

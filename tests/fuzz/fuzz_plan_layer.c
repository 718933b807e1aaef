/* The file of a layer that is planned, to the plan: it is no faster than its bound. */
#include "fuzz.h"

#include <fsmoe/plan.h>
#include <math.h>

static const char cluster[] =
    "{\"unit\": \"us\", \"gemm\": {\"alpha\": 10, \"beta\": 1e-6}, \"alltoall\": {\"alpha\": 20, \"beta\": 1e-3},"
    " \"allgather\": {\"alpha\": 5, \"beta\": 5e-4}, \"reducescatter\": {\"alpha\": 5, \"beta\": 5e-4,"
    " \"large\": {\"alpha\": 9, \"beta\": 4e-4, \"from\": 65536}}, \"allreduce\": {\"alpha\": 30, \"beta\": 2e-3}}";

static void check(const fsmoe_layer_direction *d)
{
    FUZZ_CLAIM(d->degree >= 1 && isfinite(d->makespan_s) && d->makespan_s >= 0);
    FUZZ_CLAIM(d->lower_bound_s <= d->makespan_s * (1 + 1e-9));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const schedules[] = {"dsmoe",        "tutel",        "tutel-improved",
                                            "pipemoe-lina", "fsmoe-no-iio", "fsmoe"};
    fsmoe_layer_plan plan;
    char *explanation = NULL;
    const char *schedule = schedules[fuzz_take(&data, &size) % (sizeof schedules / sizeof *schedules)];
    const char *path = fuzz_file(0, data, size), *costs = fuzz_file(1, cluster, strlen(cluster));
    if (fsmoe_plan_layer(path, costs, schedule, &plan, &explanation) != FSMOE_OK) return 0;
    check(&plan.forward);
    check(&plan.backward);
    free(explanation);
    return 0;
}

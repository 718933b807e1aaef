/* What costs are of, without measuring: machine, layout, model and batch. */
#include "train/profile.h"

#include "base/machine.h"
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

/* Keys that change what a task of a step costs, beside the layout and the threads. */
static bool changes_work(const char *key)
{
    static const char *const others[] = {"data.seq_len", "train.micro_batch", "parallel.progress",
                                         "parallel.canonical_sums"};
    if (strncmp(key, "model.", 6) == 0 || strncmp(key, "moe.", 4) == 0) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(key, others[i]) == 0) return true;
    return false;
}

static uint64_t hash_work(const fsmoe_config *config)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        if (!changes_work(field->key)) continue;
        uint64_t value = fsm_config_hash(config, field);
        hash = XXH3_64bits_withSeed(field->key, strlen(field->key), hash);
        hash = XXH3_64bits_withSeed(&value, sizeof value, hash);
    }
    return hash;
}

void fsm_profile_describe(const fsm_stepper *s, const char *name, fsm_cluster *cluster)
{
    char cpu[96];
    time_t now = time(NULL);
    struct tm utc;
    if (name) snprintf(cluster->name, sizeof cluster->name, "%s", name);
    else if (gethostname(cluster->name, sizeof cluster->name - 1) != 0) strcpy(cluster->name, "unnamed");
    fsm_machine_cpu(cpu, sizeof cpu);
    snprintf(cluster->machine, sizeof cluster->machine, "%s, %ld cores, %d ranks x %d threads, %s%s", cpu,
             sysconf(_SC_NPROCESSORS_ONLN), s->topo.ranks, s->threads, s->model->ops->name,
             fsm_backend_products(&s->backend) ? ", measured products" : "");
    strftime(cluster->date, sizeof cluster->date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    cluster->nodes = s->topo.nodes;
    cluster->ranks_per_node = s->topo.ranks_per_node;
    cluster->ep_size = s->topo.ep;
    cluster->esp_size = s->topo.esp;
    cluster->mp_size = s->topo.mp;
    snprintf(cluster->work, sizeof cluster->work, "%016" PRIx64, hash_work(s->config));
}

#include "plan/paper_layers.h"

#include "base/print.h"

fsm_layer_sizes fsm_paper_layer(int number, const fsm_cluster *cluster)
{
    static const int64_t batches[] = {1, 2, 4}, heads[] = {8, 16, 32}, widths[] = {1024, 2048, 4096};
    static const int64_t lengths[2][3] = {{512, 1024, 2048}, {256, 512, 1024}};
    static const double factors[] = {1.2, 2.4, 0};
    int digit[6], at = number / 2;
    for (int d = 0; d < 6; d++, at /= 3) digit[d] = at % 3;
    fsm_layer_sizes s = {.batch = batches[digit[5]],
                         .heads = heads[digit[4]],
                         .seq_len = lengths[cluster->ranks_per_node == 4][digit[3]],
                         .hidden = widths[digit[2]],
                         .ffn_hidden = (digit[1] + 2) * widths[digit[2]],
                         .capacity_factor = factors[digit[0]],
                         .gated = number % 2,
                         .top_k = 2,
                         .esp_size = cluster->ranks_per_node,
                         .num_experts = cluster->nodes};
    s.allreduce_elems = (s.gated ? 2.5 : 4) * (double)s.hidden * (double)s.hidden / (double)s.esp_size;
    return s;
}

const char *fsm_paper_expert_name(const fsm_layer_sizes *sizes)
{
    return sizes->gated ? "mixtral" : "gpt";
}

static fsmoe_status write_table(const fsm_paper_table *table, void *grid, const fsm_cluster *cluster,
                                const char *csv_path, char **summary)
{
    fsm_print csv, text;
    FSM_TRY(fsm_print_begin(&csv));
    FSM_TRY(fsm_print_write(&csv, table->plan_all(grid, cluster, csv.out), csv_path));
    FSM_TRY(fsm_print_begin(&text));
    table->print_summary(grid, cluster, text.out);
    return fsm_print_end(&text, FSMOE_OK, "the summary", summary);
}

fsmoe_status fsm_paper_write(const fsm_paper_table *table, void *grid, const char *cluster_path, const char *csv_path,
                             char **summary)
{
    fsm_cluster cluster;
    fsmoe_status status = FSMOE_OK;
    FSM_TRY(fsm_cluster_read(cluster_path, &cluster));
    if (cluster.nodes < 1 || cluster.ranks_per_node < 1)
        status = fsm_fail(FSMOE_ERROR_CONFIG, "'%s' does not give nodes and ranks_per_node", cluster_path);
    if (status == FSMOE_OK) status = write_table(table, grid, &cluster, csv_path, summary);
    fsm_cluster_destroy(&cluster);
    return status;
}

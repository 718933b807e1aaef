#include "report/ranks.h"

enum { MAX_RANKS = 256, COLOURS = 4 };

fsm_rank_indices fsm_ranks_indices(const fsm_run *run, int64_t rank)
{
    return (fsm_rank_indices){
        .mp = rank % run->mp,
        .dp = rank / run->mp,
        .esp = rank % run->esp,
        .ep = rank / run->esp % run->ep,
        .edp = rank / (run->esp * run->ep),
    };
}

static void write_rank(FILE *out, const fsm_run *run, int64_t rank)
{
    fsm_rank_indices at = fsm_ranks_indices(run, rank);
    fprintf(out, "<div class=\"rank\" style=\"border-color:var(--s%d)\"><b>rank %lld</b><br/>", (int)(at.ep % COLOURS),
            (long long)rank);
    fprintf(out, "<span>dp %lld · mp %lld</span><br/><span>ep %lld · esp %lld</span>", (long long)at.dp,
            (long long)at.mp, (long long)at.ep, (long long)at.esp);
    if (run->edp > 1) fprintf(out, "<br/><span>edp %lld</span>", (long long)at.edp);
    fputs("</div>\n", out);
}

void fsm_ranks_write(FILE *out, const fsm_run *run)
{
    int64_t shown = run->ranks < MAX_RANKS ? run->ranks : MAX_RANKS;
    fputs("<div class=\"nodes\">\n", out);
    for (int64_t rank = 0; rank < shown; rank++) {
        if (rank % run->ranks_per_node == 0)
            fprintf(out, "<div class=\"node\"><b>node %lld</b>\n<div class=\"ranks\">\n",
                    (long long)(rank / run->ranks_per_node));
        write_rank(out, run, rank);
        if ((rank + 1) % run->ranks_per_node == 0 || rank + 1 == shown) fputs("</div></div>\n", out);
    }
    fputs("</div>\n", out);
    if (shown < run->ranks)
        fprintf(out, "<p class=\"note\">and %lld more ranks in the same pattern</p>\n",
                (long long)(run->ranks - shown));
}

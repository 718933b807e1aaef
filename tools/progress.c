#include "progress.h"

#include "command.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void format_time(double s, char text[32])
{
    long seconds = s > 0 ? lround(s) : 0;
    if (seconds >= 3600) snprintf(text, 32, "%ld:%02ld:%02ld", seconds / 3600, seconds / 60 % 60, seconds % 60);
    else snprintf(text, 32, "%ld:%02ld", seconds / 60, seconds % 60);
}

/* "loss 2.31 | 31.2k tokens/s …", the same on a terminal and in a file. */
static void format_step(const fsmoe_train_progress *p, char text[256])
{
    char eta[32];
    format_time(p->eta_s, eta);
    int n = snprintf(text, 256, "step %lld/%lld  loss %.4f  %.1fk tokens/s  ETA %s", (long long)p->step, (long long)p->steps,
                     p->loss, 1e-3 * p->tokens_per_s, eta);
    if (p->load_mean > 0)
        n += snprintf(text + n, 256 - (size_t)n, "  expert load %.2f-%.2fx", p->load_min / p->load_mean,
                      p->load_max / p->load_mean);
    if (p->dropped_frac > 0) snprintf(text + n, 256 - (size_t)n, "  dropped %.1f%%", 100 * p->dropped_frac);
}

/* A few dozen lines a run when nobody watches. */
static bool worth_a_line(const fsmoe_train_progress *p)
{
    long long every = p->steps / 40 > 0 ? p->steps / 40 : 1;
    return p->step == 1 || p->step % every == 0 || p->step == p->steps || !isnan(p->val_loss);
}

void progress_on_step(void *user, const fsmoe_train_progress *p)
{
    (void)user;
    char text[256];
    bool terminal = isatty(STDERR_FILENO);
    format_step(p, text);
    if (terminal) {
        fprintf(stderr, "\r\033[K%s", text);
        if (!isnan(p->val_loss)) fprintf(stderr, "\n  validation loss %.4f after step %lld\n", p->val_loss, (long long)p->step);
        else if (p->step == p->steps) fputc('\n', stderr);
    } else if (worth_a_line(p)) {
        if (isnan(p->val_loss)) fprintf(stderr, "%s\n", text);
        else fprintf(stderr, "%s  validation loss %.4f\n", text, p->val_loss);
    }
    fflush(stderr);
}

void progress_on_message(void *user, const char *sentence)
{
    (void)user;
    command_note(sentence);
}

#include "progress.h"

#include "command.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void format_time(double s, char text[32])
{
    long seconds = s > 0 ? lround(s) : 0;
    if (seconds >= 3600) snprintf(text, 32, "%ld:%02ld:%02ld", seconds / 3600, seconds / 60 % 60, seconds % 60);
    else snprintf(text, 32, "%ld:%02ld", seconds / 60, seconds % 60);
}

/* "48 GFLOP/s", with the share of what products reach once that is known: "48 GFLOP/s 63%". */
static void format_flops(const fsmoe_train_progress *p, char text[48])
{
    bool tera = p->flops_per_s >= 1e12;
    double value = (tera ? 1e-12 : 1e-9) * p->flops_per_s;
    int n = snprintf(text, 48, "%.*f %cFLOP/s", value < 10 ? 1 : 0, value, tera ? 'T' : 'G');
    if (!isnan(p->peak_share)) snprintf(text + n, 48 - (size_t)n, " %.0f%%", 100 * p->peak_share);
}

/* "loss 2.31  31.2k tokens/s …", the same on a terminal and in a file. */
static void format_step(const fsmoe_train_progress *p, char text[256])
{
    char eta[32], flops[48];
    format_time(p->eta_s, eta);
    format_flops(p, flops);
    int n = snprintf(text, 256, "step %lld/%lld  loss %.4f  %.1fk tokens/s  %s  ETA %s", (long long)p->step,
                     (long long)p->steps, p->loss, 1e-3 * p->tokens_per_s, flops, eta);
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

/* A line that goes on in the next row of the terminal cannot be rewritten: what does not fit is left out. */
static void cut_to_terminal(char *text)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    if (known && strlen(text) >= size.ws_col) text[size.ws_col - 1] = 0;
}

/* Spaces wipe out what is left of a longer line before. */
static void rewrite_line(progress *shown, char *text)
{
    cut_to_terminal(text);
    fprintf(stderr, "\r%-*s", shown->width, text);
    shown->width = (int)strlen(text);
}

void progress_end_line(progress *shown)
{
    if (shown->width > 0) fputc('\n', stderr);
    shown->width = 0;
}

void progress_on_step(void *user, const fsmoe_train_progress *p)
{
    char text[256];
    bool terminal = isatty(STDERR_FILENO);
    if (!terminal && !worth_a_line(p)) return;
    format_step(p, text);
    if (terminal) rewrite_line(user, text);
    else fputs(text, stderr);
    if (!isnan(p->val_loss)) fprintf(stderr, "  validation loss %.4f", p->val_loss);
    if (terminal && isnan(p->val_loss) && p->step < p->steps) return;
    if (terminal) progress_end_line(user);
    else fputc('\n', stderr);
}

void progress_on_message(void *user, const char *sentence)
{
    progress_end_line(user);
    command_note(sentence);
}

#define _GNU_SOURCE
#include "invocation.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 1 << 17 };

/* The words of a process' command line, each ended by a 0. */
typedef struct words {
    char text[LINE_BYTES];
    size_t size;
} words;

static void read_words(const char *process, words *w)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/cmdline", process);
    FILE *file = fopen(path, "re");
    w->size = file ? fread(w->text, 1, sizeof w->text - 1, file) : 0;
    w->text[w->size] = 0;
    if (file) fclose(file);
}

static const char *next_word(const words *w, const char *word)
{
    const char *next = word + strlen(word) + 1;
    return next < w->text + w->size ? next : NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Quoted unless every character is plain. */
static void write_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%,";
    if (*word && !word[strspn(word, plain)]) {
        fputs(word, out);
        return;
    }
    fputc('\'', out);
    for (; *word; word++)
        if (*word == '\'') fputs("'\\''", out);
        else fputc(*word, out);
    fputc('\'', out);
}

static bool is_launcher(const char *program)
{
    static const char *const launchers[] = {"mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "srun"};
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (strcmp(base_name(program), launchers[i]) == 0) return true;
    return false;
}

/* What stands before this program in the command line of the launcher, where that is the parent; false: it is not. */
static bool write_parent(FILE *out, const char *program)
{
    words parent;
    char process[32];
    snprintf(process, sizeof process, "%ld", (long)getppid());
    read_words(process, &parent);
    if (parent.size == 0 || !is_launcher(parent.text)) return false;
    for (const char *word = parent.text; word && strcmp(word, program) != 0; word = next_word(&parent, word)) {
        write_word(out, word);
        fputc(' ', out);
    }
    return true;
}

/* scripts/mpirun says what it was called as; another launcher is looked for; else it is what most call it. */
static void write_launcher(FILE *out, int ranks, const char *program)
{
    const char *said = getenv("FSMOE_LAUNCHER");
    if (said) fprintf(out, "%s ", said);
    else if (!write_parent(out, program) && ranks > 1) fprintf(out, "mpirun -n %d ", ranks);
}

static char *finish(FILE *out, char **text)
{
    if (out && fclose(out) == 0) return *text;
    free(*text);
    return NULL;
}

char *invocation_describe(int ranks)
{
    words mine;
    char *text = NULL;
    size_t size;
    read_words("self", &mine);
    FILE *out = open_memstream(&text, &size);
    if (out && mine.size > 0) write_launcher(out, ranks, mine.text);
    for (const char *word = mine.text; out && word && mine.size > 0; word = next_word(&mine, word)) {
        if (word != mine.text) fputc(' ', out);
        write_word(out, word);
    }
    return finish(out, &text);
}

char *invocation_resume(int ranks, const char *run_dir)
{
    words mine;
    char *text = NULL, config[4096 + 16];
    size_t size;
    read_words("self", &mine);
    snprintf(config, sizeof config, "%s/config.yaml", run_dir);
    FILE *out = open_memstream(&text, &size);
    if (out) {
        const char *program = mine.size > 0 ? mine.text : "fsmoe";
        write_launcher(out, ranks, program);
        write_word(out, program);
        fputs(" train ", out);
        write_word(out, config);
        fputs(" --resume", out);
    }
    return finish(out, &text);
}

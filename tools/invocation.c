#include "invocation.h"

#include <fcntl.h>
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

/* A process that is gone, or nobody's to read, has no words. */
static void read_words(const char *process, words *w)
{
    char path[64];
    ssize_t n = 1;
    w->size = 0;
    snprintf(path, sizeof path, "/proc/%s/cmdline", process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && n > 0 && w->size < sizeof w->text - 1) {
        n = read(fd, w->text + w->size, sizeof w->text - 1 - w->size);
        if (n > 0) w->size += (size_t)n;
    }
    w->text[w->size] = 0;
    if (fd >= 0) close(fd);
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

/* Text that is put together; without memory for it nothing is left. */
typedef struct line {
    char *text;
    size_t size, capacity;
    bool failed;
} line;

static void put(line *to, const char *bytes, size_t size)
{
    if (!to->failed && to->size + size + 1 > to->capacity) {
        size_t capacity = 2 * (to->size + size + 1);
        char *grown = realloc(to->text, capacity);
        to->failed = !grown;
        if (grown) to->text = grown, to->capacity = capacity;
    }
    if (to->failed) return;
    memcpy(to->text + to->size, bytes, size);
    to->size += size;
    to->text[to->size] = 0;
}

static void put_text(line *to, const char *text)
{
    put(to, text, strlen(text));
}

/* Quoted unless every character is plain. */
static void put_word(line *to, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%,";
    if (*word && !word[strspn(word, plain)]) {
        put_text(to, word);
        return;
    }
    put_text(to, "'");
    for (; *word; word++)
        if (*word == '\'') put_text(to, "'\\''");
        else put(to, word, 1);
    put_text(to, "'");
}

static bool is_launcher(const char *program)
{
    static const char *const launchers[] = {"mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "srun"};
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (strcmp(base_name(program), launchers[i]) == 0) return true;
    return false;
}

/* What stands before this program in the command line of the launcher, where that is the parent; false: it is not. */
static bool put_parent(line *to, const char *program)
{
    words parent;
    char process[32];
    snprintf(process, sizeof process, "%ld", (long)getppid());
    read_words(process, &parent);
    if (parent.size == 0 || !is_launcher(parent.text)) return false;
    for (const char *word = parent.text; word && strcmp(word, program) != 0; word = next_word(&parent, word)) {
        put_word(to, word);
        put_text(to, " ");
    }
    return true;
}

/* scripts/mpirun says what it was called as; another launcher is looked for; else it is what most call it. */
static void put_launcher(line *to, int ranks, const char *program)
{
    const char *said = getenv("FSMOE_LAUNCHER");
    char usual[64];
    snprintf(usual, sizeof usual, "mpirun -n %d ", ranks);
    if (said) put_text(to, said), put_text(to, " ");
    else if (!put_parent(to, program) && ranks > 1) put_text(to, usual);
}

static char *finish(line *to)
{
    if (!to->failed) return to->text;
    free(to->text);
    return NULL;
}

static const char *program_of(const words *mine)
{
    return mine->size > 0 ? mine->text : "fsmoe";
}

char *invocation_describe(int ranks)
{
    words mine;
    line out = {NULL, 0, 0, false};
    read_words("self", &mine);
    put_launcher(&out, ranks, program_of(&mine));
    put_word(&out, program_of(&mine));
    for (const char *word = mine.size > 0 ? next_word(&mine, mine.text) : NULL; word; word = next_word(&mine, word)) {
        put_text(&out, " ");
        put_word(&out, word);
    }
    return finish(&out);
}

char *invocation_resume(int ranks, const char *run_dir)
{
    words mine;
    char config[4096 + 16];
    line out = {NULL, 0, 0, false};
    read_words("self", &mine);
    snprintf(config, sizeof config, "%s/config.yaml", run_dir);
    put_launcher(&out, ranks, program_of(&mine));
    put_word(&out, program_of(&mine));
    put_text(&out, " train ");
    put_word(&out, config);
    put_text(&out, " --resume");
    return finish(&out);
}

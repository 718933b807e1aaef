#include "outputs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const output_options[] = {"--out", "--trace", "--gantt", "--csv", "--picture"};
enum { OUTPUT_OPTIONS = sizeof output_options / sizeof *output_options };

bool outputs_same_file(const char *path, const char *other)
{
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && S_ISREG(a.st_mode) && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

/* The file that word i names as an output, after "--out=" or as the word behind "--out"; NULL: none. */
static const char *output_at(int argc, char *const *argv, int i)
{
    for (int o = 0; o < OUTPUT_OPTIONS; o++) {
        size_t length = strlen(output_options[o]);
        if (strncmp(argv[i], output_options[o], length) != 0) continue;
        if (argv[i][length] == '=') return argv[i] + length + 1;
        if (!argv[i][length] && i + 1 < argc) return argv[i + 1];
    }
    return NULL;
}

/* A word, or what stands behind its last '=' (--base=FILE, allreduce=FILE). */
static const char *file_of(const char *word)
{
    const char *equals = strrchr(word, '=');
    return equals ? equals + 1 : word;
}

bool outputs_clash(int argc, char *const *argv, char *sentence, size_t size)
{
    for (int i = 1; i < argc; i++) {
        const char *output = output_at(argc, argv, i);
        for (int j = 1; output && j < argc; j++) {
            const char *other = file_of(argv[j]), *second = output_at(argc, argv, j);
            if (j == i || other == output) continue;
            bool twice = j > i && second && strcmp(second, output) == 0 && strncmp(output, "/dev/", 5) != 0;
            if (!twice && !outputs_same_file(output, other) && !outputs_same_file(output, argv[j])) continue;
            snprintf(sentence, size, "'%s' would be written over: the command line names it twice", output);
            return true;
        }
    }
    return false;
}

#include "prompts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

fsmoe_status prompts_add(prompts *list, const char *text, char why[PROMPTS_SENTENCE_BYTES])
{
    char *copy = strdup(text), **longer = realloc(list->texts, (list->count + 1) * sizeof *longer);
    if (longer) list->texts = longer;
    if (copy && longer) {
        list->texts[list->count++] = copy;
        return FSMOE_OK;
    }
    free(copy);
    snprintf(why, PROMPTS_SENTENCE_BYTES, "no memory for %zu prompts", list->count + 1);
    return FSMOE_ERROR_MEMORY;
}

/* A line without its end; what comes after a 0 byte would be lost in silence. */
static fsmoe_status add_line(prompts *list, const char *path, size_t number, char *line, size_t size,
                             char why[PROMPTS_SENTENCE_BYTES])
{
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) line[--size] = 0;
    if (size > 0 && strlen(line) == size) return prompts_add(list, line, why);
    snprintf(why, PROMPTS_SENTENCE_BYTES, "%.300s: line %zu %s", path, number,
             size == 0 ? "is empty; a file of prompts has one a line" : "holds a zero byte");
    return FSMOE_ERROR_CONFIG;
}

static fsmoe_status cannot_read(const char *path, char why[PROMPTS_SENTENCE_BYTES])
{
    snprintf(why, PROMPTS_SENTENCE_BYTES, "cannot read %.300s: %s", path, strerror(errno));
    return FSMOE_ERROR_IO;
}

fsmoe_status prompts_add_file(prompts *list, const char *path, char why[PROMPTS_SENTENCE_BYTES])
{
    FILE *file = fopen(path, "re");
    if (!file) return cannot_read(path, why);
    fsmoe_status status = FSMOE_OK;
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t size = 0;
    errno = 0;
    while (status == FSMOE_OK && (size = getline(&line, &capacity, file)) >= 0)
        status = add_line(list, path, ++number, line, (size_t)size, why);
    if (status == FSMOE_OK && !feof(file)) status = cannot_read(path, why);
    free(line);
    fclose(file);
    if (status != FSMOE_OK || number > 0) return status;
    snprintf(why, PROMPTS_SENTENCE_BYTES, "%.300s holds no prompt", path);
    return FSMOE_ERROR_CONFIG;
}

void prompts_free(prompts *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->texts[i]);
    free(list->texts);
    *list = (prompts){0};
}

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 127 };

/* Levenshtein distance, one row of the table at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[LONGEST_WORD + 1];
    size_t columns = strnlen(b, LONGEST_WORD);
    for (size_t j = 0; j <= columns; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < columns; j++) {
            size_t substitute = diagonal + (a[i] != b[j]);
            size_t insert_or_delete = 1 + (row[j] < row[j + 1] ? row[j] : row[j + 1]);
            diagonal = row[j + 1];
            row[j + 1] = substitute < insert_or_delete ? substitute : insert_or_delete;
        }
    }
    return row[columns];
}

const char *fsm_text_nearest(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t least = (size_t)-1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, words[i]);
        if (distance < least) {
            least = distance;
            nearest = words[i];
        }
    }
    return nearest;
}

void fsm_text_append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

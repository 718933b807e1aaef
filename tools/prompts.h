/* The prompts of a command line: given one by one, or in files, one a line.
 * In:  texts, paths. Out: an array of texts in the order they were given; a sentence when a file holds none or an empty
 *      one.
 */
#ifndef FSMOE_TOOLS_PROMPTS_H
#define FSMOE_TOOLS_PROMPTS_H

#include <fsmoe/status.h>
#include <stddef.h>

typedef struct prompts {
    char **texts;
    size_t count;
} prompts;

enum { PROMPTS_SENTENCE_BYTES = 512 };

/* Copies of the text, of each line. FSMOE_ERROR_IO, FSMOE_ERROR_CONFIG, FSMOE_ERROR_MEMORY: `why` says what of. */
fsmoe_status prompts_add(prompts *list, const char *text, char why[PROMPTS_SENTENCE_BYTES]);
fsmoe_status prompts_add_file(prompts *list, const char *path, char why[PROMPTS_SENTENCE_BYTES]);
void prompts_free(prompts *list);

#endif

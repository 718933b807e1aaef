/* What a file is, by the bytes it holds: the one table of formats that are told apart from text.
 * In:  the bytes of a file. Out: the row of its format: a name for messages, and what a person can do about it.
 * A format that comes to be read gets its reader beside its row; until then its files are refused by name.
 */
#ifndef FSM_TOKENS_SIGNATURE_H
#define FSM_TOKENS_SIGNATURE_H

#include "base/file.h"

typedef struct fsm_signature {
    const char *name;  /* continues "FILE is …" */
    size_t at;         /* magic[size] stands at this offset; size 0: anything does */
    const char *magic; /* compared byte by byte */
    size_t size;
    bool (*matches)(const char *bytes, size_t size); /* what a magic cannot tell; NULL: it tells all */
    const char *advice;                              /* what to do: a sentence after a colon */
} fsm_signature;

/* The rows, the more special before the more general. */
extern const fsm_signature fsm_signatures[];
extern const size_t fsm_signature_count;

/* The first row that matches; NULL: it may be text. */
const fsm_signature *fsm_signature_find(const char *bytes, size_t size);

/* ERROR_UNSUPPORTED, naming the file, its format and the advice, when a row matches. */
fsmoe_status fsm_signature_refuse(const fsm_file_map *map, const char *path);

#endif

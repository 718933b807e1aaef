/* The tokenizer that a model folder holds, told by the names of its files.
 * In:  a folder. Out: the file that says there is a tokenizer, read or not; the tokenizer, where it can be read.
 */
#ifndef FSM_TOKENS_FOLDER_H
#define FSM_TOKENS_FOLDER_H

#include "tokens/tokenizer.h"

enum { FSM_FOLDER_NAME_BYTES = 256 }; /* longest name of a file, the 0 included */

/* The name of a file in the folder that belongs to a tokenizer; "" if there is none. ERROR_IO: the folder cannot be
 * read. */
fsmoe_status fsm_folder_find_tokenizer(const char *folder, char name[FSM_FOLDER_NAME_BYTES]);

/* Fills vocab, byte_ids, merges and added. ERROR_CONFIG: there is none; ERROR_UNSUPPORTED: there is one of another
 * kind, or with settings that are not done here; otherwise as the loaders of its files. */
fsmoe_status fsm_tokenizer_load_folder(fsmoe_tokenizer *tokenizer, const char *folder);

#endif

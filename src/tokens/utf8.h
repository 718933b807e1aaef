/* Whether bytes are text in UTF-8.
 * In:  bytes, anything. Out: how many of them, from the first on, are text.
 * Well-formed as in the Unicode Standard, table 3-7: no overlong forms, surrogates or numbers above U+10FFFF.
 */
#ifndef FSM_TOKENS_UTF8_H
#define FSM_TOKENS_UTF8_H

#include <stddef.h>

/* The size of the longest beginning that is whole characters without U+0000, which no text has; `size` if all is. */
size_t fsm_utf8_text_size(const char *bytes, size_t size);

/* How many bytes the character takes that bytes[0] begins, 1 to 4; 0: none begins so. Looks at that byte alone. */
size_t fsm_utf8_character_size(const char *bytes);

/* The size of a byte order mark at the beginning, which is 3; 0: there is none. */
size_t fsm_utf8_mark_size(const char *bytes, size_t size);

#endif

/* Whether a file holds documents in JSON, by its beginning.
 * In:  the bytes of a file. Out: yes or no; nothing is parsed or allocated, so there is no failing.
 * What looks is the first value of the file, after a byte order mark and white space: an object, whose braces pair
 * off, with a "text" among its keys. So a text that merely begins with a brace is none, while a mistake elsewhere in a
 * line is found when the line is read, and said.
 */
#ifndef FSM_TOKENS_JSON_LOOK_H
#define FSM_TOKENS_JSON_LOOK_H

#include <stdbool.h>
#include <stddef.h>

/* Such an object on one line, with nothing else on it but what begins the next. */
bool fsm_json_look_lines(const char *bytes, size_t size);
/* One over several lines. */
bool fsm_json_look_spread(const char *bytes, size_t size);
/* An array that begins with one. */
bool fsm_json_look_array(const char *bytes, size_t size);

#endif

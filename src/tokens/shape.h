/* Formats that no single magic tells: each function says whether bytes are of one.
 * In:  the bytes of a file, any number. Out: yes or no. For the table in signature.c; JSON is looked at in json_look.h.
 */
#ifndef FSM_TOKENS_SHAPE_H
#define FSM_TOKENS_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Among the first bytes are some that are in no text: zeros, control characters, what is not UTF-8. */
bool fsm_shape_is_binary(const char *bytes, size_t size);
/* More than a tenth of the first bytes are zeros or control characters, as in numbers of 2 or 4 bytes. */
bool fsm_shape_is_control_rich(const char *bytes, size_t size);

/* A frame that decoders skip; some writers begin with one. */
bool fsm_shape_is_zstd_skippable(const char *bytes, size_t size);
bool fsm_shape_is_bzip2(const char *bytes, size_t size);
/* By the name of the archive's first file. */
bool fsm_shape_is_torch_zip(const char *bytes, size_t size);
bool fsm_shape_is_numpy_zip(const char *bytes, size_t size);
bool fsm_shape_is_arrow_stream(const char *bytes, size_t size);
bool fsm_shape_is_safetensors(const char *bytes, size_t size);
/* Of protocol 2 or later, which begin with a byte that is not ASCII. */
bool fsm_shape_is_pickle(const char *bytes, size_t size);
bool fsm_shape_is_sentencepiece(const char *bytes, size_t size);

/* Without a byte order mark: most characters have zeros where Latin letters have them. */
bool fsm_shape_is_utf16_little(const char *bytes, size_t size);
bool fsm_shape_is_utf16_big(const char *bytes, size_t size);
bool fsm_shape_is_utf32_little(const char *bytes, size_t size);
bool fsm_shape_is_utf32_big(const char *bytes, size_t size);

#endif

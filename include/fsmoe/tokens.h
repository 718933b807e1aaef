/* Token streams: the ids of several files in a row, with random access.
 * In:  files: text in UTF-8; JSON lines, an object a line whose "text" is a document; token files, which
 *      fsmoe_tokens_write writes. Their bytes say which, before their names do (docs/data.md).
 * Out: ids by position, and how many bytes of text they stand for.
 * A document of JSON lines is followed by the tokenizer's end of text, if it has one; a text file is taken as it is.
 * Text is tokenized into memory; token files are mapped, checked once when opened, and paged in as they are read.
 */
#ifndef FSMOE_TOKENS_H
#define FSMOE_TOKENS_H

#include <fsmoe/tokenizer.h>

typedef struct fsmoe_tokens fsmoe_tokens;

/* Tokenizes paths[n_paths] in order into one .tokens file at `path`, in pieces, so the corpus may exceed memory.
 * Replaces a token file in one step: a crash leaves the old one. ERROR_IO: cannot read or write, or something else than
 * a token file is there; ERROR_FORMAT: an input that is empty or malformed, naming file and line or byte;
 * ERROR_UNSUPPORTED: an input that is of another format, naming it; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_tokens_write(const char *path, fsmoe_tokenizer *tokenizer, const char *const *paths,
                                          size_t n_paths);

/* Opens paths[n_paths] as one stream, in order. Keeps `tokenizer`, which must outlive the stream.
 * ERROR_FORMAT, ERROR_UNSUPPORTED: as above, or a token file with a wrong magic, version, size, checksum or id, or made
 * with another tokenizer; ERROR_CONFIG: no path at all; ERROR_IO: cannot read; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_tokens_open(const char *const *paths, size_t n_paths, fsmoe_tokenizer *tokenizer,
                                         fsmoe_tokens **tokens);
FSMOE_API void fsmoe_tokens_close(fsmoe_tokens *tokens);

/* Number of ids in the stream, at least 1. */
FSMOE_API int64_t fsmoe_tokens_count(const fsmoe_tokens *tokens);

/* Copies ids [first, first + n) to out[n]. Thread-safe. ERROR_INTERNAL: outside the stream. */
FSMOE_API fsmoe_status fsmoe_tokens_copy(const fsmoe_tokens *tokens, int64_t first, int64_t n, int32_t *out);

/* Bytes of text that ids [first, first + n) stand for; the end of text stands for none. For a loss per byte.
 * Thread-safe. ERROR_INTERNAL: outside the stream. */
FSMOE_API fsmoe_status fsmoe_tokens_bytes(const fsmoe_tokens *tokens, int64_t first, int64_t n, int64_t *n_bytes);

#endif

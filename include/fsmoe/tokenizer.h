/* Tokenizers: text to ids and back, exact on any byte string: decode(encode(x)) is x, invalid UTF-8 and NULs included.
 * In:  "bytes", "gpt2", the path of a Hugging Face tokenizer.json of GPT-2's kind, or a folder with tokenizer files.
 * Out: int32 ids in [0, vocab_size), the same as the tokenizer's own implementation gives for valid UTF-8.
 * Byte-level BPE as in Radford et al., "Language models are unsupervised multitask learners", 2019.
 */
#ifndef FSMOE_TOKENIZER_H
#define FSMOE_TOKENIZER_H

#include <fsmoe/status.h>

#include <stddef.h>
#include <stdint.h>

typedef struct fsmoe_tokenizer fsmoe_tokenizer;

/* Makes a tokenizer. `name_or_path` is
 *   "bytes"   the 256 byte values; no end of text;
 *   "gpt2"    vocab.bpe and encoder.json of the folder gpt2 of $FSMOE_DATA, of the sources, or of the installed data;
 *   a file    tokenizer.json: a BPE model with ByteLevel pre-tokenizer and decoder, optional added tokens;
 *   a folder  with tokenizer.json, or vocab.bpe and encoder.json, or merges.txt and vocab.json.
 * The text "<|endoftext|>" is ordinary text to "gpt2" and to vocabularies without added tokens, so no document can
 * forge an end of text; a tokenizer.json's added tokens are matched in the text, as Hugging Face's library does.
 * ERROR_CONFIG: no such tokenizer; ERROR_IO: cannot read; ERROR_FORMAT: malformed file, or a byte value without a
 * token; ERROR_UNSUPPORTED: the file asks for what is not done here, naming its key, or is of another format, or the
 * folder has a tokenizer of another kind; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_tokenizer_create(const char *name_or_path, fsmoe_tokenizer **tokenizer);
FSMOE_API void fsmoe_tokenizer_destroy(fsmoe_tokenizer *tokenizer);

/* The string it was made from; owned by the tokenizer. */
FSMOE_API const char *fsmoe_tokenizer_name(const fsmoe_tokenizer *tokenizer);

/* Largest id + 1. */
FSMOE_API int32_t fsmoe_tokenizer_vocab_size(const fsmoe_tokenizer *tokenizer);

/* The id that ends a document (of "<|endoftext|>", "<|end_of_text|>" or "</s>"); -1 if there is none. */
FSMOE_API int32_t fsmoe_tokenizer_end_of_text(const fsmoe_tokenizer *tokenizer);

/* bytes[size] to *ids[*count], malloc'd, the caller frees; NULL when there are none. A maximal run of bytes that are
 * not UTF-8 is a word of its own, and the text before it ends there. Not thread-safe on one tokenizer, which keeps a
 * cache of words. ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_tokenizer_encode(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, int32_t **ids,
                                              size_t *count);

/* ids[count] to *bytes[*size], malloc'd, the caller frees; a 0 byte follows. The end of text decodes to its own name.
 * Thread-safe. ERROR_FORMAT: an id that stands for no token; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_tokenizer_decode(const fsmoe_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                              char **bytes, size_t *size);

#endif

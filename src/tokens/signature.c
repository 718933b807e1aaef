#include "tokens/signature.h"

#include "tokens/json_look.h"
#include "tokens/shape.h"

#include <string.h>

#define MAGIC(text) 0, text, sizeof(text) - 1
#define MAGIC_AT(at, text) at, text, sizeof(text) - 1
#define NO_MAGIC 0, NULL, 0

#define FROM_PARQUET                                           \
    "write its texts as JSON lines, for example with pandas: " \
    "read_parquet(IN)[['text']].to_json(OUT, orient='records', lines=True, force_ascii=False)"
#define FROM_ARROW "write its texts as JSON lines, for example with to_json of the package datasets"
#define FROM_COLUMNS "write its texts as JSON lines, {\"text\": ...} each"
#define FROM_TOKENS "ids of another program are not read; tokenize the text itself with fsmoe tokenize"
#define FROM_WEIGHTS "it holds numbers and no text to train on"
#define FROM_TAR "unpack it first (tar -xf)"
#define CONVERT(from) "convert it to UTF-8 first (iconv -f " from " -t UTF-8)"

/* A magic of printable characters alone may begin a text: with is_binary, bytes that are in no text must stand near
 * it. */
const fsm_signature fsm_signatures[] = {
    /* packed */
    {"compressed with gzip", MAGIC("\x1F\x8B\x08"), NULL, "decompress it first (gunzip)"},
    {"compressed with zstd", MAGIC("\x28\xB5\x2F\xFD"), NULL, "decompress it first (unzstd)"},
    {"compressed with zstd", NO_MAGIC, fsm_shape_is_zstd_skippable, "decompress it first (unzstd)"},
    {"compressed with bzip2", NO_MAGIC, fsm_shape_is_bzip2, "decompress it first (bunzip2)"},
    {"compressed with xz", MAGIC("\xFD\x37zXZ\0"), NULL, "decompress it first (unxz)"},
    {"compressed with lzma", MAGIC("\x5D\0\0\x80\0"), NULL, "decompress it first (unlzma)"},
    {"compressed with lz4", MAGIC("\x04\x22\x4D\x18"), NULL, "decompress it first (unlz4)"},
    {"compressed with snappy", MAGIC("\xFF\x06\0\0sNaPpY"), NULL, "decompress it first"},
    {"compressed with compress", MAGIC("\x1F\x9D"), NULL, "decompress it first (uncompress)"},
    {"a PyTorch file", NO_MAGIC, fsm_shape_is_torch_zip, FROM_WEIGHTS},
    {"a NumPy archive", NO_MAGIC, fsm_shape_is_numpy_zip, FROM_TOKENS},
    {"a zip archive", MAGIC("PK\x03\x04"), NULL, "unpack it first (unzip)"},
    {"an empty zip archive", MAGIC("PK\x05\x06"), NULL, "there is nothing in it"},
    {"a 7z archive", MAGIC("7z\xBC\xAF\x27\x1C"), NULL, "unpack it first (7z x)"},
    {"a rar archive", MAGIC("Rar!\x1A\x07"), NULL, "unpack it first (unrar x)"},
    {"a tar archive", MAGIC_AT(257, "ustar"), fsm_shape_is_binary, FROM_TAR},
    /* tables */
    {"a Parquet file", MAGIC("PAR1"), fsm_shape_is_binary, FROM_PARQUET},
    {"an encrypted Parquet file", MAGIC("PARE"), fsm_shape_is_binary, FROM_PARQUET},
    {"an Arrow file (Feather)", MAGIC("ARROW1\0\0"), NULL, FROM_ARROW},
    {"a Feather file", MAGIC("FEA1"), fsm_shape_is_binary, FROM_ARROW},
    {"an Arrow stream", NO_MAGIC, fsm_shape_is_arrow_stream, FROM_ARROW},
    {"an ORC file", MAGIC("ORC"), fsm_shape_is_binary, FROM_COLUMNS},
    {"an Avro file", MAGIC("Obj\x01"), NULL, FROM_COLUMNS},
    {"an SQLite database", MAGIC("SQLite format 3\0"), NULL, FROM_COLUMNS},
    {"an HDF5 file", MAGIC("\x89HDF\r\n\x1A\n"), NULL, FROM_COLUMNS},
    /* weights and ids */
    {"a safetensors file", NO_MAGIC, fsm_shape_is_safetensors, FROM_WEIGHTS},
    {"a GGUF file", MAGIC("GGUF"), fsm_shape_is_binary, FROM_WEIGHTS},
    {"a Python pickle", NO_MAGIC, fsm_shape_is_pickle, "it is not read, since reading one runs what it says"},
    {"a NumPy array", MAGIC("\x93NUMPY"), NULL, FROM_TOKENS},
    {"a token file of llm.c (GPT-2)", MAGIC("\x88\xD8\x34\x01"), NULL, FROM_TOKENS},   /* 20240520 */
    {"a token file of llm.c (Llama 3)", MAGIC("\xA1\xD9\x34\x01"), NULL, FROM_TOKENS}, /* 20240801 */
    {"a Megatron index", MAGIC("MMIDIDX\0\0"), NULL, FROM_TOKENS},
    {"a Megatron index", MAGIC("TNTIDX\0\0"), NULL, FROM_TOKENS},
    {"a SentencePiece model", NO_MAGIC, fsm_shape_is_sentencepiece, "it holds the vocabulary of a tokenizer"},
    /* places where a file should be */
    {"a Git LFS pointer", MAGIC("version https://git-lfs.github.com/spec/"), NULL,
     "the file itself is elsewhere; fetch it (git lfs pull)"},
    {"a git-annex pointer", MAGIC("/annex/objects/"), NULL, "the file itself is elsewhere; fetch it (git annex get)"},
    /* documents */
    {"a PDF document", MAGIC("%PDF-"), NULL, "extract its text first (pdftotext)"},
    {"an Office document", MAGIC("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), NULL, "save it as text first"},
    {"a JSON array", NO_MAGIC, fsm_json_look_array, "make a line of each element (jq -c '.[]')"},
    {"a JSON object over several lines", NO_MAGIC, fsm_json_look_spread, "make one line of it (jq -c .)"},
    /* other encodings of text */
    {"text in UTF-32", MAGIC("\xFF\xFE\0\0"), NULL, CONVERT("UTF-32")},
    {"text in UTF-32", MAGIC("\0\0\xFE\xFF"), NULL, CONVERT("UTF-32")},
    {"text in UTF-16", MAGIC("\xFF\xFE"), NULL, CONVERT("UTF-16")},
    {"text in UTF-16", MAGIC("\xFE\xFF"), NULL, CONVERT("UTF-16")},
    {"text in UTF-32 (little-endian)", NO_MAGIC, fsm_shape_is_utf32_little, CONVERT("UTF-32LE")},
    {"text in UTF-32 (big-endian)", NO_MAGIC, fsm_shape_is_utf32_big, CONVERT("UTF-32BE")},
    {"text in UTF-16 (little-endian)", NO_MAGIC, fsm_shape_is_utf16_little, CONVERT("UTF-16LE")},
    {"text in UTF-16 (big-endian)", NO_MAGIC, fsm_shape_is_utf16_big, CONVERT("UTF-16BE")},
    /* anything else */
    {"no text but bytes of another kind, such as the token ids in a .bin of nanoGPT or Megatron", NO_MAGIC,
     fsm_shape_is_control_rich, FROM_TOKENS},
};

const size_t fsm_signature_count = sizeof fsm_signatures / sizeof *fsm_signatures;

static bool is_of(const fsm_signature *row, const char *bytes, size_t size)
{
    if (size < row->at + row->size) return false;
    if (row->size > 0 && memcmp(bytes + row->at, row->magic, row->size) != 0) return false;
    return !row->matches || row->matches(bytes, size);
}

const fsm_signature *fsm_signature_find(const char *bytes, size_t size)
{
    for (size_t i = 0; i < fsm_signature_count; i++)
        if (is_of(&fsm_signatures[i], bytes, size)) return &fsm_signatures[i];
    return NULL;
}

fsmoe_status fsm_signature_refuse(const fsm_file_map *map, const char *path)
{
    const fsm_signature *row = fsm_signature_find(map->bytes, map->size);
    if (!row) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s' is %s: %s", path, row->name, row->advice);
}
